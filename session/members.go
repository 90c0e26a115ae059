package session

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

// join gives a client its place and answers with a welcome. why says why it isn't allowed multicast, "" where it is; apply
// which image in the WIM it is meant to have.
func (s *sender) join(l *link, join *wire.Join, number uint32, why string, apply Apply) {
	now := time.Now()
	m := s.roster.find(l, join)
	if refused := s.server.barred(s.key, l, machineKey(l.peer, join.Machine)); refused != nil { // since it was let in
		l.send(&wire.Refused{Request: join.Request, Code: refused.Code, Text: refused.Text})
		return
	}
	if m != nil && (m.info.State == ClientEvicted || m.barred) {
		l.send(&wire.Refused{Request: join.Request, Code: wire.Evicted, Text: evictedText})
		return
	}
	if m == nil {
		m = &member{number: number, resume: randomToken[[16]byte](), allowance: nacksPerSec, refilled: now}
		m.info = ClientInfo{Number: number, Joined: now}
		s.joinAt, s.countedAt = now, time.Time{} // the next status counts it
		s.roster.members[number] = m
	}
	s.leaveOthers(now, l, m)
	s.server.takePlace(s.key, machineKey(l.peer, join.Machine))
	m.unicast = s.pkg.Unicast && !join.NoUnicast
	if m.unicast && m.token == [32]byte{} { // new, or back after its end took the token
		m.token = randomToken[[32]byte]()
		s.server.grant(m.token, Grant{Digest: s.info.Digest, Package: s.pkg.Name, Client: clientName(l.peer, join.Machine)})
	}
	again := m.link == l && m.nonce == join.Nonce && !m.info.State.ended()
	m.link, m.nonce = l, join.Nonce
	l.client.Store(m.number)
	m.info.Peer, m.info.Machine, m.info.Name = l.peer, join.Machine, clientName(l.peer, join.Machine)
	m.info.Heard = now
	if !again {
		m.info.State, m.info.Reason, m.info.Ended, m.info.Began = ClientReceiving, "", time.Time{}, now
		s.schedule.joined(now, join.Begun)
		m.last, m.pace, m.info.Slow = wire.Report{}, pace{}, Slowness{} // the client counts from its join
		m.clean, m.caused, m.notices = 0, 0, notices{}
		m.maps.sequence, m.info.Map = 0, nil
		m.asked, m.from, m.reported, m.first = 0, s.number-1, s.number, nil
		m.info.Held = clampBytes(uint64(join.HeldBlocks)*crypto.BlockSize, s.geo.image)
		s.of(m).Info("client joined", zap.Stringer("from", l.peer.Addr), zap.String("certificate", l.peer.Name),
			zap.Uint32("blocks_held", join.HeldBlocks))
	}
	s.idle = time.Time{}
	notice, source := s.way(l, join)
	alone := s.lane == unicastLane
	if notice != "" && !alone && !again {
		s.of(m).Warn("the group doesn't get to a client", zap.Stringer("from", l.peer.Addr), zap.String("text", notice))
	}
	if alone {
		notice = s.byUnicast(m, why)
	}
	m.epoch, m.given = s.epoch, s.epoch
	l.send(&wire.Welcome{
		Request: join.Request, Client: m.number, Session: s.session, Mode: uint8(s.mode), Unicast: s.pkg.Unicast, OutOfReach: notice != "" && !alone, Overflow: alone && why == "", UnicastOnly: alone && why != "",
		SymbolSize: uint16(s.geo.symbol), ImageSize: uint64(s.geo.image), Digest: s.info.Digest, Epoch: s.epoch, Secret: s.secret,
		Position: s.number, RateLimit: uint64(s.law.ceiling), Group: s.group.Addr, Source: source,
		PublicKey: [32]byte(s.signer.Public().(ed25519.PublicKey)), Resume: m.resume, HTTPSPort: s.server.cfg.HTTPSPort, Token: m.token,
		Package: s.pkg.Name, Notice: notice, Images: uint16(apply.Images), Index: uint16(apply.Index), Room: uint64(apply.Room),
	})
}

// way says why the group's packets don't get to a client that joins, "" where they should; and what address they come from there.
func (s *sender) way(l *link, join *wire.Join) (notice string, source netip.Addr) {
	reaches := true
	if s.group.Way != nil {
		source, reaches = s.group.Way(l.peer.Addr.Addr())
	}
	if !reaches {
		return fault.OutOfReach(l.peer.Addr.Addr().Unmap(), s.group.Addr).String(), source
	}
	if need := s.geo.packet(); join.MaxPayload > 0 && int(join.MaxPayload) < need {
		return fault.PacketsTooLarge(need, int(join.MaxPayload)).String(), source
	}
	return "", source
}

func clientName(peer Peer, machine wire.Machine) string {
	if machine.Host != "" {
		return machine.Host
	}
	return peer.Name
}

// hear handles a message of a client that has joined.
func (s *sender) hear(l *link, message wire.Addressed) {
	now := time.Now()
	m := s.roster.members[message.From()]
	if m == nil || m.link != l || m.info.State == ClientEvicted || m.barred {
		s.server.dropped.add(dropStranger)
		return
	}
	// One that was lost gets no answer, so that it joins again.
	if _, isDone := message.(*wire.Done); m.info.State.ended() && !isDone {
		if m.moved() && m.notices.left == 0 {
			m.notify(now, wire.NoticeJoinAgain, m.notices.message.Text) // it missed that
		}
		return
	}
	m.info.Heard = now
	switch message := message.(type) {
	case *wire.RootsWanted:
		s.sendRoots(m, message)
	case *wire.Need:
		s.hearNeed(now, m, message)
	case *wire.NACK:
		s.hearNACK(now, m, message)
	case *wire.Report:
		s.hearReport(now, m, message)
	case *wire.EpochWanted:
		if s.rekey == nil && m.allowNACK(now) {
			s.sendEpoch(m)
		}
	case *wire.EpochHeard:
		m.epoch = max(m.epoch, min(message.Number, s.epoch))
	case *wire.Done:
		s.hearDone(now, m, message)
	case *wire.HaveMap:
		s.hearMap(now, m, message)
	case *wire.UnicastWanted:
		s.hearUnicastWanted(now, m, message)
	}
}

func (s *sender) sendRoots(m *member, wanted *wire.RootsWanted) {
	if int64(wanted.First) >= int64(len(s.roots)) {
		return
	}
	piece := s.roots[wanted.First:]
	answer := &wire.Roots{Client: m.number, First: wanted.First}
	for _, h := range piece[:min(len(piece), wire.MaxRoots)] {
		answer.Hashes = append(answer.Hashes, h)
	}
	m.link.send(answer)
}

func (s *sender) hearNeed(now time.Time, m *member, need *wire.Need) {
	doubted, left := s.doubted(m), s.geo.blocks()
	if doubted {
		s.mute(m)
		if s.need.count > 0 || len(s.debts.owed) > 0 {
			return // it asks again
		}
		left = mutedBlocks
	}
	m.link.send(&wire.NeedHeard{Client: m.number, Pass: need.Pass, Highest: need.Highest, Part: need.Part})
	if m.info.State == ClientUnicast {
		return
	}
	highest, free := min(need.Highest, s.number-1), doubted || m.freeNeed(need.Pass, need.Highest)
	for _, run := range need.Runs {
		if int64(run.First)+int64(run.Count) > int64(s.geo.blocks()) {
			s.server.dropped.add(dropRange)
			return
		}
		for b := run.First; b < run.First+run.Count; b++ {
			if s.turnAt[b] > highest {
				continue // the client has that turn still to come, or may NACK it
			}
			if left--; left < 0 {
				return
			}
			if s.wantBlock(m, int(b), free) && need.Pass > 0 && s.outlier(now, m) {
				m.caused += int64(s.geo.k(int(b)))
			}
		}
	}
	s.checkCost(m)
}

func (s *sender) hearNACK(now time.Time, m *member, nack *wire.NACK) {
	m.info.NACKs++
	if m.info.State == ClientUnicast || !m.allowNACK(now) {
		s.info.NACKs.Limited++
		return
	}
	if s.doubted(m) {
		s.mute(m)
		s.info.NACKs.Limited++
		return
	}
	// A member that forges packet numbers may have led the client astray.
	highest := min(nack.Highest, s.number-1)
	added := false
	for _, lack := range nack.Lacks {
		block, n := int(lack.Block), int(lack.Symbols)
		if block >= s.geo.blocks() {
			s.server.dropped.add(dropRange)
			continue
		}
		if n > s.geo.k(block)/2 {
			if s.turnAt[block] <= highest {
				added = s.wantBlock(m, block, false) || added
			}
			continue
		}
		if s.need.has(block) && s.comesSoon(block) {
			continue
		}
		s.parity.lacking(block, n)
		if s.debts.ask(now, m.number, lack.Block, n, highest) {
			added = true
		}
	}
	if added {
		s.info.NACKs.Served++
		s.promised = true
	} else {
		s.info.NACKs.Merged++
	}
}

// soonTurns is how many turns of needed blocks are waited for in place of repair. A client that joins late makes
// half the image needed: were all of that waited for, those that lack a symbol of it would be done only with the late one.
const soonTurns = 16

// comesSoon reports whether a needed block's turn is one of the next.
func (s *sender) comesSoon(block int) bool {
	if block < s.geo.m {
		return true
	}
	next := s.cursor
	for range soonTurns {
		if next = s.need.next(next); next < 0 {
			next = s.need.next(0)
		}
		if next == block {
			return true
		}
		next++
	}
	return false
}

// checkCost does with a client that alone caused more than an image of symbols what the policy for slow clients says: where that
// is to wait for them, nothing.
func (s *sender) checkCost(m *member) {
	if m.info.State != ClientReceiving || m.caused <= int64(s.geo.blocks())*int64(s.geo.k(0)) {
		return
	}
	const why = "this client alone caused more than one image of repair"
	switch policy := s.policy(); {
	case policy == SlowUnicast && m.unicast:
		s.sendUnicast(time.Now(), m, wire.Costly, why)
	case policy == SlowDemote, policy == SlowUnicast:
		s.demote(time.Now(), m, why)
	case policy == SlowDrop:
		s.drop(time.Now(), m, why)
	}
}

func (s *sender) toUnicast(m *member, reason wire.Reason) {
	if m.info.State == ClientUnicast {
		return
	}
	m.info.State, m.info.Reason = ClientUnicast, reason.String()
	s.server.sparePlace(s.key, machineKey(m.info.Peer, m.info.Machine))
	s.server.totals(s.pkg.Name, func(t *PackageTotals) { t.Fallbacks[reason.String()]++ })
	s.of(m).Info("client goes unicast", zap.String("reason", reason.String()))
}

func (s *sender) hearUnicastWanted(now time.Time, m *member, wanted *wire.UnicastWanted) {
	if wanted.Reason == wire.GroupSilent && m.info.State != ClientUnicast {
		s.groupSilent(now, m)
	}
	if s.waiting() && s.pkg.Unicast {
		m.info.Reason = wanted.Reason.String()
		m.link.send(&wire.UnicastAnswer{Client: m.number, Later: true, Text: waitText(s.rules.MinClients, s.waitingNow(now), s.startIn(now))})
		return
	}
	answer := &wire.UnicastAnswer{Client: m.number, Granted: s.pkg.Unicast}
	if s.pkg.Unicast {
		s.toUnicast(m, wanted.Reason)
	} else {
		answer.Text = fmt.Sprintf("package %s is multicast-only; mend multicast on this network, or the operator allows unicast: wimcast image set %q --no-multicast-only", s.pkg.Name, s.pkg.Name)
		if m.info.Reason != wanted.Reason.String() {
			m.info.Reason = wanted.Reason.String()
			s.of(m).Warn("client can't hear the group of a multicast-only package", zap.String("reason", wanted.Reason.String()))
		}
	}
	m.link.send(answer)
}

func (s *sender) hearReport(now time.Time, m *member, r *wire.Report) {
	if r.AnswerWanted {
		m.link.send(&wire.ReportHeard{Client: m.number, Sequence: r.Sequence})
	}
	if r.Sequence <= m.last.Sequence && m.last.Sequence != 0 {
		return
	}
	last := m.last
	m.last, m.reported = *r, s.number
	s.askMap(now, m, r)
	info := &m.info
	s.proves(now, m, int(min(r.Proven, uint32(s.geo.b))))
	if info.State == ClientUnicast && !r.OnUnicast && m.notices.left == 0 {
		m.notify(now, wire.NoticeGoUnicast, "fetch the rest by unicast: "+info.Reason) // it missed that
	}
	info.Rate, info.Loss, info.Delay = float64(r.Delivery), float64(r.Loss)/1e6, r.Delay
	info.Opened, info.Lost, info.KernelDrops, info.DiskDrops = r.Opened, r.Lost, r.KernelDrops, r.DiskDrops
	info.Rejoins = int(r.Rejoins)
	s.server.totals(s.pkg.Name, func(t *PackageTotals) {
		kernel := grown(last.KernelDrops, r.KernelDrops)
		t.LostReceiveBuffer += kernel
		t.LostDisk += grown(last.DiskDrops, r.DiskDrops)
		if lost := grown(last.Lost, r.Lost); lost > kernel {
			t.LostNetwork += lost - kernel
		}
		t.Rejected += grown(uint64(last.Rejected), uint64(r.Rejected))
		t.Rejoins += grown(uint64(last.Rejoins), uint64(r.Rejoins))
	})
	info.Rejected = r.Rejected
	if rtt, ok := s.grtt.heard(now, r.Echo, r.Held); ok {
		info.RTT = rtt
	}
	opened, lost := grown(last.Opened, r.Opened), grown(last.Lost, r.Lost)
	buffer, disk := grown(last.KernelDrops, r.KernelDrops), grown(last.DiskDrops, r.DiskDrops)
	s.heard.opened, s.heard.lost = s.heard.opened+opened, s.heard.lost+lost
	s.hearPace(now, m, opened, lost, buffer, disk)
	if s.state != wire.Casting || info.State != ClientReceiving {
		return
	}
	if !s.counts(now, m) {
		if m.number == s.law.limiting {
			s.law.restore(now) // what it was cut for, on trial, before it was known that this is one client's own
		}
		return
	}
	sample := rateSample{
		client: m.number, delivery: info.Rate, loss: min(info.Loss, 1), delay: r.Delay,
		packets: int(opened + lost), kernelDrops: buffer, from: last.Highest, next: s.number,
	}
	if disk = min(disk, opened); disk > 0 && s.lane > 0 {
		// The slower session goes as its disks go.
		late := float64(disk) / float64(opened)
		sample.kernelDrops += disk
		sample.delivery *= 1 - late
		sample.loss = 1 - (1-sample.loss)*(1-late)
	}
	s.law.hear(now, sample)
}

// grown is the difference of a counter that a client tells; a lie or a restart counts as nothing.
func grown(from, to uint64) uint64 {
	if to < from {
		return 0
	}
	return to - from
}

func (s *sender) hearDone(now time.Time, m *member, done *wire.Done) {
	m.link.send(&wire.DoneHeard{Client: m.number})
	if m.info.State.ended() && m.info.State != ClientLost && m.info.State != ClientDemoted {
		return
	}
	m.info.Multicast, m.info.Unicast = clampBytes(done.Multicast, s.geo.image), clampBytes(done.Unicast, s.geo.image)
	m.info.Held, m.info.Seed = clampBytes(done.Held, s.geo.image), clampBytes(done.Seed, s.geo.image)
	state := ClientFailed
	switch done.Result {
	case wire.Proven:
		state = ClientProven
		s.proves(now, m, s.geo.b)
		s.info.Progress = now
	case wire.Left:
		state = ClientLeft
	}
	s.endClient(now, m, state, done.Reason)
}

func clampBytes(v uint64, limit int64) int64 { return int64(min(v, uint64(limit))) }

// endClient takes a client out of the session's work; its record stays.
func (s *sender) endClient(now time.Time, m *member, state ClientState, reason string) {
	m.info.State, m.info.Ended = state, now
	if reason != "" {
		m.info.Reason = reason
	}
	s.law.forget(m.number)
	s.freePlace(m)
	s.server.revoke(m.token)
	m.token = [32]byte{} // should the client come back with its resume token, it gets another one
	path := pathMulticast
	switch most := max(m.info.Multicast, m.info.Unicast, m.info.Seed); most {
	case m.info.Multicast:
	case m.info.Unicast:
		path = pathUnicast
	default:
		path = pathSeed
	}
	if state == ClientProven {
		s.mayApply(now, m, path)
	}
	s.server.totals(s.pkg.Name, func(t *PackageTotals) {
		t.Results[[2]string{string(state), path}]++
		t.ProvenMulticast += uint64(m.info.Multicast)
		t.ProvenUnicast += uint64(m.info.Unicast)
		t.ProvenSeed += uint64(m.info.Seed)
	})
	s.logClientEnd(now, m, path)
	if o := s.server.cfg.Observer; o != nil {
		o.ClientEnded(s.snapshotAlone(), m.info)
	}
}

// snapshotAlone is a snapshot without the list of clients.
func (s *sender) snapshotAlone() SessionInfo {
	info := s.info
	info.State, info.Epoch, info.Pass = s.state, s.epoch, s.pass
	info.Slow, info.Floor, info.Grace, info.Limit = s.policy(), s.floor(), s.grace(), s.limit
	info.Start = cmp.Or(s.rules.Start, StartAuto)
	if s.waiting() {
		info.Deadline, info.Minimum, info.Waiting = s.schedule.deadline(&s.rules), s.rules.MinClients, s.waitingNow(time.Now())
	}
	return info
}

// reporters names who is asked to report each period: the client that limits the
// rate, then those that lose most.
func (s *sender) reporters() []uint32 {
	now := time.Now()
	var active []*member
	for _, m := range s.roster.members {
		if m.info.State == ClientReceiving && !m.quiet(now) {
			active = append(active, m)
		}
	}
	slices.SortFunc(active, func(a, b *member) int {
		switch {
		case a.number == s.law.limiting:
			return -1
		case b.number == s.law.limiting:
			return 1
		case a.info.Loss != b.info.Loss:
			if a.info.Loss > b.info.Loss {
				return -1
			}
			return 1
		}
		return int(a.number) - int(b.number)
	})
	var out []uint32
	for _, m := range active[:min(len(active), wire.MaxReporters)] {
		out = append(out, m.number)
	}
	return out
}
