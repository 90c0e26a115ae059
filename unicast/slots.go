package unicast

import "time"

// Token is the bearer token of a welcome. It travels in hexadecimal.
type Token [32]byte

// Implementation constants of the queue.
const (
	// maxQueue bounds the places; tokens beyond are told to come back, without one.
	maxQueue = 4096
	// overdue is how much later than asked to a client may come before its turn
	// passes to the next. It keeps its place.
	overdue = 2 * time.Second
)

// slotTable hands out slots, first come, first served. It is a pure data structure.
//
// A lease lasts over many requests: from the first one that got the slot until
// no request was under way for idle. A place in the queue is kept until
// keep has passed since its token last asked. A free slot is held for the first
// in the queue until that one is overdue.
type slotTable struct {
	limit int
	idle  time.Duration // a lease without requests lasts
	keep  time.Duration // a place lasts, since its token last asked

	leases map[Token]*lease
	queue  []*place
}

type lease struct {
	grant     Grant
	since     time.Time
	active    int // requests under way
	idleSince time.Time
	sent      int64 // bytes
}

type place struct {
	token Token
	grant Grant
	since time.Time
	seen  time.Time
	due   time.Time // when the token was told to ask again
}

func newSlotTable(limit int, idle, keep time.Duration) *slotTable {
	return &slotTable{limit: limit, idle: idle, keep: keep, leases: map[Token]*lease{}}
}

// acquire begins a request: it returns the token's lease, or the token's position
// in the queue, from 1, and when to ask again.
func (s *slotTable) acquire(now time.Time, token Token, grant Grant) (l *lease, position int, retry time.Duration) {
	s.expire(now)
	if l := s.leases[token]; l != nil {
		l.active++
		return l, 0, 0
	}
	at, ahead := -1, 0 // ahead: those who will come before us in time
	for i, p := range s.queue {
		if p.token == token {
			at = i
			break
		}
		if now.Before(p.due.Add(overdue)) {
			ahead++
		}
	}
	if ahead < s.limit-len(s.leases) {
		if at >= 0 {
			s.queue = append(s.queue[:at], s.queue[at+1:]...)
		}
		l := &lease{grant: grant, since: now, active: 1}
		s.leases[token] = l
		return l, 0, 0
	}
	if at < 0 {
		if len(s.queue) >= maxQueue {
			return nil, len(s.queue) + 1, retryIn(len(s.queue) + 1)
		}
		at = len(s.queue)
		s.queue = append(s.queue, &place{token: token, since: now})
	}
	p := s.queue[at]
	retry = retryIn(at + 1)
	p.grant, p.seen, p.due = grant, now, now.Add(retry)
	return nil, at + 1, retry
}

// retryIn says when the one at a position should ask again: the first ones soon,
// as a slot may wait for them; the last ones seldom, as they are many.
func retryIn(position int) time.Duration {
	return time.Duration(min(max(position, 2), 10)) * time.Second
}

// done ends a request that acquire began.
func (s *slotTable) done(now time.Time, l *lease) {
	l.active--
	l.idleSince = now
}

// release gives a token's slot and place back. Requests under way go on with
// what they hold; the caller ends them.
func (s *slotTable) release(token Token) {
	delete(s.leases, token)
	for i, p := range s.queue {
		if p.token == token {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return
		}
	}
}

// expire drops leases that lie idle and places whose tokens stay away.
func (s *slotTable) expire(now time.Time) {
	for token, l := range s.leases {
		if l.active == 0 && now.Sub(l.idleSince) >= s.idle {
			delete(s.leases, token)
		}
	}
	kept := s.queue[:0]
	for _, p := range s.queue {
		if now.Sub(p.seen) < s.keep {
			kept = append(kept, p)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
}
