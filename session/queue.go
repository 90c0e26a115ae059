package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast/wire"
)

// Limits bound a whole distribution point. The zero value is none.
type Limits struct {
	MaxClients  int // that wait in, or receive by, sessions; 0: any number
	MaxSessions int // the slower session of a cast isn't counted; 0: any number
}

// ErrNoGroup is what ServerConfig.OpenGroup returns when every group is in use. Clients then wait for one.
var ErrNoGroup = errors.New("every group is in use")

// Implementation constants of the queue (docs/protocol.md, section 6.2).
const (
	queueLength = 10_000           // clients; whoever comes then is refused
	queueAgain  = 2 * time.Second  // between two questions of a client in the queue,
	queueMore   = time.Second / 50 // and more for each that waits before it
	queueMost   = 15 * time.Second // but no more than that
	admitKept   = 10 * time.Second // a place is kept for a client that was let in,
	moveKept    = time.Minute      // or was told to join again
	stoppedKept = 10 * time.Minute // clients of a session that was stopped don't come back by themselves
	stoppedText = "the operator stopped the session of this package; start the client again to join another one"
)

// place is a machine's place in a cast.
type place struct {
	until time.Time // kept until then; zero: held by a member
	over  bool      // beyond a limit: by unicast only
	bars  bool      // not allowed multicast: by unicast only
	spare bool      // it doesn't count, as the machine takes the rest by unicast
}

// of reports whether a place is one in a session: the machine may have come back with another certificate, into one with a group or
// without, before its earlier part ended.
func (p *place) of(key sessionKey) bool {
	return p != nil && (p.over || p.bars) == (key.lane == unicastLane)
}

// limit is what a client waits for; a closed set.
type limit string

// The limits.
const (
	limitClients limit = "limits.max_clients"
	limitCast    limit = "session.max_clients"
	limitCasts   limit = "limits.max_sessions"
	limitGroups  limit = "multicast.groups"
)

// QueueLimits are the limits that a client may wait for, as QueuedInfo.Limit names them.
func QueueLimits() []string {
	return []string{string(limitClients), string(limitCast), string(limitCasts), string(limitGroups)}
}

// QueuedInfo is a client that waits for a place.
type QueuedInfo struct {
	Name    string // host name, else the certificate's name
	Peer    Peer
	Package string
	Since   time.Time
	Place   int    // from 1 on, among those who wait for the same
	Limit   string // the configuration's key
	Reason  string // in words
}

// queuedClient is an entry of the queue.
type queuedClient struct {
	info    QueuedInfo
	key     sessionKey // of lane 0
	machine string
	link    *link
	most    int // clients of the cast, by its rules
	asked   time.Time
	limit   limit
}

// again is how long a client waits before it asks anew.
func (q *queuedClient) again() time.Duration {
	return min(queueAgain+time.Duration(q.info.Place)*queueMore, queueMost)
}

// vacancy is what is free at one moment.
type vacancy struct {
	clients, casts int
	of             map[sessionKey]int // clients of each cast that was looked at
	groups         bool               // nobody waits for a group
	server         *Server
}

// vacancyLocked counts what is free. The caller holds mu.
func (s *Server) vacancyLocked(now time.Time) *vacancy {
	for key, book := range s.casts {
		if book.taken(now); len(book.places) == 0 && !s.runsLocked(key) {
			delete(s.casts, key)
		}
	}
	v := &vacancy{clients: maxCount, casts: maxCount, of: map[sessionKey]int{}, groups: true, server: s}
	if n := s.cfg.Limits.MaxClients; n > 0 {
		v.clients = n
	}
	if n := s.cfg.Limits.MaxSessions; n > 0 {
		v.casts = n
	}
	for key := range s.sessions {
		if key.lane == 0 {
			v.casts--
		}
	}
	for _, book := range s.casts {
		v.clients -= book.taken(now)
	}
	return v
}

// lacks says which limit keeps a client out; "" for none.
func (v *vacancy) lacks(now time.Time, key sessionKey, most int) limit {
	free, known := v.of[key]
	if !known {
		free = maxCount
		if most > 0 {
			free = most
			if book := v.server.casts[key]; book != nil {
				free -= book.taken(now)
			}
		}
		v.of[key] = free
	}
	runs := v.server.sessions[key] != nil
	switch {
	case v.clients <= 0:
		return limitClients
	case free <= 0:
		return limitCast
	case !runs && v.casts <= 0:
		return limitCasts
	case !runs && !v.groups:
		return limitGroups
	}
	return ""
}

// claim takes a client's place out of what is free.
func (v *vacancy) claim(key sessionKey) {
	v.clients--
	v.of[key]--
}

// taken counts the machines that hold a place, and forgets those that were expected for too long.
func (b *castBook) taken(now time.Time) int {
	n := 0
	for machine, p := range b.places {
		switch {
		case !p.until.IsZero() && now.After(p.until):
			delete(b.places, machine)
		case !p.over && !p.bars && !p.spare:
			n++
		}
	}
	return n
}

// admission is what becomes of a join.
type admission struct {
	lane    int
	queued  *wire.Queued
	refused *RefusedError
}

// admitted reports whether the machine gets into a session.
func (a admission) admitted() bool { return a.queued == nil && a.refused == nil }

// admit decides about a machine's join: the lane of the cast that it belongs into, a place in the queue, or why it is refused.
func (s *Server) admit(l *link, key sessionKey, pkg *Package, join *wire.Join) admission {
	now, machine := time.Now(), machineKey(l.peer, join.Machine)
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, stopped := s.stopped[join.Resume]; stopped && now.Before(until) {
		return admission{refused: &RefusedError{Code: wire.Cancelled, Text: stoppedText}}
	}
	if s.closing {
		return admission{refused: &RefusedError{Code: wire.ServerStops, Text: "the distribution point is stopping; try again in a minute"}}
	}
	book := s.book(key)
	if refused := book.barred[l]; refused != nil {
		return admission{refused: refused}
	}
	if refused := book.refused[machine]; refused != nil {
		return admission{refused: refused}
	}
	if pkg.UnicastOnly != "" {
		return s.admitUnicast(now, key, machine, pkg, join)
	}
	if p := book.places[machine]; p != nil && p.bars {
		delete(book.places, machine) // it comes with another certificate, or multicast has been allowed
	}
	lane := 0
	if d := book.slow[machine]; d != nil && d.slow {
		lane = slowLane
	}
	if p := book.places[machine]; p != nil && (p.until.IsZero() || now.Before(p.until)) {
		if p.over {
			lane = unicastLane
		}
		p.spare = false
		s.unqueue(key, machine)
		return admission{lane: lane}
	}
	lacks := s.roomFor(now, key, machine, pkg.Rules.MaxClients)
	if lacks == "" {
		s.book(key).places[machine] = &place{until: now.Add(admitKept)} // looking for room forgets casts without anybody
		s.unqueue(key, machine)
		return admission{lane: lane}
	}
	return s.overLocked(now, l, key, machine, pkg, join, lacks)
}

// overLocked is what becomes of a machine beyond a limit: unicast, or a place in the queue. The caller holds mu.
func (s *Server) overLocked(now time.Time, l *link, key sessionKey, machine string, pkg *Package, join *wire.Join, lacks limit) admission {
	if pkg.Rules.Overflow == OverflowUnicast && pkg.Unicast && !join.NoUnicast {
		s.book(key).places[machine] = &place{until: now.Add(admitKept), over: true}
		s.unqueue(key, machine)
		return admission{lane: unicastLane}
	}
	return s.enqueue(now, l, key, machine, pkg, join, lacks)
}

// roomFor says which limit keeps a machine out, those who wait already coming first; "" for none. The caller holds mu.
func (s *Server) roomFor(now time.Time, key sessionKey, machine string, most int) limit {
	s.forgetQueued(now)
	v := s.vacancyLocked(now)
	starting := map[sessionKey]bool{}
	for _, q := range s.queue {
		if q.machine == machine && q.key == key {
			break
		}
		if q.limit == limitGroups && s.sessions[q.key] == nil && q.key != key {
			v.groups = false // it is that one's turn
		}
		if v.lacks(now, q.key, q.most) != "" {
			continue
		}
		v.claim(q.key)
		if s.sessions[q.key] == nil && !starting[q.key] {
			starting[q.key] = true
			v.casts--
		}
	}
	if starting[key] {
		v.casts++ // the cast that it wants is one of those
	}
	return v.lacks(now, key, most)
}

// enqueue gives a machine a place in the queue, or tells it which one it has. The caller holds mu.
func (s *Server) enqueue(now time.Time, l *link, key sessionKey, machine string, pkg *Package, join *wire.Join, lacks limit) admission {
	i := slices.IndexFunc(s.queue, func(q *queuedClient) bool { return q.machine == machine && q.key == key })
	if i < 0 {
		// A client on one channel waits once, whatever machine it claims to be.
		s.queue = slices.DeleteFunc(s.queue, func(q *queuedClient) bool { return q.link == l })
		if len(s.queue) >= queueLength {
			return admission{refused: &RefusedError{Code: wire.Full, Text: fmt.Sprintf("%d clients wait already; use another distribution point, or raise %s", len(s.queue), lacks)}}
		}
		i = len(s.queue)
		s.queue = append(s.queue, &queuedClient{
			key: key, machine: machine, info: QueuedInfo{Name: clientName(l.peer, join.Machine), Peer: l.peer, Package: pkg.Name, Since: now},
		})
		s.cfg.Log.Info("client waits for a place", zap.String("client", clientName(l.peer, join.Machine)), zap.Stringer("from", l.peer.Addr), zap.String("package", pkg.Name),
			zap.String("deployment", pkg.Deployment), zap.String("limit", string(lacks)))
	}
	q := s.queue[i]
	q.link, q.asked, q.most, q.limit = l, now, pkg.Rules.MaxClients, lacks
	q.info.Place = s.placeOf(i)
	q.info.Limit, q.info.Reason = string(lacks), s.reason(lacks, pkg)
	return admission{queued: &wire.Queued{Request: join.Request, Place: uint32(q.info.Place), Again: q.again(), Text: q.info.Reason}}
}

// placeOf is an entry's place among those who wait for the same. The caller holds mu.
func (s *Server) placeOf(i int) int {
	n := 1
	for _, before := range s.queue[:i] {
		if before.limit == s.queue[i].limit && (before.limit != limitCast || before.key == s.queue[i].key) {
			n++
		}
	}
	return n
}

// forgetQueued drops those who haven't asked for long. The caller holds mu.
func (s *Server) forgetQueued(now time.Time) {
	s.queue = slices.DeleteFunc(s.queue, func(q *queuedClient) bool { return now.Sub(q.asked) > 3*q.again()+5*time.Second })
}

// reason says in words what a client waits for.
func (s *Server) reason(lacks limit, pkg *Package) string {
	switch lacks {
	case limitClients:
		return fmt.Sprintf("the distribution point has all of its %d clients (%s)", s.cfg.Limits.MaxClients, lacks)
	case limitCast:
		return fmt.Sprintf("the session of %s has all of its %d clients (%s)", pkg.Name, pkg.Rules.MaxClients, lacks)
	case limitCasts:
		return fmt.Sprintf("the distribution point runs all of its %d sessions (%s)", s.cfg.Limits.MaxSessions, lacks)
	}
	return fmt.Sprintf("every group is in use (%s)", lacks)
}

// unqueue takes a machine out of the queue. The caller holds mu.
func (s *Server) unqueue(key sessionKey, machine string) {
	s.queue = slices.DeleteFunc(s.queue, func(q *queuedClient) bool { return q.machine == machine && q.key == key })
}

// withoutGroup is what becomes of a machine whose session got no group.
func (s *Server) withoutGroup(l *link, key sessionKey, pkg *Package, join *wire.Join) admission {
	now, machine := time.Now(), machineKey(l.peer, join.Machine)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.book(key).places, machine)
	return s.overLocked(now, l, key.cast(), machine, pkg, join, limitGroups)
}

// takePlace notes that a machine has the place that it was let in to.
func (s *Server) takePlace(key sessionKey, machine string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.book(key).places[machine]
	if p == nil {
		p = &place{}
		s.book(key).places[machine] = p
	}
	p.until = time.Time{}
	p.over = p.over || key.lane == unicastLane && !p.bars
}

// leavePlace notes that a machine has left its place, which is kept for as long as told, should it come again.
func (s *Server) leavePlace(key sessionKey, machine string, keep time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := s.casts[key.cast()]
	if book == nil || !book.places[machine].of(key) {
		return
	}
	if keep > 0 {
		book.places[machine].until = time.Now().Add(keep)
		return
	}
	delete(book.places, machine)
}

// sparePlace notes that a machine takes the rest by unicast.
func (s *Server) sparePlace(key sessionKey, machine string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if book := s.casts[key.cast()]; book != nil && book.places[machine].of(key) {
		book.places[machine].spare = true
	}
}

// Queue returns the clients that wait for a place, the first first.
func (s *Server) Queue() []QueuedInfo {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]QueuedInfo, 0, len(s.queue))
	s.forgetQueued(now)
	for i, q := range s.queue {
		q.info.Place = s.placeOf(i)
		out = append(out, q.info)
	}
	return out
}

// keepOut has clients of a session that was stopped stay away, until they are started anew.
func (s *Server) keepOut(resumes [][16]byte) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for resume, until := range s.stopped {
		if now.After(until) {
			delete(s.stopped, resume)
		}
	}
	for _, resume := range resumes {
		s.stopped[resume] = now.Add(stoppedKept)
	}
}
