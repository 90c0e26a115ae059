package servicing

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is how far a schedule, a run or a step is.
type State string

// The states: a closed set. A schedule that recurs waits again after each run.
const (
	Waiting    State = "waiting"
	InProcess  State = "in_process"
	Successful State = "successful"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
	Skipped    State = "skipped" // of a step: there was nothing to do
)

// ScheduleStates returns the states that a schedule can be in, in a fixed order.
func ScheduleStates() []State { return []State{Waiting, InProcess, Successful, Failed, Cancelled} }

// Executors: what does the work.
const (
	ExecutorOverlay = "overlay" // this machine puts files into the image
	ExecutorStage   = "stage"   // this machine puts packages into the image, and Windows installs them on the client
	ExecutorDISM    = "dism"    // a Windows machine installs them into the image: a worker
)

// Order is what shall be done.
type Order struct {
	Image   string   `json:"image"`             // a package's name, for its current version when it runs; or name@version
	Indexes []int    `json:"indexes,omitempty"` // of the images in it; empty: all
	Updates []string `json:"updates,omitempty"` // ids or references of updates and overlays, in their order
	// Applicable adds, when it runs, every update of the catalogue that is applicable and not yet applied.
	Applicable bool   `json:"applicable,omitempty"`
	Executor   string `json:"executor,omitempty"` // of updates; overlays need none
	When       When   `json:"when"`
	// ContinueOnError goes on with the next update after one that failed.
	ContinueOnError bool   `json:"continue_on_error,omitempty"`
	Version         string `json:"version,omitempty"` // of the new package; empty: the old one's with the date
	// Distribute has the new version go to the points that the version before goes to.
	Distribute bool `json:"distribute,omitempty"`
}

// Bounds of orders and of what is kept.
const (
	maxOrdered   = 200
	maxIndexes   = 64
	maxSchedules = 500 // those that ended longest ago go first
	maxRuns      = 20  // of a schedule; the oldest go first
	maxSteps     = 5000
	maxAllSteps  = 20_000 // of all schedules: what they say fits into the file; of older runs they go
	maxReference = 255
)

// Schedule is an order with what has come of it.
type Schedule struct {
	ID      string    `json:"id"` // such as v3
	Order   Order     `json:"order"`
	By      string    `json:"by"` // who made it
	Created time.Time `json:"created"`
	State   State     `json:"state"`
	Due     time.Time `json:"due,omitzero"` // of the next run; zero without one
	Reason  string    `json:"reason,omitempty"`
	Runs    []Run     `json:"runs,omitempty"` // the latest last
}

// Run is one try.
type Run struct {
	ID      string    `json:"id"` // random; the new version's XML has it
	State   State     `json:"state"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	From    string    `json:"from,omitempty"` // name@version
	To      string    `json:"to,omitempty"`   // name@version; empty where there is no new version
	Reason  string    `json:"reason,omitempty"`
	Steps   []Step    `json:"steps,omitempty"`
}

// Step is an update or overlay in a run: the line of its log.
type Step struct {
	Update   string    `json:"update"` // reference
	Index    int       `json:"index"`
	Executor string    `json:"executor,omitempty"`
	State    State     `json:"state"`
	Text     string    `json:"text,omitempty"`
	Ended    time.Time `json:"ended,omitzero"`
}

// check refuses an order that can't be, whatever is in the library.
func (o *Order) check(now time.Time) error {
	var errs []error
	if o.Image == "" || len(o.Image) > maxReference {
		errs = append(errs, errors.New("it wants the name of an image"))
	}
	if len(o.Updates) == 0 && !o.Applicable {
		errs = append(errs, errors.New("there is nothing to apply; name updates with --update, overlays with --overlay, or say --applicable"))
	}
	if len(o.Updates) > maxOrdered || len(o.Indexes) > maxIndexes {
		errs = append(errs, fmt.Errorf("at most %d updates and %d images", maxOrdered, maxIndexes))
	}
	for i, name := range o.Updates {
		if slices.ContainsFunc(o.Updates[:i], func(other string) bool { return strings.EqualFold(other, name) }) {
			errs = append(errs, fmt.Errorf("%s is in it twice", printable(name)))
		}
	}
	if o.Version != "" && o.When.Recurring() {
		errs = append(errs, errors.New("version and cron: each run makes a version of its own; keep one"))
	}
	if o.Executor != "" && o.Executor != ExecutorStage && o.Executor != ExecutorDISM {
		errs = append(errs, fmt.Errorf("executor %.40q: %w: updates can be put into an image for Windows to install on the client (stage), or be installed by a Windows machine (dism); nothing on this machine can install them", o.Executor, ErrUnsupported))
	}
	return errors.Join(append(errs, o.When.Check(now))...)
}

// clone returns a copy that shares nothing that changes.
func (s *Schedule) clone() Schedule {
	out := *s
	out.Runs = slices.Clone(s.Runs)
	for i := range out.Runs {
		out.Runs[i].Steps = slices.Clone(out.Runs[i].Steps)
	}
	return out
}

// ended reports whether nothing more comes of it.
func (s *Schedule) ended() bool { return s.State != Waiting && s.State != InProcess }

// wants reports whether the run in process has still to do with an update.
func (s *Schedule) wants(reference string) bool {
	return s.State == InProcess && len(s.Runs) > 0 && slices.ContainsFunc(s.Runs[len(s.Runs)-1].Steps, func(step Step) bool {
		return step.Update == reference && (step.State == Waiting || step.State == InProcess)
	})
}

// trim drops the steps of the oldest runs where there are too many of all.
func trim(schedules []*Schedule, limit int) {
	for _, sc := range slices.Backward(schedules) {
		for i := range slices.Backward(sc.Runs) {
			if limit -= len(sc.Runs[i].Steps); limit < 0 && sc.State != InProcess {
				sc.Runs[i].Steps = nil
			}
		}
	}
}

// begin adds a run.
func (s *Schedule) begin(run Run) {
	s.State, s.Reason, s.Due = InProcess, "", time.Time{}
	if len(s.Runs) >= maxRuns {
		s.Runs = slices.Delete(s.Runs, 0, len(s.Runs)-maxRuns+1)
	}
	s.Runs = append(s.Runs, run)
}

// end ends the latest run, and the schedule with it unless it recurs.
func (s *Schedule) end(state State, reason string, now time.Time) {
	run := &s.Runs[len(s.Runs)-1]
	run.State, run.Reason, run.Ended = state, printable(reason), now
	s.State, s.Reason = state, run.Reason
	if next := s.Order.When.Next(now); s.Order.When.Recurring() && state != Cancelled && !next.IsZero() {
		s.State, s.Due = Waiting, next
	}
}

// nextVersion names a version after the one that it is made of: the date behind a plus, and a number where
// that is taken. The date of an earlier servicing gives way.
func nextVersion(version string, now time.Time, taken func(string) bool) string {
	base, _, _ := strings.Cut(version, "+")
	base = base[:min(len(base), maxVersionBase)]
	dated := base + "+" + now.Format(time.DateOnly)
	for n, v := 2, dated; ; n++ {
		if !taken(v) {
			return v
		}
		v = fmt.Sprintf("%s.%d", dated, n)
	}
}

// maxVersionBase leaves room for date and number in a version of 64 bytes.
const maxVersionBase = 44
