package session

import (
	"maps"
	"slices"
	"sync"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// Pulse is how a running session goes at one moment, in sums over its clients: cheap enough to be asked for each second. What is
// counted never goes down.
type Pulse struct {
	ID           string
	State        wire.State
	Target       float64 // bytes/s that it aims at; 0 while nothing is cast
	Reason       RateReason
	Sent         SentTotals
	Opened, Lost uint64 // packets, as clients told
	Proven       int64  // bytes that all clients together proved, counted in whole blocks
}

// heardTotals is what a session's clients told since its start.
type heardTotals struct {
	opened, lost uint64
	proven       int64 // blocks
}

// proves notes how many blocks a client says that it has proven. What it says twice counts once.
func (s *sender) proves(now time.Time, m *member, blocks int) {
	if blocks != m.info.Proven {
		s.info.Progress = now
	}
	s.heard.proven += int64(max(blocks-m.most, 0))
	m.most = max(m.most, blocks)
	m.info.Proven, m.info.Progress = blocks, 1
	if s.geo.b > 0 {
		m.info.Progress = float64(blocks) / float64(s.geo.b)
	}
}

func (s *sender) pulse() Pulse {
	p := Pulse{
		ID: s.id, State: s.state, Target: s.law.rate, Reason: s.law.reason, Sent: s.info.Sent,
		Opened: s.heard.opened, Lost: s.heard.lost, Proven: s.heard.proven * crypto.BlockSize,
	}
	if s.state != wire.Casting {
		p.Target = 0
	}
	return p
}

// Pulses returns how each running session goes, in no order.
func (s *Server) Pulses() []Pulse {
	s.mu.Lock()
	senders := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	out := make([]Pulse, 0, len(senders))
	for _, session := range senders {
		var p Pulse
		if session.ask(func(sender *sender) { p = sender.pulse() }) {
			out = append(out, p)
		}
	}
	return out
}

// Ended returns a session that ended lately, as it was then.
func (s *Server) Ended(id string) (SessionInfo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range slices.Backward(s.ended) {
		if s.ended[i].ID == id {
			return s.ended[i], true
		}
	}
	return SessionInfo{}, false
}

// Watch is somebody's look at a running session. As long as there is one the session's clients are asked for their maps.
// Safe for concurrent use.
type Watch struct {
	session *sender
	closing sync.Once
}

// Watch begins to watch a running session. The caller closes it.
func (s *Server) Watch(id string) (*Watch, error) {
	session, err := s.find(id)
	if err != nil {
		return nil, err
	}
	session.watched.Add(1)
	return &Watch{session: session}, nil
}

// Look returns the session with its clients, now; false once it has ended.
func (w *Watch) Look() (info SessionInfo, running bool) {
	running = w.session.ask(func(sender *sender) { info = sender.snapshot() })
	return info, running
}

// Close ends the watching. It may be called more than once.
func (w *Watch) Close() { w.closing.Do(func() { w.session.watched.Add(-1) }) }
