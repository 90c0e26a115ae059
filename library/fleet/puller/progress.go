package puller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/library/release"
)

// State is how far a package is.
type State string

// The states: a closed set.
const (
	Waiting    State = "waiting"
	InProgress State = "in_progress"
	Success    State = "success" // it is in service as the site released it
	Failed     State = "failed"  // it is tried again
)

// Progress is how far one version of a package is at the point.
type Progress struct {
	Reference string
	Revision  int64
	Digest    crypto.Hash // of the content; zero while it isn't known
	State     State
	Priority  release.Priority
	// Bytes have travelled of the Total that have to, of this pull.
	Bytes, Total int64
	Rate         float64       // bytes/s; 0 while nothing comes
	ETA          time.Duration // 0 while it isn't known
	Since        time.Time     // it is in this state
	Err          string        // why it failed
	Retry        time.Time     // when it is tried again
	Validated    time.Time     // when every byte was last found to match; zero while it isn't there
	Held         string        // why it waits
}

// entry is one assigned release. Its fields are guarded by Puller.mu.
type entry struct {
	assigned     release.Assigned
	state        State
	since        time.Time
	digest       crypto.Hash
	bytes, total int64
	rate         float64
	measured     int64 // bytes at the last look
	failures     int   // in a row
	err          string
	retry        time.Time
	held         string
}

// Snapshot returns how far each assigned package is, in the order of the assignments.
func (p *Puller) Snapshot() []Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Progress, 0, len(p.entries))
	for _, e := range p.entries {
		g := Progress{
			Reference: e.assigned.Reference, Revision: e.assigned.Revision, Digest: e.digest, State: e.state, Priority: e.assigned.Priority,
			Bytes: e.bytes, Total: e.total, Rate: e.rate, Since: e.since, Err: e.err, Retry: e.retry, Held: e.held,
		}
		if e.state == InProgress && e.rate > 0 {
			g.ETA = time.Duration(float64(e.total-e.bytes) / e.rate * float64(time.Second))
		}
		if pkg, err := p.cfg.Library.Get(e.assigned.Reference); err == nil && pkg.Reference() == e.assigned.Reference {
			g.Validated = pkg.Validated
			if e.state == Success {
				g.Digest = pkg.Digest
			}
		}
		out = append(out, g)
	}
	return out
}

// set changes the state of an entry. The caller holds mu.
func (e *entry) set(s State) {
	if e.state != s {
		e.state, e.since = s, time.Now()
	}
	e.rate, e.held = 0, ""
	if s != Failed {
		e.err, e.retry = "", time.Time{}
	}
	if s == Success {
		e.failures = 0
	}
}

// fail notes that a pull failed.
func (p *Puller) fail(e *entry, err error) {
	p.failed.add(err)
	p.mu.Lock()
	e.failures++
	wait := after(p.backOff, e.failures, err)
	e.set(Failed)
	e.err, e.retry = err.Error(), time.Now().Add(wait)
	p.mu.Unlock()
	p.cfg.Log.Warn("pull failed", zap.String("package", e.assigned.Reference), zap.Int64("revision", e.assigned.Revision), zap.String("reason", string(reasonOf(err))),
		zap.Error(err), zap.Duration("next_try", wait))
	p.changed()
}

// smoothing is what share of a rate is the last second's.
const smoothing = 0.3

// watch measures the rate of a pull, and ends it when the hours close.
func (p *Puller) watch(ctx context.Context, e *entry, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		rate := float64(e.bytes-e.measured) / lookEvery.Seconds()
		if e.rate == 0 {
			e.rate = rate
		}
		e.rate += smoothing * (rate - e.rate)
		e.measured = e.bytes
		priority := e.assigned.Priority
		p.mu.Unlock()
		if ok, _ := p.cfg.Gate.Allowed(priority); !ok {
			cancel(errHeld)
			return
		}
		p.preempt()
		p.changed()
	}
}

// counted counts what is read of a blob, and takes it back when the blob comes to nothing.
type counted struct {
	io.Reader
	p *Puller
	e *entry
	n int64
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	c.p.bytes.Add(uint64(n))
	c.p.mu.Lock()
	c.e.bytes += int64(n)
	c.p.mu.Unlock()
	return n, err
}

func (c *counted) takeBack() {
	c.p.mu.Lock()
	c.e.bytes -= c.n
	c.e.measured = max(0, c.e.measured-c.n)
	c.p.mu.Unlock()
}

// Why a pull ends that hasn't failed.
var (
	errHeld      = errors.New("the hours closed")
	errWithdrawn = errors.New("the site wants something else now")
	errPreempted = errors.New("something of a higher priority goes first")
)

// stopped reports whether a pull ended without a failure.
func stopped(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause != nil && (errors.Is(cause, errHeld) || errors.Is(cause, errWithdrawn) || errors.Is(cause, errPreempted) || errors.Is(cause, context.Canceled))
}

// errOther says that the registry has another release under a digest's name than the site assigned.
func errOther(a *release.Assigned, reference string, revision int64) error {
	return fmt.Errorf("the release that was assigned as %s, revision %d, is %s, revision %d: %w", a.Reference, a.Revision, reference, revision, release.ErrOrigin)
}
