package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"wimcast/api"
	"wimcast/crypto"
	"wimcast/library"
	"wimcast/library/servicing"
)

// Directories of servicing, in the state directory.
const (
	updatesDir   = "updates"
	servicingDir = "servicing"
)

// openServicing opens the catalogue of updates and the schedules.
func (d *distributionPoint) openServicing() (err error) {
	if d.updates, err = servicing.OpenCatalogue(filepath.Join(d.cfg.State, updatesDir)); err != nil {
		return err
	}
	var distribute func(name, from, to string) ([]string, error)
	if d.fleet != nil {
		distribute = d.fleet.Follow
	}
	d.servicing, err = servicing.New(servicing.Config{
		Distribute: distribute,
		Dir:        filepath.Join(d.cfg.State, servicingDir), Catalogue: d.updates, Changed: d.scheduleChanged,
		Images: &serviceImages{d.library, func(name, version string) error { return d.config().checkMulticastOnly(name, version) }},
	})
	return err
}

// closeServicing closes what openServicing opened.
func (d *distributionPoint) closeServicing() error {
	var errs []error
	if d.servicing != nil {
		errs = append(errs, d.servicing.Close())
	}
	if d.updates != nil {
		errs = append(errs, d.updates.Close())
	}
	return errors.Join(errs...)
}

// scheduleChanged tells the log, and those who follow events, of runs that begin and end.
func (d *distributionPoint) scheduleChanged(s servicing.Schedule, what servicing.Change) {
	if what != servicing.Began && what != servicing.Ended || len(s.Runs) == 0 {
		return
	}
	run := &s.Runs[len(s.Runs)-1]
	fields := []zap.Field{zap.String("schedule", s.ID), zap.String("package", s.Order.Image)}
	if what == servicing.Began {
		d.log.Info("servicing began", fields...)
		d.events.Servicing(api.ServicingStarted, s.ID, s.Order.Image, "servicing of "+s.Order.Image+" began")
		return
	}
	for _, step := range run.Steps {
		d.log.Info("servicing step", zap.String("schedule", s.ID), zap.String("update", step.Update), zap.Int("index", step.Index),
			zap.String("executor", step.Executor), zap.String("state", string(step.State)), zap.String("text", step.Text))
	}
	text := "servicing of " + s.Order.Image + ": " + string(run.State)
	if run.To != "" {
		text += ": " + run.To + " is the current version"
	}
	if run.Reason != "" {
		text += " (" + run.Reason + ")"
	}
	level := zapcore.InfoLevel
	if run.State == servicing.Failed {
		level = zapcore.WarnLevel
	}
	d.log.Log(level, "servicing ended", append(fields, zap.String("from", run.From), zap.String("to", run.To), zap.String("state", string(run.State)), zap.String("reason", run.Reason))...)
	d.events.Servicing(api.ServicingEnded, s.ID, s.Order.Image, text)
	if run.State == servicing.Failed {
		d.events.Raise(fmt.Sprintf("schedule %s failed: %s; next: wimcast schedule show %s", s.ID, run.Reason, s.ID))
	}
}

// scheduleStates counts schedules by state, for metrics.
func (d *distributionPoint) scheduleStates() map[string]int {
	states := map[string]int{}
	for _, state := range servicing.ScheduleStates() {
		states[string(state)] = 0
	}
	for _, s := range d.servicing.Schedules() {
		states[string(s.State)]++
	}
	return states
}

// serviceImages lets servicing read the library and add to it.
type serviceImages struct {
	library            *library.Library
	mayBeMulticastOnly func(name, version string) error
}

func serviceImage(p *library.Package) servicing.Image {
	return servicing.Image{
		Name: p.Name, Version: p.Version, Reference: p.Reference(), Digest: p.Digest.String(), Size: p.Size, OutOfService: p.OutOfService, Images: p.Images,
	}
}

// Images implements what servicing.Config wants, as do the others.
func (i *serviceImages) Images() []servicing.Image {
	list := i.library.List()
	out := make([]servicing.Image, 0, len(list))
	for n := range list {
		if !list[n].Pulled() { // those are serviced at their site
			out = append(out, serviceImage(&list[n]))
		}
	}
	return out
}

func (i *serviceImages) Image(ref string) (servicing.Image, error) {
	p, err := i.library.Get(ref)
	if err != nil {
		return servicing.Image{}, err
	}
	if p.Pulled() {
		return servicing.Image{}, fmt.Errorf("service %s: %w; next: at the site, wimcast image service %q, and the new version comes here", p.Reference(), library.ErrFromSite, p.Name)
	}
	return serviceImage(&p), nil
}

func (i *serviceImages) Open(image servicing.Image) (servicing.Content, error) {
	digest, err := crypto.ParseHash(image.Digest)
	if err != nil {
		return nil, err
	}
	content, err := i.library.OpenDigest(digest)
	if err != nil {
		return nil, err
	}
	path, err := content.Path()
	if err != nil {
		return nil, errors.Join(err, content.Close())
	}
	return servicedContent{content, path}, nil
}

// servicedContent is content that other programs read too.
type servicedContent struct {
	*library.Content

	path string
}

// Path implements what servicing wants.
func (c servicedContent) Path() string { return c.path }

func (i *serviceImages) Free() (uint64, error) { return i.library.FreeBytes() }

// Add adds a version with the comment and flags that the one before it has now.
func (i *serviceImages) Add(ctx context.Context, r io.Reader, size int64, from servicing.Image, version string) (servicing.Image, error) {
	before, err := i.library.Get(from.Reference)
	if err != nil {
		return servicing.Image{}, fmt.Errorf("add a version: it went while it was in process: %w", err)
	}
	if before.Flags.MulticastOnly {
		if err := i.mayBeMulticastOnly(from.Name, version); err != nil {
			return servicing.Image{}, err
		}
	}
	p, _, err := i.library.Add(ctx, r, library.AddOptions{Name: from.Name, Version: version, Comment: before.Comment, Flags: &before.Flags, Size: size})
	if err != nil {
		return servicing.Image{}, err
	}
	return serviceImage(&p), nil
}
