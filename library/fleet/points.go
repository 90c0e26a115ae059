package fleet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"wimcast/library/release"
)

// Add adds a point, and draws its key pair. What is distributed to its groups, or to all, is its from now on; the returned
// list says what of that it can't have. The caller fills in what of the file is about certificates. The error wraps ErrExists.
func (s *Site) Add(p Point) (Point, *release.PointFile, []LeftOut, error) {
	identity, recipient, err := release.NewIdentity()
	if err != nil {
		return p, nil, nil, fmt.Errorf("add point: %w", err)
	}
	p = p.clone()
	p.Recipient, p.Added = recipient, s.now()
	if err := p.check(); err != nil {
		return p, nil, nil, fmt.Errorf("add point: %w", err)
	}
	var out []LeftOut
	err = s.edit(func(st *state) error {
		switch {
		case st.point(p.Name) != nil:
			return fmt.Errorf("add point %s: %w: there is a point of that name; next: wimcast point show %s, or choose another", p.Name, ErrExists, p.Name)
		case slices.Contains(st.groups(), p.Name):
			return fmt.Errorf("add point %s: %w: it is a group's; next: choose another", p.Name, ErrExists)
		case len(st.Points) >= maxPoints:
			return fmt.Errorf("add point %s: there are %d, no more are allowed; first: wimcast point remove NAME", p.Name, len(st.Points))
		}
		if err := st.checkGroups(&p); err != nil {
			return fmt.Errorf("add point %s: %w", p.Name, err)
		}
		st.Points = append(st.Points, p)
		slices.SortFunc(st.Points, func(a, b Point) int { return strings.Compare(a.Name, b.Name) })
		st.Gone = slices.DeleteFunc(st.Gone, func(name string) bool { return name == p.Name })
		out = leftOutOf(st.plan(s.facts()).leftOut, p.Name)
		return nil
	})
	if err != nil {
		return p, nil, nil, err
	}
	return p.clone(), s.file(p.Name, identity), out, nil
}

// checkGroups holds a point's groups against the names of points.
func (st *state) checkGroups(p *Point) error {
	for _, g := range p.Groups {
		if st.point(g) != nil {
			return fmt.Errorf("group %s: %w: it is a point's; choose another", g, ErrExists)
		}
	}
	return nil
}

func leftOutOf(all []LeftOut, point string) []LeftOut {
	return slices.DeleteFunc(slices.Clone(all), func(l LeftOut) bool { return l.Point != point })
}

// PointChange says what to change of a point; what is nil stays.
type PointChange struct {
	Groups    *[]string
	Multicast *bool
	Subnets   *[]netip.Prefix
	Addresses *[]string
}

// Set changes a point in one step. What groups bring or take with them is its, or isn't, from now on; the returned list says what
// of its groups' it can't have. The errors wrap ErrNotFound, ErrExists, or ErrRule where its multicast is to be off and it has a package that
// is multicast-only.
func (s *Site) Set(name string, c PointChange) (Point, []LeftOut, error) {
	var p Point
	var out []LeftOut
	err := s.edit(func(st *state) error {
		at := st.point(name)
		if at == nil {
			return st.unknown(name, true)
		}
		f := s.facts()
		if c.Multicast != nil && at.Multicast && !*c.Multicast {
			for _, n := range st.plan(f).needs[name] {
				if st.multicastOnly(&n, f) {
					return fmt.Errorf("set point %s: %w: it has %s, which is multicast-only, and without multicast nothing could transfer it there; first: wimcast image withdraw %q %s; or: wimcast image set %q --no-multicast-only",
						name, ErrRule, n.reference(), n.reference(), st.source(at, &n), n.reference())
				}
			}
		}
		p = at.clone()
		set(&p.Groups, c.Groups)
		set(&p.Multicast, c.Multicast)
		set(&p.Subnets, c.Subnets)
		set(&p.Addresses, c.Addresses)
		p = p.clone()
		if err := p.check(); err != nil {
			return fmt.Errorf("set point %s: %w", name, err)
		}
		if err := st.checkGroups(&p); err != nil {
			return fmt.Errorf("set point %s: %w", name, err)
		}
		*at = p
		out = leftOutOf(st.plan(f).leftOut, name)
		return nil
	})
	return p, out, err
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Removed is what came of removing a point.
type Removed struct {
	Name string
	// Keys are the packages whose content key is replaced: a lost point knew it. Their next versions are sealed anew.
	Keys []string
}

// Remove removes a point: nothing is its any more, and it is told so. A point that is lost, so that strangers may have what it
// knew, takes with it the content keys that were ever wrapped to it: versions from now on are sealed under new ones. What it has already, or could
// have read, it can still read. The error wraps ErrNotFound.
func (s *Site) Remove(name string, lost bool) (Removed, error) {
	out := Removed{Name: name}
	err := s.edit(func(st *state) error {
		p := st.point(name)
		if p == nil {
			return st.unknown(name, true)
		}
		if lost {
			keys := s.keys.clone()
			for pkg := range keys.Packages {
				if slices.Contains(keys.latest(pkg).Wrapped, p.Recipient) {
					keys.draw(pkg, s.now())
					out.Keys = append(out.Keys, pkg)
				}
			}
			slices.Sort(out.Keys)
			if len(out.Keys) > 0 {
				if err := s.commitKeys(keys); err != nil { // before the state: twice does no harm, never would
					return err
				}
			}
		}
		st.Points = slices.DeleteFunc(st.Points, func(p Point) bool { return p.Name == name })
		st.Distributions = slices.DeleteFunc(st.Distributions, func(d Distribution) bool { return d.To == Target{ToPoint, name} })
		if st.published(name) != nil && !slices.Contains(st.Gone, name) {
			st.Gone = append(st.Gone, name)
		}
		return nil
	})
	return out, err
}

// source is how to name, behind wimcast image withdraw, whom to take a package from so that a point has it no more.
func (st *state) source(p *Point, n *need) string {
	if t := st.target(p, n); t.Kind != ToAll {
		return "--from " + t.Name
	}
	return "--" + All
}

// via says by what a point has a package.
func (st *state) via(p *Point, n *need) string {
	if t := st.target(p, n); t.Kind == ToGroup {
		return "its group " + t.Name
	}
	return "what is distributed to all"
}

// target is the first one by which a point has a package.
func (st *state) target(p *Point, n *need) Target {
	for i := range st.Distributions {
		if d := &st.Distributions[i]; d.Package == n.pkg && d.has(n.version) && p.in(d.To) {
			return d.To
		}
	}
	return Target{ToPoint, p.Name}
}

// maxNear is how many near names an error offers.
const maxNear = 3

// unknown says that there is no point (or group) of that name, and offers names that are like it.
func (st *state) unknown(name string, pointsOnly bool) error {
	var names []string
	for i := range st.Points {
		names = append(names, st.Points[i].Name)
	}
	what := "point"
	if !pointsOnly {
		names, what = append(names, st.groups()...), "point or group"
	}
	var near []string
	want := strings.ToLower(name)
	for _, has := range names {
		if len(near) < maxNear && want != "" && (strings.Contains(has, want) || strings.Contains(want, has) || letters(has) == letters(want) || oneOff(has, want)) {
			near = append(near, has)
		}
	}
	if len(near) > 0 {
		return fmt.Errorf("%s %.80q: %w; did you mean %s?", what, name, ErrNotFound, strings.Join(near, " or "))
	}
	return fmt.Errorf("%s %.80q: %w; next: wimcast point list", what, name, ErrNotFound)
}

// letters returns a word's letters in order.
func letters(s string) string {
	r := []rune(s)
	slices.Sort(r)
	return string(r)
}

// oneOff reports whether two words differ in one place: a letter more, less, or another.
func oneOff(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i == len(a) || a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}
