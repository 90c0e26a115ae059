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

func (h *hearing) sendDone(result wire.Result, reason string) {
	h.channel.send(&wire.Done{
		Client: h.welcome.Client, Result: result, Multicast: uint64(h.totals.Multicast), Unicast: uint64(h.totals.Unicast),
		Held: uint64(h.totals.Held), Reason: reason,
	})
}

// hearRun takes a run of datagrams apart.
func (h *hearing) hearRun(now time.Time, run *multicast.Run) {
	data := run.Data
	for len(data) > 0 {
		n := len(data)
		if run.Segment > 0 {
			n = min(n, run.Segment)
		}
		h.hearPacket(now, data[:n])
		data = data[n:]
	}
}

// hearPacket refuses in the order of section 4, the cheapest first; only a packet
// that opened moves any state.
func (h *hearing) hearPacket(now time.Time, packet []byte) {
	header, err := wire.ParseHeader(packet)
	if err != nil {
		h.dropped.add(dropLength)
		return
	}
	switch {
	case header.Kind == wire.KindSymbol && len(packet) != h.image.geo.packet():
		h.dropped.add(dropLength)
		return
	case header.Kind != wire.KindSymbol && header.Kind != wire.KindStatus:
		h.dropped.add(dropKind)
		return
	case header.Tag != tag(h.welcome.Session):
		h.dropped.add(dropTag)
		return
	}
	keys := h.keys[header.Epoch]
	if keys == nil {
		h.dropped.add(dropEpoch)
		if !now.Before(h.epochAt) {
			h.epochAt = now.Add(retry(0))
			h.channel.send(&wire.EpochWanted{Client: h.welcome.Client, Seen: header.Epoch})
		}
		return
	}
	ahead := max(windowBits, h.rateLimit/uint64(h.image.geo.packet()))
	if reason, ok := h.window.check(header.Number, h.signed+ahead); !ok {
		h.dropped.add(reason)
		return
	}
	payload, err := keys.Open(packet, wire.HeaderLen, header.Number)
	if err != nil {
		h.dropped.add(dropSeal)
		return
	}
	if header.Kind == wire.KindStatus {
		h.hearStatus(now, header, packet[:wire.HeaderLen], payload)
		return
	}
	symbol, err := wire.ParseSymbol(payload)
	if err != nil {
		h.dropped.add(dropMalformed)
		return
	}
	h.opened(now, header, len(packet))
	h.hearSymbol(now, header.Number, symbol)
}

// opened marks a packet as heard.
func (h *hearing) opened(now time.Time, header wire.Header, n int) {
	h.window.mark(header.Number)
	h.meter.packet(now, header.Number, n, header.Sent)
	h.heardAt = now
	if !h.anything {
		h.anything = true
		if header.Number > h.welcome.Position && h.unicast == nil {
			h.asker.tell(h.welcome.Client, 0, header.Number, h.image.lacks())
		}
		h.notify(EventMulticast, "hearing group %v", h.welcome.Group)
	}
}

func (h *hearing) hearStatus(now time.Time, header wire.Header, raw, payload []byte) {
	status, err := wire.ParseStatus(payload, h.welcome.Session, raw, h.welcome.PublicKey[:])
	if err != nil {
		h.dropped.add(dropStatus)
		return
	}
	h.opened(now, header, len(raw)+len(payload)+crypto.Overhead)
	if h.status != nil && header.Number <= h.signed {
		return // an older one
	}
	if h.status != nil && h.unicast == nil && int64(status.Cursor) < int64(h.image.geo.blocks()) && int64(h.status.Cursor) < int64(h.image.geo.blocks()) {
		h.asker.cursor(now, int(h.status.Cursor), int(status.Cursor), h.image.geo.blocks(), func(block int) bool {
			return !h.image.settled(block) && h.image.open[block] == nil && !h.image.isClaimed(block)
		})
	}
	h.signed, h.signedAt, h.status = header.Number, now, status
	h.rateLimit = status.RateLimit
	h.asker.grtt, h.asker.clients = max(status.GRTT, grttFloor), int(status.Clients)
	h.asker.promise(now, status.Promises, h.image.open)
	h.asker.pass = status.Pass
}

func (h *hearing) hearSymbol(now time.Time, number uint64, symbol wire.Symbol) {
	s := h.image
	block := int(symbol.Block)
	if int64(symbol.Block) >= int64(s.geo.blocks()) {
		h.dropped.add(dropRange)
		return
	}
	if s.settled(block) {
		h.totals.Duplicate++
		return
	}
	b, victim := s.opened(block, now)
	if b == nil && victim != nil {
		h.spill(victim)
		b, _ = s.opened(block, now)
	}
	if b == nil {
		h.totals.DiskDrops++ // every buffer waits for the disk
		return
	}
	b.seen = now
	if end := number + uint64(symbol.Follow); end > b.end {
		if end > b.end+uint64(b.k) || b.end == 0 {
			b.held = time.Time{} // a new turn answers what was asked
		}
		b.end = end
	}
	if !b.add(int(symbol.Index), symbol.Data) {
		h.totals.Duplicate++
		return
	}
	if b.lacking() == 0 {
		delete(s.open, block)
		delete(s.spilled, block)
		s.busy[block] = true
		s.ready = append(s.ready, job{kind: jobProve, block: block, open: b, geo: s.geo, from: fromMulticast, want: h.want(block)})
		h.feedProver()
	}
}

// spill makes room: the source symbols of a block that isn't whole go to their place in the target.
func (h *hearing) spill(b *openBlock) {
	s := h.image
	delete(s.open, b.block)
	all := b.spilled
	for i := range all {
		all[i] |= b.present[i]
	}
	s.spilled[b.block] = &all
	s.ready = append(s.ready, job{kind: jobSpill, block: b.block, open: b, geo: s.geo})
	h.feedProver()
}

// want returns the hash of a block, or nil while it isn't known.
func (h *hearing) want(block int) *crypto.Hash {
	s := h.image
	switch {
	case block < s.geo.m && s.rootsWhole:
		return &s.roots[block]
	case block >= s.geo.m && s.manifest != nil:
		return &s.manifest.Blocks[block-s.geo.m]
	}
	return nil
}

// feedProver hands jobs to the prover until its queue is full.
func (h *hearing) feedProver() {
	s := h.image
	for len(s.ready) > 0 {
		j := s.ready[0]
		if j.want == nil && (j.kind == jobProve || j.kind == jobFetched) {
			j.want = h.want(j.block)
		}
		if j.want == nil && j.kind == jobVerify {
			j.want = h.want(j.block + s.geo.m)
		}
		select {
		case h.prover.jobs <- j:
			s.ready = s.ready[1:]
		default:
			return
		}
	}
	s.ready = nil
}

func (h *hearing) hearMessage(m wire.Message) {
	now := time.Now()
	switch m := m.(type) {
	case *wire.Roots:
		h.hearRoots(m)
	case *wire.NeedHeard:
		h.asker.heard(m)
	case *wire.ReportHeard:
		h.answered = max(h.answered, m.Sequence)
	case *wire.Epoch:
		h.hearEpoch(now, m)
	case *wire.DoneHeard:
		if h.done != nil {
			h.doneTry = doneTries
		}
	case *wire.UnicastAnswer:
		h.hearUnicastAnswer(m)
	case *wire.Notice:
		h.hearNotice(now, m)
	}
}

func (h *hearing) hearNotice(now time.Time, m *wire.Notice) {
	switch m.Kind {
	case wire.NoticeEvicted:
		h.fatal = fmt.Errorf("%w: %s", ErrEvicted, m.Text)
	case wire.NoticeGoUnicast:
		h.wantUnicast(now, wire.OperatorHand)
	case wire.NoticeEnded, wire.NoticeServerStops:
		h.over = true // join again: another session, or a refusal that says why
		if !h.noticed {
			h.notify(EventNotice, "%s", m.Text)
		}
		h.noticed = true
	}
}

func (h *hearing) hearEpoch(now time.Time, m *wire.Epoch) {
	if m.Number < h.epoch {
		return
	}
	if m.Number > h.epoch {
		for low := range h.keys {
			if low != uint8(h.epoch) {
				delete(h.keys, low)
			}
		}
		h.keys[uint8(m.Number)] = crypto.NewKeys(crypto.Mode(h.welcome.Mode), h.welcome.Session, h.welcome.Digest, m.Secret, m.Position)
		h.epoch = m.Number
		h.meter.restart(now)
		h.notify(EventNewEpoch, "new key, epoch %d", m.Number)
	}
	h.channel.send(&wire.EpochHeard{Client: h.welcome.Client, Number: m.Number})
}

func (h *hearing) hearRoots(m *wire.Roots) {
	s := h.image
	if s.rootsWhole || int(m.First) != len(s.roots) || len(m.Hashes) == 0 || len(s.roots)+len(m.Hashes) > s.geo.m {
		return
	}
	for _, hash := range m.Hashes {
		s.roots = append(s.roots, hash)
	}
	h.rootsAt, h.rootsTry = time.Time{}, 0
	if len(s.roots) < s.geo.m {
		return
	}
	if crypto.Digest(s.geo.image, s.roots) != s.digest {
		h.fatal = fmt.Errorf("%w: the distribution point's manifest doesn't match its own digest %v; verify the package there: wimcast image verify", ErrDamaged, s.digest)
		return
	}
	s.rootsWhole = true
	for block, hash := range s.manifestHash {
		delete(s.manifestHash, block)
		if hash == s.roots[block] {
			s.manifestHave.set(block)
		} else {
			h.rejected(block)
		}
	}
	h.checkManifest()
}

// checkManifest looks whether the manifest is whole.
func (h *hearing) checkManifest() {
	s := h.image
	if s.manifest == nil && s.rootsWhole && s.manifestHave.count == s.geo.m {
		h.manifestWhole()
	}
}

// manifestWhole settles everything that was stored before its hash could be checked.
func (r *Receiver) manifestWhole() {
	s := r.image
	manifest, err := crypto.ParseManifest(s.manifestData)
	if err != nil || manifest.Size != s.geo.image {
		// The digest covers it: the server's own manifest is bad.
		r.log.Error("manifest proven but malformed")
		return
	}
	s.manifest = manifest
	r.notify(EventManifest, "manifest proven: %d blocks", s.geo.b)
	for i, hash := range s.unproven {
		if hash == manifest.Blocks[i] {
			r.proven(i, s.sources[i])
		} else {
			r.rejected(i + s.geo.m)
		}
	}
	clear(s.unproven)
	clear(s.sources)
	for block := range s.open {
		if block < s.geo.m {
			s.release(s.open[block].data)
			delete(s.open, block)
		}
	}
}

// proven notes that an image block is stored and its hash holds.
func (r *Receiver) proven(i int, from source) {
	if !r.image.have.set(i) {
		return
	}
	n := int64(crypto.BlockLen(r.image.geo.image, i))
	switch from {
	case fromMulticast:
		r.totals.Multicast += n
	case fromUnicast:
		r.totals.Unicast += n
	case fromHeld:
		r.totals.Held += n
	}
}

// rejected notes that a block's content was wrong; it is asked for again.
func (r *Receiver) rejected(block int) {
	r.totals.Rejected++
	delete(r.image.spilled, block)
	r.notify(EventRejected, "block %d failed its hash and is fetched again", block)
}

// hearOutcome takes back a job from the prover.
func (h *hearing) hearOutcome(out outcome) {
	s, j := h.image, out.job
	switch j.kind {
	case jobCheckpoint:
		h.checkpoint = false
	case jobSpill:
		s.release(j.open.data)
	case jobVerify:
		delete(s.claims, j.block)
		switch {
		case out.err != nil:
			// What can't be read isn't there.
			out.err = nil
		case out.proven:
			h.proven(j.block, fromHeld)
		case !out.rejected:
			h.unprovenBlock(j.block, out.hash, fromHeld)
		}
		h.tellAgain(j.block + s.geo.m)
	case jobProve, jobFetched:
		delete(s.busy, j.block)
		if out.err == nil {
			h.settled(out)
		}
		if j.open != nil {
			s.release(j.open.data)
		} else if h.unicast != nil {
			h.unicast.giveBack(j.data)
		}
		h.totals.Repaired += uint64(out.repaired)
	case jobFinish:
		if out.err == nil {
			h.notify(EventProven, "every block is proven")
			h.done = &wire.Done{}
		}
	}
	if out.err != nil && h.fatal == nil {
		h.fatal = fmt.Errorf("%w: %w", ErrTarget, out.err)
	}
}

// tellAgain makes sure that a claimed block that turned out not to be there is
// asked for: the join's need left it out.
func (h *hearing) tellAgain(block int) {
	if h.image.settled(block) || len(h.image.claims) > 0 {
		return
	}
	h.asker.tell(h.welcome.Client, 0, max(h.window.newest, h.welcome.Position-1), h.image.lacks())
}

// settled takes a block whose hash is known.
func (h *hearing) settled(out outcome) {
	s, block := h.image, out.job.block
	if out.rejected {
		h.rejected(block)
		return
	}
	if block < s.geo.m {
		data := out.job.data
		if out.job.open != nil {
			data = out.job.open.data
		}
		copy(s.manifestData[block*crypto.BlockSize:], data[:s.geo.length(block)])
		switch {
		case !s.rootsWhole: // compared once the roots are there
			s.manifestHash[block] = out.hash
		case out.hash == s.roots[block]:
			s.manifestHave.set(block)
			h.checkManifest()
		default:
			h.rejected(block)
		}
		return
	}
	image := block - s.geo.m
	h.bytesSince += int64(s.geo.length(block))
	if out.proven {
		h.proven(image, out.job.from)
	} else {
		h.unprovenBlock(image, out.hash, out.job.from)
	}
}

// unprovenBlock remembers the hash of a stored block until the manifest is there; it may have come meanwhile.
func (h *hearing) unprovenBlock(image int, hash crypto.Hash, from source) {
	s := h.image
	switch {
	case s.manifest == nil:
		s.unproven[image], s.sources[image] = hash, from
	case hash == s.manifest.Blocks[image]:
		h.proven(image, from)
	default:
		h.rejected(image + s.geo.m)
	}
}
