package fleet

import (
	"cmp"
	"slices"
	"strings"

	"wimcast/library"
	"wimcast/library/release"
)

// need is a version that a point shall have.
type need struct {
	pkg, version string
	priority     release.Priority
	current      bool  // the name alone means it there
	order        int64 // in which it was distributed
}

func (n *need) reference() string { return reference(n.pkg, n.version) }

// want is a release that shall stand in the registry.
type want struct {
	need
	shape
	there bool // the library has it, in service
	why   string
}

// shape is what a release says beside its content's layers. When it differs, there is a new revision.
type shape struct {
	Content        string   `json:"content"` // digest, as sessions name it
	Comment        string   `json:"comment,omitempty"`
	AllowMulticast bool     `json:"allow_multicast"`
	Encrypt        bool     `json:"encrypt"`
	MulticastOnly  bool     `json:"multicast_only"`
	Recipients     []string `json:"recipients,omitempty"` // whom the content key is wrapped to; sorted
}

func (s *shape) equal(o *shape) bool {
	return s.Content == o.Content && s.Comment == o.Comment && s.AllowMulticast == o.AllowMulticast && s.Encrypt == o.Encrypt &&
		s.MulticastOnly == o.MulticastOnly && slices.Equal(s.Recipients, o.Recipients)
}

func shapeOf(p *library.Package) shape {
	return shape{Content: p.Digest.String(), Comment: p.Comment, AllowMulticast: p.Flags.AllowMulticast, Encrypt: p.Flags.Encrypt, MulticastOnly: p.Flags.MulticastOnly}
}

// plan is what follows from the state and the library.
type plan struct {
	needs   map[string][]need // by point
	wants   map[string]*want  // by reference
	leftOut []LeftOut
}

// LeftOut is a package that goes to a point's group, or to all, and not to the point.
type LeftOut struct {
	Point, Reference, Reason string
}

// facts are what the library says of packages. List has the current version of each name first.
type facts struct {
	known   map[string]*library.Package
	current map[string]string // reference by name
}

func factsOf(packages []library.Package) facts {
	f := facts{known: map[string]*library.Package{}, current: map[string]string{}}
	for i := range packages {
		p := &packages[i]
		f.known[p.Reference()] = p
		if _, ok := f.current[p.Name]; !ok {
			f.current[p.Name] = p.Reference()
		}
	}
	return f
}

const noMulticast = "it is multicast-only, and the point's multicast is off"

// plan says what every point shall have, and which releases that takes. It is pure.
func (st *state) plan(f facts) plan {
	out := plan{needs: map[string][]need{}, wants: map[string]*want{}}
	for i := range st.Points {
		p := &st.Points[i]
		needs := st.needs(p, f, &out.leftOut)
		out.needs[p.Name] = needs
		for _, n := range needs {
			ref := n.reference()
			w := out.wants[ref]
			if w == nil {
				w = st.want(n, f)
				out.wants[ref] = w
			}
			if rank(n.priority) > rank(w.priority) {
				w.priority = n.priority
			}
			w.order = max(w.order, n.order)
			if w.Encrypt {
				w.Recipients = append(w.Recipients, p.Recipient)
			}
		}
	}
	for _, w := range out.wants {
		slices.Sort(w.Recipients)
	}
	return out
}

// needs are what one point shall have, the latest of each name last.
func (st *state) needs(p *Point, f facts, leftOut *[]LeftOut) []need {
	byName := map[string]map[string]need{}
	keep := map[string]int{}
	for i := range st.Distributions {
		d := &st.Distributions[i]
		if !p.in(d.To) {
			continue
		}
		keep[d.Package] = max(keep[d.Package], d.Keep)
		versions := byName[d.Package]
		if versions == nil {
			versions = map[string]need{}
			byName[d.Package] = versions
		}
		for _, s := range d.Versions {
			n, had := versions[s.Version]
			if !had {
				n = need{pkg: d.Package, version: s.Version, priority: d.Priority}
			}
			n.order = max(n.order, s.Order)
			if rank(d.Priority) > rank(n.priority) {
				n.priority = d.Priority
			}
			versions[s.Version] = n
		}
	}
	var out []need
	for name, versions := range byName {
		var list []need
		for _, n := range versions {
			if st.multicastOnly(&n, f) && !p.Multicast {
				*leftOut = append(*leftOut, LeftOut{p.Name, n.reference(), noMulticast})
				continue
			}
			list = append(list, n)
		}
		slices.SortFunc(list, func(a, b need) int { return cmp.Compare(a.order, b.order) })
		list = list[max(0, len(list)-keep[name]):]
		at := slices.IndexFunc(list, func(n need) bool { return n.reference() == f.current[name] })
		if at < 0 {
			at = len(list) - 1
		}
		if at >= 0 {
			list[at].current = true
		}
		out = append(out, list...)
	}
	slices.SortStableFunc(out, func(a, b need) int { return strings.Compare(a.pkg, b.pkg) })
	return out
}

func (st *state) multicastOnly(n *need, f facts) bool {
	if p := f.known[n.reference()]; p != nil {
		return p.Flags.MulticastOnly
	}
	m := st.made(n.reference())
	return m != nil && m.MulticastOnly
}

// want is the release of a version, as the library has it; or as it was made, where the library hasn't.
func (st *state) want(n need, f facts) *want {
	w := &want{need: n}
	p, m := f.known[n.reference()], st.made(n.reference())
	switch {
	case p != nil:
		w.shape, w.there, w.why = shapeOf(p), p.OutOfService == "", p.OutOfService
	case m != nil:
		w.shape, w.why = m.shape, "the library doesn't have it"
		w.Recipients = nil
	default:
		w.why = "the library doesn't have it"
	}
	return w
}

// rank orders priorities.
func rank(p release.Priority) int {
	switch p {
	case release.High:
		return 2
	case release.Low:
		return 0
	case release.Medium:
	}
	return 1
}

// work says what a want needs.
type work int

const (
	workNone  work = iota
	workLight      // another document over the same layers
	workHeavy      // content has to be looked at
)

// work compares a want with what was made. Stale is a release that the registry doesn't have any more.
func (w *want) work(m *Made, stale bool) work {
	switch {
	case m == nil && w.Content == "":
		return workNone // there is nothing to make it of
	case m == nil || stale || w.Content != m.Content || w.Encrypt != m.Encrypt:
		return workHeavy
	case !w.equal(&m.shape):
		return workLight
	}
	return workNone
}
