package session

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

// hearing is one connection's part of a session: keys, window, measurements,
// timers. What was received outlives it, in imageState. Two goroutines work on it, one event at a
// time: ears takes in the group's packets, and hearSession all else.
type hearing struct {
	*Receiver

	mu    sync.Mutex    // guards all that follows, the Receiver's own state, and its image
	ended bool          // nothing is done any more
	err   error         // what ended it; nil when all is done
	nudge chan struct{} // tells hearSession that it ended

	channel *channel
	welcome *wire.Welcome
	ears    *ears // nil while the group can't be joined

	keys      map[uint8]*crypto.Keys // by low byte of the epoch: the current and the one before
	epoch     uint32
	window    window
	signed    uint64 // packet number of the newest status
	signedAt  time.Time
	status    *wire.Status
	room      headcount // as told before this client was done
	rateLimit uint64

	meter    meter
	asker    asker
	lastLoss float64
	lossTold bool      // that packets get lost
	heardAt  time.Time // the group's latest packet
	anything bool      // heard from the group
	firstAt  time.Time // when
	rejoinAt time.Time
	forgot   int       // times that the group was back as soon as it was joined again
	silenced uint64    // packets that were missed meanwhile
	epochAt  time.Time // no EpochWanted before
	rootsAt  time.Time // no RootsWanted before
	rootsTry int

	ticked    time.Time
	published time.Time // Progress, last
	reportAt  time.Time
	maps      mapTeller
	sequence  uint32
	answered  uint32 // newest report that the server answered
	unicast   *unicasting
	asked     time.Time // no UnicastWanted before
	wantUni   wire.Reason
	refused   string // why unicast isn't to be had
	noticed   bool
	over      bool // the server ended the session
	moved     bool // the server wants this client in another session of the package
	finishing bool
	done      *wire.Done
	doneTry   int
	doneAt    time.Time

	bytesSince   int64 // stored since the latest checkpoint
	checkpointed time.Time
	checkpoint   bool // under way
	fatal        error
}

// begin prepares for the image that a welcome names: the same as before, or a new one.
func (r *Receiver) begin(w *wire.Welcome) error {
	digest, geo := crypto.Hash(w.Digest), newGeometry(int64(w.ImageSize), int(w.SymbolSize))
	if r.image != nil && r.image.digest != digest {
		return r.otherVersion(digest)
	}
	if r.image != nil {
		if r.image.geo.symbol != geo.symbol {
			r.image.geo = geo
			clear(r.image.open)
			clear(r.image.spilled)
			r.image.spare, r.image.made = nil, 0
		}
		for _, b := range r.image.open {
			b.end, b.held = 0, time.Time{} // packet numbers of another session mean nothing
		}
		return nil
	}
	if r.cfg.Offered != nil {
		offer := Offer{Package: w.Package, Digest: digest, Size: int64(w.ImageSize), Apply: Apply{Images: int(w.Images), Index: int(w.Index), Room: int64(min(w.Room, 1<<62))}}
		if err := r.cfg.Offered(offer); err != nil {
			return err
		}
	}
	claimed, manifest, err := r.cfg.Target.Begin(digest, int64(w.ImageSize))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	r.image = newImageState(digest, geo)
	r.beginSeed()
	var claims []int
	if claimed != nil {
		claims = collect(claimed)
	}
	if len(manifest) > 0 && int64(len(manifest)) == geo.manifest {
		r.image.roots = crypto.Roots(manifest)
		if crypto.Digest(geo.image, r.image.roots) == digest {
			r.image.rootsWhole = true
			copy(r.image.manifestData, manifest)
			for i := range geo.m {
				r.image.manifestHave.set(i)
			}
			r.manifestWhole()
		} else {
			r.image.roots = nil
		}
	}
	if n := len(claims); n > 0 {
		r.notify(EventResumed, "%d of %d blocks are there from an earlier try; proving them again", n, geo.b)
	}
	for _, i := range claims {
		r.image.claims[i] = true
		j := job{kind: jobVerify, block: i, geo: geo, from: fromHeld}
		if r.image.manifest != nil {
			j.want = &r.image.manifest.Blocks[i]
		}
		r.image.ready = append(r.image.ready, j)
	}
	return nil
}

// hearSession receives over one connection until done, or until the connection is
// of no more use.
func (r *Receiver) hearSession(ctx context.Context, c *channel, w *wire.Welcome) error {
	now := time.Now()
	h := &hearing{
		Receiver: r, channel: c, welcome: w, keys: map[uint8]*crypto.Keys{}, epoch: w.Epoch,
		signed: w.Position, rateLimit: w.RateLimit, heardAt: now, checkpointed: now, reportAt: now,
		nudge: make(chan struct{}, 1),
	}
	defer h.close()
	h.mu.Lock()
	h.keys[uint8(w.Epoch)] = crypto.NewKeys(crypto.Mode(w.Mode), w.Session, w.Digest, w.Secret, w.Position)
	h.asker = asker{grtt: grttFloor, clients: 1, expected: r.image.expected}
	h.meter.at = now
	if w.Alone() {
		r.notify(EventJoined, "joined %s, by unicast only", w.Package)
	} else {
		r.notify(EventJoined, "joined %s (%s) at group %v", w.Package, crypto.Mode(w.Mode), w.Group)
	}
	if w.Notice != "" {
		r.notify(EventNotice, "%s", w.Notice)
	}
	if !w.Alone() {
		h.listen()
	}
	if w.OutOfReach {
		h.wantUnicast(now, wire.OutOfReach)
	}
	h.tellAll(0, w.Position-1)
	h.feedProver()
	h.mu.Unlock()

	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		h.mu.Lock()
		if h.ended {
			defer h.mu.Unlock()
			return h.err
		}
		var earsFailed chan struct{}
		if h.ears != nil {
			earsFailed = h.ears.failed
		}
		var seeded chan seedAnswer
		if d := r.image.seed; d != nil && !d.over {
			seeded = d.seeder.answers
		}
		var fetched chan fetchedBlock
		if h.unicast != nil {
			fetched = h.unicast.blocks
		}
		h.mu.Unlock()

		// Each case takes the lock, which is given back after time was looked after.
		select {
		case <-ctx.Done():
			h.mu.Lock()
			defer h.mu.Unlock()
			h.leave()
			return context.Cause(ctx)

		case <-earsFailed:
			h.mu.Lock()
			h.notify(EventNotice, "reading the group failed: %v", h.ears.err)
			h.ears.close()
			h.ears = nil
			h.wantUnicast(time.Now(), wire.JoinFailed)

		case m := <-c.messages:
			h.mu.Lock()
			c.heard = time.Now()
			h.hearMessage(m)
		case <-c.failed:
			h.mu.Lock()
			defer h.mu.Unlock()
			for m := c.left(); m != nil; m = c.left() { // it may say why
				h.hearMessage(m)
			}
			if h.step(time.Now()); h.ended {
				return h.err
			}
			if h.done != nil {
				return nil // all is proven, and said; a server that stops doesn't stay for thanks
			}
			return again("control channel closed: %w", c.err)

		case out := <-r.prover.outcomes:
			h.mu.Lock()
			h.hearOutcome(out)

		case answer := <-seeded:
			h.mu.Lock()
			h.hearSeed(answer)

		case block := <-fetched:
			h.mu.Lock()
			h.hearFetched(block)

		case <-ticker.C:
			h.mu.Lock()
		case <-h.nudge:
			h.mu.Lock()
		}
		h.step(time.Now())
		h.mu.Unlock()
	}
}

// take takes in a batch of the group's packets. It is called by ears.
func (h *hearing) take(batch []multicast.Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	now := time.Now()
	for i := range batch {
		h.hearRun(now, &batch[i])
	}
	h.step(now)
}

// step does what follows every event: it hands to the prover what is ready, as far as that has room,
// and then what time brings: NACKs, need, reports, silence, the end. The caller holds the lock.
func (h *hearing) step(now time.Time) {
	if h.ended {
		return
	}
	h.feedProver()
	if h.feedSeed() {
		h.feedProver()
	}
	if h.fatal != nil {
		h.sendDone(wire.Failed, h.fatal.Error())
		h.end(h.fatal)
		return
	}
	if over, err := h.tick(now); over || err != nil {
		h.end(err)
	}
}

// end lets hearSession return.
func (h *hearing) end(err error) {
	h.ended, h.err = true, err
	select {
	case h.nudge <- struct{}{}:
	default:
	}
}

// listen joins the group.
func (h *hearing) listen() {
	hearer, err := h.cfg.Hear(h.welcome.Group, h.welcome.Source)
	if err != nil {
		h.notify(EventNotice, "%s", fault.JoinFailed(err))
		h.wantUnicast(time.Now(), wire.JoinFailed)
		return
	}
	h.ears = newEars(hearer, h.take)
}

// close stops reading, and keeps what was counted.
func (h *hearing) close() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	if h.ears != nil { // which may wait for the lock
		h.totals.KernelDrops += h.ears.hearer.Dropped()
		h.ears.close()
		h.ears = nil
	}
	if h.unicast != nil {
		h.unicast.stop()
	}
	h.totals.Packets += h.meter.opened + h.meter.openedBefore
	h.totals.Lost += h.meter.lost() + h.meter.lostBefore
	h.meter = meter{}
}

// leave tells the server that the client goes, once, and to those who watch what it has then.
func (h *hearing) leave() {
	if h.maps.wanted && h.image.geo.b > 0 {
		h.sendMap(h.image.cells.levels())
	}
	h.sendDone(wire.Left, "the client was stopped")
}
