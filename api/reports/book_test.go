package reports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wimcast/api"
)

// site is a book with what its points shall have, a clock to set, and what it tells.
type site struct {
	*Book
	wanted map[string][]Wanted
	clock  time.Time
	told   []string
	log    *observer.ObservedLogs
}

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func newSite(t *testing.T, path string) *site {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "status.json")
	}
	core, logs := observer.New(zap.InfoLevel)
	s := &site{wanted: map[string][]Wanted{"north": nil}, clock: noon, log: logs}
	s.Book = New(Config{
		File: path, Points: func() map[string][]Wanted { return s.wanted }, Log: zap.New(core),
		Arrived: func(point string, p api.PointPackage) {
			s.told = append(s.told, fmt.Sprintf("%s has %s r%d", point, p.Package, p.Revision))
		},
		Failed: func(point string, p api.PointPackage) {
			s.told = append(s.told, fmt.Sprintf("%s failed %s r%d: %s", point, p.Package, p.Revision, p.Error))
		},
	})
	s.now = func() time.Time { return s.clock }
	return s
}

// status is one that is good.
func status(packages ...api.PointPackage) api.PointStatus {
	return api.PointStatus{Version: "1", Started: noon.Add(-time.Hour), Clock: noon, Free: 5, Packages: packages, Casts: []api.PointCast{}}
}

func (s *site) put(t *testing.T, point string, st api.PointStatus) {
	t.Helper()
	s.listed = time.Time{}
	if err := s.Put(point, st); err != nil {
		t.Fatal(err)
	}
}

// words are a point's packages in short.
func words(p api.FleetPoint) string {
	var out []string
	for _, x := range p.Packages {
		out = append(out, fmt.Sprintf("%s:%s:%d/%d", x.Package, x.State, x.Revision, x.Wanted))
	}
	return strings.Join(out, " ")
}

// TestMerge: what a point shall have against what it says.
func TestMerge(t *testing.T) {
	pkg := func(name string, revision int64, state string) api.PointPackage {
		return api.PointPackage{Package: name, Revision: revision, State: state, Error: "e", Held: "h", Bytes: 3, Since: noon}
	}
	for _, tt := range []struct {
		says   string
		wanted []Wanted
		said   []api.PointPackage
		want   string
	}{
		{"nothing", nil, nil, ""},
		{"never told", []Wanted{{Package: "a", Revision: 1, Priority: "low"}}, nil, "a:not_told:0/1"},
		{"all well", []Wanted{{Package: "a", Revision: 1, Priority: "low"}}, []api.PointPackage{pkg("a", 1, "success")}, "a:success:1/1"},
		{"an older revision is no answer", []Wanted{{Package: "a", Revision: 2, Priority: "low"}}, []api.PointPackage{pkg("a", 1, "success")}, "a:not_told:1/2"},
		{"a newer one is", []Wanted{{Package: "a", Revision: 1, Priority: "low"}}, []api.PointPackage{pkg("a", 2, "failed")}, "a:failed:2/1"},
		{"not in the registry yet", []Wanted{{Package: "a", Priority: "low", Held: "on its way"}}, []api.PointPackage{pkg("b", 1, "waiting")}, "a:not_told:0/0 b:leaving:1/0"},
		{"by name", []Wanted{{Package: "c", Revision: 1}, {Package: "a", Revision: 1}}, []api.PointPackage{pkg("c", 1, "in_progress"), pkg("b", 1, "success")}, "a:not_told:0/1 b:leaving:1/0 c:in_progress:1/1"},
	} {
		s := newSite(t, "")
		s.wanted["north"] = tt.wanted
		s.put(t, "north", status(tt.said...))
		point := s.View().Points[0]
		if got := words(point); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.says, got, tt.want)
		}
		for _, x := range point.Packages {
			if x.State == api.PackageNotTold && (x.Error != "" || x.Held != tt.wanted[0].Held || x.Bytes != 0 || !x.Since.IsZero() || x.Priority != tt.wanted[0].Priority) {
				t.Errorf("%s: %+v", tt.says, x)
			}
		}
	}
}

// TestOutOfReach: since when is by the site's clock, also over a restart; nothing is told of what was known before.
func TestOutOfReach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	s := newSite(t, path)
	s.wanted["south"] = nil
	if p := s.View().Points; len(p) != 2 || !p[0].Reported.IsZero() || !p[0].OutOfReach.IsZero() || p[0].Packages == nil || p[0].Casts == nil {
		t.Fatalf("%+v", p)
	}
	s.put(t, "north", status(api.PointPackage{Package: "a", Revision: 1, State: "success"}))
	s.clock = noon.Add(OutOfReach)
	if p := s.View().Points[0]; !p.OutOfReach.IsZero() || !p.Reported.Equal(noon) {
		t.Errorf("%+v", p)
	}
	s.save()
	s = newSite(t, path)
	s.wanted["north"] = []Wanted{{Package: "a", Revision: 1, Priority: "low"}}
	s.clock = noon.Add(OutOfReach + time.Second)
	if p := s.View().Points[0]; !p.OutOfReach.Equal(noon) || !p.Reported.Equal(noon) || words(p) != "a:success:1/1" || p.Free != 5 {
		t.Errorf("after a restart: %+v", p)
	}
	s.put(t, "north", status(api.PointPackage{Package: "a", Revision: 1, State: "success"}))
	if p := s.View().Points[0]; !p.OutOfReach.IsZero() || len(s.told) != 0 {
		t.Errorf("%+v, told %v", p, s.told)
	}
}

// TestWrongClock: a clock that is wrong is told of, and what it says is moved.
func TestWrongClock(t *testing.T) {
	s := newSite(t, "")
	for _, tt := range []struct {
		wrong, told time.Duration
	}{{0, 0}, {time.Minute, 0}, {-time.Minute, 0}, {3 * 24 * time.Hour, 3 * 24 * time.Hour}, {-61 * time.Second, -61 * time.Second}} {
		st := status(api.PointPackage{Package: "a", Revision: 1, State: "failed", Since: noon.Add(tt.wrong - time.Hour), Retry: noon.Add(tt.wrong + time.Hour)})
		st.Clock, st.Started = noon.Add(tt.wrong), noon.Add(tt.wrong-2*time.Hour)
		s.put(t, "north", st)
		p := s.View().Points[0]
		off := tt.wrong - tt.told
		if p.ClockAhead != tt.told.Seconds() || !p.Reported.Equal(noon) || !p.Started.Equal(noon.Add(off-2*time.Hour)) ||
			!p.Packages[0].Since.Equal(noon.Add(off-time.Hour)) || !p.Packages[0].Retry.Equal(noon.Add(off+time.Hour)) || !p.Packages[0].Validated.IsZero() {
			t.Errorf("%v: %+v", tt.wrong, p)
		}
	}
	// Centuries too: what comes out is still a date that JSON has.
	for _, year := range []int{1970, 9000} {
		st := status(api.PointPackage{Package: "a", State: "failed", Since: time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), Retry: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)})
		st.Clock = time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
		s.put(t, "north", st)
		if _, err := json.Marshal(s.View()); err != nil {
			t.Error(err)
		}
	}
}

// TestTold: each arrival and each failure once.
func TestTold(t *testing.T) {
	s := newSite(t, "")
	for _, p := range []api.PointPackage{
		{Revision: 1, State: "waiting"},
		{Revision: 1, State: "in_progress"},
		{Revision: 1, State: "failed", Error: "no route"},
		{Revision: 1, State: "failed", Error: "no route", Retry: noon},
		{Revision: 1, State: "in_progress"},
		{Revision: 1, State: "failed", Error: "no route"},
		{Revision: 1, State: "failed", Error: "disk full"},
		{Revision: 1, State: "success"},
		{Revision: 1, State: "success", Validated: noon},
		{Revision: 2, State: "success"},
	} {
		p.Package = "a"
		s.put(t, "north", status(p))
	}
	want := []string{"north failed a r1: no route", "north failed a r1: no route", "north failed a r1: disk full", "north has a r1", "north has a r2"}
	if !reflect.DeepEqual(s.told, want) {
		t.Errorf("%q, want %q", s.told, want)
	}
}

// TestRefused: hostile reports move nothing.
func TestRefused(t *testing.T) {
	s := newSite(t, "")
	good := status(api.PointPackage{Package: "a", Revision: 1, State: "success"})
	s.put(t, "north", good)
	before, _ := json.Marshal(s.View())
	long := strings.Repeat("x", maxText+1)
	one := func(change func(*api.PointPackage)) func(*api.PointStatus) {
		return func(st *api.PointStatus) {
			p := api.PointPackage{Package: "b", Revision: 1, State: "success"}
			change(&p)
			st.Packages = append(st.Packages, p)
		}
	}
	cast := func(change func(*api.PointCast)) func(*api.PointStatus) {
		return func(st *api.PointStatus) {
			c := api.PointCast{Session: "s1", Package: "a"}
			change(&c)
			st.Casts = append(st.Casts, c)
		}
	}
	for says, change := range map[string]func(*api.PointStatus){
		"no clock":             func(st *api.PointStatus) { st.Clock = time.Time{} },
		"a clock of Rome":      func(st *api.PointStatus) { st.Clock = time.Date(100, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a start of far":       func(st *api.PointStatus) { st.Started = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a long version":       func(st *api.PointStatus) { st.Version = long },
		"a version with ESC":   func(st *api.PointStatus) { st.Version = "\x1b[2J" },
		"a limit below 0":      func(st *api.PointStatus) { st.Limit = -1 },
		"twice":                one(func(p *api.PointPackage) { p.Package = "a" }),
		"no name":              one(func(p *api.PointPackage) { p.Package = "" }),
		"C1 in a name":         one(func(p *api.PointPackage) { p.Package = "\u009b2J" }),
		"a name of bad UTF-8":  one(func(p *api.PointPackage) { p.Package = "\xff" }),
		"a word for a state":   one(func(p *api.PointPackage) { p.State = "leaving" }),
		"revision":             one(func(p *api.PointPackage) { p.Revision = -1 }),
		"bytes":                one(func(p *api.PointPackage) { p.Bytes = -1 }),
		"total":                one(func(p *api.PointPackage) { p.Total = -1 }),
		"rate":                 one(func(p *api.PointPackage) { p.Rate = math.NaN() }),
		"eta":                  one(func(p *api.PointPackage) { p.ETA = math.Inf(1) }),
		"since":                one(func(p *api.PointPackage) { p.Since = time.Date(1, 2, 1, 0, 0, 0, 0, time.UTC) }),
		"retry":                one(func(p *api.PointPackage) { p.Retry = time.Date(1, 2, 1, 0, 0, 0, 0, time.UTC) }),
		"validated":            one(func(p *api.PointPackage) { p.Validated = time.Date(1, 2, 1, 0, 0, 0, 0, time.UTC) }),
		"a long error":         one(func(p *api.PointPackage) { p.Error = long }),
		"a line in held":       one(func(p *api.PointPackage) { p.Held = "a\nb" }),
		"priority":             one(func(p *api.PointPackage) { p.Priority = long }),
		"digest":               one(func(p *api.PointPackage) { p.Digest = long }),
		"a cast of nothing":    cast(func(c *api.PointCast) { c.Package = "" }),
		"a cast without id":    cast(func(c *api.PointCast) { c.Session = "" }),
		"a cast's deployment":  cast(func(c *api.PointCast) { c.Deployment = long }),
		"a cast's state":       cast(func(c *api.PointCast) { c.State = long }),
		"a cast's reason":      cast(func(c *api.PointCast) { c.RateReason = long }),
		"a cast's rate":        cast(func(c *api.PointCast) { c.Rate = -1 }),
		"a cast's progress":    cast(func(c *api.PointCast) { c.Most = 1.5 }),
		"a cast's clients":     cast(func(c *api.PointCast) { c.Clients = map[string]int{"waiting": -1} }),
		"a cast's states":      cast(func(c *api.PointCast) { c.Clients = map[string]int{long: 1} }),
		"out of service":       func(st *api.PointStatus) { st.OutOfService = []api.PointFault{{Package: ""}} },
		"out of service: text": func(st *api.PointStatus) { st.OutOfService = []api.PointFault{{Package: "a", Reason: long}} },
		"many packages": func(st *api.PointStatus) {
			for i := range maxPackages {
				st.Packages = append(st.Packages, api.PointPackage{Package: fmt.Sprint(i), State: "success"})
			}
		},
		"many casts":  func(st *api.PointStatus) { st.Casts = make([]api.PointCast, maxCasts+1) },
		"many faults": func(st *api.PointStatus) { st.OutOfService = make([]api.PointFault, maxPackages+1) },
		"many states": cast(func(c *api.PointCast) {
			c.Clients = map[string]int{}
			for i := range maxStates + 1 {
				c.Clients[fmt.Sprint(i)] = 1
			}
		}),
	} {
		bad := status(good.Packages...)
		change(&bad)
		if err := s.Put("north", bad); err == nil || len(err.Error()) > 400 {
			t.Errorf("%s: %v", says, err)
		}
	}
	if err := s.Put("west", good); !errors.Is(err, ErrUnknown) {
		t.Errorf("of a stranger: %v", err)
	}
	if after, _ := json.Marshal(s.View()); string(after) != string(before) || len(s.told) != 1 {
		t.Errorf("a refused report changed\n%s\ninto\n%s\nor told %q", before, after, s.told)
	}
}

// TestFile: it is written now and then where something has changed, forgets points that are gone, and a damaged one is begun anew.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, path)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		exists := func() bool { _, err := os.Stat(path); return err == nil }
		<-time.After(writeEvery)
		synctest.Wait()
		if exists() {
			t.Error("nothing was said, and it is written")
		}
		s.put(t, "north", status())
		<-time.After(writeEvery)
		synctest.Wait()
		if !exists() {
			t.Fatal("it isn't written")
		}
		s.wanted["south"] = nil
		s.put(t, "south", status())
		delete(s.wanted, "north")
		cancel()
		<-done
	})
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), "north") || !strings.Contains(string(text), "south") {
		t.Errorf("%s, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != fileMode {
		t.Errorf("%v, %v", info, err)
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"points":{"north":{"at":"2026-11-27T12:00:00Z","status":{}}}}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSite(t, path)
		if s.log.Len() != 1 || len(s.reports) != 0 {
			t.Errorf("%q: %v, %v", bad, s.log.All(), s.reports)
		}
		s.put(t, "north", status())
		s.save()
		if again := newSite(t, path); len(again.reports) != 1 {
			t.Errorf("after %q: %v", bad, again.log.All())
		}
	}
}

// TestUnwritable: a full or broken disk is logged, and tried again.
func TestUnwritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	s := newSite(t, filepath.Join(dir, "status.json"))
	s.put(t, "north", status())
	s.save()
	if s.log.Len() != 1 {
		t.Fatalf("%v", s.log.All())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.save()
	if again := newSite(t, filepath.Join(dir, "status.json")); len(again.reports) != 1 {
		t.Error("it isn't tried again")
	}
}

// TestCounts has every state of every point, and the time of those that reported.
func TestCounts(t *testing.T) {
	s := newSite(t, "")
	s.wanted = map[string][]Wanted{"north": {{Package: "a", Revision: 1}, {Package: "b", Revision: 1}}, "south": {{Package: "a", Revision: 1}}}
	s.put(t, "north", status(api.PointPackage{Package: "a", Revision: 1, State: "success"}))
	packages, reported := s.Counts()
	if len(packages) != 2*len(api.PackageStates()) || packages[[2]string{"north", "success"}] != 1 || packages[[2]string{"north", "not_told"}] != 1 ||
		packages[[2]string{"south", "not_told"}] != 1 || packages[[2]string{"south", "success"}] != 0 || len(reported) != 1 || !reported["north"].Equal(noon) {
		t.Errorf("%v, %v", packages, reported)
	}
}

// TestKnown: a point that was added is known within seconds, one that was removed isn't a minute later, and a stranger costs no list each.
func TestKnown(t *testing.T) {
	s := newSite(t, "")
	lists := 0
	points := s.cfg.Points
	s.cfg.Points = func() map[string][]Wanted { lists++; return points() }
	say := func(point string, want bool) {
		t.Helper()
		if err := s.Put(point, status()); errors.Is(err, ErrUnknown) == want {
			t.Errorf("%s: %v", point, err)
		}
	}
	say("north", true)
	for range 10 {
		say("north", true)
		say("west", false)
	}
	if lists != 1 {
		t.Errorf("%d lists", lists)
	}
	s.wanted["west"] = nil
	s.clock = s.clock.Add(listAgain + 1)
	say("west", true)
	delete(s.wanted, "west")
	say("west", true)
	s.clock = s.clock.Add(listFor + 1)
	say("west", false)
	s.clock = noon.Add(-time.Hour) // the clock was set back
	s.wanted["west"] = nil
	say("west", true)
}
