package puller

import (
	"context"
	"crypto/ed25519"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"wimcast/library"
	"wimcast/library/release"
)

const (
	// Parallel is how many blobs are on their way at a time, as many as library/registry lets through by itself. From a registry on the same, busy machine 1, 2, 4
	// and 8 made 26, 41, 46 and 58 MB/s, and 13, 23, 32 and 36 at another time; over a thin line more make each slower, and more is lost when hours close.
	Parallel = 4
	// DefaultEvery is how often the registry is asked for new assignments.
	DefaultEvery = time.Minute
	// maxBackOff bounds how long a failure keeps from the next try.
	maxBackOff = 5 * time.Minute
	// firstBackOff is how long the first failure does.
	firstBackOff = 5 * time.Second
	// jitter is by what part waits vary, so that many points don't come at once.
	jitter = 0.1
	// lookEvery is how often a pull looks at the hours and measures its rate.
	lookEvery = time.Second
	// reserve is what a pull leaves free on the disk, in bytes: the daemon writes other things too.
	reserve = 64 << 20
	// keepImports is how long an import that doesn't go on keeps what came of it.
	keepImports = 7 * 24 * time.Hour
)

// repository is the registry's, as far as it matters here; see library/registry.
type repository interface {
	Head(ctx context.Context, reference string) (v1.Descriptor, error)
	Manifest(ctx context.Context, reference string) (v1.Descriptor, []byte, error)
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
}

// gate is the hours; see library/fleet/window.
type gate interface {
	Allowed(p release.Priority) (ok bool, next time.Time)
	Held(p release.Priority) string
	Reader(ctx context.Context, p release.Priority, r io.Reader) io.Reader
}

// Config is what a Puller works with. All fields are required that don't say otherwise.
type Config struct {
	// Library is the point's, opened with library.OpenPoint.
	Library    *library.Library
	Repository repository
	Gate       gate
	// Dir is where assignments are kept; it is made.
	Dir string
	// Site is the key that assignments are signed with, Point the name that they are for.
	Site  ed25519.PublicKey
	Point string
	// Every is how often the registry is asked; 0 is DefaultEvery.
	Every time.Duration
	// Assigned hears of assignments: of those that were kept when Run begins, and of all new ones, before anything is pulled. May be nil.
	Assigned func(*release.Assignments)
	// Changed is called when the state of a package changed; it mustn't block. May be nil.
	Changed func()
	Log     *zap.Logger
}

// Puller pulls. Safe for concurrent use.
type Puller struct {
	cfg     Config
	disk    *os.Root
	failed  counts
	bytes   atomic.Uint64
	wake    chan struct{} // the worker
	askNow  chan struct{} // the registry
	backOff time.Duration // the first; of tests

	mu      sync.Mutex
	kept    kept
	entries []*entry // as assigned, in that order
	status  Status
	running *entry
	cancel  context.CancelCauseFunc // of running
}

// Status is how the point stands with its site.
type Status struct {
	Serial    int64     // of the assignments that hold; 0: none came yet
	Made      time.Time // they, by the site's clock
	Multicast bool      // whether the point casts
	Polled    time.Time // when the registry last answered with what holds
	Err       string    // why the latest try failed; "" where it didn't
	Next      time.Time // when it is asked next
}

// New returns a Puller that knows what it knew before. It starts nothing.
func New(cfg Config) (*Puller, error) {
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	p := &Puller{cfg: cfg, wake: make(chan struct{}, 1), askNow: make(chan struct{}, 1), backOff: firstBackOff}
	p.failed.n = map[Reason]uint64{}
	if err := p.openDisk(); err != nil {
		return nil, err
	}
	if p.kept.assignments != nil {
		p.install(p.kept)
	}
	return p, nil
}

// Close lets go of the directory; call it after Run has returned.
func (p *Puller) Close() error { return p.disk.Close() }

// Run pulls until ctx ends.
func (p *Puller) Run(ctx context.Context) {
	if a := p.assignments(); a != nil && p.cfg.Assigned != nil {
		p.cfg.Assigned(a)
	}
	var running sync.WaitGroup
	running.Go(func() { p.work(ctx) })
	running.Go(func() { p.pollAll(ctx) })
	running.Wait()
}

// Poke makes the Puller look soon at what the library has: something went out of service. It doesn't block.
func (p *Puller) Poke() { poke(p.wake) }

// Ask makes the Puller ask the registry soon. It doesn't block.
func (p *Puller) Ask() { poke(p.askNow) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Status returns how the point stands with its site.
func (p *Puller) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Bytes returns how many bytes of blobs came from the registry.
func (p *Puller) Bytes() uint64 { return p.bytes.Load() }

// Failures counts failures by reason, each of Reasons.
func (p *Puller) Failures() map[Reason]uint64 { return p.failed.snapshot() }

// assignments returns those that hold, nil where none do.
func (p *Puller) assignments() *release.Assignments {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kept.assignments
}

// install makes assignments those that hold. Entries of releases that they name as before stay as they are.
func (p *Puller) install(k kept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = k
	p.status.Serial, p.status.Made, p.status.Multicast = k.assignments.Serial, k.assignments.Made, k.assignments.Multicast
	before := map[digest.Digest]*entry{}
	for _, e := range p.entries {
		before[e.assigned.Manifest] = e
	}
	p.entries = nil
	still := false
	for _, a := range k.assignments.Packages {
		e := before[a.Manifest]
		if e == nil || e.assigned.Reference != a.Reference {
			e = &entry{state: Waiting, since: time.Now()}
		}
		e.assigned = a
		e.retry = time.Time{} // the site may have mended what failed
		p.entries = append(p.entries, e)
		still = still || e == p.running
	}
	if p.running != nil && !still {
		p.cancel(errWithdrawn)
	}
}

// changed tells whoever wants to know it.
func (p *Puller) changed() {
	if p.cfg.Changed != nil {
		p.cfg.Changed()
	}
}
