package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/api/reports"
	"wimcast/crypto/keyex"
	"wimcast/library/fleet"
)

// reportsFile is where a site keeps what its points said, in the folder of the fleet.
const reportsFile = "reports.json"

// pointLister is what reports are held against: a site's points with what each shall have.
type pointLister interface {
	Points() []fleet.PointState
}

var _ pointLister = (*fleet.Site)(nil)

// newReports reads what the points of a site said before, and makes room for what they will.
func (d *distributionPoint) newReports(site pointLister) *reports.Book {
	return reports.New(reports.Config{
		File: filepath.Join(d.cfg.State, fleetDir, reportsFile), Log: d.log,
		Points: func() map[string][]reports.Wanted { return wantedOf(site.Points()) },
		Arrived: func(point string, p api.PointPackage) {
			d.log.Info("package is in service at a point", zap.String("point", point), zap.String("package", p.Package), zap.Int64("revision", p.Revision))
			d.events.PackageAtPoint(api.PackageArrived, point, p.Package, fmt.Sprintf("revision %d is in service", p.Revision))
		},
		Failed: func(point string, p api.PointPackage) {
			d.log.Warn("package failed at a point", zap.String("point", point), zap.String("package", p.Package), zap.Int64("revision", p.Revision), zap.String("reason", p.Error))
			d.events.PackageAtPoint(api.PackageFailedAt, point, p.Package, fmt.Sprintf("revision %d: %s", p.Revision, p.Error))
		},
	})
}

// pointCounts is what metrics tell of the points of this site.
func (d *distributionPoint) pointCounts() (packages map[[2]string]int, reported map[string]time.Time) {
	if d.reports == nil {
		return nil, nil
	}
	return d.reports.Counts()
}

// wantedOf is what points shall have, in the words of reports.
func wantedOf(points []fleet.PointState) map[string][]reports.Wanted {
	out := map[string][]reports.Wanted{}
	for i := range points {
		p := &points[i]
		list := make([]reports.Wanted, 0, len(p.Packages))
		for j := range p.Packages {
			list = append(list, wanted(&p.Packages[j]))
		}
		out[p.Name] = list
	}
	return out
}

// wanted is a package that a point shall have. While it is on its way to the registry, that is why the point hasn't told of it.
func wanted(a *fleet.Assigned) reports.Wanted {
	w := reports.Wanted{Package: a.Reference, Revision: a.Revision, Priority: string(a.Priority)}
	switch a.State {
	case fleet.Waiting:
		w.Held = "it waits to be sent to the registry"
	case fleet.InProgress:
		w.Held = "it is being sent to the registry"
		if a.Total > 0 {
			w.Held += fmt.Sprintf(" (%d%%)", 100*a.Bytes/a.Total)
		}
	case fleet.Failed:
		w.Held, w.Error, w.Retry = "it isn't in the registry", a.Err, a.Retry
	}
	return w
}

// reportTo has this point report to the admin API of its site, in its own name, until ctx ends. bundle is its credential, the newest that there is.
func (d *distributionPoint) reportTo(ctx context.Context, name string, servers []string, bundle func() *keyex.Bundle) {
	if len(servers) == 0 {
		d.log.Info("the site has no admin API over HTTPS, so it isn't told how this point is; next, at the site: set admin.listen, and make the point file anew")
		return
	}
	site := &siteClient{servers: servers, bundle: bundle}
	r := &reporter{look: d.pointStatus, log: d.log, send: func(ctx context.Context, s api.PointStatus) error {
		client, err := site.get()
		if err != nil {
			return err
		}
		return client.ReportPoint(ctx, name, s)
	}}
	r.run(ctx)
}

// siteClient keeps one client of the site's admin API, and makes another when the credential was renewed. Safe for concurrent use.
type siteClient struct {
	servers []string
	bundle  func() *keyex.Bundle

	mu     sync.Mutex
	of     *keyex.Bundle
	client *api.Client
}

func (s *siteClient) get() (*api.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bundle()
	if s.client != nil && b == s.of {
		return s.client, nil
	}
	credentials, err := b.Credentials()
	if err != nil {
		return nil, err
	}
	s.of, s.client = b, api.NewRemoteClient(s.servers, keyex.ClientTLS(credentials))
	return s.client, nil
}
