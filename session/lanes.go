package session

import (
	"fmt"
	"math"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast/wire"
)

// Implementation constants of lanes (docs/design.md, "Slow clients").
const (
	slowLane    = 1 // two speeds: 0 and this
	unicastLane = 2 // of clients beyond a limit or not allowed multicast, all by unicast; it has no group
	lanes       = 3
	slowWeight  = 0.25             // of the slower session where it shares the ceiling, against 1: the faster one keeps four fifths
	climbAfter  = 20 * time.Second // keeps up for so long in the slower session before it moves up,
	climbMost   = 5 * time.Minute  // doubled with each demotion, up to this
	climbClean  = 0.97             // share of what is sent that it must take meanwhile
	climbFloor  = 1.25             // times the floor,
	climbTry    = 3 * time.Second  // for so long it may have as much as the faster one, to show what it takes
	climbOthers = 0.75             // times what the faster session sends: the slower one's rate, to move up
)

// castBook is what all sessions of one cast share: who belongs into the slower one, who may not come back, and who has a place. It
// lasts as long as one of them runs, or somebody is expected. The server's mu guards it.
type castBook struct {
	slow    map[string]*demotion // by machine key
	refused map[string]*RefusedError
	barred  map[*link]*RefusedError // control channels that must not come back, whatever machine they claim to be
	places  map[string]*place
	rooms   map[string]headcount // by session
	rules   *Rules               // as the operator changed them; nil: as the package has them
}

// demotion is a machine's place in the slower session.
type demotion struct {
	slow  bool // there now
	times int  // that it was demoted
}

// cast returns what a session's key has in common with those of the other lanes.
func (k sessionKey) cast() sessionKey {
	k.lane = 0
	return k
}

// book returns a cast's book. The caller holds mu.
func (s *Server) book(key sessionKey) *castBook {
	b := s.casts[key.cast()]
	if b == nil {
		b = &castBook{slow: map[string]*demotion{}, refused: map[string]*RefusedError{}, barred: map[*link]*RefusedError{}, places: map[string]*place{}, rooms: map[string]headcount{}}
		s.casts[key.cast()] = b
	}
	return b
}

// refuse keeps a machine out of a cast, as long as that lasts.
func (s *Server) refuse(key sessionKey, machine string, why *RefusedError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book(key).refused[machine] = why
}

// bar keeps an evicted client out of a cast, as long as that lasts: the machine, and its control channel.
func (s *Server) bar(key sessionKey, gone eviction, why *RefusedError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := s.book(key)
	book.refused[gone.machine], book.barred[gone.link] = why, why
}

// barred says why a machine, or a control channel, is kept out of a cast; nil when it isn't.
func (s *Server) barred(key sessionKey, l *link, machine string) *RefusedError {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := s.casts[key.cast()]
	if book == nil {
		return nil
	}
	if why := book.barred[l]; why != nil {
		return why
	}
	return book.refused[machine]
}

// place puts a machine into the slower session, or back.
func (s *Server) place(key sessionKey, machine string, slow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.book(key).slow[machine]
	if d == nil {
		d = &demotion{}
		s.book(key).slow[machine] = d
	}
	if slow && !d.slow {
		d.times++
	}
	d.slow = slow
}

// demotions is how often a machine was demoted in a cast.
func (s *Server) demotions(key sessionKey, machine string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.book(key).slow[machine]; d != nil {
		return d.times
	}
	return 0
}

// laneLocked returns the running session of a cast's lane, or nil. The caller holds mu.
func (s *Server) laneLocked(key sessionKey, lane int) *sender {
	key.lane = lane
	return s.sessions[key]
}

// rulesFor returns the rules of a new session: the package's, or as the operator changed them in the session that its
// clients come from. The caller holds mu.
func (s *Server) rulesFor(key sessionKey, pkg *Package) Rules {
	rules := pkg.Rules
	if changed := s.book(key).rules; changed != nil {
		rules = *changed
	}
	return rules.inUse(pkg.Unicast)
}

// changeRules notes rules that the operator changed, and returns the running sessions of the cast.
func (s *Server) changeRules(key sessionKey, rules Rules) []*sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book(key).rules = &rules
	return s.lanesLocked(key)
}

// lanesOf returns the running sessions of a cast.
func (s *Server) lanesOf(key sessionKey) []*sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanesLocked(key)
}

// lanesLocked returns the running sessions of a cast. The caller holds mu.
func (s *Server) lanesLocked(key sessionKey) []*sender {
	var out []*sender
	for lane := range lanes {
		if session := s.laneLocked(key, lane); session != nil {
			out = append(out, session)
		}
	}
	return out
}

// forgetCast drops a cast's book once none of its sessions runs. The caller holds mu.
func (s *Server) forgetCast(key sessionKey) {
	if !s.runsLocked(key) {
		delete(s.casts, key.cast())
	}
}

// runsLocked reports whether a session of a cast runs. The caller holds mu.
func (s *Server) runsLocked(key sessionKey) bool {
	for lane := range lanes {
		if s.laneLocked(key, lane) != nil {
			return true
		}
	}
	return false
}

// demote moves a client to the slower session of the package: it joins that with what it has.
func (s *sender) demote(now time.Time, m *member, why string) {
	s.server.place(s.key, machineKey(m.info.Peer, m.info.Machine), true)
	m.acted(now, "demoted")
	s.of(m).Info("client demoted to a slower session", zap.String("cause", string(m.info.Slow.Cause)), zap.String("reason", why))
	s.move(now, m, ClientDemoted, why, "too slow for this session ("+why+"); going on in a slower one with what is there")
	s.askNeed()
}

// move takes a client out of the session's work and has it join again. Its record stays; the client goes on elsewhere, and is
// counted where it ends.
func (s *sender) move(now time.Time, m *member, state ClientState, reason, text string) {
	m.info.State, m.info.Reason, m.info.Ended = state, reason, now
	s.law.forget(m.number)
	s.server.leavePlace(s.key, machineKey(m.info.Peer, m.info.Machine), moveKept)
	s.server.revoke(m.token)
	m.token = [32]byte{}
	m.notify(now, wire.NoticeJoinAgain, text)
}

// moved reports whether a client was told to join again; one that still speaks hasn't heard it.
func (m *member) moved() bool {
	return m.notices.message != nil && m.notices.message.Kind == wire.NoticeJoinAgain
}

// tellPace publishes what the faster session sends, for the slower one.
func (s *sender) tellPace() {
	rate := 0.0
	if s.state == wire.Casting {
		rate = s.law.rate
	}
	s.sends.Store(math.Float64bits(rate))
}

// hearClimb judges, in the slower session, whether a client got fast enough for the faster one.
func (s *sender) hearClimb(now time.Time, m *member, took time.Duration) {
	if s.lane == 0 || took == 0 {
		return
	}
	if m.pace.took < climbClean {
		m.clean = 0
		return
	}
	m.clean += took
	machine := machineKey(m.info.Peer, m.info.Machine)
	after := climbAfter
	for range s.server.demotions(s.key, machine) - 1 {
		after = min(2*after, climbMost)
	}
	if m.clean < after || !s.fastEnough(m) {
		return
	}
	s.server.mu.Lock()
	faster := s.server.laneLocked(s.key, 0)
	s.server.mu.Unlock()
	if faster == nil {
		return
	}
	sends := math.Float64frombits(faster.sends.Load())
	if sends == 0 {
		return // nothing to move up for
	}
	// Where another client holds this session down its rate says nothing of this one: it is given a try.
	if s.alone(m) && (m.pace.sent < climbOthers*sends || s.law.reason != RateCeiling && m.pace.sent < climbFloor*s.rules.Floor) {
		if s.law.reason == RateCeiling && now.Sub(s.climbAt) > after {
			s.climbAt, s.shareAt = now, time.Time{} // it has too small a part in the ceiling to show anything
		}
		return
	}
	s.server.place(s.key, machine, false)
	text := fmt.Sprintf("keeps up for %v at %.1f MB/s; back to the faster session", after, m.pace.sent/1e6)
	s.of(m).Info("client moves up to the faster session", zap.String("reason", text))
	s.move(now, m, ClientLeft, "moved up: "+text, text)
}

// laneWeight is how a session's weight counts for its lane.
func (s *sender) laneWeight() float64 {
	if s.lane == 0 || time.Since(s.climbAt) < climbTry {
		return 1
	}
	return slowWeight
}

// fastEnough reports whether it isn't this client that holds the slower session down.
func (s *sender) fastEnough(m *member) bool {
	return s.law.limiting != m.number || s.law.reason == RateCeiling || s.law.reason == RateProbing
}

// alone reports whether nobody else holds the session down: then its rate says what the client takes.
func (s *sender) alone(m *member) bool {
	other := s.roster.members[s.law.limiting]
	return other == nil || other == m || other.info.State != ClientReceiving || s.law.reason == RateCeiling || s.law.reason == RateProbing
}
