package puller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"wimcast/library"
	"wimcast/library/registry"
	"wimcast/library/release"
)

const (
	// blobTries is how often one blob is asked for in a pull: a connection breaks now and then, and a proxy on the way may have sent rubbish once.
	blobTries = 3
	// idleLook is how long the worker sleeps at most: the hours may be another than they were when it asked.
	idleLook = 30 * time.Second
)

// work makes the library what the assignments say, until ctx ends.
func (p *Puller) work(ctx context.Context) {
	for ctx.Err() == nil {
		if p.settle() {
			p.changed()
		}
		e, wait, news := p.next(time.Now())
		if news {
			p.changed()
		}
		if e != nil {
			p.pull(ctx, e)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-p.wake:
		}
		timer.Stop()
	}
}

// settle does what needs no pull: it says what is there, and removes what was withdrawn. It reports whether that changed anything.
func (p *Puller) settle() (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept.assignments == nil {
		return false
	}
	assigned := map[string]bool{}         // references
	manifests := map[digest.Digest]bool{} // of releases
	lacking := map[string]bool{}          // names of which versions are to come
	serving := map[string]bool{}          // names that have an assigned version
	for _, e := range p.entries {
		a := &e.assigned
		assigned[a.Reference], manifests[a.Manifest] = true, true
		name, _, _ := strings.Cut(a.Reference, "@")
		pkg, err := p.cfg.Library.Get(a.Reference)
		switch there := err == nil && pkg.Reference() == a.Reference && pkg.Release() == a.Manifest && pkg.OutOfService == ""; {
		case there:
			if err := p.cfg.Library.Assigned(a.Reference, a.Current); err != nil {
				p.cfg.Log.Warn("package can't be made what its name means", zap.String("package", a.Reference), zap.Error(err))
			}
			serving[name] = true
			if e.state != Success {
				e.set(Success)
				e.digest = pkg.Digest
				news = true
			}
		default:
			lacking[name] = true
			if e.state == Success { // it went out of service
				e.set(Waiting)
				news = true
			}
		}
	}
	for _, pkg := range p.cfg.Library.List() {
		if !pkg.Pulled() || pkg.Prestaged || assigned[pkg.Reference()] || lacking[pkg.Name] && !serving[pkg.Name] {
			continue // in the last case it serves until what comes in its place is there
		}
		if err := p.cfg.Library.Withdraw(pkg.Reference()); err != nil {
			p.cfg.Log.Error("package can't be removed", zap.String("package", pkg.Reference()), zap.Error(err))
			continue
		}
		p.cfg.Log.Info("package withdrawn by the site", zap.String("package", pkg.Reference()), zap.Int64("revision", pkg.Revision))
		news = true
	}
	if err := p.cfg.Library.DropPulls(func(d digest.Digest, imported bool, since time.Time) bool {
		return manifests[d] || imported && time.Since(since) < keepImports
	}); err != nil {
		p.cfg.Log.Error("pulls can't be given up", zap.Error(err))
	}
	return news
}

// rank orders priorities; the lowest goes first.
func rank(a *release.Assigned) int {
	out := map[release.Priority]int{release.High: 0, release.Medium: 2, release.Low: 4}[a.Priority]
	if !a.Current {
		out++ // of one priority the version that people mean goes first
	}
	return out
}

// next returns what to pull now; nil, and how long nothing will be, where there is nothing; and whether that changed what anything waits for.
func (p *Puller) next(now time.Time) (found *entry, wait time.Duration, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait = idleLook
	for _, e := range p.entries {
		if e.state == Success {
			continue
		}
		if left := e.retry.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		ok, next := p.cfg.Gate.Allowed(e.assigned.Priority)
		if !ok {
			held := p.cfg.Gate.Held(e.assigned.Priority)
			news = news || e.held != held
			e.set(Waiting)
			e.held = held
			if !next.IsZero() {
				wait = min(wait, max(next.Sub(now), lookEvery))
			}
			continue
		}
		if found == nil || rank(&e.assigned) < rank(&found.assigned) {
			found = e
		}
	}
	return found, wait, news
}

// preempt ends the pull that runs where something of a higher priority could run.
func (p *Puller) preempt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outranked(time.Now()) {
		p.cancel(errPreempted)
	}
}

// outranked reports whether something of a higher priority than the pull that runs could run now: it neither waits for its
// next try nor for its hours. mu must be held.
func (p *Puller) outranked(now time.Time) bool {
	return p.running != nil && slices.ContainsFunc(p.entries, func(e *entry) bool {
		if e == p.running || e.state == Success || e.retry.After(now) || rank(&e.assigned) >= rank(&p.running.assigned) {
			return false
		}
		ok, _ := p.cfg.Gate.Allowed(e.assigned.Priority)
		return ok
	})
}

// pull pulls one release, and notes what came of it.
func (p *Puller) pull(ctx context.Context, e *entry) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.running, p.cancel = e, cancel
	a := e.assigned
	e.set(InProgress)
	e.bytes, e.total, e.measured = 0, 0, 0
	p.mu.Unlock()
	p.changed()
	began := time.Now()
	pkg, err := p.fetch(ctx, e, &a, cancel)
	p.mu.Lock()
	p.running, p.cancel = nil, nil
	if err == nil {
		e.set(Success)
		e.digest = pkg.Digest
	} else if stopped(ctx) {
		e.set(Waiting)
	}
	came := e.bytes
	p.mu.Unlock()
	switch {
	case err == nil:
		p.cfg.Log.Info("package is in service", zap.String("package", a.Reference), zap.Int64("revision", a.Revision), zap.Int64("bytes", came), zap.Duration("took", time.Since(began)))
		p.changed()
	case stopped(ctx):
		p.cfg.Log.Info("pull is held up; it goes on where it was", zap.String("package", a.Reference), zap.String("why", context.Cause(ctx).Error()))
		p.changed()
	default:
		p.fail(e, err)
	}
}

// fetch makes the library have a release.
func (p *Puller) fetch(ctx context.Context, e *entry, a *release.Assigned, cancel context.CancelCauseFunc) (pkg library.Package, err error) {
	_, manifest, err := p.cfg.Repository.Manifest(ctx, a.Manifest.String())
	if err != nil {
		return pkg, err
	}
	m, err := release.ParseManifest(manifest)
	if err != nil {
		return pkg, err
	}
	document, err := p.small(ctx, &m.Document)
	if err != nil {
		return pkg, err
	}
	pull, err := p.cfg.Library.Pull(manifest, document, false)
	if err != nil {
		return pkg, err
	}
	pkg = pull.Package()
	if pkg.Reference() != a.Reference || pkg.Revision != a.Revision {
		return pkg, errOther(a, pkg.Reference(), pkg.Revision)
	}
	missing, err := pull.Missing(ctx)
	if err != nil {
		return pkg, err
	}
	total := int64(0)
	for i := range missing {
		total += missing[i].Size
	}
	p.mu.Lock()
	e.total, e.digest = total, pkg.Digest
	p.mu.Unlock()
	p.changed()
	if free, err := p.cfg.Library.FreeBytes(); err == nil && total > 0 && uint64(total)+reserve > free {
		return pkg, fmt.Errorf("pull %s: %w: %d bytes have to come and %d are to stay free, %d are; next: at the site, wimcast image withdraw what this point needn't have, or give it more space",
			a.Reference, library.ErrDiskFull, total, int64(reserve), free)
	}
	if err := p.blobs(ctx, e, a, pull, missing, cancel); err != nil {
		return pkg, err
	}
	return pull.Commit(library.Placing{Current: a.Current})
}

// blobs fetches blobs, Parallel at a time.
func (p *Puller) blobs(ctx context.Context, e *entry, a *release.Assigned, pull *library.Pull, missing []v1.Descriptor, cancel context.CancelCauseFunc) error {
	workers, stop := context.WithCancel(ctx)
	defer stop()
	todo := make(chan v1.Descriptor)
	errs := make([]error, min(Parallel, len(missing)))
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() {
			for d := range todo {
				if errs[i] = p.blob(workers, e, a, pull, &d); errs[i] != nil {
					stop()
					return
				}
			}
		})
	}
	watching, enough := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { p.watch(watching, e, cancel) })
hand:
	for i := range missing {
		select {
		case todo <- missing[i]:
		case <-workers.Done():
			break hand
		}
	}
	close(todo)
	running.Wait()
	enough()
	watch.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// What one met ended the others, who then met that.
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil || errors.Is(err, context.Canceled) })
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// blob fetches one blob. What doesn't match is asked for again, and never counts.
func (p *Puller) blob(ctx context.Context, e *entry, a *release.Assigned, pull *library.Pull, d *v1.Descriptor) error {
	for try := 1; ; try++ {
		err := p.tryBlob(ctx, e, a, pull, d)
		if err == nil || ctx.Err() != nil {
			return err
		}
		again := errors.Is(err, library.ErrChunk) || errors.Is(err, registry.ErrDamaged) || errors.Is(err, registry.ErrUnavailable)
		if !again || try == blobTries || registry.RetryAfter(err) > 0 {
			return err
		}
		p.failed.add(err)
		if !sleep(ctx, vary(p.backOff/4*time.Duration(try))) {
			return err
		}
	}
}

func (p *Puller) tryBlob(ctx context.Context, e *entry, a *release.Assigned, pull *library.Pull, d *v1.Descriptor) error {
	body, err := p.cfg.Repository.Blob(ctx, *d, 0)
	if err != nil {
		return err
	}
	in := &counted{Reader: p.cfg.Gate.Reader(ctx, a.Priority, body), p: p, e: e}
	if err = pull.Put(*d, in); err != nil {
		in.takeBack()
	}
	return errors.Join(err, body.Close())
}
