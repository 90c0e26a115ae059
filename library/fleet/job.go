package fleet

import (
	"cmp"
	"slices"
	"time"

	"wimcast/library/release"
)

// State is how far something is.
type State string

// The states: a closed set.
const (
	Waiting    State = "waiting"     // it hasn't begun
	InProgress State = "in_progress" // it is being sent
	Success    State = "success"     // it is in the registry
	Failed     State = "failed"      // it is tried again
)

// job is what is known of the work on a release, or on a point's assignments, in this run of the daemon.
type job struct {
	state    State
	since    time.Time
	bytes    int64 // looked at: they are in the registry
	total    int64
	sent     int64 // of bytes, those that weren't there
	err      error
	failures int
	retry    time.Time
}

// Back-off of what failed.
const (
	firstRetry = time.Second
	mostRetry  = 5 * time.Minute
)

// backoff is how long to wait after so many failures in a row; asked is what the registry asked for.
func backoff(failures int, asked time.Duration) time.Duration {
	d := firstRetry << min(failures-1, 16)
	return max(min(d, mostRetry), asked)
}

// update changes what is known of a job, which it makes where there is none.
func (s *Site) update(name string, change func(*job)) {
	s.working.Lock()
	defer s.working.Unlock()
	j := s.jobs[name]
	if j == nil {
		j = &job{state: Waiting, since: s.now()}
		s.jobs[name] = j
	}
	change(j)
}

// due reports whether a job may be tried now, and if not, when.
func (s *Site) due(name string) (bool, time.Time) {
	s.working.Lock()
	defer s.working.Unlock()
	j := s.jobs[name]
	if j == nil || j.state != Failed || !s.now().Before(j.retry) {
		return true, time.Time{}
	}
	return false, j.retry
}

// registryJob names the job of looking at the registry.
const registryJob = "//registry"

// assignmentsJob names the job of a point's assignments. References have no slash.
func assignmentsJob(point string) string { return "/" + point }

// Assigned is a release that a point shall have, and how far it is on its way to the registry.
type Assigned struct {
	Reference string
	Current   bool // the name alone means it there
	Priority  release.Priority
	// Revision is the site's latest of it that is in the registry; 0: none.
	Revision int64
	State    State
	Since    time.Time // of State
	// Bytes of Total are in the registry, while it is in progress; Sent of them weren't there before.
	Bytes, Total, Sent int64
	Err                string // why it failed
	Retry              time.Time
}

// PointState is a point with what it shall have.
type PointState struct {
	Point
	Packages  []Assigned
	LeftOut   []LeftOut
	Serial    int64     // of the assignments that it finds in the registry; 0: there are none
	Published time.Time // when they were
	Err       string    // why newer ones aren't there
	Retry     time.Time
}

// Points returns all points, by name.
func (s *Site) Points() []PointState {
	st := s.current()
	plan := st.plan(s.facts())
	s.working.Lock()
	defer s.working.Unlock()
	out := make([]PointState, len(st.Points))
	for i := range st.Points {
		out[i] = s.pointState(st, &plan, &st.Points[i])
	}
	return out
}

// Point returns one. The error wraps ErrNotFound.
func (s *Site) Point(name string) (PointState, error) {
	st := s.current()
	p := st.point(name)
	if p == nil {
		return PointState{}, st.unknown(name, true)
	}
	plan := st.plan(s.facts())
	s.working.Lock()
	defer s.working.Unlock()
	return s.pointState(st, &plan, p), nil
}

// pointState puts together what is known of a point. working must be held.
func (s *Site) pointState(st *state, plan *plan, p *Point) PointState {
	out := PointState{Point: p.clone(), LeftOut: leftOutOf(plan.leftOut, p.Name), Packages: []Assigned{}}
	if d := st.published(p.Name); d != nil {
		out.Serial, out.Published = d.Serial, d.At
	}
	for _, name := range []string{registryJob, assignmentsJob(p.Name)} {
		if j := s.jobs[name]; j != nil && j.err != nil {
			out.Err, out.Retry = j.err.Error(), j.retry
		}
	}
	for _, n := range plan.needs[p.Name] {
		ref := n.reference()
		a := Assigned{Reference: ref, Current: n.current, Priority: n.priority, State: Waiting}
		w, m := plan.wants[ref], st.made(ref)
		if m != nil {
			a.Revision = m.Revision
			if w.work(m, s.stale[ref]) == workNone {
				a.State, a.Since = Success, m.At
			}
		}
		if j := s.jobs[ref]; j != nil && a.State != Success {
			a.State, a.Since, a.Retry = j.state, j.since, j.retry
			a.Bytes, a.Total, a.Sent = j.bytes, j.total, j.sent
			if j.err != nil {
				a.Err = j.err.Error()
			}
		} else if a.State == Waiting && w.why != "" {
			a.State, a.Err = Failed, w.why
		}
		out.Packages = append(out.Packages, a)
	}
	return out
}

// Groups returns the groups and the points in each.
func (s *Site) Groups() map[string][]string {
	st, out := s.current(), map[string][]string{}
	for _, g := range st.groups() {
		out[g] = nil
	}
	for i := range st.Points {
		for _, g := range st.Points[i].Groups {
			out[g] = append(out[g], st.Points[i].Name)
		}
	}
	return out
}

// inOrder returns what there is to do, what is urgent first.
func inOrder(wants map[string]*want) []*want {
	var out []*want
	for _, w := range wants {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b *want) int {
		if c := rank(b.priority) - rank(a.priority); c != 0 {
			return c
		}
		return cmp.Compare(a.order, b.order)
	})
	return out
}
