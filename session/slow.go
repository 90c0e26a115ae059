package session

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

// Implementation constants of slow clients (docs/design.md, "Slow clients").
const (
	defaultGrace = 10 * time.Second
	halfMedian   = 0.5  // of what the median of the others takes: less is slow
	aboveMedian  = 0.7  // of the same: as much isn't slow any more
	nearFloor    = 0.9  // of what is sent: who takes as much isn't below the floor
	overFloor    = 1.05 // of the floor: as much isn't slow any more

	paceLeast   = 100 * time.Millisecond // a look at a client's pace takes as long at least,
	pacePackets = 100                    // and so many packets,
	paceMost    = 2 * time.Second        // but not longer, unless nothing is sent
	paceFresh   = 5 * time.Second        // a look counts for others as long
	paceMemory  = 16                     // looks that a client's loss is averaged over

	tendPaceEvery = 50 * time.Millisecond

	heldFor     = time.Second      // one client holds the rate down for so long before it is tried without it
	tryFor      = 2 * time.Second  // how long that takes
	tryAgain    = 30 * time.Second // before the next, doubled each time that it showed nothing,
	tryAgainMax = 8 * time.Minute  // up to this
)

// SlowCause says where a slow client loses what it loses.
type SlowCause string

// The causes: a closed set.
const (
	SlowNetwork       SlowCause = "network"
	SlowReceiveBuffer SlowCause = "receive_buffer"
	SlowDisk          SlowCause = "disk"
	SlowSleeping      SlowCause = "sleeping" // nothing was heard of it
)

// Slowness is how slow a client is, and what came of it. The zero value is a client that keeps up.
type Slowness struct {
	Since  time.Time     // takes too little since then; zero: it doesn't
	For    time.Duration // how much of that time it took too little; policy acts when that is the grace
	Takes  float64       // bytes/s of UDP payload
	Wanted float64       // bytes/s: what it should take
	Cause  SlowCause
	Lost   float64   // share of packets lost to the cause, since Since
	Acted  time.Time // when policy, or the operator, did something about it
	Action string    // what that was, in a few words
}

// pace is how well a client keeps up with what is sent. It is pure: what a client tells goes in.
type pace struct {
	at      time.Time // of the report before
	packets uint64    // of the look under way
	lost    uint64
	buffer  uint64
	disk    uint64
	time    time.Duration

	seen time.Time // when the latest look ended; zero before the first
	took float64   // share of what was sent that could be used, in the latest look
	sent float64   // bytes/s sent meanwhile
	loss float64   // share lost on average

	short bool                                            // takes too little, by the latest look
	floor bool                                            // and that is so by the operator's floor
	acted bool                                            // on it, by policy
	since struct{ packets, network, buffer, disk uint64 } // while slow
}

// report adds what a client told of a period. It returns how long the look took that ended with it, 0 for none.
func (p *pace) report(now time.Time, opened, lost, buffer, disk uint64, packet int) time.Duration {
	last := p.at
	p.at = now
	if last.IsZero() || now.Sub(last) > unheardQuiet {
		p.packets, p.lost, p.buffer, p.disk, p.time = 0, 0, 0, 0, 0
		return 0 // a machine that slept isn't slow for that
	}
	p.packets += opened + lost
	p.lost += lost
	p.buffer += min(buffer, lost)
	p.disk += min(disk, opened)
	p.time += now.Sub(last)
	if p.packets == 0 || p.time < paceLeast || p.packets < pacePackets && p.time < paceMost {
		if p.packets == 0 {
			p.time = 0 // nothing was sent, or nothing heard: silence is another matter
		}
		return 0
	}
	packets := float64(p.packets)
	p.seen = now
	p.took = 1 - float64(p.lost+p.disk)/packets
	p.sent = packets * float64(packet) / p.time.Seconds()
	p.loss += (float64(p.lost)/packets - p.loss) / paceMemory
	took := p.time
	p.since.packets += p.packets
	p.since.buffer += p.buffer
	p.since.network += p.lost - p.buffer
	p.since.disk += p.disk
	p.packets, p.lost, p.buffer, p.disk, p.time = 0, 0, 0, 0, 0
	return took
}

// cause is what most was lost to while the client was slow, and which share of all that was sent that is.
func (p *pace) cause() (SlowCause, float64) {
	n, of := p.since.network, SlowNetwork
	if p.since.buffer > n {
		n, of = p.since.buffer, SlowReceiveBuffer
	}
	if p.since.disk > n {
		n, of = p.since.disk, SlowDisk
	}
	return of, float64(n) / float64(max(p.since.packets, 1))
}

// fresh reports whether the latest look says something about now.
func (p *pace) fresh(now time.Time) bool { return !p.seen.IsZero() && now.Sub(p.seen) < paceFresh }

// judge decides whether a client takes too little: less than half of what the median of the others takes, or less
// than the operator's floor, where as much is sent and somebody else takes it. It returns what it should take, in
// bytes/s. Who was short must do somewhat better to be so no more.
func (p *pace) judge(others []float64, floor float64) (wanted float64) {
	was := p.short
	p.short, p.floor = false, false
	if len(others) == 0 {
		return 0 // nobody waits for it
	}
	slices.Sort(others)
	median, best := others[(len(others)-1)/2], others[len(others)-1]
	share, over, near := halfMedian, 1.0, nearFloor
	if was {
		share, over, near = aboveMedian, overFloor, 1-(1-nearFloor)/2
	}
	wanted = halfMedian * median * p.sent
	p.short = p.took < share*median
	if floor > wanted && p.sent*best >= nearFloor*floor && p.sent >= nearFloor*floor {
		wanted = floor
		if p.took*p.sent < over*floor && p.took < near {
			p.short, p.floor = true, true
		}
	}
	return wanted
}

// attempt tries what rate the others could take while one, or a few, don't count for it.
type attempt struct {
	held  uint32 // client that holds the rate down
	since time.Time
	out   map[uint32]bool // those tried without; nil while nothing is tried
	until time.Time
	next  time.Time     // no attempt before
	every time.Duration // between two
}

// grace is how long a client may be slow before policy acts.
func (s *sender) grace() time.Duration {
	if s.rules.Grace > 0 {
		return s.rules.Grace
	}
	return defaultGrace
}

// policy is what becomes of slow clients in this session. A slower session waits for everybody.
func (s *sender) policy() SlowPolicy {
	if s.lane > 0 {
		return SlowWait
	}
	return s.rules.Slow
}

// floor is the least rate that clients must take, in bytes/s; 0 for none.
func (s *sender) floor() float64 {
	if s.lane > 0 {
		return 0
	}
	return s.rules.Floor
}

// takeOf lists what the others than m take, as shares of what is sent.
func (s *sender) takeOf(now time.Time, m *member) []float64 {
	var out []float64
	for _, other := range s.roster.members {
		if other != m && other.info.State == ClientReceiving && !other.quiet(now) && other.pace.fresh(now) {
			out = append(out, other.pace.took)
		}
	}
	return out
}

// hearPace judges a client by what it told of a period, and lets policy act on one that was slow for the grace.
func (s *sender) hearPace(now time.Time, m *member, opened, lost, buffer, disk uint64) {
	if s.state != wire.Casting || m.info.State != ClientReceiving {
		m.pace.at = time.Time{}
		return
	}
	p, slow := &m.pace, &m.info.Slow
	took := p.report(now, opened, lost, buffer, disk, s.geo.packet())
	if took == 0 {
		return
	}
	was := p.short
	wanted := p.judge(s.takeOf(now, m), s.floor())
	switch {
	case p.short && slow.Since.IsZero():
		*slow = Slowness{Since: now}
		p.since.packets, p.since.network, p.since.buffer, p.since.disk = 0, 0, 0, 0
		p.acted = false
	case p.short:
		slow.For += took
	case !slow.Since.IsZero():
		if slow.For -= 2 * took; slow.For <= 0 {
			*slow = Slowness{}
		}
	}
	if !slow.Since.IsZero() {
		slow.Takes, slow.Wanted = p.took*p.sent, wanted
		if p.since.packets > 0 {
			slow.Cause, slow.Lost = p.cause()
		}
	}
	if p.short && !was && s.excluded(m) {
		s.exclude(now, m)
	}
	s.law.floor = s.floorHeld(now)
	if p.short && slow.For >= s.grace() && !p.acted {
		s.actOn(now, m)
	}
	s.hearClimb(now, m, took)
}

// floorHeld is the floor, where somebody takes it: the rate doesn't go below it then.
func (s *sender) floorHeld(now time.Time) float64 {
	floor := s.floor()
	if floor == 0 {
		return 0
	}
	several := 0
	held := false
	for _, m := range s.roster.members {
		if m.info.State != ClientReceiving || m.quiet(now) {
			continue
		}
		several++
		held = held || m.pace.fresh(now) && m.pace.took*m.pace.sent >= nearFloor*floor
	}
	if !held || several < 2 {
		return 0
	}
	return floor
}

// excluded reports whether a client's reports don't count for the rate because it is slow, or as the rate is tried
// without it. Policy wait follows a slow client down to the floor.
func (s *sender) excluded(m *member) bool {
	if s.attempt.out[m.number] {
		return true
	}
	return m.pace.short && (s.policy() != SlowWait || m.pace.floor)
}

// counts reports whether a client's reports count for the rate.
func (s *sender) counts(now time.Time, m *member) bool {
	if s.excluded(m) {
		return false
	}
	return s.policy() == SlowWait || !s.outlier(now, m)
}

// exclude forgets what the rate knows of a client that counts no more. When it was the one that held the
// rate down, the rate is found anew.
func (s *sender) exclude(now time.Time, m *member) {
	s.law.forget(m.number)
	if s.law.limiting == m.number && !s.law.starting && s.law.reason != RateCeiling {
		s.law.restart(now)
	}
}

// tendPace looks whether one client alone holds the rate down. What the others could take shows only without
// it: then they are tried without it, for a moment.
func (s *sender) tendPace(now time.Time) {
	a := &s.attempt
	if a.out != nil {
		s.tendAttempt(now)
		return
	}
	m := s.roster.members[s.law.limiting]
	if s.state != wire.Casting || m == nil || !s.holds(now, m) {
		a.held = 0
		return
	}
	if a.held != m.number {
		a.held, a.since = m.number, now
	}
	if now.Sub(a.since) < heldFor || now.Before(a.next) {
		return
	}
	s.of(m).Debug("rate is tried without a client", zap.Float64("rate", s.law.rate))
	a.out, a.until = map[uint32]bool{m.number: true}, now.Add(tryFor)
	s.exclude(now, m)
}

// holds reports whether a client holds the rate down, and the others might take more.
func (s *sender) holds(now time.Time, m *member) bool {
	if s.lane > 0 || s.policy() == SlowWait && s.law.rate >= s.floor() || m.info.State != ClientReceiving || m.quiet(now) || s.excluded(m) {
		return false
	}
	switch s.law.reason {
	case RateLoss, RateReceiveBuffer, RateDelay:
	default:
		return false
	}
	var losses []float64
	for _, other := range s.roster.members {
		if other != m && other.info.State == ClientReceiving && !other.quiet(now) && other.pace.fresh(now) && !other.pace.short {
			losses = append(losses, other.pace.loss)
		}
	}
	if len(losses) == 0 {
		return false
	}
	slices.Sort(losses)
	return m.pace.loss > 3*losses[(len(losses)-1)/2]+0.001
}

// tendAttempt ends an attempt: when its time is over, or when too many would have to be left out.
func (s *sender) tendAttempt(now time.Time) {
	a := &s.attempt
	if m := s.roster.members[s.law.limiting]; m != nil && !a.out[m.number] && s.law.cutAt.After(a.until.Add(-tryFor)) && s.holds(now, m) {
		a.out[m.number] = true // the next of several
		s.exclude(now, m)
	}
	if now.Before(a.until) && 2*len(a.out) <= s.roster.present() {
		return
	}
	short := 0
	for number := range a.out {
		if m := s.roster.members[number]; m != nil && m.pace.short {
			short++
		}
	}
	a.every = min(max(2*a.every, tryAgain), tryAgainMax)
	if short > 0 {
		a.every = 0
	}
	a.out, a.held, a.next = nil, 0, now.Add(max(a.every, tryAgain))
}

// actOn does with a client that was slow for the grace what the policy says.
func (s *sender) actOn(now time.Time, m *member) {
	m.pace.acted = true
	why := s.slowText(m)
	if f, known := m.pace.fault(); known {
		s.of(m).Warn("a slow client loses packets", zap.String("text", f.String()))
	}
	switch s.policy() {
	case SlowDemote:
		s.demote(now, m, why)
	case SlowUnicast:
		if m.unicast {
			s.sendUnicast(now, m, wire.TooSlow, why)
		} else {
			s.demote(now, m, why) // it was told never to fetch by unicast
		}
	case SlowDrop:
		s.drop(now, m, why)
	default:
		s.of(m).Info("client is slow", zap.String("cause", string(m.info.Slow.Cause)), zap.String("reason", why))
		m.acted(now, "waited for, down to the floor")
	}
}

// fault is the trouble behind what a slow client loses; false for that of its disk, which the client itself tells.
func (p *pace) fault() (fault.Fault, bool) {
	cause, share := p.cause()
	switch cause {
	case SlowReceiveBuffer:
		return fault.BufferDrops(p.since.buffer), true
	case SlowNetwork:
		return fault.Loss(share, p.since.network, p.since.packets), p.since.network > 0
	}
	return fault.Fault{}, false
}

// slowText says how slow a client is.
func (s *sender) slowText(m *member) string {
	slow := &m.info.Slow
	by := "half the median of the others"
	if m.pace.floor {
		by = "the floor"
	}
	return fmt.Sprintf("takes %.1f MB/s, %s is %.1f, for %v; %s %.1f%%", slow.Takes/1e6, by, slow.Wanted/1e6, s.grace(), slow.Cause, 100*slow.Lost)
}

// acted notes what was done about a slow client.
func (m *member) acted(now time.Time, action string) {
	m.info.Slow.Acted, m.info.Slow.Action = now, action
}

// drop ends a client that is too slow. It is refused as long as its package is being cast.
func (s *sender) drop(now time.Time, m *member, why string) {
	text := "too slow for this session: " + why + "; look at its cable, port and disk, or the operator changes the policy: wimcast session set " + s.id + " --slow demote"
	s.server.refuse(s.key, machineKey(m.info.Peer, m.info.Machine), &RefusedError{Code: wire.TooSlowRefused, Text: text})
	m.acted(now, "dropped")
	s.endClient(now, m, ClientDropped, "too slow: "+why)
	m.notify(now, wire.NoticeDropped, text)
	s.askNeed()
}

// sendUnicast sends a client to unicast, which the package must allow.
func (s *sender) sendUnicast(now time.Time, m *member, reason wire.Reason, why string) {
	s.toUnicast(m, reason)
	m.acted(now, "sent to unicast")
	m.notify(now, wire.NoticeGoUnicast, why)
	s.askNeed()
}

// askNeed forgets what is needed, as one who needed much of it has gone: the others tell at the pass's end, which comes
// at once, what they lack.
func (s *sender) askNeed() {
	if s.state != wire.Casting {
		return
	}
	s.need.clearAll()
	s.debts.owed, s.debts.queue = map[uint32]*debt{}, nil
}

// slowness is what is shown of a client's slowness.
func (s *sender) slowness(now time.Time, m *member) Slowness {
	slow := m.info.Slow
	if m.info.State == ClientReceiving && m.quiet(now) {
		slow.Since, slow.Cause = m.info.Heard, SlowSleeping
		slow.Takes = 0
	}
	return slow
}
