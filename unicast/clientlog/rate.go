package clientlog

import (
	"net/netip"
	"time"
)

// Bounds of what comes from one address.
const (
	// burst is how many reports an address may send at once: a room behind one address
	// translator that fails together.
	burst = 16
	// every is when it may send another one.
	every = 30 * time.Second
	// maxAddresses bounds the addresses that are remembered.
	maxAddresses = 4096
)

// limiter is a token bucket for each address. Pure: it takes the time. The zero value is ready for use.
type limiter struct {
	full map[netip.Addr]time.Time // when the bucket is full again
}

// allow takes a token of an address, or says how long there is none.
func (l *limiter) allow(now time.Time, from netip.Addr) (wait time.Duration) {
	if l.full == nil {
		l.full = map[netip.Addr]time.Time{}
	}
	at := l.full[from]
	if at.Before(now) {
		at = now
	}
	at = at.Add(every)
	if over := at.Sub(now) - burst*every; over > 0 {
		return over
	}
	if _, known := l.full[from]; !known && len(l.full) >= maxAddresses {
		l.forget(now)
	}
	l.full[from] = at
	return 0
}

// forget makes room: those whose bucket is full, else anybody. Who comes from so many addresses is
// bounded by what is under way at a time, and by what is kept.
func (l *limiter) forget(now time.Time) {
	for addr, at := range l.full {
		if !at.After(now) {
			delete(l.full, addr)
		}
	}
	for addr := range l.full {
		if len(l.full) < maxAddresses*3/4 { // some more, so that not each newcomer has all of them looked at
			return
		}
		delete(l.full, addr)
	}
}
