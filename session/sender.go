package session

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
)

// Protocol constants (sections 4.2, 5 and 7).
const (
	packetOverhead = wire.HeaderLen + wire.SymbolHeaderLen + crypto.Overhead
	statusEvery    = 250 * time.Millisecond
	lingerFor      = 10 * time.Second
	gatherFor      = 250 * time.Millisecond
	gatherMost     = time.Second
	rekeyWait      = 250 * time.Millisecond
	rekeyShare     = 0.95
)

// Implementation constants.
const (
	castingStatus = 100 * time.Millisecond // status while casting, for round-trip times
	promiseStatus = 10 * time.Millisecond  // at most this often for new promises
	endTimes      = 3                      // statuses that tell a pass end in quick succession
	runLimit      = 64_000                 // bytes in one Send: what fits a UDP datagram of 64 KiB
	runPackets    = 44                     // packets in one Send
	mailboxLength = 1024                   // events; overload drops the newest, clients repeat
	mailAtOnce    = 256                    // events handled between two bursts
	parityWindow  = 64                     // blocks that decide how much parity goes ahead,
	parityLeast   = 16                     // or fewer at first
	shareEvery    = 10 * time.Millisecond  // between claims to the machine's ceiling
	aloneShare    = 0.2                    // of the rate, for repair that serves one client
)

// sender is one session of the server: it owns all of the session's state, in the
// one goroutine that runs run.
type sender struct {
	id      string
	key     sessionKey
	lane    int // 0, slowLane or unicastLane
	rules   Rules
	session crypto.SessionID
	pkg     *Package
	group   *Group
	geo     geometry
	server  *Server
	log     *zap.Logger

	mail    chan func(*sender) // handled in the session's goroutine
	stopped chan struct{}      // closed when run has returned

	// The key schedule.
	mode   crypto.Mode
	keys   *crypto.Keys
	epoch  uint32
	secret crypto.Secret
	signer ed25519.PrivateKey
	number uint64 // next packet number
	rekey  *rekeying

	// What is to be sent.
	manifest []byte // marshalled; nil while none of it is needed
	roots    []crypto.Hash
	need     *bitset
	needAt   time.Time // of the first need
	joinAt   time.Time // of the latest join
	schedule schedule
	cursor   int
	debts    *debtBook
	parity   parityDemand
	next     []uint8  // next parity index of each block
	turnAt   []uint64 // packet number at which each block's latest turn of need began, 0 for none
	turn     turn
	codes    codes
	aloneOK  float64 // bytes of repair for single clients that may go now
	aloneAt  time.Time

	// Time and rate.
	law       *rateLaw
	pacer     *multicast.Pacer
	may       float64   // bytes/s of the machine's ceiling that the session holds
	shareAt   time.Time // of the next claim to it
	called    atomic.Bool
	sentBytes float64 // in the current measuring window
	sentRate  float64
	starved   bool // there wasn't always something to send in this window
	sentSince time.Time
	grtt      grtt
	statusAt  time.Time // of the latest status
	promised  bool      // debts since the latest status

	roster    *roster
	room      headcount // of the whole cast,
	countedAt time.Time // as counted then

	attempt   attempt
	paceAt    time.Time     // when clients' pace is looked after next
	limit     float64       // bytes/s: the operator's ceiling of this session, 0 for none
	sends     atomic.Uint64 // bits of the rate while it casts, for the slower session
	silence   silence
	climbAt   time.Time    // when the slower session got more of the ceiling, to show what its clients take
	watched   atomic.Int32 // how many watch the session
	heard     heardTotals
	full      []byte    // the map of a client that has it all, once needed
	watchedAt time.Time // when somebody did last; zero: there are no maps
	random    *rand.Rand
	pass      uint32
	state     wire.State
	endTold   int       // statuses since the latest pass end
	idle      time.Time // since when nobody has a part in the session
	ending    string    // reason, once it ends
	stops     bool      // as the server stops
	info      SessionInfo
	told      told[wire.State]
	arena     []byte
}

// rekeying is a change of epoch under way: nothing is sealed meanwhile.
type rekeying struct {
	until, again time.Time
	old          uint32
}

// run sends until the session ends or the context is cancelled.
func (s *sender) run(ctx context.Context) {
	defer close(s.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for s.ending == "" {
		now := time.Now()

		// 1. Time: who is lost, whether the session is over, notices, a rekey.
		s.tend(now)

		// 2. The part in the machine's ceiling, then status, which comes before all else, so that clients know the session lives.
		s.claimShare(now)
		if s.rekey == nil && !now.Before(s.statusDue()) {
			s.sendStatus(now)
		}

		// 3. One burst of repair or needed blocks, as far as the pacer lets.
		wait := s.burst(now)

		// 4. Mail: joins, need, NACKs, reports, and the operator.
		s.readMail()
		if wait <= 0 {
			select {
			case <-ctx.Done():
				s.ending, s.stops = context.Cause(ctx).Error(), true
			default:
			}
			continue
		}

		// 5. Nothing to do until then.
		timer.Reset(min(wait, s.nextTimer(time.Now())))
		select {
		case <-ctx.Done():
			s.ending, s.stops = context.Cause(ctx).Error(), true
		case handle := <-s.mail:
			handle(s)
		case <-timer.C:
		}
	}
	s.finish()
}

// readMail handles what has come in, but not for ever.
func (s *sender) readMail() {
	for range mailAtOnce {
		select {
		case handle := <-s.mail:
			handle(s)
		default:
			return
		}
	}
}

// post hands work to the session's goroutine. When the mailbox is full or the
// session has ended, it is lost like any datagram: clients repeat.
func (s *sender) post(handle func(*sender)) {
	select {
	case s.mail <- handle:
	default:
		s.server.dropped.add(dropMailbox)
	}
}

// ask runs handle in the session's goroutine and waits for it. It reports false
// when the session has ended.
func (s *sender) ask(handle func(*sender)) bool {
	done := make(chan struct{})
	select {
	case s.mail <- func(s *sender) { handle(s); close(done) }:
	case <-s.stopped:
		return false
	}
	select {
	case <-done:
		return true
	case <-s.stopped:
		return false
	}
}

// tend does what time brings.
func (s *sender) tend(now time.Time) {
	s.tendStart(now)
	s.tendLeaving()
	s.debts.forget(now)
	s.tendWatch(now)
	if !now.Before(s.paceAt) {
		s.paceAt = now.Add(tendPaceEvery)
		s.tendPace(now)
		s.tellPace()
	}
	s.tellSession(now)
	present := 0
	for _, m := range s.roster.members {
		s.tellClient(now, m)
		m.tendNotice(now)
		if m.info.State.ended() {
			continue
		}
		if now.Sub(m.info.Heard) > unheardLost {
			s.endClient(now, m, ClientLost, fmt.Sprintf("unheard for %v", unheardLost))
			continue
		}
		present++
	}
	switch {
	case present > 0:
		s.idle = time.Time{}
	case s.idle.IsZero():
		s.idle = now
	case now.Sub(s.idle) >= s.lingers():
		s.ending = "every client is done"
	}
	if s.rekey != nil {
		s.tendRekey(now)
	}
}

// nextTimer returns how long nothing needs to be done as far as timers go.
func (s *sender) nextTimer(now time.Time) time.Duration {
	wait := s.statusDue().Sub(now)
	if s.rekey != nil {
		wait = min(s.rekey.until.Sub(now), s.rekey.again.Sub(now))
	}
	for _, m := range s.roster.members {
		if m.notices.left > 0 {
			wait = min(wait, m.notices.next.Sub(now))
		}
	}
	if !s.idle.IsZero() {
		wait = min(wait, s.idle.Add(s.lingers()).Sub(now))
	}
	return max(wait, 0)
}

// statusDue returns when the next status must go out.
func (s *sender) statusDue() time.Time {
	every := statusEvery
	switch {
	case s.promised && len(s.roster.members) > quickClients: // a few clients' NACKs cost less than each status's signature
		every = promiseStatus
	case s.state == wire.Casting:
		every = castingStatus
	case s.state == wire.PassEnded:
		every = min(statusEvery, max(100*time.Millisecond, 4*s.grtt.value()))
		if s.endTold < endTimes { // some have lost the first, and time runs
			every = max(promiseStatus, 2*s.grtt.value())
		}
	}
	return s.statusAt.Add(every)
}

// sendStatus sends a signed status.
func (s *sender) sendStatus(now time.Time) {
	s.countRoom(now)
	if s.lane == unicastLane {
		s.statusAt = now // there is no group to tell
		return
	}
	header, packet := s.header(wire.KindStatus, now)
	status := &wire.Status{
		State: s.state, Epoch: s.epoch, Pass: s.pass, Cursor: uint32(s.cursor), Clients: uint32(s.roster.present()),
		GRTT: s.grtt.value(), Rate: uint64(s.law.rate), RateLimit: uint64(s.law.ceiling),
		Promises: s.debts.promises(wire.MaxPromises), Reporters: s.reporters(), MapsWanted: s.watched.Load() > 0,
	}
	s.tellWaiting(now, status)
	s.tellRoom(status)
	packet = wire.AppendStatus(packet[:wire.HeaderLen], status, s.session, header, s.signer)
	packet = s.keys.Seal(packet, wire.HeaderLen, s.number)
	s.grtt.sent(s.number, now)
	s.number++
	s.statusAt, s.promised = now, false
	s.endTold++
	s.info.Sent.ControlPackets++
	s.info.Sent.ControlBytes += uint64(len(packet))
	s.pacer.Spend(now, len(packet))
	s.server.shares.spend(now, len(packet))
	s.cast(packet, len(packet))
}

// header puts the header of the next packet at the front of the arena.
func (s *sender) header(kind wire.Kind, now time.Time) (header, packet []byte) {
	wire.Header{
		Kind: kind, Epoch: uint8(s.epoch), Tag: tag(s.session), Sent: s.clock(now), Number: s.number,
	}.Put(s.arena)
	return s.arena[:wire.HeaderLen], s.arena[:0]
}

// clock is the session's own clock, in µs, low 32 bits: nobody sets it.
func (s *sender) clock(now time.Time) uint32 { return uint32(now.Sub(s.info.Started).Microseconds()) }

func tag(id crypto.SessionID) uint16 { return uint16(id[0])<<8 | uint16(id[1]) }

// cast hands packets to the group. An error is counted and otherwise like loss.
func (s *sender) cast(run []byte, segment int) {
	s.sentBytes += float64(len(run))
	if err := s.group.Caster.Send(run, segment); err != nil {
		if s.info.Sent.Errors++; s.info.Sent.Errors == 1 {
			s.log.Warn("sending to the group failed; it is repaired like loss", zap.Error(err))
		}
	}
}

// burst sends as many packets as the pacer lets, at most one run, and returns how
// long to wait before the next; 0 for not at all.
func (s *sender) burst(now time.Time) time.Duration {
	if s.rekey != nil {
		return rekeyWait
	}
	if wait := s.gather(now); wait > 0 {
		return wait
	}
	s.measureSent(now)
	if !s.pickTurn(now) {
		s.starved = true
		s.endPass(now)
		return statusEvery
	}
	size := s.geo.packet()
	s.pacer.SetRate(now, min(s.law.at(now), s.may))
	packets, wait := s.pacer.Allow(now, size, s.runPackets())
	if packets > 0 {
		wait = s.server.shares.take(now, packets*size)
	}
	if wait > 0 {
		return min(wait, shareEvery)
	}
	run := s.arena[:0]
	for range packets {
		if !s.pickTurn(now) {
			break
		}
		run = s.appendSymbol(run, now)
	}
	s.pacer.Spend(now, len(run))
	s.cast(run, size)
	return 0
}

// claimShare takes the session's part in the machine's ceiling, now and then or when another session called.
func (s *sender) claimShare(now time.Time) {
	wants := 0.0
	switch {
	case s.waiting():
	case s.need.count == 0 && len(s.debts.owed) == 0 && s.turn.at >= len(s.turn.indices) && s.state != wire.Casting:
	case s.law.reason == RateCeiling || s.law.starting || s.state != wire.Casting:
		wants = math.Inf(1)
	default:
		wants = 1.5 * s.law.rate // room to probe
	}
	if s.limit > 0 {
		wants = min(wants, s.limit)
	}
	if now.Before(s.shareAt) && !s.called.Load() && (wants == 0 || s.may > 0) {
		return
	}
	s.called.Store(false)
	s.shareAt = now.Add(shareEvery)
	weight := s.rules.Weight
	if weight == 0 {
		weight = 1
	}
	weight *= s.laneWeight()
	share, holds := s.server.shares.claim(s, weight, wants)
	if s.limit > 0 {
		share, holds = min(share, s.limit), min(holds, s.limit)
	}
	if s.may = holds; wants > 0 {
		s.law.setCeiling(now, share)
	}
}

// callToShare wakes the session for another claim. Any goroutine may call it.
func (s *sender) callToShare() {
	if !s.called.Swap(true) {
		select {
		case s.mail <- func(*sender) {}:
		default: // it is busy, and sees it soon
		}
	}
}

func (s *sender) runPackets() int { return min(runPackets, runLimit/s.geo.packet()) }

// endPass tells clients that nothing is left to send.
func (s *sender) endPass(now time.Time) {
	if s.state != wire.Casting {
		return
	}
	s.pass++
	s.endTold = 0
	s.state = wire.PassEnded
	if s.rekey == nil {
		s.sendStatus(now)
	}
}

// measureSent keeps the rate actually sent, over windows of 100 ms, or as long as a doubling
// takes while the rate is being found.
func (s *sender) measureSent(now time.Time) {
	window := 100 * time.Millisecond
	if s.law.starting {
		window = doubleEvery
	}
	if d := now.Sub(s.sentSince); d >= window {
		s.sentRate = s.sentBytes / d.Seconds()
		if !s.starved && s.state == wire.Casting {
			s.law.sent(s.sentRate)
		}
		s.sentBytes, s.sentSince, s.starved = 0, now, false
	}
}

// finish says that the session has ended, and lets go of everything.
func (s *sender) finish() {
	now := time.Now()
	s.state = wire.Ended
	kind := wire.NoticeEnded
	if s.stops {
		kind = wire.NoticeServerStops
	}
	for _, m := range s.roster.members {
		if !m.info.State.ended() {
			m.link.send(&wire.Notice{Client: m.number, Kind: kind, Text: s.ending})
			s.endClient(now, m, ClientLeft, s.ending)
		}
	}
	s.countedAt = time.Time{}
	if s.rekey == nil {
		for range noticeTimes {
			s.sendStatus(now)
		}
	}
	if err := s.group.Caster.Close(); err != nil {
		s.log.Warn("closing the group failed", zap.Error(err))
	}
	if err := s.pkg.Content.Close(); err != nil {
		s.log.Warn("closing the package failed", zap.Error(err))
	}
	s.info.Ended, s.info.Reason = now, s.ending
	for _, m := range s.roster.sorted() {
		s.tellClient(now, m)
	}
	s.tellSession(now)
	info := s.snapshot()
	s.logEnd(&info)
	s.server.sessionEnded(s, info)
}

// snapshot copies what others may know.
func (s *sender) snapshot() SessionInfo {
	info := s.snapshotAlone()
	info.Rate, info.Ceiling, info.RateReason, info.Limiting = s.law.rate, s.law.ceiling, s.law.reason, s.law.limiting
	if s.state != wire.Casting {
		info.Rate = 0
	}
	info.GRTT = s.grtt.value()
	now := time.Now()
	info.Clients = make([]ClientInfo, 0, len(s.roster.members))
	for _, m := range s.roster.sorted() {
		c := m.info
		c.Slow, c.Map = s.slowness(now, m), s.mapOf(m)
		info.Clients = append(info.Clients, c)
	}
	return info
}
