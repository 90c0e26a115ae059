package handler

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/library"
	"wimcast/library/fleet"
	"wimcast/library/release"
)

// site returns the site's side of points, or says what is missing.
func (s *server) site() (*fleet.Site, error) {
	switch {
	case s.Point != "":
		return nil, &statusError{http.StatusConflict, fmt.Errorf("this is point %s of a site, and points are added and given packages there; next: at the site, wimcast point list", s.Point)}
	case s.Site == nil:
		return nil, &statusError{http.StatusConflict, errors.New("this distribution point has no registry, through which packages get to others; next: set repository under [registry] in its configuration (wimcastd.toml), and restart wimcastd")}
	}
	return s.Site, nil
}

// fleetStatus is the HTTP status of an error of the fleet; 0 where it isn't one.
func fleetStatus(err error) int {
	switch {
	case errors.Is(err, fleet.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, fleet.ErrExists):
		return http.StatusConflict
	}
	return 0
}

// pokeFleet has the fleet look at what may have changed.
func (s *server) pokeFleet() {
	if s.Site != nil {
		s.Site.Poke()
	}
}

func (s *server) pointOf(p *fleet.PointState) api.Point {
	out := api.Point{
		Name: p.Name, Groups: orEmpty(p.Groups), Multicast: p.Multicast, Subnets: []string{}, Addresses: orEmpty(p.Addresses), Added: p.Added,
		Packages: []api.AssignedPackage{}, LeftOut: leftOutOf(p.LeftOut), Serial: p.Serial, Published: p.Published, Error: p.Err, Retry: p.Retry,
	}
	for _, prefix := range p.Subnets {
		out.Subnets = append(out.Subnets, prefix.String())
	}
	for i := range p.Packages {
		a := &p.Packages[i]
		out.Packages = append(out.Packages, api.AssignedPackage{
			Package: a.Reference, Current: a.Current, Priority: string(a.Priority), Revision: a.Revision, State: string(a.State), Since: a.Since,
			Bytes: a.Bytes, Total: a.Total, Sent: a.Sent, Error: a.Err, Retry: a.Retry,
		})
	}
	if s.Authority != nil {
		for _, i := range s.Authority.Issued() {
			if i.Name == p.Name && i.Role == keyex.Point && i.Revoked.IsZero() && i.NotAfter.After(out.Expires) {
				out.Expires = i.NotAfter
			}
		}
	}
	return out
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func leftOutOf(list []fleet.LeftOut) []api.PointLeftOut {
	out := []api.PointLeftOut{}
	for _, l := range list {
		out = append(out, api.PointLeftOut{Point: l.Point, Package: l.Reference, Reason: l.Reason})
	}
	return out
}

func (s *server) listPoints(*http.Request) (any, error) {
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	list := []api.Point{}
	for _, p := range site.Points() {
		list = append(list, s.pointOf(&p))
	}
	return list, nil
}

func (s *server) showPoint(r *http.Request) (any, error) {
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	return s.pointAnswer(site, r.PathValue("name"))
}

func (s *server) pointAnswer(site *fleet.Site, name string) (any, error) {
	p, err := site.Point(name)
	if err != nil {
		return nil, err
	}
	return s.pointOf(&p), nil
}

func parseSubnets(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, bad("subnet %.80q isn't a network such as 10.1.0.0/16", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// addPoint adds a point and makes its file. The certificates come first: without them the point would be there and couldn't be told from
// one whose file was lost.
func (s *server) addPoint(r *http.Request) (any, error) {
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	authority, err := s.authority()
	if err != nil {
		return nil, err
	}
	var q api.PointAdd
	if err := read(r, &q); err != nil {
		return nil, err
	}
	subnets, err := parseSubnets(q.Subnets)
	if err != nil {
		return nil, err
	}
	if err := release.CheckPointName(q.Name); err != nil {
		return nil, bad("%w", err)
	}
	if !(q.Lifetime >= 0 && q.Lifetime < 1e10) {
		return nil, bad("lifetime_seconds: %v", q.Lifetime)
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	if _, err := site.Point(q.Name); err == nil {
		return nil, &statusError{http.StatusConflict, fmt.Errorf("add point %s: %w: there is a point of that name; next: wimcast point show %s, or choose another", q.Name, fleet.ErrExists, q.Name)}
	}
	credentials, err := authority.IssuePoint(keyex.PointRequest{Name: q.Name, Servers: s.AdminServers, Lifetime: time.Duration(q.Lifetime * float64(time.Second))})
	if err != nil {
		return nil, bad("%w", err)
	}
	p := fleet.Point{Name: q.Name, Groups: q.Groups, Multicast: q.Multicast == nil || *q.Multicast, Subnets: subnets, Addresses: q.Addresses}
	added, file, err := s.makePoint(site, p, credentials)
	s.record(r, api.HistoryAction{Action: "point add", Detail: pointText(&p)}, err)
	if err != nil {
		_, _ = authority.RevokePoint(q.Name) // nobody has them
		return nil, err
	}
	s.did(r, "point added", zap.String("point", added.Name), zap.Strings("groups", added.Groups))
	return api.PointAdded{Point: added, Text: string(file)}, nil
}

func (s *server) makePoint(site *fleet.Site, p fleet.Point, credentials *keyex.PointCredentials) (api.Point, []byte, error) {
	bundle, err := credentials.Client.Marshal()
	if err != nil {
		return api.Point{}, nil, err
	}
	_, file, _, err := site.Add(p)
	if err != nil {
		return api.Point{}, nil, err
	}
	file.Bundle, file.Server, file.Admin = string(bundle), string(credentials.Server), s.PointAdmin
	text, err := file.Marshal()
	if err != nil {
		_, undo := site.Remove(p.Name, false)
		return api.Point{}, nil, errors.Join(err, undo)
	}
	state, err := site.Point(p.Name)
	if err != nil {
		return api.Point{}, nil, err
	}
	return s.pointOf(&state), text, nil
}

// pointText says what a point is, for the record.
func pointText(p *fleet.Point) string {
	parts := []string{p.Name}
	if len(p.Groups) > 0 {
		parts = append(parts, "groups "+strings.Join(p.Groups, " "))
	}
	if !p.Multicast {
		parts = append(parts, "no multicast")
	}
	return strings.Join(parts, ", ")
}

func (s *server) changePoint(r *http.Request) (any, error) {
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	var q api.PointChange
	if err := read(r, &q); err != nil {
		return nil, err
	}
	change := fleet.PointChange{Groups: q.Groups, Multicast: q.Multicast, Addresses: q.Addresses}
	if q.Subnets != nil {
		subnets, err := parseSubnets(*q.Subnets)
		if err != nil {
			return nil, err
		}
		change.Subnets = &subnets
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	name := r.PathValue("name")
	p, _, err := site.Set(name, change)
	detail := name
	if err == nil {
		detail = pointText(&p)
	}
	s.record(r, api.HistoryAction{Action: "point set", Detail: detail}, err)
	if err != nil {
		return nil, err
	}
	s.did(r, "point changed", zap.String("point", name), zap.String("text", detail))
	return s.pointAnswer(site, name)
}

// removePoint removes a point and revokes its certificates: nobody else has them.
func (s *server) removePoint(r *http.Request) (any, error) {
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	name, lost := r.PathValue("name"), false
	if text := r.URL.Query().Get("lost"); text != "" {
		if lost, err = strconv.ParseBool(text); err != nil {
			return nil, bad("lost: %q is neither true nor false", text)
		}
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	if _, err := site.Point(name); err != nil {
		return nil, err
	}
	out := api.PointRemoved{Name: name, Lost: lost}
	if s.Authority != nil { // first: a point that is gone with certificates that are good would be the worse half
		revoked, err := s.Authority.RevokePoint(name)
		if err != nil && !errors.Is(err, keyex.ErrUnknownCredential) {
			return nil, err
		}
		out.Credentials = len(revoked)
	}
	removed, err := site.Remove(name, lost)
	detail := name
	if lost {
		detail += ", lost"
	}
	s.record(r, api.HistoryAction{Action: "point remove", Detail: detail}, err)
	if err != nil {
		return nil, err
	}
	s.Recheck()
	out.Keys = orEmpty(removed.Keys)
	s.did(r, "point removed", zap.String("point", name), zap.Bool("lost", lost), zap.Strings("keys_replaced", out.Keys))
	return out, nil
}

func (s *server) distribute(r *http.Request) (any, error) {
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	var q api.Distribute
	if err := read(r, &q); err != nil {
		return nil, err
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	p, err := s.Library.Get(r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	done, err := site.Distribute(fleet.Order{Package: p, To: q.To, All: q.All, Priority: release.Priority(q.Priority), Keep: q.Keep})
	detail := "to " + strings.Join(q.To, ", ")
	if q.All {
		detail = "to all"
	}
	s.change(r, "distribute image", &p, detail, err)
	if err != nil {
		return nil, err
	}
	s.did(r, "image distributed", zap.String("package", done.Reference), zap.Strings("to", q.To), zap.Bool("all", q.All), zap.Strings("points", done.Points))
	return api.Distributed{Package: done.Reference, Points: orEmpty(done.Points), LeftOut: leftOutOf(done.LeftOut)}, nil
}

func (s *server) withdraw(r *http.Request) (any, error) {
	site, err := s.site()
	if err != nil {
		return nil, err
	}
	var q api.Withdraw
	if err := read(r, &q); err != nil {
		return nil, err
	}
	s.edits.Lock()
	defer s.edits.Unlock()
	ref := r.PathValue("ref")
	if p, err := s.Library.Get(ref); err == nil && !strings.HasPrefix(ref, p.Name) {
		ref = p.Reference() // it was named by its digest
	}
	done, err := site.Withdraw(ref, q.From, q.All)
	detail := "from " + strings.Join(q.From, ", ")
	if q.All {
		detail = "from all"
	}
	s.record(r, api.HistoryAction{Action: "withdraw image", Package: ref, Detail: detail}, err)
	if err != nil {
		return nil, err
	}
	s.did(r, "image withdrawn", zap.String("package", ref), zap.Strings("from", q.From), zap.Bool("all", q.All), zap.Strings("points", done.Points))
	return api.Withdrawn{Packages: orEmpty(done.References), Points: orEmpty(done.Points)}, nil
}

// mayLeave takes a package that is to be removed from all points, where that was asked for, and refuses otherwise. The caller
// holds edits.
func (s *server) mayLeave(ref string, withdraw bool) error {
	if s.Site == nil {
		return nil
	}
	p, err := s.Library.Get(ref)
	if err != nil {
		return err
	}
	if has := s.Site.Having(p.Reference()); len(has) > 0 && !withdraw {
		return &statusError{http.StatusUnprocessableEntity, fmt.Errorf("remove %s: it is distributed to %s, and leaves them when it is removed here; next: wimcast image remove %q --withdraw, or keep it",
			p.Reference(), strings.Join(has[:min(len(has), maxNamed)], ", ")+andMore(len(has)), p.Reference())}
	}
	_, err = s.Site.Gone(&p)
	return err
}

// maxNamed is how many points an error names.
const maxNamed = 5

func andMore(n int) string {
	if n > maxNamed {
		return fmt.Sprintf(" and %d more", n-maxNamed)
	}
	return ""
}

// fitsFleet refuses a change of a package that what is distributed would contradict.
func (s *server) fitsFleet(before, after *library.Package) error {
	if s.Site == nil {
		return nil
	}
	return s.Site.CheckChange(before, after)
}

// elsewhere says what to do about a package that isn't at this point.
func (s *server) elsewhere(err error, ref string) error {
	if s.Point == "" || !errors.Is(err, library.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w %q at this point; next: at the site, wimcast image distribute %q --to %s, and here wimcast image list until it is there", library.ErrNotFound, ref, ref, s.Point)
}
