package puller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"

	"wimcast/library/registry"
	"wimcast/library/release"
)

// pollAll asks the registry until ctx ends.
func (p *Puller) pollAll(ctx context.Context) {
	failures := 0
	var refused refusal
	for ctx.Err() == nil {
		err := p.poll(ctx, &refused)
		if ctx.Err() != nil {
			return
		}
		wait := vary(p.cfg.Every)
		if err != nil {
			failures++
			p.failed.add(err)
			wait = max(wait, after(p.cfg.Every, failures, err))
		} else {
			failures = 0
		}
		p.polled(err, wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-p.askNow:
		}
		timer.Stop()
	}
}

// polled notes how asking went.
func (p *Puller) polled(err error, wait time.Duration) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	p.mu.Lock()
	news := text != p.status.Err
	p.status.Err, p.status.Next = text, time.Now().Add(wait)
	if err == nil {
		p.status.Polled = time.Now()
	}
	p.mu.Unlock()
	switch {
	case !news:
	case err != nil:
		p.cfg.Log.Warn("new assignments can't be had; what is here is served", zap.Error(err), zap.Duration("next_try", wait))
	default:
		p.cfg.Log.Info("assignments can be had again")
	}
	if news {
		p.changed()
	}
}

// refusal remembers assignments that were refused, so that they aren't fetched each time.
type refusal struct {
	digest digest.Digest
	err    error
}

// poll asks once, and takes over what is new.
func (p *Puller) poll(ctx context.Context, refused *refusal) error {
	tag := release.AssignmentsTag(p.cfg.Point)
	d, err := p.cfg.Repository.Head(ctx, tag)
	if errors.Is(err, registry.ErrNotFound) {
		return fmt.Errorf("the registry has no assignments of this point (%s), now or yet; next: at the site, wimcast point show %s: %w", tag, p.cfg.Point, err)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	had := p.kept
	p.mu.Unlock()
	switch d.Digest {
	case had.digest:
		return nil
	case refused.digest:
		return refused.err
	}
	_, manifest, err := p.cfg.Repository.Manifest(ctx, d.Digest.String())
	if err != nil {
		return err
	}
	m, err := release.ParseAssignments(manifest)
	if err != nil {
		*refused = refusal{d.Digest, err}
		return err
	}
	document, err := p.small(ctx, &m.Document)
	if err != nil {
		return err
	}
	now, err := p.prove(manifest, document)
	if err == nil && had.assignments != nil && now.assignments.Serial <= had.assignments.Serial {
		err = fmt.Errorf("assignments of %s: serial %d is %w (%d): the registry gives out old ones, or the site was restored from a backup; "+
			"next: at the site, wimcast point show %s, and docs/fleet.md", p.cfg.Point, now.assignments.Serial, errReplayed, had.assignments.Serial, p.cfg.Point)
	}
	if err != nil {
		*refused = refusal{d.Digest, err}
		return err
	}
	if err := p.keep(manifest, document); err != nil { // before it counts: its serial mustn't be forgotten
		return err
	}
	p.install(now)
	p.cfg.Log.Info("assignments", zap.Int64("serial", now.assignments.Serial), zap.Int("packages", len(now.assignments.Packages)), zap.Bool("multicast", now.assignments.Multicast))
	if p.cfg.Assigned != nil {
		p.cfg.Assigned(now.assignments)
	}
	p.preempt()
	p.Poke()
	p.changed()
	return nil
}

// small reads a small blob, as bounded by its descriptor, which was checked. Its bytes are proven by whoever opens it.
func (p *Puller) small(ctx context.Context, d *v1.Descriptor) ([]byte, error) {
	r, err := p.cfg.Repository.Blob(ctx, *d, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(registry.Proven(r, *d))
	return b, errors.Join(err, r.Close())
}
