// Package validation looks at stored content again on a schedule, slowly and never while a session casts, and mends what is
// damaged where it is known where to get it.
//
// A Validator reads one content at a time, the one that was looked at longest ago first. The proof is the library's: every
// block is hashed and held against the manifest (library.Verify), and what doesn't match is out of service from then on. A package that is
// out of service and has a source of its own (library.Package.Again) is filled again from there; what comes is held against the same digest
// before it counts, so a source that has other content by now changes nothing.
//
// It knows nothing of sessions and records: whoever makes it plugs in what says that somebody casts, and who hears of results.
package validation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"wimcast/crypto"
	"wimcast/library"
	"wimcast/library/source"
)

const (
	// lookEvery is how often a pause looks whether the cast has ended, in which no byte is read.
	lookEvery = time.Second
	// askEvery is how often it is asked whether somebody casts while nobody does: asking costs the sessions something.
	askEvery = 200 * time.Millisecond
	// leastSleep keeps a slow rate from many short sleeps.
	leastSleep = 20 * time.Millisecond
	// mendAgain is how long after a refill that failed the next is tried.
	mendAgain = time.Hour
)

// Kind says what a result is of.
type Kind string

// The results: a closed set, and a metric's label.
const (
	Matches    Kind = "matches"
	Damaged    Kind = "damaged"    // out of service
	Refilled   Kind = "refilled"   // in service again
	NotMended  Kind = "not_mended" // a refill failed; still out of service
	Unreadable Kind = "unreadable" // it couldn't be looked at; says nothing about the content
)

// Kinds returns all of them.
func Kinds() []Kind { return []Kind{Matches, Damaged, Refilled, NotMended, Unreadable} }

// Result is what came of looking at a content, or of mending it.
type Result struct {
	Kind    Kind
	Package library.Package // one of those that have the content
	Err     error           // nil for Matches and Refilled
	Took    time.Duration   // pauses included
}

// Config is what a Validator works with.
type Config struct {
	Library *library.Library
	// Busy says whether somebody casts now: then nothing is read.
	Busy func() bool
	// Report hears of each result.
	Report func(Result)
}

// Validator validates. Safe for concurrent use.
type Validator struct {
	cfg     Config
	changed chan struct{} // the schedule
	damaged chan struct{} // something went out of service

	mu       sync.Mutex
	schedule cron.Schedule // nil: never
	rate     float64       // bytes/s; 0: as fast as it goes
	tried    map[crypto.Hash]time.Time
}

// New returns a Validator without a schedule. It starts nothing.
func New(cfg Config) *Validator {
	return &Validator{cfg: cfg, changed: make(chan struct{}, 1), damaged: make(chan struct{}, 1), tried: map[crypto.Hash]time.Time{}}
}

// CheckSchedule says what is wrong with a schedule: five fields as cron has them (minute, hour, day of month, month, day of week), or
// @weekly and the like. "" is none.
func CheckSchedule(text string) error {
	_, err := parse(text)
	return err
}

func parse(text string) (cron.Schedule, error) {
	if text == "" {
		return nil, nil
	}
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a schedule such as \"0 3 * * 0\" (minute, hour, day of month, month, day of week): %w", text, err)
	}
	if s.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("%q never comes", text)
	}
	return s, nil
}

// Set changes schedule and rate (bytes/s, 0: no limit), of a round that is under way as well.
func (v *Validator) Set(schedule string, rate float64) error {
	s, err := parse(schedule)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.schedule, v.rate = s, rate
	v.mu.Unlock()
	wake(v.changed)
	return nil
}

// Mend makes the Validator look soon for what is out of service and can be filled again. It doesn't block.
func (v *Validator) Mend() { wake(v.damaged) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run validates when it is time, until ctx ends. A round that takes longer than to the next time leaves that one out.
func (v *Validator) Run(ctx context.Context) {
	v.mend(ctx)
	for {
		v.mu.Lock()
		schedule := v.schedule
		v.mu.Unlock()
		var due <-chan time.Time
		timer := time.NewTimer(mendAgain)
		if schedule != nil {
			timer.Reset(time.Until(schedule.Next(time.Now())))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-v.changed:
		case <-v.damaged:
			v.mend(ctx)
		case <-due:
			v.round(ctx)
			v.mend(ctx)
		}
		timer.Stop()
	}
}

// round looks at every content once.
func (v *Validator) round(ctx context.Context) {
	for _, p := range contents(v.cfg.Library.List()) {
		if ctx.Err() != nil {
			return
		}
		v.validate(ctx, p)
	}
}

// contents returns one package of each content, those first that were looked at longest ago.
func contents(packages []library.Package) []library.Package {
	seen := map[crypto.Hash]bool{}
	slices.SortStableFunc(packages, func(a, b library.Package) int { return a.Validated.Compare(b.Validated) })
	return slices.DeleteFunc(packages, func(p library.Package) bool {
		known := seen[p.Digest]
		seen[p.Digest] = true
		return known
	})
}

func (v *Validator) validate(ctx context.Context, p library.Package) {
	began := time.Now()
	pace := v.pacer(ctx)
	pace.wait(0) // before the first byte
	_, err := v.cfg.Library.Verify(ctx, p.Reference(), func(done, _ int64) { pace.wait(done) })
	kind := Matches
	switch _, damaged := errors.AsType[*library.DamagedError](err); {
	case ctx.Err() != nil, errors.Is(err, library.ErrNotFound): // it goes on another time; it was removed meanwhile
		return
	case damaged:
		kind = Damaged
	case err != nil:
		kind = Unreadable
	}
	v.cfg.Report(Result{Kind: kind, Package: p, Err: err, Took: time.Since(began)})
}

// mend fills again what is out of service and has a place to be had from.
func (v *Validator) mend(ctx context.Context) {
	for _, p := range contents(v.cfg.Library.List()) {
		if p.OutOfService == "" || ctx.Err() != nil {
			continue
		}
		for _, q := range v.cfg.Library.List() { // any package of the content may know a place
			if q.Digest == p.Digest && q.Again != "" {
				p = q
			}
		}
		if p.Again == "" {
			continue
		}
		v.mu.Lock()
		soon := time.Since(v.tried[p.Digest]) < mendAgain
		if !soon {
			v.tried[p.Digest] = time.Now()
		}
		v.mu.Unlock()
		if soon {
			continue
		}
		began := time.Now()
		err := v.refill(ctx, p)
		if ctx.Err() != nil {
			return
		}
		kind := Refilled
		if err != nil {
			kind = NotMended
		} else {
			v.mu.Lock()
			delete(v.tried, p.Digest)
			v.mu.Unlock()
		}
		v.cfg.Report(Result{Kind: kind, Package: p, Err: err, Took: time.Since(began)})
	}
}

func (v *Validator) refill(ctx context.Context, p library.Package) error {
	pace := v.pacer(ctx)
	pace.wait(0)
	in, err := source.Open(ctx, p.Again, source.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	_, err = v.cfg.Library.Refill(ctx, p.Reference(), &paced{Reader: in, pace: pace}, in.Size)
	if broke := in.Err(); broke != nil {
		return broke
	}
	return err
}

// pacer keeps one reading at the rate, and from going on while somebody casts.
type pacer struct {
	v     *Validator
	ctx   context.Context
	from  time.Time // when, at the rate, byte 0 would have been read
	done  int64
	rated float64
	asked time.Time
}

func (v *Validator) pacer(ctx context.Context) *pacer {
	return &pacer{v: v, ctx: ctx, from: time.Now()}
}

// wait returns when so many bytes may have been read, and nobody casts; or when ctx ends.
func (p *pacer) wait(done int64) {
	p.v.mu.Lock()
	rate := p.v.rate
	p.v.mu.Unlock()
	if time.Since(p.asked) >= askEvery {
		for p.v.cfg.Busy() && sleep(p.ctx, lookEvery) {
			p.from, p.done = time.Now(), done // what was left out isn't made up for
		}
		p.asked = time.Now()
	}
	if rate != p.rated {
		p.from, p.done, p.rated = time.Now(), done, rate
	}
	if rate <= 0 {
		return
	}
	ahead := time.Duration(float64(done-p.done)/rate*float64(time.Second)) - time.Since(p.from)
	if ahead >= leastSleep {
		sleep(p.ctx, ahead)
	}
}

// sleep reports whether it slept so long; it ends with ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// paced is a reader at the rate.
type paced struct {
	io.Reader
	pace *pacer
	done int64
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	p.pace.wait(p.done)
	n, err := p.Reader.Read(b)
	p.done += int64(n)
	return n, err
}
