package test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wimcast/crypto/keyex"
	"wimcast/library/release"
	"wimcast/test/lab"
	"wimcast/test/rig"
)

// pathway is a site and one point of it, berlin, which has its credentials and, by hand, the same image:
//
//	switch ─┬─ site   10.77.0.1
//	        ├─ berlin 10.77.0.11 (pc01)
//	        ├─ pc02   10.77.0.12, which the table sends to berlin
//	        └─ pc03   10.77.0.13, which it sends to the site
type pathway struct {
	*stage
	point  *rig.Daemon
	bundle string // with the table
}

// Where the daemons of a pathway are.
const (
	siteAt   = "10.77.0.1:7600"
	berlinAt = "10.77.0.11:7600"
)

// findPoints starts a site and its point. limits is of the point's configuration; has: it has the image.
func findPoints(t *testing.T, ceiling, limits string, has bool) *pathway {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	f := &pathway{stage: prepare(t)}
	room, err := lab.New(f.ctx, lab.Config{Clients: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	f.room = room
	if err := room.WaitSnooping(f.ctx); err != nil {
		t.Fatal(err)
	}
	file := f.pointFile("berlin")
	config := rig.Config{Multicast: fmt.Sprintf("ceiling = %q", ceiling)}
	f.start(room.Server(), config)
	dir := filepath.Join(f.dir, "berlin")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config.Multicast += "\ngroups = \"239.195.20.0/22\"" // on one network no two use the same
	config.Admin = fmt.Sprintf("[limits]\n%s\n[point]\nbundle = %q\n", limits, file)
	if f.point, err = rig.StartDaemon(f.ctx, room.Client(0), f.programs, dir, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.point.Kill()
		if t.Failed() {
			t.Logf("the point's log:\n%s", f.point.Log())
		}
	})
	if has {
		if _, err := f.point.AddImage(f.ctx, f.image, "w11", "--version", "1"); err != nil {
			t.Fatal(err)
		}
	}
	f.bundle = filepath.Join(f.dir, "lab.join")
	f.cli("bundle", "create", "lab", "-o", f.bundle, "--point", "10.77.0.0/24="+siteAt, "--point", "10.77.0.12/32="+berlinAt, "--point", "10.99.0.0/16=10.99.0.5:7600")
	return f
}

// pointFile has the site's authority, which its daemon finds when it starts, make a point's credentials.
func (f *pathway) pointFile(name string) string {
	f.t.Helper()
	a, err := keyex.OpenAuthority(filepath.Join(f.dir, "server", "ca"), keyex.AuthorityConfig{})
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	credentials, err := a.IssuePoint(keyex.PointRequest{Name: name, Servers: []string{"10.77.0.1:7601"}})
	if err != nil {
		f.t.Fatal(err)
	}
	own, err := credentials.Client.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	identity, _, err := release.NewIdentity()
	if err != nil {
		f.t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	file := release.PointFile{
		Name: name, Repository: "10.77.0.1:5000/wimcast", SiteKey: release.FormatPublicKey(public), Identity: identity,
		Bundle: string(own), Server: string(credentials.Server),
	}
	text, err := file.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	path := filepath.Join(f.dir, name+".point")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// fetch starts a client that has the table.
func (f *pathway) fetch(i int, args ...string) *rig.Get {
	f.t.Helper()
	return f.getAt(f.room.Client(i), append([]string{"--bundle", f.bundle}, args...)...)
}

// says holds that a client has told of a point in these words.
func (f *pathway) says(g *rig.Get, words ...string) {
	f.t.Helper()
	var all []string
	for _, e := range g.Events() {
		if e.Event == "point" {
			all = append(all, e.Text)
		}
	}
	for _, word := range words {
		if !strings.Contains(strings.Join(all, "\n"), word) {
			f.t.Errorf("%s doesn't say %q:\n%s", g.Place.Name(), word, strings.Join(all, "\n"))
		}
	}
}

// TestFleetFindTable: each machine goes where the table sends it, by the longest prefix that fits; the doctor says so beforehand.
func TestFleetFindTable(t *testing.T) {
	f := findPoints(t, "20 MB/s", "", true)
	const why = "point berlin (" + berlinAt + "): the bundle's point for 10.77.0.12/32, where this machine is"
	cmd := f.room.Client(1).Command(f.ctx, f.programs.Client, "--json", "--bundle", f.bundle, "doctor")
	out, err := cmd.Output() // its exit code is that of all that it looks at
	var told struct {
		Findings []struct{ Check, Text string }
	}
	if bad := json.Unmarshal(out, &told); bad != nil {
		t.Fatalf("%v, %v: %s", err, bad, out)
	}
	found := ""
	for _, one := range told.Findings {
		if one.Check == "point" {
			found = one.Text
		}
	}
	if want := "this machine takes " + why + "; " + siteAt + " is next (the bundle's point for 10.77.0.0/24, where this machine is)"; found != want {
		t.Errorf("the doctor says %q, want %q", found, want)
	}
	here, there := f.fetch(1), f.fetch(2)
	f.proven(here)
	f.proven(there)
	f.says(here, why)
	if text, is := there.Happened("point"); is {
		t.Errorf("a machine with one way speaks of others: %s", text)
	}
	var atPoint []cast
	if err := f.point.Ask(f.ctx, &atPoint, "session", "list"); err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]cast{atPoint, f.sessions()} {
		if len(list) != 1 || len(list[0].Clients) != 1 {
			t.Errorf("%+v", list)
		}
	}
	// A point makes no bundles.
	if out, err := f.point.CLI(f.ctx, "bundle", "create", "x", "-o", filepath.Join(f.dir, "x.join")); err == nil || !strings.Contains(err.Error(), "this is point berlin") {
		t.Errorf("%s, %v", out, err)
	}
}

// TestFleetFindDown: the point dies in mid-cast; its client goes on at the site with what it has, within seconds. One that comes later goes
// there at once.
func TestFleetFindDown(t *testing.T) {
	f := findPoints(t, "3 MB/s", "", true)
	g := f.fetch(1)
	if err := g.AwaitProven(f.ctx, 0.4); err != nil {
		t.Fatal(err)
	}
	f.point.Kill()
	killed := time.Now()
	held := g.Progress().Proven
	if err := g.Await(f.ctx, "a place at the site", func(_ rig.Event, events []rig.Event) bool {
		for _, e := range events {
			if e.Event == "point" && strings.Contains(e.Text, siteAt+"):") {
				return true
			}
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(killed)
	t.Logf("%.1f MB of %.1f MB were there; the next point had it after %.1f s", float64(held)/1e6, float64(f.size)/1e6, took.Seconds())
	if took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	_, totals := f.proven(g)
	if got := totals.Multicast + totals.Unicast + totals.Held; got != f.size {
		t.Errorf("%+v, want %d bytes proven once", totals, f.size)
	}
	f.says(g, "passed over: point berlin ("+berlinAt+")")
	if most := uint64(f.size-held) * 13 / 10; f.sessions()[0].Sent.Bytes > most {
		t.Errorf("the site sent %d bytes, want at most %d for what was lacking", f.sessions()[0].Sent.Bytes, most)
	}
	late := f.getAt(f.room.Client(1), "--bundle", f.bundle, "--overwrite")
	f.proven(late)
	f.says(late, "distribution point ("+siteAt+")", "passed over: "+berlinAt)
}

// TestFleetFindFull: a client that the point has no place for gets one at the site.
func TestFleetFindFull(t *testing.T) {
	f := findPoints(t, "2 MB/s", "max_clients = 1", true)
	first := f.getAt(f.room.Client(2), "--bundle", f.bundle, "--server", berlinAt)
	if err := first.AwaitProven(f.ctx, 0.05); err != nil {
		t.Fatal(err)
	}
	second := f.fetch(1)
	f.proven(second)
	f.says(second, "point berlin ("+berlinAt+") has no place for this client: ", "limits.max_clients", "asking another", "distribution point ("+siteAt+")")
	f.proven(first)
}

// TestFleetFindLacks: a client whose point hasn't got the package yet gets it from the site; where nobody has it, the end names what each said.
func TestFleetFindLacks(t *testing.T) {
	f := findPoints(t, "20 MB/s", "", false)
	g := f.fetch(1)
	f.proven(g)
	f.says(g, "point berlin ("+berlinAt+") has no place for this client: ", "asking another", "distribution point ("+siteAt+")")
	none, err := rig.StartGet(f.ctx, f.room.Client(1), f.programs, "w12", "--bundle", f.bundle, "--output", f.file("none"))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := f.ended(none, 4)
	for _, who := range []string{"point berlin (" + berlinAt + "): ", siteAt + ": "} {
		if !strings.Contains(r.Error, who) {
			t.Errorf("the end doesn't name %s: %s", who, r.Error)
		}
	}
}
