package handler

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"wimcast/api"
)

// ringLength is how many events a reader may be behind: a few rooms' day.
const ringLength = 4096

// ring keeps the latest events. Who puts one in never waits for who reads; who reads
// has a place of their own and learns when events went by. Safe for concurrent use.
type ring struct {
	boot string // begins every id: an id of another daemon means nothing here

	mu     sync.Mutex
	events []api.Event   // event n is at n % ringLength
	next   uint64        // number of the next event; the first is 1
	wake   chan struct{} // closed with the next event
}

func newRing() *ring {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return &ring{boot: hex.EncodeToString(b[:]), next: 1, wake: make(chan struct{})}
}

// put adds an event and gives it its id.
func (r *ring) put(e api.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.ID = r.id(r.next)
	if len(r.events) < ringLength {
		if len(r.events) == 0 {
			r.events = append(r.events, api.Event{}) // number 0 is nobody's
		}
		r.events = append(r.events, e)
	} else {
		r.events[r.next%ringLength] = e
	}
	r.next++
	close(r.wake)
	r.wake = make(chan struct{})
}

func (r *ring) id(n uint64) string { return fmt.Sprintf("%s-%d", r.boot, n) }

// place returns the number of the event that a reader wants next, who has seen the one with
// that id ("": whatever comes from now on). It reports false when events are lost to the
// reader, who then gets the oldest that is kept.
func (r *ring) place(id string) (next uint64, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id == "" {
		return r.next, true
	}
	boot, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || boot != r.boot || n >= r.next || n+1 < r.oldest() {
		return r.oldest(), false
	}
	return n + 1, true
}

// oldest is the number of the oldest event that is kept; the caller holds mu.
func (r *ring) oldest() uint64 { return max(1, r.next-min(r.next, ringLength)) }

// from returns at most limit events from number next on, and a channel that is closed when
// there are more than now. It reports false when number next is gone.
func (r *ring) from(next uint64, limit int) (events []api.Event, more <-chan struct{}, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if next < r.oldest() {
		return nil, r.wake, false
	}
	for ; next < r.next && len(events) < limit; next++ {
		events = append(events, r.events[next%ringLength])
	}
	return events, r.wake, true
}

// all returns the events that are kept, the oldest first.
func (r *ring) all() []api.Event {
	r.mu.Lock()
	oldest := r.oldest()
	r.mu.Unlock()
	events, _, _ := r.from(oldest, ringLength)
	return events
}
