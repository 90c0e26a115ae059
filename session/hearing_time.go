package session

import (
	"fmt"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

// tick does what time brings at a client. It reports true when all is done. It is called
// for every batch of packets, and looks at the clock's hands only now and then.
func (h *hearing) tick(now time.Time) (over bool, err error) {
	if now.Sub(h.ticked) < tickLeast && h.fatal == nil {
		return false, nil
	}
	h.ticked = now
	if now.Sub(h.published) >= publishEvery || h.done != nil {
		h.published = now
		h.publish(now)
	}
	if h.done != nil {
		return h.tickDone(now), nil
	}
	if h.moved && !h.finishing {
		return false, errMoved
	}
	if err := h.tickServer(now); err != nil {
		return false, err
	}
	if d := h.image.seed; h.image.done() && !h.finishing && len(h.image.ready) == 0 && (d == nil || d.over) {
		h.finishing = true
		h.image.ready = append(h.image.ready, job{kind: jobFinish})
		return false, nil
	}
	h.tickRoots(now)
	h.tickCheckpoint(now)
	h.tickReport(now)
	h.tickMap(now)
	if h.unicast == nil {
		h.tickAsk(now)
	}
	if err := h.tickSilence(now); err != nil {
		return false, err
	}
	h.tickUnicast(now)
	return false, h.fatal
}

// tickDone repeats Done until it was heard.
func (h *hearing) tickDone(now time.Time) bool {
	if h.doneTry >= doneTries || now.Sub(h.channel.heard) > serverGone {
		return true
	}
	if !now.Before(h.doneAt) {
		h.sendDone(wire.Proven, "")
		h.doneAt = now.Add(retry(h.doneTry))
		h.doneTry++
	}
	return false
}

// tickServer notices that the server has gone: neither control channel nor group say anything,
// or the group goes on and no report is answered.
func (h *hearing) tickServer(now time.Time) error {
	if h.over {
		return again("the session ended before this client was done")
	}
	if now.Sub(h.channel.heard) > serverGone && now.Sub(h.heardAt) > serverGone {
		return again("the distribution point has been silent for %v", serverGone)
	}
	if now.Sub(h.channel.heard) > controlGone {
		return again("the distribution point casts, but hasn't answered for %v", controlGone)
	}
	return nil
}

func (h *hearing) tickRoots(now time.Time) {
	s := h.image
	if s.rootsWhole || now.Before(h.rootsAt) {
		return
	}
	h.channel.send(&wire.RootsWanted{Client: h.welcome.Client, First: uint32(len(s.roots))})
	h.rootsAt = now.Add(retry(h.rootsTry))
	h.rootsTry++
}

// keep makes durable what is there when Run ends before all is. The prover has ended: the target is ours.
func (r *Receiver) keep() {
	s := r.image
	if s == nil || s.done() {
		return // nothing, or it may have been finished
	}
	have := s.worth()
	for i := range s.claims {
		have.set(i) // not looked at yet
	}
	if have.count == 0 {
		return
	}
	var manifest []byte
	if s.manifest != nil {
		manifest = s.manifestData
	}
	if err := r.cfg.Target.Checkpoint(have.all(), manifest); err != nil {
		r.notify(EventNotice, "what is there can't be kept for the next try: %v", err)
	}
}

// worth returns the image blocks to be claimed in a checkpoint. Unproven ones are too: a claim is a hint, and they are hashed again.
func (s *imageState) worth() *bitset {
	have := newBitset(s.geo.b)
	for i := range s.have.all() {
		have.set(i)
	}
	for i := range s.unproven {
		have.set(i)
	}
	return have
}

// tickCheckpoint makes durable what is there, now and then.
func (h *hearing) tickCheckpoint(now time.Time) {
	s := h.image
	if h.checkpoint || h.bytesSince == 0 || h.finishing {
		return
	}
	if h.bytesSince < checkpointBytes && now.Sub(h.checkpointed) < checkpointEvery {
		return
	}
	have := s.worth()
	var manifest []byte
	if s.manifest != nil {
		manifest = s.manifestData
	}
	h.checkpoint, h.bytesSince, h.checkpointed = true, 0, now
	s.ready = append(s.ready, job{kind: jobCheckpoint, have: have, manifest: manifest})
}

// refreshEvery is how often a client reports that nobody asks.
func refreshEvery(clients int) time.Duration {
	return max(2*time.Second, time.Duration(clients)*time.Second/100)
}

// tickReport tells the server how it goes.
func (h *hearing) tickReport(now time.Time) {
	if now.Before(h.reportAt) {
		return
	}
	named := false
	clients := 1
	if h.status != nil {
		clients = int(h.status.Clients)
		for _, c := range h.status.Reporters {
			named = named || c == h.welcome.Client
		}
	}
	every := reportPeriod
	if h.anything && clients <= quickClients && now.Sub(h.firstAt) < quickFor {
		named, every = true, quickPeriod // the rate is being found
	}
	elapsed := now.Sub(h.meter.at)
	refresh := refreshEvery(clients)
	if now.Sub(h.channel.heard) > serverGone/3 {
		refresh = serverGone / 6 // is the server still there?
	}
	if !named && elapsed < refresh {
		// Speak up early only when it got clearly worse.
		expected := h.meter.highest - h.meter.atHighest
		got := h.meter.opened - h.meter.atOpened
		if elapsed < 4*reportPeriod || expected <= got || float64(expected-got) < (2*h.lastLoss+0.01)*float64(expected)+8 {
			return
		}
	}
	p := h.meter.period(now)
	h.lastLoss = p.loss
	h.reportAt = now.Add(every)
	h.sequence++
	report := &wire.Report{
		Client: h.welcome.Client, Sequence: h.sequence, AnswerWanted: now.Sub(h.channel.heard) > serverGone/6 || h.sequence == 1,
		OnUnicast: h.unicast != nil, GroupSilent: now.Sub(h.heardAt) > silentRejoin && !h.welcome.Alone(),
		Highest: h.meter.highest, Opened: h.meter.opened + h.meter.openedBefore, Lost: h.meter.lost() + h.meter.lostBefore,
		KernelDrops: h.kernelDrops(), DiskDrops: h.totals.DiskDrops, Delivery: uint64(p.delivery), Loss: uint32(p.loss * 1e6), Delay: p.delay,
		Proven: uint32(h.image.have.count), Rejected: uint32(h.totals.Rejected), Rejoins: uint16(min(h.totals.Rejoins, 65535)),
	}
	if h.status != nil {
		report.Echo, report.Held = h.signed, now.Sub(h.signedAt)
	}
	h.channel.send(report)
	h.tellLoss(report)
}

// Loss is told of once so many packets were sent, and a share of them got lost that costs time.
const (
	lossToldAfter = 2000
	lossTold      = 0.05
)

// tellLoss tells once of packets that get lost, by where that is. What a switch that forgot this machine didn't send isn't among them.
func (h *hearing) tellLoss(r *wire.Report) {
	lost := r.Lost - min(r.Lost, h.silenced)
	sent := r.Opened + lost
	if h.lossTold || sent < lossToldAfter || float64(lost) < lossTold*float64(sent) {
		return
	}
	h.lossTold = true
	f := fault.Loss(float64(lost)/float64(sent), lost, sent)
	if r.KernelDrops > 0 {
		f = fault.BufferDrops(r.KernelDrops)
	}
	h.notify(EventNotice, "%s", f)
}

func (h *hearing) kernelDrops() uint64 {
	n := h.totals.KernelDrops
	if h.ears != nil {
		n += h.ears.hearer.Dropped()
	}
	return n
}

// tickAsk sends NACKs and need.
func (h *hearing) tickAsk(now time.Time) {
	s, a := h.image, &h.asker
	passEnded := h.status != nil && h.status.State == wire.PassEnded
	if lacks := a.nack(now, h.random, s.open, h.window.newest, passEnded); len(lacks) > 0 {
		h.channel.send(&wire.NACK{Client: h.welcome.Client, Highest: h.window.newest, Lacks: lacks})
		h.totals.NACKs++
	}
	// At a pass end: what a NACK can't name is told as need, and told again should
	// the pass stay ended, as when a block turned out bad only after it was told.
	h.tellFreed(now)
	if passEnded && len(a.parts) == 0 && !now.Before(a.tellAt) && len(s.busy) == 0 {
		a.tellAt = now.Add(retry(0))
		if h.tellAll(a.pass, h.window.newest) > 0 {
			a.tellAt = now.Add(retry(2))
		}
	}
	for _, part := range a.due(now) {
		h.channel.send(part)
	}
}

// tellAll tells all that is lacking as need, and returns how many blocks that are.
func (h *hearing) tellAll(pass uint32, highest uint64) int {
	lacks := h.image.lacks()
	if lacks.count > 0 || pass == 0 {
		h.asker.tell(h.welcome.Client, pass, highest, lacks)
		if d := h.image.seed; d != nil {
			d.freed.clearAll() // they are in it
		}
	}
	return lacks.count
}

// tickSilence deals with a group that says nothing.
func (h *hearing) tickSilence(now time.Time) error {
	switch { // without a group
	case h.welcome.UnicastOnly:
		h.wantUnicast(now, wire.UnicastOnly)
		return nil
	case h.welcome.Overflow:
		h.wantUnicast(now, wire.Overflow)
		return nil
	}
	silent := now.Sub(h.heardAt)
	if silent < silentRejoin {
		return nil
	}
	if h.ears != nil && now.Sub(h.rejoinAt) >= rejoinEvery {
		h.rejoinAt = now
		h.totals.Rejoins++
		if err := h.ears.hearer.Rejoin(); err != nil {
			h.notify(EventNotice, "joining group %v again failed: %v", h.welcome.Group, err)
		} else {
			h.notify(EventRejoined, "%s; left it and joined again", fault.GroupSilent(h.welcome.Group, silent).Text)
		}
	}
	if h.unicast == nil && silent >= silentUnicast {
		h.wantUnicast(now, wire.GroupSilent)
	}
	if h.refused != "" && silent >= silentGiveUp {
		return h.giveUp()
	}
	return nil
}

// giveUp ends the receiving of a multicast-only package that can't be heard.
func (h *hearing) giveUp() error {
	err := fmt.Errorf("%w (%s): %s", ErrSilent, h.refused, fault.GroupSilent(h.welcome.Group, silentGiveUp))
	h.fatal = err
	h.sendDone(wire.Failed, err.Error())
	return err
}

// wantUnicast asks for the rest by unicast, until answered.
func (h *hearing) wantUnicast(now time.Time, reason wire.Reason) {
	if h.unicast != nil || h.refused != "" || now.Before(h.asked) {
		return
	}
	if h.cfg.Fetch == nil {
		h.refused = "and this client was told not to use unicast"
		h.notify(EventNotice, "%s, %s", h.describe(reason), h.refused)
		return
	}
	h.wantUni = reason
	h.asked = now.Add(retry(2))
	h.channel.send(&wire.UnicastWanted{Client: h.welcome.Client, Reason: reason})
}

// publish makes the state visible to others.
func (h *hearing) publish(now time.Time) {
	s := h.image
	last := h.progress.Load()
	p := &Progress{
		Package: h.welcome.Package, Size: s.geo.image, Proven: h.totals.Multicast + h.totals.Unicast + h.totals.Held + h.totals.Seed,
		OnUnicast: h.unicast != nil, Group: h.welcome.Group, Silent: now.Sub(h.heardAt), Totals: h.totals, Rate: last.Rate, Loss: h.lastLoss,
	}
	p.Unproven = int64(len(s.unproven)) * crypto.BlockSize
	p.Claimed = int64(len(s.claims)) * crypto.BlockSize
	h.hearRoom(p)
	if d := now.Sub(h.meter.at); d > 0 && h.meter.bytes > h.meter.atBytes {
		p.Rate = float64(h.meter.bytes-h.meter.atBytes) / max(d, reportPeriod).Seconds()
	}
	if h.status != nil {
		p.SessionState, p.SessionRate, p.Clients = h.status.State, float64(h.status.Rate), int(h.status.Clients)
		if st := h.status; st.Scheduled {
			p.Waiting = Waiting{Start: true, Minimum: int(st.MinClients), Clients: int(st.WaitingNow), StartIn: max(st.StartIn-now.Sub(h.signedAt), 0)}
		}
	}
	p.Totals.Packets += h.meter.opened + h.meter.openedBefore
	p.Totals.Lost += h.meter.lost() + h.meter.lostBefore
	p.Totals.KernelDrops = h.kernelDrops()
	h.progress.Store(p)
}
