package reports

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"wimcast/api"
)

// View returns every point as the site sees it now, by name.
func (b *Book) View() api.Fleet {
	points := b.cfg.Points()
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	out := api.Fleet{Points: []api.FleetPoint{}}
	for _, name := range slices.Sorted(maps.Keys(points)) {
		var last *report
		if r, told := b.reports[name]; told {
			last = &r
		}
		out.Points = append(out.Points, view(name, points[name], last, now))
	}
	return out
}

// view is a point with what it shall have and its last report; nil where it never made one.
func view(name string, wanted []Wanted, last *report, now time.Time) api.FleetPoint {
	p := api.FleetPoint{Name: name, Casts: []api.PointCast{}}
	var said []api.PointPackage
	var ahead time.Duration
	if last != nil {
		s := &last.Status
		p.Reported = last.At
		if now.Sub(last.At) > OutOfReach {
			p.OutOfReach = last.At
		}
		if ahead = s.Clock.Sub(last.At); ahead.Abs() <= clockOff {
			ahead = 0
		}
		p.ClockAhead = ahead.Seconds()
		p.Version, p.Started, p.Free, p.Limit, p.OutOfService = s.Version, moved(s.Started, ahead), s.Free, s.Limit, s.OutOfService
		p.Casts = append(p.Casts, s.Casts...)
		said = s.Packages
	}
	p.Packages = merge(wanted, said, ahead)
	return p
}

// merge holds what a point shall have against what it says, by package.
func merge(wanted []Wanted, said []api.PointPackage, ahead time.Duration) []api.FleetPackage {
	out := []api.FleetPackage{}
	shall := map[string]bool{}
	told := map[string]api.PointPackage{}
	for _, p := range said {
		told[p.Package] = p
	}
	for _, w := range wanted {
		shall[w.Package] = true
		p, known := told[w.Package]
		p = inOurTime(p, ahead)
		// What it says of an older revision is no answer to this one; of a newer one, this one is the older.
		if !known || p.Revision < w.Revision {
			p = api.PointPackage{
				Package: w.Package, Revision: p.Revision, Digest: p.Digest, State: api.PackageNotTold, Validated: p.Validated,
				Held: w.Held, Error: w.Error, Retry: w.Retry,
			}
		}
		p.Priority = cmp.Or(p.Priority, w.Priority)
		out = append(out, api.FleetPackage{PointPackage: p, Wanted: w.Revision})
	}
	for _, p := range said {
		if !shall[p.Package] {
			p.State, p.Held = api.PackageLeaving, ""
			out = append(out, api.FleetPackage{PointPackage: inOurTime(p, ahead)})
		}
	}
	slices.SortFunc(out, func(a, b api.FleetPackage) int { return strings.Compare(a.Package, b.Package) })
	return out
}

func inOurTime(p api.PointPackage, ahead time.Duration) api.PointPackage {
	p.Since, p.Retry, p.Validated = moved(p.Since, ahead), moved(p.Retry, ahead), moved(p.Validated, ahead)
	return p
}

// moved returns a moment of a point's clock by the site's.
func moved(t time.Time, ahead time.Duration) time.Time {
	if t.IsZero() || ahead == 0 {
		return t
	}
	if t = t.Add(-ahead); t.Year() < leastYear || t.Year() > mostYear {
		return time.Time{}
	}
	return t
}

// Counts are what the metrics tell: packages by point and state, and when each point last reported; without those that never did.
func (b *Book) Counts() (packages map[[2]string]int, reported map[string]time.Time) {
	packages, reported = map[[2]string]int{}, map[string]time.Time{}
	for _, p := range b.View().Points {
		for _, state := range api.PackageStates() {
			packages[[2]string{p.Name, state}] = 0
		}
		for i := range p.Packages {
			packages[[2]string{p.Name, p.Packages[i].State}]++
		}
		if !p.Reported.IsZero() {
			reported[p.Name] = p.Reported
		}
	}
	return packages, reported
}
