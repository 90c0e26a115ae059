package unicast

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var dawn = time.Date(2026, 1, 1, 6, 0, 0, 0, time.UTC)

func tok(n int) Token { return Token{byte(n), byte(n >> 8)} }

func TestSlotsScript(t *testing.T) {
	s := newSlotTable(2, 10*time.Second, 30*time.Second)
	leases := map[int]*lease{}
	for i, step := range []struct {
		at       time.Duration
		op       string // ask, done, release
		token    int
		position int // of ask
	}{
		{0, "ask", 1, 0},
		{0, "ask", 2, 0},
		{0, "ask", 3, 1},
		{0, "ask", 4, 2},
		{1 * time.Second, "done", 1, 0},
		{1 * time.Second, "ask", 1, 0}, // the lease lasts
		{1 * time.Second, "done", 1, 0},
		{2 * time.Second, "ask", 4, 2}, // asking doesn't help
		{2 * time.Second, "ask", 3, 1},
		{3 * time.Second, "release", 1, 0},
		{3 * time.Second, "ask", 4, 2}, // the slot is 3's
		{4 * time.Second, "ask", 3, 0},
		{4 * time.Second, "ask", 1, 2}, // who comes again stands at the end
		{5 * time.Second, "done", 2, 0},
		{14 * time.Second, "ask", 5, 3},
		{15 * time.Second, "ask", 1, 0},  // 2 was idle for 10 s; 4 is overdue, so it isn't waited for
		{16 * time.Second, "ask", 4, 1},  // but it kept its place
		{17 * time.Second, "ask", 5, 2},  // and 5 its own
		{47 * time.Second, "ask", 6, 1},  // both stayed away for 30 s
		{48 * time.Second, "ask", 3, 0},  // never idle
		{48 * time.Second, "ask", 5, 2},  // from anew
		{49 * time.Second, "done", 1, 0}, // idle from here
		{59 * time.Second, "ask", 7, 0},  // 5 and 6 are overdue
	} {
		now := dawn.Add(step.at)
		switch step.op {
		case "ask":
			l, position, retry := s.acquire(now, tok(step.token), Grant{})
			if position != step.position || (l != nil) != (position == 0) || (retry > 0) != (position > 0) {
				t.Fatalf("step %d: %d asks: position %d, retry %v, want position %d", i, step.token, position, retry, step.position)
			}
			if l != nil {
				leases[step.token] = l
			}
		case "done":
			s.done(now, leases[step.token])
		case "release":
			s.release(tok(step.token))
		}
	}
}

// A room of clients that come at random, ask as they are told to, fetch for a
// while, and sometimes vanish. Slots are never too many, those who keep asking
// are served in the order in which they came, and everybody is.
func TestSlotsAreFair(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		const clients = 60
		limit := 1 + r.IntN(5)
		s := newSlotTable(limit, 10*time.Second, 30*time.Second)
		type client struct {
			next     time.Time // it asks, or ends its request
			first    time.Time // it asked
			vanishes bool
			lease    *lease
			served   bool
		}
		all := make([]client, clients)
		for i := range all {
			all[i] = client{next: dawn.Add(time.Duration(r.Int64N(int64(2 * time.Minute)))), vanishes: r.IntN(5) == 0}
		}
		var order []time.Time // of first asking, as served
		gone := 0
		for gone < clients {
			i := -1
			for j := range all {
				if !all[j].next.IsZero() && (i < 0 || all[j].next.Before(all[i].next)) {
					i = j
				}
			}
			c := &all[i]
			now := c.next
			if c.lease != nil {
				s.done(now, c.lease)
				if r.IntN(2) == 0 {
					s.release(tok(i)) // the others leave it to time
				}
				c.next = time.Time{}
				gone++
				continue
			}
			l, position, retry := s.acquire(now, tok(i), Grant{})
			if len(s.leases) > limit {
				t.Fatalf("seed %d: %d leases, limit %d", seed, len(s.leases), limit)
			}
			if c.first.IsZero() {
				c.first = now
			}
			switch {
			case l != nil:
				c.lease, c.served, c.next = l, true, now.Add(time.Duration(r.Int64N(int64(40*time.Second))))
				if !c.vanishes {
					order = append(order, c.first)
				}
			case position < 1 || position > clients:
				t.Fatalf("seed %d: position %d", seed, position)
			case c.vanishes && r.IntN(2) == 0:
				c.next = time.Time{}
				gone++
			default:
				c.next = now.Add(retry + time.Duration(r.Int64N(int64(time.Second))))
			}
		}
		for i := range all {
			if !all[i].served && !all[i].vanishes {
				t.Fatalf("seed %d: client %d was never served", seed, i)
			}
		}
		// With several slots free at once the second may come before the first:
		// nobody is overtaken by more than that.
		for i, first := range order {
			overtaken := 0
			for _, later := range order[:i] {
				if later.After(first) {
					overtaken++
				}
			}
			if overtaken >= limit {
				t.Fatalf("seed %d: %d served before one who came earlier, %d slots", seed, overtaken, limit)
			}
		}
		if limit == 1 && !slices.IsSortedFunc(order, time.Time.Compare) {
			t.Fatalf("seed %d: one slot, and not in order", seed)
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	s := newSlotTable(1, time.Second, time.Minute)
	for i := range maxQueue + 10 {
		_, position, _ := s.acquire(dawn, tok(i), Grant{})
		if position != min(i, maxQueue+1) {
			t.Fatalf("client %d: position %d", i, position)
		}
	}
	if len(s.queue) != maxQueue {
		t.Fatalf("%d places", len(s.queue))
	}
}

func TestBudgetSpreads(t *testing.T) {
	var none budget
	if w := none.take(dawn, 1<<30); w != 0 || none.chunk() != maxChunk {
		t.Fatalf("no limit: wait %v, chunk %d", w, none.chunk())
	}
	for _, rate := range []int64{minBudget, 1_000_000, 125_000_000} {
		b := budget{rate: rate}
		if c := b.chunk(); c < minChunk || c > maxChunk {
			t.Fatalf("%d bytes/s: chunk %d", rate, c)
		}
		// Takers that wait as told, after a long pause.
		b.take(dawn, 1)
		start := dawn.Add(time.Hour)
		now, sent := start, 0
		for range 100 {
			now = now.Add(b.take(now, b.chunk()))
			sent += b.chunk()
		}
		// All but the last chunk and the burst are paid for, and no more than that.
		paid := time.Duration(float64(sent-b.chunk())/float64(rate)*float64(time.Second)) - budgetBurst
		if took := now.Sub(start); took < paid-time.Millisecond || took > paid+time.Millisecond {
			t.Errorf("%d bytes/s: %d bytes in %v, want %v", rate, sent, took, paid)
		}
	}
}
