package servicing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"wimcast/library/wim"
)

// Image is a package of the library.
type Image struct {
	Name, Version string
	Reference     string // name@version
	Digest        string
	Size          int64
	OutOfService  string // why; empty while it is in service
	Images        []wim.Image
}

// Content is the content of a package. What ReadAt returns is proven; Path is where the file
// lies for wimlib to look into.
type Content interface {
	io.ReaderAt
	Size() int64
	Path() string
	Close() error
}

// images is the library.
type images interface {
	Images() []Image
	// Image returns the package of a reference; of a name alone its current version.
	Image(ref string) (Image, error)
	Open(image Image) (Content, error)
	// Free returns how many bytes can still be written where the library lies.
	Free() (uint64, error)
	// Add adds a new version of a package, with its settings, whole or not at all.
	Add(ctx context.Context, r io.Reader, size int64, from Image, version string) (Image, error)
}

// Config is what a Service works with. All fields are required that don't say otherwise.
type Config struct {
	Dir       string // which it makes where it is missing
	Catalogue *Catalogue
	Images    images
	// Distribute has a new version of a package go to the points that the version before goes to, and returns those that shall have it. It
	// may be called twice for one. nil: there are no points.
	Distribute func(name, from, to string) ([]string, error)
	// Changed is told of what becomes of each schedule. It must not block; may be nil.
	Changed func(Schedule, Change)
}

// Change says what has just happened to a schedule.
type Change int

// The changes.
const (
	Made    Change = iota // by somebody, who may have been told already
	Began                 // a run
	Stepped               // a step of the run is done or begins; or it was cancelled before it ran
	Ended                 // a run
)

// Service keeps schedules and runs them. Safe for concurrent use.
type Service struct {
	cfg       Config
	root      *os.Root
	executors map[string]executor
	workers   workers
	wake      chan struct{} // something is due, or new

	mu        sync.Mutex
	schedules []*Schedule // in the order of their making
	next      int         // the number of the next one
	stop      context.CancelCauseFunc

	learning sync.Mutex // held while facts are read
	unknown  map[string]bool
}

// Files of a service.
const (
	schedulesFile = "schedules.json"
	workDir       = "work"
	factsDir      = "facts"
)

// saved is what stands in the file.
type saved struct {
	Next      int         `json:"next"`
	Schedules []*Schedule `json:"schedules"`
}

var (
	errInterrupted = errors.New("the daemon ended while it was in process; the image is as it was, and what was made of it is removed")
	errCancelled   = errors.New("cancelled by the operator")
)

// New opens the schedules. A run that was in process when the daemon ended has failed, and its files
// are removed, unless its new version was in the library already. Nothing is started.
func New(cfg Config) (*Service, error) {
	s := &Service{
		cfg: cfg, wake: make(chan struct{}, 1), unknown: map[string]bool{},
		workers:   workers{lease: workerLease, wait: workerWait},
		executors: map[string]executor{ExecutorOverlay: overlayExecutor{}, ExecutorStage: stageExecutor{}},
	}
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open schedules %s: %w", cfg.Dir, err)
	}
	return s, nil
}

func (s *Service) open() (err error) {
	if s.root, err = openDir(s.cfg.Dir, factsDir); err != nil {
		return err
	}
	if err := emptyDir(s.root, workDir); err != nil {
		return err
	}
	in := saved{Next: 1}
	if err := readJSON(s.root, schedulesFile, &in); err != nil {
		return err
	}
	s.schedules, s.next = in.Schedules, in.Next
	now, changed := time.Now().UTC(), false
	for _, sc := range s.schedules {
		switch {
		case sc == nil:
			return fmt.Errorf("%s: an entry is empty", schedulesFile)
		case sc.State == InProcess && len(sc.Runs) > 0:
			changed = true
			if made, ok := s.madeBy(sc.Runs[len(sc.Runs)-1].ID); ok {
				run := &sc.Runs[len(sc.Runs)-1]
				run.To = made
				sc.end(Successful, s.distribute(&sc.Order, run.From, made), now)
			} else {
				sc.end(Failed, errInterrupted.Error(), now)
			}
		case sc.State == Waiting && sc.Order.When.Recurring() && sc.Due.Before(now):
			sc.Due, changed = sc.Order.When.Next(now), true
		}
	}
	if changed {
		return s.save()
	}
	return nil
}

// madeBy looks for the version that a run made.
func (s *Service) madeBy(run string) (reference string, ok bool) {
	for _, image := range s.cfg.Images.Images() {
		for i := range image.Images {
			if image.Images[i].Serviced.Run == run {
				return image.Reference, true
			}
		}
	}
	return "", false
}

// Close closes the files. Run must have returned.
func (s *Service) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// save writes the schedules. mu must be held, or nobody else be there.
func (s *Service) save() error {
	trim(s.schedules, maxAllSteps)
	return writeJSON(s.root, schedulesFile, workDir, saved{s.next, s.schedules})
}

// Run runs what is due, one at a time, and reads what is installed in new images, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	for {
		s.learnAll(ctx)
		id, due := s.nextDue()
		var timer <-chan time.Time
		if id != "" {
			if wait := time.Until(due); wait > 0 {
				timer = time.After(min(wait, maxWait))
			} else {
				s.run(ctx, id)
				if ctx.Err() == nil {
					continue
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer:
		}
	}
}

// maxWait bounds a wait: clocks are set, and machines sleep.
const maxWait = time.Minute

// Poke says that there is something new: an image was added.
func (s *Service) Poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// nextDue returns the schedule that is due next.
func (s *Service) nextDue() (id string, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.schedules {
		if sc.State == Waiting && !sc.Due.IsZero() && (id == "" || sc.Due.Before(due)) {
			id, due = sc.ID, sc.Due
		}
	}
	return id, due
}

// Schedules returns all of them, the latest first.
func (s *Service) Schedules() []Schedule {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Schedule, 0, len(s.schedules))
	for _, sc := range slices.Backward(s.schedules) {
		out = append(out, sc.clone())
	}
	return out
}

// Schedule returns one. The error wraps ErrNotFound.
func (s *Service) Schedule(id string) (Schedule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, err := s.find(id)
	if err != nil {
		return Schedule{}, err
	}
	return sc.clone(), nil
}

// find returns one. mu must be held.
func (s *Service) find(id string) (*Schedule, error) {
	i := slices.IndexFunc(s.schedules, func(sc *Schedule) bool { return sc.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("%w: no schedule is %q; next: wimcast schedule list", ErrNotFound, printable(id))
	}
	return s.schedules[i], nil
}

// Create makes a schedule, after the whole of it was tried against what is in the library and the catalogue.
// The error wraps ErrNotFound or ErrUnsupported where that is why.
func (s *Service) Create(ctx context.Context, order Order, by string) (Schedule, error) {
	order.Updates = slices.Clone(order.Updates)
	plan, err := s.Plan(ctx, order)
	if err != nil {
		return Schedule{}, err
	}
	now := time.Now().UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	sc := &Schedule{ID: "v" + strconv.Itoa(s.next), Order: order, By: printable(by), Created: now, State: Waiting, Due: plan.Due}
	before, number := s.schedules, s.next
	s.schedules, s.next = append(slices.Clone(s.schedules), sc), s.next+1
	for len(s.schedules) > maxSchedules {
		old := slices.IndexFunc(s.schedules, (*Schedule).ended)
		if old < 0 {
			s.schedules, s.next = before, number
			return Schedule{}, fmt.Errorf("schedule: %d are waiting already, the most that there can be; next: wimcast schedule list", maxSchedules)
		}
		s.schedules = slices.Delete(s.schedules, old, old+1)
	}
	if err := s.save(); err != nil {
		s.schedules, s.next = before, number
		return Schedule{}, fmt.Errorf("schedule: %w", err)
	}
	s.tell(sc, Made)
	s.Poke()
	return sc.clone(), nil
}

// Cancel cancels a schedule: one that waits never runs, one that is in process ends soon and changes nothing.
// The error wraps ErrNotFound, or says that it has ended.
func (s *Service) Cancel(id string) (Schedule, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, err := s.find(id)
	switch {
	case err != nil:
		return Schedule{}, err
	case sc.ended():
		return Schedule{}, fmt.Errorf("cancel schedule %s: %w: it is %s", sc.ID, ErrEnded, sc.State)
	case sc.State == InProcess:
		s.stop(errCancelled)
		return sc.clone(), nil
	}
	before := *sc
	sc.State, sc.Reason, sc.Due = Cancelled, errCancelled.Error(), time.Time{}
	if err := s.save(); err != nil {
		*sc = before
		return Schedule{}, fmt.Errorf("cancel schedule %s: %w", sc.ID, err)
	}
	s.tell(sc, Stepped)
	return sc.clone(), nil
}

// ErrEnded says that a schedule has ended already.
var ErrEnded = errors.New("it has ended already")

// RemoveUpdate removes an update or overlay from the catalogue. The error wraps ErrNotFound, or ErrInUse where a
// schedule that hasn't ended wants it.
func (s *Service) RemoveUpdate(name string) (Update, error) {
	return s.cfg.Catalogue.remove(name, func(reference string) string {
		u, err := s.cfg.Catalogue.Get(reference)
		if err != nil {
			return ""
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, sc := range s.schedules {
			if sc.wants(reference) || !sc.ended() && slices.ContainsFunc(sc.Order.Updates, func(o string) bool { return strings.EqualFold(o, u.ID) || strings.EqualFold(o, reference) }) {
				return sc.ID
			}
		}
		return ""
	})
}

// tell tells of a schedule. mu must be held.
func (s *Service) tell(sc *Schedule, what Change) {
	if s.cfg.Changed != nil {
		s.cfg.Changed(sc.clone(), what)
	}
}

// change changes a schedule, on disk too. What can't be written is true in memory all the same; the error says so.
func (s *Service) change(id string, what Change, change func(*Schedule)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sc, err := s.find(id)
	if err != nil {
		return err
	}
	change(sc)
	err = s.save()
	s.tell(sc, what)
	return err
}

// workPath is the directory of the run in process.
func (s *Service) workPath() string { return filepath.Join(s.cfg.Dir, workDir) }
