package reports

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/statefile"
)

const (
	// OutOfReach is how long after its last report a point is out of reach: three that it should have made.
	OutOfReach = 90 * time.Second
	// clockOff is what the clocks of a point and of the site may differ by, with nobody told: a report is under way for a while, too.
	clockOff = time.Minute
	// writeEvery is how often the file is written, where something has changed: so much a kill may cost.
	writeEvery = 30 * time.Second
	// listFor is how long it is remembered which points there are; listAgain is how soon they are looked at again for one that isn't there.
	listFor, listAgain = time.Minute, 2 * time.Second
)

// Wanted is a version of a package that a point shall have.
type Wanted struct {
	Package  string // name@version
	Revision int64  // 0: it isn't in the registry yet
	Priority string
	// While the point hasn't told of that revision: why, what went wrong on the way to the registry, and when that is tried again; all may be
	// empty.
	Held, Error string
	Retry       time.Time
}

// Config is what a Book works with.
type Config struct {
	File string // where reports outlive the daemon; its directory is there
	// Points returns every point with what it shall have, by name. Called at any time, from any goroutine.
	Points func() map[string][]Wanted
	// Arrived hears of each revision that came into service at a point, Failed of each that failed there, once for a reason. They must not
	// block; may be nil.
	Arrived func(point string, p api.PointPackage)
	Failed  func(point string, p api.PointPackage)
	Log     *zap.Logger
}

// Book keeps reports. Safe for concurrent use.
type Book struct {
	cfg Config
	now func() time.Time // the site's clock

	mu      sync.Mutex
	reports map[string]report
	dirty   bool
	names   map[string]bool // points that there were
	listed  time.Time
}

// report is the latest of a point.
type report struct {
	At     time.Time       `json:"at"` // by the site's clock
	Status api.PointStatus `json:"status"`
}

// New returns a Book with what the file has. Where that can't be read, the book is empty and the log says so.
func New(cfg Config) *Book {
	b := &Book{cfg: cfg, now: func() time.Time { return time.Now().UTC().Round(0) }, reports: map[string]report{}}
	if err := b.load(); err != nil {
		cfg.Log.Warn("what points said before can't be read; they say it again", zap.Error(err))
		b.reports = map[string]report{}
	}
	return b
}

// Put takes a point's report. The error says what is wrong with it, or that there is no such point.
func (b *Book) Put(point string, s api.PointStatus) error {
	if err := check(&s); err != nil {
		return fmt.Errorf("status of point %.80s: %w", point, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.known(point) {
		return fmt.Errorf("status of point %.80s: %w here; next: wimcast point list", point, ErrUnknown)
	}
	before := b.reports[point]
	b.reports[point] = report{b.now(), s}
	b.dirty = true
	b.tell(point, before.Status.Packages, s.Packages)
	return nil
}

// known reports whether there is such a point; the caller holds mu. Asking for all of them costs something, and a thousand points report.
func (b *Book) known(point string) bool {
	age := b.now().Sub(b.listed)
	if age < 0 || age > listFor || age > listAgain && !b.names[point] {
		b.names, b.listed = map[string]bool{}, b.now()
		for name := range b.cfg.Points() {
			b.names[name] = true
		}
	}
	return b.names[point]
}

// tell says what has changed between two reports; the caller holds mu.
func (b *Book) tell(point string, before, now []api.PointPackage) {
	was := map[string]api.PointPackage{}
	for _, p := range before {
		was[p.Package] = p
	}
	for _, p := range now {
		old := was[p.Package]
		same := old.State == p.State && old.Revision == p.Revision
		switch {
		case p.State == api.PackageSuccess && !same && b.cfg.Arrived != nil:
			b.cfg.Arrived(point, p)
		case p.State == api.PackageFailed && (!same || old.Error != p.Error) && b.cfg.Failed != nil:
			b.cfg.Failed(point, p)
		}
	}
}

// Run writes the file now and then, and once more when ctx ends.
func (b *Book) Run(ctx context.Context) {
	ticker := time.NewTicker(writeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			b.save()
			return
		case <-ticker.C:
			b.save()
		}
	}
}

// save writes what has changed, and logs where that fails: the next time tries again.
func (b *Book) save() {
	b.mu.Lock()
	was := b.dirty
	var text []byte
	var err error
	if was {
		text, err = b.text()
	}
	b.dirty = false
	b.mu.Unlock()
	if !was {
		return
	}
	if err == nil {
		err = statefile.ReplacePath(b.cfg.File, fileMode, text)
	}
	if err != nil {
		b.mu.Lock()
		b.dirty = true
		b.mu.Unlock()
		b.cfg.Log.Warn("what points say can't be written; it is tried again", zap.Error(err))
	}
}
