package fleet

import (
	"context"
	"io"
	"sync"
	"time"
)

const (
	// castingRate is what content goes out with at most while somebody casts, in bytes/s: a tenth of 1 Gbit/s is hardly felt in a cast, and
	// to stop altogether would mean never to end where rooms are imaged all day.
	castingRate = 12.5e6
	// leastSleep keeps a slow rate from many short sleeps.
	leastSleep = 10 * time.Millisecond
	// askEvery is how often it is asked whether somebody casts: asking costs the sessions something.
	askEvery = 500 * time.Millisecond
)

// pace keeps all that is sent together at a rate. Safe for concurrent use.
type pace struct {
	busy func() bool

	mu    sync.Mutex
	limit float64 // bytes/s; 0: none
	slow  bool    // somebody casts
	asked time.Time
	next  time.Time // when, at the rate, the next byte may go
}

func newPace(busy func() bool) *pace { return &pace{busy: busy} }

func (p *pace) set(limit float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit, p.next = limit, time.Time{}
}

// rate returns what holds now. mu must be held.
func (p *pace) rate(now time.Time) float64 {
	if now.Sub(p.asked) >= askEvery {
		p.slow, p.asked = p.busy(), now
	}
	if p.slow && (p.limit == 0 || p.limit > castingRate) {
		return castingRate
	}
	return p.limit
}

// wait returns when n more bytes may go, or ctx ends.
func (p *pace) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	now := time.Now()
	rate := p.rate(now)
	if rate <= 0 {
		p.mu.Unlock()
		return ctx.Err()
	}
	if p.next.Before(now) {
		p.next = now // what was left out isn't made up for
	}
	ahead := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	p.mu.Unlock()
	if ahead < leastSleep {
		return ctx.Err()
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// paced is content at the pace. It returns little at once, so that a slow rate is even.
type paced struct {
	io.ReaderAt
	ctx  context.Context
	pace *pace
}

// pacedPiece is how much is returned at once, in bytes.
const pacedPiece = 64 << 10

// ReadAt implements io.ReaderAt, but for returning less without an error when all is well: what reads it is an io.SectionReader.
func (p *paced) ReadAt(b []byte, off int64) (int, error) {
	b = b[:min(len(b), pacedPiece)]
	if err := p.pace.wait(p.ctx, len(b)); err != nil {
		return 0, err
	}
	return p.ReaderAt.ReadAt(b, off)
}
