package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wimcast/test/rig"
)

// run starts `wimcast winpe run` at a place, with a volume Data in place of the machine's own, see volume.
func (s *stage) run(place rig.Place, args ...string) *rig.Get {
	s.t.Helper()
	base := []string{"--test-volume", "Data=" + s.volume(place.Name(), "Data")}
	g, err := rig.StartRun(s.ctx, place, s.programs, append(base, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.Kill)
	return g
}

// volume makes a folder that is a volume of a machine.
func (s *stage) volume(machine, label string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, machine+"-"+label)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// awaitEvent waits for an event whose text has some words.
func (s *stage) awaitEvent(g *rig.Get, kind, words string) {
	s.t.Helper()
	if err := g.Await(s.ctx, kind+": "+words, func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == kind && strings.Contains(e.Text, words) })
	}); err != nil {
		s.t.Fatalf("%v; events %v", err, g.Events())
	}
}

// received holds a file against the image.
func (s *stage) received(file string) {
	s.t.Helper()
	if sum(s.t, file) != sum(s.t, s.image) {
		s.t.Errorf("%s: content differs", file)
	}
}

// TestWinPERunRoom: without a cable it says so, and what comes next as that changes; it finds its only deployment, is killed, and takes
// up what it has with the next start; the third finds all of it there. Its memory stays small.
func TestWinPERunRoom(t *testing.T) {
	s := inRoom(t, 1, rig.Config{Multicast: `ceiling = "2 MB/s"`})
	host := s.room.Client(0)
	if err := host.SetLink(s.ctx, false); err != nil {
		t.Fatal(err)
	}
	g := s.run(host, "--bundle", s.daemon.Bundle())
	s.awaitEvent(g, "network", "network adapter eth0 has no link; next: plug the cable in")
	if err := host.SetBlackhole(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	if err := host.SetLink(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	s.awaitEvent(g, "network", "distribution point 10.77.0.1:7600 doesn't answer from here (10.77.0.11)")
	if err := host.SetBlackhole(s.ctx, false); err != nil {
		t.Fatal(err)
	}
	s.awaitEvent(g, "network", "the distribution point answers")
	if err := g.AwaitProven(s.ctx, 0.3); err != nil {
		t.Fatal(err)
	}
	if most := peak(t, g.Cmd()); most > 128 {
		t.Errorf("%.1f MiB of memory, want at most 128", most)
	}
	s.checkpoint(g, filepath.Join(s.volume("pc01", "Data"), "wimcast", "w11.wim"))
	g.Kill()

	// What it has is worth more than room elsewhere.
	other := s.volume("pc01", "Other")
	if err := os.Mkdir(filepath.Join(other, "wimcast"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "60 MB/s"`})
	g = s.run(host, "--bundle", s.daemon.Bundle(), "--test-volume", "Other="+other)
	_, totals := s.ended(g, 0)
	if totals.Held == 0 {
		t.Errorf("nothing was resumed: %+v; events %v", totals, g.Events())
	}
	if text, _ := g.Happened("volume"); !strings.Contains(text, "an earlier try left") {
		t.Errorf("volume: %q", text)
	}
	if text, ok := g.Happened("network"); ok {
		t.Errorf("with nothing in the way: %q", text)
	}
	file := filepath.Join(s.volume("pc01", "Data"), "wimcast", "w11.wim")
	s.received(file)

	g = s.run(host, "--bundle", s.daemon.Bundle())
	if _, totals = s.ended(g, 0); totals.Seed < s.size*9/10 {
		t.Errorf("all of it was there: %+v", totals)
	}
	s.received(file)
}

// TestWinPERunDeployments: of several it takes the one that is named, or that it has begun; what it may not have it doesn't get, and
// nothing is on the disk then.
func TestWinPERunDeployments(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "60 MB/s"`})
	s.cli("deployment", "create", "lab12", "--image", "w11", "--index", "1", "--who", "lab12")
	s.cli("deployment", "create", "lab13", "--image", "w11", "--who", "lab13")
	at := func(name string, args ...string) *rig.Get {
		return s.run(rig.Loopback(name), append([]string{"--bundle", s.holder(name, "winpe"), "--server", s.listening().String()}, args...)...)
	}
	refused := func(g *rig.Get, says string) {
		t.Helper()
		if r, _ := s.ended(g, 4); !strings.Contains(r.Error, says) {
			t.Errorf("%s: %s; want %q", g.Place.Name(), r.Error, says)
		}
		if entries, err := os.ReadDir(s.volume(g.Place.Name(), "Data")); err != nil || len(entries) > 0 && g.Place.Name() == "lab12" {
			t.Errorf("%s: %v, %v", g.Place.Name(), entries, err)
		}
	}

	g := at("lab12")
	refused(g, "bundle lab12 may have 2, from lab12 to w11; next: wimcast winpe run --deployment NAME")
	if text, _ := g.Happened("deployment"); !strings.HasPrefix(text, "lab12: w11@1, image 1, ") {
		t.Errorf("listed: %v", g.Events())
	}
	refused(at("lab12", "--deployment", "nonsense"), "no such package")
	s.ended(at("lab12", "--deployment", "lab12"), 0)
	s.received(filepath.Join(s.volume("lab12", "Data"), "wimcast", "lab12.wim"))

	s.cli("deployment", "remove", "w11")
	refused(at("other"), `bundle other may have none; next, on the server: wimcast deployment set NAME --who "other"`)
	refused(at("other", "--deployment", "lab12"), "deployment lab12 isn't for bundle other")
	s.ended(at("lab13"), 0)
	s.received(filepath.Join(s.volume("lab13", "Data"), "wimcast", "lab13.wim"))
}

// TestWinPERunExitCodes: what a task sequence goes by.
func TestWinPERunExitCodes(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "60 MB/s"`})
	bundle := s.daemon.Bundle()
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no bundle", []string{"--bundle", filepath.Join(s.dir, "none.join")}, 4, "read bundle"},
		{"nothing answers", []string{"--bundle", bundle, "--server", "127.0.0.1:9", "--network-wait", "3s"}, 3, "find distribution point: nothing in 3s: distribution point 127.0.0.1:9 doesn't answer; next: see that wimcastd runs there"},
		{"an unknown name", []string{"--bundle", bundle, "--server", "point.invalid", "--network-wait", "3s"}, 3, ""},
		{"no such volume", []string{"--bundle", bundle, "--volume", "Windows"}, 6, `find volume "Windows": there is none of that label`},
		{"both ends", []string{"--bundle", bundle, "--reboot", "--shutdown"}, 2, ""},
		{"no wpeutil", []string{"--bundle", bundle, "--reboot"}, 2, "which only Windows PE has"},
	} {
		place := rig.Loopback(strings.ReplaceAll(tc.name, " ", "-"))
		if r, _ := s.ended(s.run(place, tc.args...), tc.code); !strings.Contains(r.Error, tc.says) {
			t.Errorf("%s: %s; want %q", tc.name, r.Error, tc.says)
		}
	}

	// wpeutil is called when all is well, and only then.
	tools := s.volume("tools", "bin")
	script := "#!/bin/sh\necho \"$@\" >>" + filepath.Join(tools, "called") + "\n"
	if err := os.WriteFile(filepath.Join(tools, "wpeutil"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", tools+":"+os.Getenv("PATH"))
	s.ended(s.run(rig.Loopback("failing"), "--bundle", bundle, "--shutdown", "--volume", "none"), 6)
	s.ended(s.run(rig.Loopback("well"), "--bundle", bundle, "--reboot"), 0)
	if called, err := os.ReadFile(filepath.Join(tools, "called")); err != nil || string(called) != "reboot\n" {
		t.Errorf("wpeutil was called with %q, %v", called, err)
	}
}
