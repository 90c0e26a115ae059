package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wimcast/crypto"
	"wimcast/library"
	"wimcast/library/release"
)

// pkg is a package as far as plans go.
func pkg(ref string, flags library.Flags) library.Package {
	name, version, _ := strings.Cut(ref, "@")
	p := library.Package{Name: name, Version: version, Flags: flags}
	copy(p.Digest[:], ref)
	return p
}

// gives is a distribution to a target: "group:schools", "point:north", "all:".
func gives(to, name string, priority release.Priority, keep int, versions ...Sent) Distribution {
	kind, who, _ := strings.Cut(to, ":")
	return Distribution{Package: name, To: Target{Kind(kind), who}, Priority: priority, Keep: keep, Versions: versions}
}

// TestPlan: what follows for each point, as "reference priority" with a star at the current version.
func TestPlan(t *testing.T) {
	normal, only := library.Flags{AllowMulticast: true, Encrypt: true}, library.Flags{AllowMulticast: true, MulticastOnly: true, Encrypt: true}
	north := Point{Name: "north", Groups: []string{"schools"}, Multicast: true, Recipient: "n"}
	south := Point{Name: "south", Groups: []string{"schools"}, Recipient: "s"}
	for name, c := range map[string]struct {
		packages []library.Package // of a name the current one first
		given    []Distribution
		made     []Made
		want     map[string][]string
		to       map[string][]string // recipients
		leftOut  int
	}{
		"nothing": {want: map[string][]string{}},
		"a point": {
			packages: []library.Package{pkg("w@1", normal)}, given: []Distribution{gives("point:north", "w", release.Low, 2, Sent{"1", 1, north.Added})},
			want: map[string][]string{"north": {"w@1 low *"}}, to: map[string][]string{"w@1": {"n"}},
		},
		"a group": {
			packages: []library.Package{pkg("w@1", normal)}, given: []Distribution{gives("group:schools", "w", release.Medium, 2, Sent{Version: "1", Order: 1})},
			want: map[string][]string{"north": {"w@1 medium *"}, "south": {"w@1 medium *"}}, to: map[string][]string{"w@1": {"n", "s"}},
		},
		"another group": {
			packages: []library.Package{pkg("w@1", normal)}, given: []Distribution{gives("group:offices", "w", release.Medium, 2, Sent{Version: "1", Order: 1})},
			want: map[string][]string{},
		},
		"the highest priority": {
			packages: []library.Package{pkg("w@1", normal)},
			given: []Distribution{
				gives("all:", "w", release.Low, 2, Sent{Version: "1", Order: 1}), gives("point:north", "w", release.High, 2, Sent{Version: "1", Order: 2}),
			},
			want: map[string][]string{"north": {"w@1 high *"}, "south": {"w@1 low *"}},
		},
		"the site's current version, which isn't the latest": {
			packages: []library.Package{pkg("w@1", normal), pkg("w@2", normal)},
			given:    []Distribution{gives("point:north", "w", release.Medium, 2, Sent{Version: "1", Order: 1}, Sent{Version: "2", Order: 2})},
			want:     map[string][]string{"north": {"w@1 medium *", "w@2 medium"}},
		},
		"the current version isn't there": {
			packages: []library.Package{pkg("w@3", normal), pkg("w@2", normal), pkg("w@1", normal)},
			given:    []Distribution{gives("point:north", "w", release.Medium, 2, Sent{Version: "1", Order: 1}, Sent{Version: "2", Order: 2})},
			want:     map[string][]string{"north": {"w@1 medium", "w@2 medium *"}},
		},
		"keep is of all together": {
			packages: []library.Package{pkg("w@3", normal), pkg("w@2", normal), pkg("w@1", normal)},
			given: []Distribution{
				gives("point:north", "w", release.Medium, 2, Sent{Version: "1", Order: 1}, Sent{Version: "2", Order: 2}), gives("all:", "w", release.Medium, 1, Sent{Version: "3", Order: 3}),
			},
			want: map[string][]string{"north": {"w@2 medium", "w@3 medium *"}, "south": {"w@3 medium *"}},
		},
		"multicast-only": {
			packages: []library.Package{pkg("w@1", only)}, given: []Distribution{gives("group:schools", "w", release.Medium, 2, Sent{Version: "1", Order: 1})},
			want: map[string][]string{"north": {"w@1 medium *"}}, to: map[string][]string{"w@1": {"n"}}, leftOut: 1,
		},
		"left the library, was made": {
			made: []Made{{Package: "w", Version: "1", shape: shape{Content: "x", Encrypt: true, MulticastOnly: true}}}, given: []Distribution{gives("all:", "w", release.Medium, 2, Sent{Version: "1", Order: 1})},
			want: map[string][]string{"north": {"w@1 medium *"}}, to: map[string][]string{"w@1": {"n"}}, leftOut: 1,
		},
		"clear": {
			packages: []library.Package{pkg("w@1", library.Flags{AllowMulticast: true})}, given: []Distribution{gives("all:", "w", release.Medium, 2, Sent{Version: "1", Order: 1})},
			want: map[string][]string{"north": {"w@1 medium *"}, "south": {"w@1 medium *"}}, to: map[string][]string{"w@1": nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := &state{Points: []Point{north, south}, Distributions: c.given, Made: c.made}
			p := st.plan(factsOf(c.packages))
			for _, point := range []string{"north", "south"} {
				var got []string
				for _, n := range p.needs[point] {
					text := n.reference() + " " + string(n.priority)
					if n.current {
						text += " *"
					}
					got = append(got, text)
				}
				if !slices.Equal(got, c.want[point]) {
					t.Errorf("%s: %q, want %q", point, got, c.want[point])
				}
			}
			for ref, to := range c.to {
				if w := p.wants[ref]; w == nil || !slices.Equal(w.Recipients, to) {
					t.Errorf("%s: %+v, want it wrapped to %v", ref, w, to)
				}
			}
			if len(p.leftOut) != c.leftOut {
				t.Errorf("left out: %+v", p.leftOut)
			}
		})
	}
}

// TestWork: what a difference between what is wanted and what was made costs.
func TestWork(t *testing.T) {
	made := Made{shape: shape{Content: "a", Comment: "c", AllowMulticast: true, Encrypt: true, Recipients: []string{"n"}}}
	for name, c := range map[string]struct {
		change func(*want)
		none   bool
		stale  bool
		want   work
	}{
		"as it was":         {want: workNone},
		"comment":           {change: func(w *want) { w.Comment = "d" }, want: workLight},
		"multicast":         {change: func(w *want) { w.AllowMulticast = false }, want: workLight},
		"multicast-only":    {change: func(w *want) { w.MulticastOnly = true }, want: workLight},
		"another recipient": {change: func(w *want) { w.Recipients = []string{"n", "s"} }, want: workLight},
		"content":           {change: func(w *want) { w.Content = "b" }, want: workHeavy},
		"not sealed":        {change: func(w *want) { w.Encrypt, w.Recipients = false, nil }, want: workHeavy},
		"lost":              {stale: true, want: workHeavy},
		"never made":        {none: true, want: workHeavy},
		"nothing is known":  {none: true, change: func(w *want) { w.Content = "" }, want: workNone},
	} {
		w := &want{shape: made.shape}
		if c.change != nil {
			c.change(w)
		}
		m := &made
		if c.none {
			m = nil
		}
		if got := w.work(m, c.stale); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestPointCheck: what a point can be.
func TestPointCheck(t *testing.T) {
	good := Point{Name: "north-2", Groups: []string{"schools", "all-rooms", "schools"}, Subnets: prefixes("10.1.0.9/16", "10.0.0.0/8", "10.1.0.0/16"), Addresses: []string{"10.1.0.5:7600", "[fd00::1]:7600", "dp.example.org:1"}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(good.Groups, []string{"all-rooms", "schools"}) || fmt.Sprint(good.Subnets) != "[10.0.0.0/8 10.1.0.0/16]" {
		t.Errorf("%+v", good)
	}
	for want, p := range map[string]Point{
		"1 to 48":                {},
		"lower-case":             {Name: "North"},
		"stands for all":         {Name: "all"},
		"names all points":       {Name: "north", Groups: []string{"all"}},
		"group: point name":      {Name: "north", Groups: []string{"a b"}},
		"subnet 1":               {Name: "north", Subnets: make([]netipPrefix, 1), Addresses: []string{"a:1"}},
		"without an address":     {Name: "north", Subnets: prefixes("10.0.0.0/8")},
		"want host:port":         {Name: "north", Addresses: []string{"10.1.0.5"}},
		"isn't a number from 1":  {Name: "north", Addresses: []string{"10.1.0.5:0"}},
		"at most 32 groups":      {Name: "north", Groups: make([]string, 33)},
		"64 subnets":             {Name: "north", Subnets: make([]netipPrefix, 65)},
		"want host:port, such":   {Name: "north", Addresses: []string{"a\n:1"}},
		"16 addresses":           {Name: "north", Addresses: make([]string, 17)},
		"names all points, or t": {Name: "north", Groups: []string{"north"}},
	} {
		if err := p.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

// TestUnknown: names that are like those that are there are offered.
func TestUnknown(t *testing.T) {
	st := &state{Points: []Point{{Name: "north", Groups: []string{"schools"}}, {Name: "south"}}}
	for asked, want := range map[string]string{
		"nortj": "did you mean north?", "nort": "north", "nroth": "did you mean north?", "norths": "north", "school": "schools", "xxx": "wimcast point list", "": "wimcast point list", "NORTH": "north", "sough": "south",
	} {
		if err := st.unknown(asked, false); !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", asked, err, want)
		}
	}
	if err := st.unknown("school", true); strings.Contains(err.Error(), "schools") {
		t.Errorf("a group is offered as a point: %v", err)
	}
}

// TestChunk: chunks read at any place are what all of them sealed one after the other are, at every size of chunk.
func TestChunk(t *testing.T) {
	l, err := library.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	b := testWIM(5*crypto.BlockSize+999, 9)
	if _, _, err := l.Add(t.Context(), strings.NewReader(string(b)), library.AddOptions{Name: "w", Size: int64(len(b))}); err != nil {
		t.Fatal(err)
	}
	c, err := l.OpenContent("w")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	key := [release.KeySize]byte{7}
	sealer, err := release.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, blocks := range []int{1, 2, 4, 16} {
		for _, k := range []*[release.KeySize]byte{nil, &key} {
			var slow []byte
			for i, at := 0, 0; at < len(b); i++ {
				end := min(at+crypto.BlockSize, len(b))
				block := b[at:end]
				if k != nil {
					if block, err = sealer.Seal(nil, uint64(i), block); err != nil {
						t.Fatal(err)
					}
				}
				slow, at = append(slow, block...), end
			}
			layout := release.Layout{Size: int64(len(b)), ChunkBlocks: blocks, Sealed: k != nil}
			src, err := newSource(c, layout, k)
			if err != nil {
				t.Fatal(err)
			}
			for n, at := 0, int64(0); n < layout.Chunks(); n++ {
				want := slow[at : at+layout.ChunkLen(n)]
				at += layout.ChunkLen(n)
				chunk := src.chunk(n)
				for _, piece := range []int{len(want), 1000, crypto.BlockSize, 100_003} {
					var got []byte
					for buf := make([]byte, piece); len(got) < len(want); {
						m, err := chunk.ReadAt(buf[:min(piece, len(want)-len(got))], int64(len(got)))
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, buf[:m]...)
					}
					if string(got) != string(want) {
						t.Fatalf("chunk %d of %d blocks in pieces of %d, sealed %v: it differs", n, blocks, piece, k != nil)
					}
				}
				if m, err := chunk.ReadAt(make([]byte, 9), layout.ChunkLen(n)-4); m != 4 || err == nil {
					t.Errorf("beyond the end: %d, %v", m, err)
				}
			}
		}
	}
}
