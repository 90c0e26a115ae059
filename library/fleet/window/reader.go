package window

import (
	"context"
	"io"
	"slices"
	"time"

	"wimcast/library/release"
)

const (
	// look is how long a wait lasts at most before the clock is looked at again: it may have been set, or have jumped.
	look = 500 * time.Millisecond
	// slice is what part of the limit goes at a time. Small, so that a thin line isn't filled in bursts; not smaller, as each is a wake-up.
	slice = 50 * time.Millisecond
	// lateness is how much of a late wake-up is made up for: timers of a busy machine are late by milliseconds, and each would be lost.
	lateness = slice
	// Bounds of one read, in bytes: a slice of a very thin line would be a packet or less; a large one would follow a change late.
	leastRead = 1 << 10
	mostRead  = 256 << 10
)

// reader is a reader that keeps to the hours.
type reader struct {
	gate *Gate
	ctx  context.Context
	rank int
	p    release.Priority
	r    io.Reader
}

// Reader returns a reader of r that keeps to the hours: all readers of a gate share its limit, a higher priority that waits goes first, and
// while the hours are closed to p nothing is read. A Read that waits ends with ctx, in its cause. What waits holds no more than its caller does: a
// connection whose other end gives up meanwhile breaks, and is the caller's to make anew. Like other readers it is for one goroutine at a time.
func (g *Gate) Reader(ctx context.Context, p release.Priority, r io.Reader) io.Reader {
	return &reader{g, ctx, rank(p), p, r}
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, cost, err := r.gate.enter(r, len(b))
	if err != nil {
		return 0, err
	}
	got, err := r.r.Read(b[:n])
	if got < n && cost > 0 {
		r.gate.giveBack(cost * time.Duration(n-got) / time.Duration(n))
	}
	return got, err
}

// enter waits until r may read, and returns how much of want: 1 byte or more. cost is what that takes of the limit.
func (g *Gate) enter(r *reader, want int) (n int, cost time.Duration, err error) {
	if r.ctx.Err() != nil {
		return 0, 0, context.Cause(r.ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, r)
	defer func() {
		g.waiting = slices.DeleteFunc(g.waiting, func(w *reader) bool { return w == r })
		if len(g.waiting) > 0 {
			g.wake()
		}
	}()
	for {
		now := g.now()
		rule := g.week.at(now)
		wait := look
		switch {
		case !rule.Allow.admits(r.p):
		case rule.Limit <= 0:
			return min(want, mostRead), 0, nil
		case g.first() != r:
		default:
			most := min(max(int(rule.Limit*slice.Seconds()), leastRead), mostRead)
			early := g.due.Sub(now)
			if early > takes(most, rule.Limit) { // the clock was set, or the limit another when due was reckoned
				g.due, early = now, 0
			}
			if early > 0 {
				wait = min(wait, early)
				break
			}
			n = min(want, most)
			cost = takes(n, rule.Limit)
			if late := now.Add(-lateness); g.due.Before(late) {
				g.due = late
			}
			g.due = g.due.Add(cost)
			return n, cost, nil
		}
		if err := g.pause(r.ctx, wait); err != nil {
			return 0, 0, err
		}
	}
}

// takes returns how long n bytes take at a limit.
func takes(n int, limit float64) time.Duration {
	return time.Duration(float64(n) / limit * float64(time.Second))
}

// first returns who goes next; the caller holds mu. Hours are never open to a priority and closed to a higher one, so where anybody may, it may.
func (g *Gate) first() *reader {
	var found *reader
	for _, w := range g.waiting {
		if found == nil || w.rank < found.rank {
			found = w
		}
	}
	return found
}

// pause waits for a change, d at most. The caller holds mu, and holds it again afterwards.
func (g *Gate) pause(ctx context.Context, d time.Duration) error {
	changed := g.changed
	g.mu.Unlock()
	defer g.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-timer.C:
	}
	return nil
}

// giveBack returns what a read took of the limit and didn't use.
func (g *Gate) giveBack(unused time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.due = g.due.Add(-unused)
	if len(g.waiting) > 0 {
		g.wake()
	}
}
