package reports

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"wimcast/api"
)

// Bounds of a report: a point far larger than any that makes sense fits, a hostile one fills neither memory nor screens.
const (
	maxPackages = 1000
	maxCasts    = 200
	maxStates   = 16   // of a cast's clients
	maxWord     = 256  // bytes of a name, a reference, a state
	maxText     = 1000 // bytes of a sentence
	maxSeconds  = 1e9  // of a time that is left: 30 years
	maxRate     = 1e13 // bytes/s
)

// Years that a clock of a point may tell: beyond them it isn't a clock.
const (
	leastYear = 1970
	mostYear  = 9000
)

// check refuses a report that can't be one.
func check(s *api.PointStatus) error {
	var errs []error
	c := checker{func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }}
	c.word("version", s.Version)
	c.moment("started", s.Started, false)
	c.moment("clock", s.Clock, true)
	c.number("pull_limit_bytes_per_second", s.Limit, maxRate)
	if len(s.Packages) > maxPackages || len(s.OutOfService) > maxPackages || len(s.Casts) > maxCasts {
		return fmt.Errorf("%d packages, %d of them out of service, %d casts; at most %d, %d and %d are taken", len(s.Packages), len(s.OutOfService), len(s.Casts), maxPackages, maxPackages, maxCasts)
	}
	seen := map[string]bool{}
	for i := range s.Packages {
		p := &s.Packages[i]
		if seen[p.Package] {
			return fmt.Errorf("package %.80q is there twice", p.Package)
		}
		seen[p.Package] = true
		c.one(p)
		if len(errs) > 0 {
			break // one fault is enough to know
		}
	}
	for i := range s.Casts {
		c.cast(&s.Casts[i])
	}
	for _, f := range s.OutOfService {
		c.name("out_of_service.package", f.Package)
		c.text("out_of_service.reason", f.Reason)
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// checker collects what is wrong.
type checker struct {
	bad func(format string, args ...any)
}

func (c checker) one(p *api.PointPackage) {
	c.name("package", p.Package)
	c.word("digest", p.Digest)
	c.word("priority", p.Priority)
	if !slices.Contains([]string{api.PackageWaiting, api.PackageInProgress, api.PackageSuccess, api.PackageFailed}, p.State) {
		c.bad("package %.80q: state %.40q is none of waiting, in_progress, success, failed", p.Package, p.State)
	}
	if p.Revision < 0 || p.Bytes < 0 || p.Total < 0 {
		c.bad("package %.80q: a number below 0", p.Package)
	}
	c.number("rate_bytes_per_second", p.Rate, maxRate)
	c.number("eta_seconds", p.ETA, maxSeconds)
	c.moment("since", p.Since, false)
	c.moment("retry", p.Retry, false)
	c.moment("validated", p.Validated, false)
	c.text("error", p.Error)
	c.text("held", p.Held)
}

func (c checker) cast(s *api.PointCast) {
	c.name("cast.session", s.Session)
	c.name("cast.package", s.Package)
	c.word("cast.deployment", s.Deployment)
	c.word("cast.state", s.State)
	c.word("cast.rate_reason", s.RateReason)
	c.number("cast.rate_bytes_per_second", s.Rate, maxRate)
	for _, share := range []float64{s.Progress, s.Median, s.Most} {
		c.number("cast.progress", share, 1)
	}
	if len(s.Clients) > maxStates {
		c.bad("cast %.80q: %d states of clients", s.Session, len(s.Clients))
	}
	for state, n := range s.Clients {
		c.name("cast.clients", state)
		if n < 0 {
			c.bad("cast %.80q: %d clients", s.Session, n)
		}
	}
}

func (c checker) name(key, s string) {
	if s == "" {
		c.bad("%s: is empty", key)
	}
	c.word(key, s)
}

func (c checker) word(key, s string) { c.bytes(key, s, maxWord) }
func (c checker) text(key, s string) { c.bytes(key, s, maxText) }

func (c checker) bytes(key, s string, most int) {
	if len(s) > most {
		c.bad("%s: %d bytes, at most %d are taken", key, len(s), most)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			c.bad("%s: has a control character", key)
			return
		}
	}
}

func (c checker) number(key string, v, most float64) {
	if math.IsNaN(v) || v < 0 || v > most {
		c.bad("%s: %v isn't between 0 and %g", key, v, most)
	}
}

func (c checker) moment(key string, t time.Time, needed bool) {
	if t.IsZero() && !needed {
		return
	}
	if y := t.Year(); y < leastYear || y > mostYear {
		c.bad("%s: the year %d", key, y)
	}
}

// ErrUnknown is of a report in a name that no point has.
var ErrUnknown = errors.New("no such point")
