package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library/registry"
)

const (
	// lookEvery is how often it is looked whether something has to be done that nobody told of: a package came back into service,
	// a certificate was revoked.
	lookEvery = time.Minute
	// retiredFor is how long the registry keeps a release that isn't in use: a point may be in the middle of it.
	retiredFor = 24 * time.Hour
)

// Run brings into the registry what has to be there, until ctx ends.
func (s *Site) Run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { s.loop(ctx, s.wake[0], s.contents) })
	both.Go(func() { s.loop(ctx, s.wake[1], s.documents) })
	both.Wait()
}

// loop does a pass whenever something may have changed. A pass returns when it wants to be called again at the latest; zero for never.
func (s *Site) loop(ctx context.Context, wake <-chan struct{}, pass func(context.Context) time.Time) {
	for ctx.Err() == nil {
		wait := lookEvery
		if again := pass(ctx); !again.IsZero() {
			wait = max(0, min(wait, again.Sub(s.now())))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// isStale reports whether the registry has lost a release.
func (s *Site) isStale(ref string) bool {
	s.working.Lock()
	defer s.working.Unlock()
	return s.stale[ref]
}

// contents sends contents, one after the other, until there is none to send now.
func (s *Site) contents(ctx context.Context) (again time.Time) {
	for ctx.Err() == nil {
		var next *want
		again = time.Time{}
		st := s.current()
		for _, w := range inOrder(st.plan(s.facts()).wants) {
			if w.work(st.made(w.reference()), s.isStale(w.reference())) != workHeavy || !w.there {
				continue
			}
			ok, at := s.due(w.reference())
			if ok {
				next = w
				break
			}
			again = earlier(again, at)
		}
		if next == nil {
			return again
		}
		s.work(ctx, next.reference(), Change{Reference: next.reference()}, func(c *Change) (err error) {
			c.Bytes, err = s.push(ctx, next)
			if m := s.current().made(next.reference()); m != nil {
				c.Revision = m.Revision
			}
			return err
		})
	}
	return again
}

// documents does all that takes no time: releases whose content is there, assignments, what isn't in use any more.
func (s *Site) documents(ctx context.Context) (again time.Time) {
	s.tidy()
	if ok, at := s.due(registryJob); !ok {
		return at // it is away
	}
	if err := s.checkRegistry(ctx); err != nil {
		return s.failed(ctx, registryJob, Change{}, err)
	}
	s.succeeded(registryJob)
	st := s.current()
	for _, w := range inOrder(st.plan(s.facts()).wants) {
		ref := w.reference()
		m := st.made(ref)
		if w.work(m, s.isStale(ref)) != workLight {
			continue
		}
		if ok, at := s.due(ref); !ok {
			again = earlier(again, at)
			continue
		}
		again = earlier(again, s.work(ctx, ref, Change{Reference: ref}, func(c *Change) error {
			err := s.remake(ctx, w, m)
			if err != nil && !errors.Is(err, registry.ErrUnavailable) && !errors.Is(err, registry.ErrUnauthorized) && ctx.Err() == nil {
				// The registry has lost layers, or the disk what was kept of them: all of it is looked at.
				s.working.Lock()
				s.stale[ref] = true
				s.working.Unlock()
				s.Poke()
			}
			if now := s.current().made(ref); now != nil {
				c.Revision = now.Revision
			}
			return err
		}))
	}
	st = s.current()
	names := slices.Clone(st.Gone)
	for i := range st.Points {
		names = append(names, st.Points[i].Name)
	}
	for _, name := range names {
		again = earlier(again, s.publishOne(ctx, name))
	}
	return earlier(again, s.retire(ctx))
}

func (s *Site) publishOne(ctx context.Context, name string) (again time.Time) {
	job := assignmentsJob(name)
	if ok, at := s.due(job); !ok {
		return at
	}
	began := time.Now()
	serial, done, err := s.publish(ctx, name)
	if err != nil {
		return s.failed(ctx, job, Change{Point: name}, err)
	}
	s.succeeded(job)
	if done {
		s.tell(Change{Point: name, Revision: serial, Took: time.Since(began)})
	}
	return time.Time{}
}

// work does the work on a release and keeps what came of it.
func (s *Site) work(ctx context.Context, ref string, c Change, do func(*Change) error) (again time.Time) {
	s.update(ref, func(j *job) { j.state, j.since, j.err = InProgress, s.now(), nil })
	began := time.Now()
	err := do(&c)
	c.Took = time.Since(began)
	switch {
	case errors.Is(err, errUnwanted):
		s.succeeded(ref)
		s.Poke() // what is wanted now may be something else
		return time.Time{}
	case err != nil:
		return s.failed(ctx, ref, c, err)
	}
	s.succeeded(ref)
	s.tell(c)
	return time.Time{}
}

func (s *Site) succeeded(name string) {
	s.working.Lock()
	defer s.working.Unlock()
	delete(s.jobs, name)
}

// failed keeps why something failed, and says when it is tried again. What ended because the daemon ends didn't fail.
func (s *Site) failed(ctx context.Context, name string, c Change, err error) time.Time {
	var retry time.Time
	s.update(name, func(j *job) {
		if ctx.Err() != nil {
			j.state, j.err = Waiting, nil
			return
		}
		j.failures++
		retry = s.now().Add(backoff(j.failures, registry.RetryAfter(err)))
		j.state, j.since, j.err, j.retry = Failed, s.now(), err, retry
		c.Failures = j.failures
	})
	if ctx.Err() == nil {
		c.Err, c.Retry = err, retry
		s.tell(c)
	}
	return retry
}

func (s *Site) tell(c Change) {
	if s.cfg.Changed != nil {
		s.cfg.Changed(c)
	}
}

// tidy forgets what nobody wants any more.
func (s *Site) tidy() {
	st := s.current()
	wants := st.plan(s.facts()).wants
	var gone []Made
	for i := range st.Made {
		if wants[st.Made[i].reference()] == nil {
			gone = append(gone, st.Made[i])
		}
	}
	s.working.Lock()
	for name := range s.jobs {
		if !strings.HasPrefix(name, "/") && wants[name] == nil {
			delete(s.jobs, name)
		}
		if point, ok := strings.CutPrefix(name, "/"); ok && !strings.HasPrefix(point, "/") && st.point(point) == nil && !slices.Contains(st.Gone, point) {
			delete(s.jobs, name)
		}
	}
	s.working.Unlock()
	if len(gone) == 0 {
		return
	}
	err := s.change(func(st *state) error {
		for i := range gone {
			st.retire(&gone[i], s.now())
			st.Made = slices.DeleteFunc(st.Made, func(m Made) bool { return m.Manifest == gone[i].Manifest })
		}
		return nil
	})
	if err == nil {
		for i := range gone {
			s.forget(&gone[i])
		}
	}
}

// retire asks the registry to remove what isn't in use for long. Many registries don't, unless they are told to: that is theirs to say.
func (s *Site) retire(ctx context.Context) (again time.Time) {
	var done []Retired
	for _, r := range s.current().Retired {
		if at := r.At.Add(retiredFor); s.now().Before(at) {
			again = earlier(again, at)
			continue
		}
		err := s.cfg.Repository.DeleteManifest(ctx, v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: r.Manifest, Size: r.Size})
		if errors.Is(err, registry.ErrUnavailable) || ctx.Err() != nil {
			break
		}
		done = append(done, r)
	}
	if len(done) > 0 {
		_ = s.change(func(st *state) error { // what can't be noted is tried again
			st.Retired = slices.DeleteFunc(st.Retired, func(r Retired) bool { return slices.Contains(done, r) })
			return nil
		})
	}
	return again
}
