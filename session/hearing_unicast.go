package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

// fetchBlocks is how many blocks one request asks for: 11.5 MB.
const fetchBlocks = 64

// fetchBuffers is how many fetched blocks may wait for the prover.
const fetchBuffers = 8

// unicasting is the fetching of what a client lacks. The client stays in the
// group meanwhile; what it hears there it needn't fetch.
type unicasting struct {
	fetcher Fetcher
	cancel  context.CancelFunc
	blocks  chan fetchedBlock
	free    chan []byte
	running sync.WaitGroup
	busy    bool // a request is under way
	next    time.Time
	tries   int
	ctx     context.Context
}

// fetchedBlock is a block of the stream that came by unicast, or the end of a
// request when data is nil. A manifest comes as manifest.
type fetchedBlock struct {
	block    int // of the image
	data     []byte
	manifest []byte
	end      bool
	err      error
}

func (h *hearing) hearUnicastAnswer(m *wire.UnicastAnswer) {
	if h.unicast != nil || h.refused != "" || h.wantUni == 0 {
		return
	}
	if m.Later {
		h.waits(time.Now(), EventWaiting, "the group can't be heard ("+h.describe(h.wantUni)+"), and unicast isn't to be had before the session starts")
		return
	}
	if !m.Granted {
		h.refused = m.Text
		h.notify(EventNotice, "%s: unicast isn't to be had: %s", h.wantUni, m.Text)
		return
	}
	fetcher, err := h.cfg.Fetch(UnicastOffer{
		Port: h.welcome.HTTPSPort, Token: h.welcome.Token, Digest: h.image.digest, Size: h.image.geo.image, Package: h.welcome.Package,
	})
	if err != nil {
		h.fatal = fmt.Errorf("%w: unicast: %w", ErrRefused, err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	u := &unicasting{fetcher: fetcher, ctx: ctx, cancel: cancel, blocks: make(chan fetchedBlock, fetchBuffers+2), free: make(chan []byte, fetchBuffers)}
	for range fetchBuffers {
		u.free <- make([]byte, crypto.BlockSize)
	}
	h.unicast = u
	h.totals.UnicastReason = h.wantUni.String()
	h.notify(EventUnicast, "fetching the rest by unicast (%s)", h.describe(h.wantUni))
}

// describe says a reason as a person would.
func (h *hearing) describe(r wire.Reason) string {
	switch r {
	case wire.GroupSilent:
		return fault.GroupSilent(h.welcome.Group, silentUnicast).Text
	case wire.OutOfReach:
		return "the group's packets don't get to this machine"
	case wire.JoinFailed:
		return "the group can't be joined on this machine"
	case wire.Costly:
		return "this machine needs more repair than a whole image"
	case wire.Overflow:
		return "the session has all the clients that it may"
	case wire.UnicastOnly:
		return "multicast isn't allowed here"
	case wire.OperatorHand:
		return "sent there by the distribution point"
	}
	return r.String()
}

func (u *unicasting) stop() {
	u.cancel()
	done := make(chan struct{})
	go func() { u.running.Wait(); close(done) }()
	for {
		select {
		case <-u.blocks:
		case <-done:
			return
		}
	}
}

// giveBack returns a fetched block's buffer.
func (u *unicasting) giveBack(data []byte) {
	select {
	case u.free <- data[:cap(data)]:
	default: // of an earlier connection
	}
}

// tickUnicast starts the next request when there is something to fetch: the
// manifest first, then the last run of blocks lacking.
func (h *hearing) tickUnicast(now time.Time) {
	u := h.unicast
	if u == nil || u.busy || now.Before(u.next) || h.finishing {
		return
	}
	s := h.image
	if s.manifest == nil {
		u.busy = true
		u.running.Go(func() {
			manifest, err := u.fetcher.Manifest(u.ctx)
			u.blocks <- fetchedBlock{manifest: manifest, end: true, err: err}
		})
		return
	}
	first, count := h.lastLacking()
	if count == 0 {
		return
	}
	u.busy = true
	u.running.Go(func() {
		err := u.fetcher.Fetch(u.ctx, first, count, func(block int, data []byte) error {
			select {
			case buf := <-u.free:
				n := copy(buf[:crypto.BlockSize], data)
				u.blocks <- fetchedBlock{block: block, data: buf[:n]}
				return nil
			case <-u.ctx.Done():
				return u.ctx.Err()
			}
		})
		u.blocks <- fetchedBlock{end: true, err: err}
	})
}

// lastLacking returns the last run of image blocks that neither are there nor may come from the seed, at most fetchBlocks long.
func (h *hearing) lastLacking() (first, count int) {
	s := h.image
	last := s.geo.b - 1
	there := func(i int) bool { return s.settled(i+s.geo.m) || s.seed != nil && s.seed.left.has(i) }
	for last >= 0 && there(last) {
		last--
	}
	for first = last; first >= 0 && last-first < fetchBlocks && !there(first); first-- {
	}
	return first + 1, last - first
}

func (h *hearing) hearFetched(f fetchedBlock) {
	u, s := h.unicast, h.image
	if f.end {
		u.busy = false
		h.fetchEnded(f)
		return
	}
	block := f.block + s.geo.m
	if f.block < 0 || f.block >= s.geo.b || len(f.data) != s.geo.length(block) || s.settled(block) {
		u.giveBack(f.data)
		return
	}
	if b := s.open[block]; b != nil {
		s.giveBack(b)
		delete(s.open, block)
	}
	delete(s.spilled, block)
	s.busy[block] = true
	s.ready = append(s.ready, job{kind: jobFetched, block: block, data: f.data, geo: s.geo, from: fromUnicast, want: h.want(block)})
}

// fetchEnded decides what comes after a request.
func (h *hearing) fetchEnded(f fetchedBlock) {
	u, s, now := h.unicast, h.image, time.Now()
	if f.err != nil {
		if q, ok := errors.AsType[queued](f.err); ok {
			position, wait := q.Queued()
			u.next = now.Add(max(wait, 100*time.Millisecond))
			h.notify(EventQueued, "waiting for a unicast slot, place %d in the queue; still listening to the group", position)
			return
		}
		if isFinal(f.err) {
			h.fatal = fmt.Errorf("%w: unicast: %w", ErrRefused, f.err)
			return
		}
		u.next = now.Add(retry(u.tries))
		u.tries++
		h.notify(EventNotice, "unicast: %v; trying again", f.err)
		return
	}
	u.tries = 0
	if f.manifest != nil && s.manifest == nil {
		roots := crypto.Roots(f.manifest)
		if int64(len(f.manifest)) != s.geo.manifest || crypto.Digest(s.geo.image, roots) != s.digest {
			h.fatal = fmt.Errorf("%w: the manifest from unicast doesn't match digest %v; verify the package: wimcast image verify", ErrDamaged, s.digest)
			return
		}
		s.roots, s.rootsWhole = roots, true
		copy(s.manifestData, f.manifest)
		for i := range s.geo.m {
			s.manifestHave.set(i)
		}
		h.manifestWhole()
	}
}
