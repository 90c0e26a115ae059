package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/fleet/puller"
	"wimcast/library/prestage"
	"wimcast/library/registry"
	"wimcast/library/release"
)

// pointParts are what makes a daemon a point, beside its trust.
type pointParts struct {
	file         *release.PointFile
	puller       *puller.Puller
	registry     *registry.Repository
	unicastAlone atomic.Bool // its site has it cast nothing
}

// libraryDir holds the images, in the state directory.
const libraryDir = "library"

// Bounds of point.poll: less would be a burden to registries, more is for people who forgot it.
const (
	leastPoll = time.Second
	mostPoll  = 24 * time.Hour
)

func (p *pointConfig) checkPoll(bad func(key, format string, args ...any)) {
	if poll := time.Duration(p.Poll); poll < leastPoll || poll > mostPoll {
		bad("point.poll", "%v isn't between %v and %v", poll, leastPoll, mostPoll)
	}
}

// openPointFile reads what makes this daemon a point, where it is one: before the library, which holds pulled packages against it.
func (d *distributionPoint) openPointFile() (err error) {
	if d.cfg.Point.Bundle == "" {
		return nil
	}
	if d.point.file, err = readPointFile(d.cfg.Point.Bundle); err != nil {
		return fmt.Errorf("point.bundle: %w", err)
	}
	return nil
}

// openLibrary opens the images: at a point those of its site too.
func (d *distributionPoint) openLibrary() (err error) {
	dir := filepath.Join(d.cfg.State, libraryDir)
	if d.point.file == nil {
		d.library, err = library.Open(dir)
		return err
	}
	key, err := d.point.file.Site()
	if err != nil {
		return fmt.Errorf("point.bundle: %w", err)
	}
	identity := d.point.file.Identity
	d.library, err = library.OpenPoint(dir, &library.Site{
		Point: d.point.file.Name, Key: key,
		OpenKey: func(wrapped []byte) ([release.KeySize]byte, error) { return release.Unwrap(wrapped, identity) },
	})
	return err
}

// openPuller wires what pulls to a point whose library, trust and hours are there.
func (d *distributionPoint) openPuller() (err error) {
	if d.point.file == nil {
		return nil
	}
	if d.point.registry, err = d.cfg.Registry.open(d.point.file.Repository); err != nil {
		return err
	}
	key, err := d.point.file.Site()
	if err != nil {
		return fmt.Errorf("point.bundle: %w", err)
	}
	d.point.puller, err = puller.New(puller.Config{
		Library: d.library, Repository: d.point.registry, Gate: d.hours, Dir: filepath.Join(d.cfg.State, pointDir), Site: key, Point: d.point.file.Name,
		Every: time.Duration(d.cfg.Point.Poll), Assigned: d.assigned, Log: d.log.Named("pull"),
	})
	if err != nil {
		return err
	}
	d.pulls = func() []api.PointPackage { return pointPackages(d.point.puller.Snapshot()) }
	return nil
}

// assigned takes over what assignments say beyond packages.
func (d *distributionPoint) assigned(a *release.Assignments) {
	d.revoke(a.Revoked)
	if before := d.point.unicastAlone.Swap(!a.Multicast); before == a.Multicast {
		d.log.Info("the site says whether this point casts; sessions that run go on", zap.Bool("multicast", a.Multicast))
	}
}

// startPoint pulls, and tells the site of it, until ctx ends.
func (d *distributionPoint) startPoint(ctx context.Context) {
	if d.point.puller == nil {
		return
	}
	d.running.Go(func() { d.point.puller.Run(ctx) })
	d.running.Go(func() { d.reportTo(ctx, d.point.file.Name, d.point.file.Admin, d.pointTrust.bundle) })
	if servers := d.point.file.Admin; len(servers) > 0 {
		d.running.Go(func() { d.renewPoint(ctx, &siteClient{servers: servers, bundle: d.pointTrust.bundle}) })
	}
}

func (d *distributionPoint) closePoint() {
	if d.point.puller != nil {
		_ = d.point.puller.Close()
	}
	if d.point.registry != nil {
		d.point.registry.Close()
	}
	if d.pointTrust != nil {
		_ = d.pointTrust.Close()
	}
}

// pulled is what metrics tell of pulls; nil where this daemon is no point.
func (d *distributionPoint) pulled() func() (uint64, map[string]uint64) {
	if d.cfg.Point.Bundle == "" {
		return nil
	}
	return func() (uint64, map[string]uint64) {
		failures := map[string]uint64{}
		for reason, n := range d.point.puller.Failures() {
			failures[string(reason)] = n
		}
		return d.point.puller.Bytes(), failures
	}
}

// pointAnswer is what the API tells of this point; nil where this daemon is none.
func (d *distributionPoint) pointAnswer() func() api.OwnPoint {
	if d.point.puller == nil {
		return nil
	}
	return func() api.OwnPoint {
		s := d.point.puller.Status()
		return api.OwnPoint{
			Name: d.point.file.Name, Repository: d.point.registry.Name(), Serial: s.Serial, Made: s.Made, Multicast: s.Serial == 0 || s.Multicast,
			Polled: s.Polled, Error: s.Err, Next: s.Next, Packages: d.pulls(),
		}
	}
}

// importer takes files of packages that were carried here; nil where this daemon is no point.
func (d *distributionPoint) importer() func(context.Context, io.Reader) (library.Package, bool, error) {
	if d.point.puller == nil {
		return nil
	}
	return func(ctx context.Context, r io.Reader) (library.Package, bool, error) {
		p, already, err := prestage.Import(ctx, d.library, r)
		if err == nil {
			d.point.puller.Poke() // the assignments may want it
		}
		return p, already, err
	}
}
