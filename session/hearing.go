package session

import (
	"context"
	"fmt"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
)

// hearing is one connection's part of a session: keys, window, measurements,
// timers. What was received outlives it, in imageState.
type hearing struct {
	*Receiver
	channel *channel
	welcome *wire.Welcome
	ears    *ears // nil while the group can't be joined

	keys      map[uint8]*crypto.Keys // by low byte of the epoch: the current and the one before
	epoch     uint32
	window    window
	signed    uint64 // packet number of the newest status
	signedAt  time.Time
	status    *wire.Status
	rateLimit uint64

	meter    meter
	asker    asker
	lastLoss float64
	heardAt  time.Time // the group's latest packet
	anything bool      // heard from the group
	firstAt  time.Time // when
	rejoinAt time.Time
	epochAt  time.Time // no EpochWanted before
	rootsAt  time.Time // no RootsWanted before
	rootsTry int

	ticked    time.Time
	published time.Time // Progress, last
	reportAt  time.Time
	sequence  uint32
	answered  uint32 // newest report that the server answered
	unicast   *unicasting
	asked     time.Time // no UnicastWanted before
	wantUni   wire.Reason
	refused   string // why unicast isn't to be had
	noticed   bool
	over      bool // the server ended the session
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
		return fmt.Errorf("%w: the package changed while it was being received (%v, now %v); start again", ErrRefused, r.image.digest, digest)
	}
	if r.image != nil {
		if r.image.geo.symbol != geo.symbol {
			r.image.geo = geo
			clear(r.image.open)
			clear(r.image.spilled)
			r.image.free, r.image.buffers = nil, 0
		}
		for _, b := range r.image.open {
			b.end, b.held = 0, time.Time{} // packet numbers of another session mean nothing
		}
		return nil
	}
	claimed, manifest, err := r.cfg.Target.Begin(digest, int64(w.ImageSize))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTarget, err)
	}
	r.image = newImageState(digest, geo)
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
	}
	h.keys[uint8(w.Epoch)] = crypto.NewKeys(crypto.Mode(w.Mode), w.Session, w.Digest, w.Secret, w.Position)
	h.asker = asker{grtt: grttFloor, clients: 1}
	h.meter.at = now
	r.notify(EventJoined, "joined %s (%s) at group %v", w.Package, crypto.Mode(w.Mode), w.Group)
	if w.Notice != "" {
		r.notify(EventNotice, "%s", w.Notice)
	}
	h.listen()
	if w.OutOfReach {
		h.wantUnicast(now, wire.OutOfReach)
	}
	h.asker.tell(w.Client, 0, w.Position-1, r.image.lacks())
	defer h.close()

	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		// 1. Hand what is ready to the prover, as far as it has room.
		h.feedProver()

		var batches chan []multicast.Run
		var earsFailed chan struct{}
		if h.ears != nil {
			batches, earsFailed = h.ears.batches, h.ears.failed
		}
		var fetched chan fetchedBlock
		if h.unicast != nil {
			fetched = h.unicast.blocks
		}
		select {
		case <-ctx.Done():
			h.leave(ctx)
			return context.Cause(ctx)

		// 2. Packets of the group.
		case batch := <-batches:
			now := time.Now()
			for i := range batch {
				h.hearRun(now, &batch[i])
			}
			h.ears.taken <- struct{}{}
		case <-earsFailed:
			h.notify(EventNotice, "reading the group failed: %v", h.ears.err)
			h.ears.close()
			h.ears = nil
			h.wantUnicast(time.Now(), wire.JoinFailed)

		// 3. Messages of the server.
		case m := <-c.messages:
			c.heard = time.Now()
			h.hearMessage(m)
		case <-c.failed:
			return again("control channel closed: %w", c.err)

		// 4. What the prover made of blocks.
		case out := <-r.prover.outcomes:
			h.hearOutcome(out)

		// 5. Blocks by unicast.
		case block := <-fetched:
			h.hearFetched(block)

		case <-ticker.C:
		}
		if h.fatal != nil {
			h.sendDone(wire.Failed, h.fatal.Error())
			return h.fatal
		}

		// 6. Time: NACKs, need, reports, silence, the end.
		if over, err := h.tick(time.Now()); over || err != nil {
			return err
		}
	}
}

// listen joins the group.
func (h *hearing) listen() {
	hearer, err := h.cfg.Hear(h.welcome.Group, h.welcome.Source)
	if err != nil {
		h.notify(EventNotice, "can't join group %v: %v", h.welcome.Group, err)
		h.wantUnicast(time.Now(), wire.JoinFailed)
		return
	}
	h.ears = newEars(hearer)
}

func (h *hearing) close() {
	if h.unicast != nil {
		h.unicast.stop()
	}
	h.totals.Packets += h.meter.opened + h.meter.openedBefore
	h.totals.Lost += h.meter.lost() + h.meter.lostBefore
	h.meter = meter{}
	if h.ears != nil {
		h.totals.KernelDrops += h.ears.hearer.Dropped()
		h.ears.close()
		h.ears = nil
	}
}

// leave tells the server that the client goes, once, and makes durable what is there.
func (h *hearing) leave(context.Context) {
	h.sendDone(wire.Left, "the client was stopped")
}
