package fleet

import (
	"fmt"
	"slices"
	"strings"

	"wimcast/library"
	"wimcast/library/release"
)

// Order says what to distribute to whom.
type Order struct {
	Package  library.Package
	To       []string // points and groups
	All      bool     // every point, in place of To
	Priority release.Priority
	Keep     int // versions; 0: DefaultKeep
}

// Distributed is what came of an order.
type Distributed struct {
	Reference string
	Points    []string // that shall have it now
	LeftOut   []LeftOut
}

// Distribute has a version of a package go to points, groups or all of them. It is on its way when this returns, and there when
// its state says so. A package that is out of service isn't distributed, nor one that is multicast-only to a point that was named
// and whose multicast is off (ErrRule); of a group or all such points are left out. The errors wrap ErrNotFound or ErrRule.
func (s *Site) Distribute(o Order) (Distributed, error) {
	p := &o.Package
	out := Distributed{Reference: p.Reference()}
	keep, err := checkKeep(o.Keep)
	if err == nil && o.Priority == "" {
		o.Priority = release.Medium
	}
	if err == nil {
		_, err = release.ParsePriority(string(o.Priority))
	}
	if err != nil {
		return out, fmt.Errorf("distribute %s: %w", out.Reference, err)
	}
	if p.OutOfService != "" {
		return out, fmt.Errorf("distribute %s: %w: it is out of service: %s; next: wimcast image verify %q", out.Reference, ErrRule, p.OutOfService, out.Reference)
	}
	err = s.edit(func(st *state) error {
		targets, err := st.targets(o.To, o.All)
		if err != nil {
			return fmt.Errorf("distribute %s: %w", out.Reference, err)
		}
		for _, t := range targets {
			if t.Kind == ToPoint && p.Flags.MulticastOnly && !st.point(t.Name).Multicast {
				return fmt.Errorf("distribute %s to %s: %w: %s; next: wimcast point set %s --multicast; or: wimcast image set %q --no-multicast-only",
					out.Reference, t.Name, ErrRule, noMulticast, t.Name, out.Reference)
			}
		}
		st.Order++
		sent := Sent{p.Version, st.Order, s.now()}
		for _, t := range targets {
			d := st.distribution(p.Name, t)
			d.Priority, d.Keep = o.Priority, keep
			d.add(sent)
		}
		plan := st.plan(s.facts())
		for i := range st.Points {
			at := &st.Points[i]
			if !slices.ContainsFunc(targets, at.in) {
				continue
			}
			if slices.ContainsFunc(plan.needs[at.Name], func(n need) bool { return n.reference() == out.Reference }) {
				out.Points = append(out.Points, at.Name)
			}
			for _, l := range leftOutOf(plan.leftOut, at.Name) {
				if l.Reference == out.Reference && !slices.Contains(out.LeftOut, l) {
					out.LeftOut = append(out.LeftOut, l)
				}
			}
		}
		return nil
	})
	return out, err
}

// targets finds what names stand for.
func (st *state) targets(names []string, all bool) ([]Target, error) {
	switch {
	case all && len(names) > 0:
		return nil, fmt.Errorf("%w: names and --%s; keep one", ErrRule, All)
	case all:
		return []Target{{Kind: ToAll}}, nil
	case len(names) == 0:
		return nil, fmt.Errorf("%w: to whom? name points or groups, or say --%s; next: wimcast point list", ErrRule, All)
	}
	var out []Target
	for _, name := range names {
		t := Target{ToPoint, name}
		if st.point(name) == nil {
			if !slices.Contains(st.groups(), name) {
				return nil, st.unknown(name, false)
			}
			t.Kind = ToGroup
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

// distribution returns the one of a package and target, which it makes where there is none.
func (st *state) distribution(pkg string, to Target) *Distribution {
	at := slices.IndexFunc(st.Distributions, func(d Distribution) bool { return d.Package == pkg && d.To == to })
	if at < 0 {
		st.Distributions = append(st.Distributions, Distribution{Package: pkg, To: to, Priority: release.Medium, Keep: DefaultKeep})
		at = len(st.Distributions) - 1
	}
	return &st.Distributions[at]
}

// Withdrawn is what came of withdrawing.
type Withdrawn struct {
	References []string // versions that somebody had
	Points     []string // that had one and have none of these any more
}

// Withdraw takes versions of a package from points, groups or all: the version of a reference name@version, or every version of a
// name. What a point has by its group isn't taken from it alone: that is an error that names the group, and so is what
// nobody has. The errors wrap ErrNotFound or ErrRule. Whether the library has the package doesn't matter.
func (s *Site) Withdraw(ref string, from []string, all bool) (Withdrawn, error) {
	var out Withdrawn
	name, version, exact := strings.Cut(ref, "@")
	concerns := func(pkg, v string) bool { return pkg == name && (!exact || v == version) }
	err := s.edit(func(st *state) error {
		var targets []Target
		if !all {
			var err error
			if targets, err = st.targets(from, false); err != nil {
				return fmt.Errorf("withdraw %s: %w", ref, err)
			}
		} else if len(from) > 0 {
			return fmt.Errorf("withdraw %s: %w: names and --%s; keep one", ref, ErrRule, All)
		}
		f := s.facts()
		before := having(st.plan(f), concerns)
		if len(before.byPoint) == 0 && !st.distributes(concerns) {
			return fmt.Errorf("withdraw %s: %w has it; next: wimcast point list", ref, ErrNotFound)
		}
		for _, t := range targets {
			if !st.withdraw(concerns, func(to Target) bool { return to == t }) {
				if t.Kind == ToPoint && before.byPoint[t.Name] {
					n := need{pkg: name, version: version}
					if !exact {
						n = before.first[t.Name]
					}
					return fmt.Errorf("withdraw %s from %s: %w: it has it by %s; next: wimcast image withdraw %q --from GROUP (or --all), or take the point out of the group: wimcast point set %s", ref, t.Name, ErrRule, st.via(st.point(t.Name), &n), ref, t.Name)
				}
				return fmt.Errorf("withdraw %s from %s: it isn't distributed there: %w; next: wimcast point list", ref, t, ErrNotFound)
			}
		}
		if all {
			st.withdraw(concerns, func(Target) bool { return true })
		}
		after := having(st.plan(f), concerns)
		for _, p := range st.Points {
			if before.byPoint[p.Name] && !after.byPoint[p.Name] {
				out.Points = append(out.Points, p.Name)
			}
		}
		out.References = before.references
		return nil
	})
	return out, err
}

// held says who has something.
type held struct {
	byPoint    map[string]bool
	first      map[string]need
	references []string
}

func having(p plan, concerns func(pkg, version string) bool) held {
	out := held{byPoint: map[string]bool{}, first: map[string]need{}}
	for point, needs := range p.needs {
		for _, n := range needs {
			if concerns(n.pkg, n.version) {
				if !out.byPoint[point] {
					out.first[point] = n
				}
				out.byPoint[point] = true
				out.references = append(out.references, n.reference())
			}
		}
	}
	slices.Sort(out.references)
	out.references = slices.Compact(out.references)
	return out
}

// distributes reports whether a version is distributed, whether or not a point is there to have it.
func (st *state) distributes(concerns func(pkg, version string) bool) bool {
	return slices.ContainsFunc(st.Distributions, func(d Distribution) bool {
		return slices.ContainsFunc(d.Versions, func(s Sent) bool { return concerns(d.Package, s.Version) })
	})
}

// withdraw takes versions from targets; it reports whether there was one.
func (st *state) withdraw(concerns func(pkg, version string) bool, from func(Target) bool) bool {
	found := false
	for i := range st.Distributions {
		d := &st.Distributions[i]
		if !from(d.To) {
			continue
		}
		n := len(d.Versions)
		d.Versions = slices.DeleteFunc(d.Versions, func(s Sent) bool { return concerns(d.Package, s.Version) })
		found = found || len(d.Versions) < n
	}
	st.Distributions = slices.DeleteFunc(st.Distributions, func(d Distribution) bool { return len(d.Versions) == 0 })
	return found
}

// Follow sends a new version of a package where a version of before goes, with the same priority, and says to which points. It may be
// called again.
func (s *Site) Follow(name, from, to string) ([]string, error) {
	var points []string
	err := s.edit(func(st *state) error {
		added := false
		for i := range st.Distributions {
			d := &st.Distributions[i]
			if d.Package != name || !d.has(from) && !d.has(to) {
				continue
			}
			if !d.has(to) {
				if !added {
					st.Order++
					added = true
				}
				d.add(Sent{to, st.Order, s.now()})
			}
		}
		h := having(st.plan(s.facts()), func(pkg, v string) bool { return pkg == name && v == to })
		for _, p := range st.Points {
			if h.byPoint[p.Name] {
				points = append(points, p.Name)
			}
		}
		return nil
	})
	return points, err
}

// CheckChange refuses a change of a package that what is distributed would contradict: another name, or multicast-only where a point whose
// multicast is off has it. The error wraps ErrRule.
func (s *Site) CheckChange(before, after *library.Package) error {
	st := s.current()
	ref := before.Reference()
	is := func(pkg, v string) bool { return reference(pkg, v) == ref }
	if after.Name != before.Name && st.distributes(is) {
		return fmt.Errorf("rename %s: %w: it is distributed to other points under that name; first: wimcast image withdraw %q --all", ref, ErrRule, ref)
	}
	if !after.Flags.MulticastOnly || before.Flags.MulticastOnly {
		return nil
	}
	h := having(st.plan(s.facts()), is)
	for i := range st.Points {
		if p := &st.Points[i]; !p.Multicast && h.byPoint[p.Name] {
			return fmt.Errorf("set %s multicast-only: %w: point %s has it, and its multicast is off; first: wimcast point set %s --multicast; or: wimcast image withdraw %q %s",
				ref, ErrRule, p.Name, p.Name, ref, st.source(p, &need{pkg: before.Name, version: before.Version}))
		}
	}
	return nil
}

// Gone says that a package left the library: it leaves all points. It returns those that had it.
func (s *Site) Gone(p *library.Package) ([]string, error) {
	if !s.current().distributes(func(pkg, v string) bool { return pkg == p.Name && v == p.Version }) {
		return nil, nil
	}
	// Without a version the reference would mean every version.
	out, err := s.Withdraw(p.Name+"@"+p.Version, nil, true)
	return out.Points, err
}

// Having returns the points that shall have a version.
func (s *Site) Having(ref string) []string {
	st := s.current()
	h := having(st.plan(s.facts()), func(pkg, v string) bool { return reference(pkg, v) == ref })
	var out []string
	for i := range st.Points {
		if h.byPoint[st.Points[i].Name] {
			out = append(out, st.Points[i].Name)
		}
	}
	return out
}
