package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/library/fleet"
	"wimcast/library/prestage"
)

// fleetDir holds a site's points and keys, in the state directory.
const fleetDir = "fleet"

// openFleet makes the daemon a site where it has a registry and is no point.
func (d *distributionPoint) openFleet() error {
	if d.cfg.Registry.Repository == "" || d.pointName() != "" {
		return nil
	}
	repo, err := d.cfg.Registry.open("")
	if err != nil {
		return err
	}
	d.fleet, err = fleet.New(fleet.Config{
		Dir: filepath.Join(d.cfg.State, fleetDir), Library: d.library, Repository: repo, Busy: d.casting, Revoked: d.revokedSerials, Changed: d.fleetChanged, Restored: d.fleetRestored,
	})
	if err != nil {
		return err
	}
	d.fleet.SetLimit(float64(d.cfg.Registry.PushLimit))
	d.reports = d.newReports(d.fleet)
	return nil
}

// revokedSerials are those of clients' certificates that were revoked and haven't ended.
func (d *distributionPoint) revokedSerials() []string {
	if d.authority == nil {
		return nil // an organisation's PKI has a list of its own
	}
	return d.authority.Revoked()
}

// fleetChanged hears what became of releases and assignments.
func (d *distributionPoint) fleetChanged(c fleet.Change) {
	what := "registry"
	var fields []zap.Field
	switch {
	case c.Reference != "":
		what = "release of " + c.Reference
		fields = []zap.Field{zap.String("package", c.Reference), zap.Int64("revision", c.Revision), zap.Int64("bytes", c.Bytes)}
	case c.Point != "":
		what = "assignments of " + c.Point
		fields = []zap.Field{zap.String("point", c.Point), zap.Int64("serial", c.Revision)}
	}
	fields = append(fields, zap.String("what", what), zap.Duration("took", c.Took))
	if c.Err == nil {
		d.log.Info("brought into the registry", fields...)
		return
	}
	d.log.Warn("can't be brought into the registry; it is tried again", append(fields, zap.Error(c.Err), zap.Time("retry", c.Retry))...)
	if c.Failures == 1 {
		d.events.Raise(fmt.Sprintf("%s can't be brought into the registry: %v; it is tried again; next: wimcast point list", what, c.Err))
	}
}

// fleetRestored hears that this site was restored from a backup.
func (d *distributionPoint) fleetRestored(point string, serial int64, lost []string) {
	d.log.Warn("this site was restored from a backup: the registry has later assignments of a point", zap.String("point", point), zap.Int64("serial", serial), zap.Strings("lost", lost))
	if len(lost) > 0 {
		d.events.Raise(fmt.Sprintf("point %s was given %s after the backup that this site was restored from, and isn't any more; next: wimcast image add, then wimcast image distribute", point, strings.Join(lost, ", ")))
	}
}

// pointTable is the table of points that bundles bear: which networks' clients go to which point.
func (d *distributionPoint) pointTable() []keyex.PointAt {
	if d.fleet == nil {
		return nil
	}
	var out []keyex.PointAt
	for _, p := range d.fleet.Points() {
		for _, prefix := range p.Subnets {
			for _, server := range p.Addresses {
				out = append(out, keyex.PointAt{Prefix: prefix, Server: server})
			}
		}
	}
	if len(out) > mostTable {
		d.log.Warn("bundles don't name all networks of points: these are too many", zap.Int("networks", len(out)), zap.Int("most", mostTable))
		out = out[:mostTable]
	}
	return out
}

// mostTable is how many rows the table of a bundle takes (keyex).
const mostTable = 64

// exporter makes the files that packages are carried to points in; nil where this daemon is no site.
func (d *distributionPoint) exporter() func(context.Context, string, []string, bool) (*prestage.Release, func() error, error) {
	if d.fleet == nil {
		return nil
	}
	return func(ctx context.Context, ref string, to []string, all bool) (*prestage.Release, func() error, error) {
		built, err := d.fleet.Export(ctx, ref, to, all)
		if err != nil {
			return nil, nil, err
		}
		return built.File(), built.Close, nil
	}
}
