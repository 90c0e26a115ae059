package session

import (
	"math"
	"sync"
	"time"

	"wimcast/multicast"
)

// shares divides the machine's ceiling among the sessions that are casting, by their weights. What one
// doesn't use the others may. What all of them hold together is never more than the ceiling: a session gets
// what another has to give up only once that one has given it up. It is safe for concurrent use.
type shares struct {
	mu    sync.Mutex
	total float64          // bytes/s
	all   *multicast.Pacer // what goes out in all sessions together
	parts map[*sender]*part
}

// part is a session's part in the ceiling, in bytes/s.
type part struct {
	weight float64
	wants  float64 // 0 while nothing is cast
	share  float64 // what it should hold
	holds  float64 // what it may use
	open   bool    // while shares are worked out: wants more than it has yet
}

func newShares(total float64, packet int) *shares {
	return &shares{total: total, all: multicast.NewPacer(total, packet, 0), parts: map[*sender]*part{}}
}

// setTotal changes the machine's ceiling, in bytes/s.
func (s *shares) setTotal(now time.Time, total float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total == total {
		return
	}
	s.total = total
	s.all.SetRate(now, total)
	s.divide(nil)
}

// claim says what a session could use, in bytes/s: 0 for nothing, infinity for all it can get. It returns the session's
// share, and what it may use of it until the next claim: less, while others haven't given it up yet.
func (s *shares) claim(session *sender, weight, wants float64) (share, holds float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.parts[session]
	if p == nil {
		p = new(part)
		s.parts[session] = p
	}
	p.weight, p.wants = weight, wants
	s.divide(session)
	others := 0.0
	for _, other := range s.parts {
		if other != p {
			others += other.holds
		}
	}
	p.holds = max(0, min(p.share, s.total-others))
	return p.share, p.holds
}

// leave takes a session out.
func (s *shares) leave(session *sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parts, session)
	s.divide(nil)
}

// take takes bytes of what all sessions send, as Pacer.Take does.
func (s *shares) take(now time.Time, bytes int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Take(now, bytes)
}

// spend notes bytes that went without asking.
func (s *shares) spend(now time.Time, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Spend(now, bytes)
}

// divide works out all shares, and calls upon sessions other than one to claim theirs where that gives
// something up or gains something. The caller holds mu.
func (s *shares) divide(except *sender) {
	rest, open := s.total, 0.0 // open: weights of those that want more than they have yet
	for _, p := range s.parts {
		p.share, p.open = 0, p.wants > 0
		if p.open {
			open += p.weight
		}
	}
	active := open
	// Those that want less than their part of what is left get what they want, until nobody does.
	for again := true; again; {
		again = false
		for _, p := range s.parts {
			if p.open && p.wants <= rest/open*p.weight {
				p.share, p.open, again = p.wants, false, true
				rest -= p.wants
				open -= p.weight
			}
		}
	}
	enough := true
	for _, p := range s.parts {
		enough = enough && !p.open
	}
	for _, p := range s.parts {
		switch {
		case p.open:
			p.share = rest / open * p.weight
		case enough && p.wants > 0: // everybody has what it wants: room to grow
			p.share += rest / active * p.weight
		}
	}
	for session, p := range s.parts {
		if session != except && math.Abs(p.share-p.holds) > 0.01*s.total {
			session.callToShare()
		}
	}
}
