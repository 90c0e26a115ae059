package test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"wimcast/test/rig"
	"wimcast/test/winpe"
)

// The tests of the real Windows client: wimcast.exe as it is released, under Wine, in rooms of the lab.
//
//	server ────────┐
//	pc01 (wine) ───┤
//	pc02 (wine) ───┼── switch that snoops
//	pc03 (Linux) ──┘
//
// What Wine takes is limited: it loses packets at 300 Mbit/s, so rooms are cast to at 64 Mbit/s here.

// slowly is a rate that Wine keeps up with.
const slowly = `ceiling = "8 MB/s"`

// windowsKit makes wimcast.exe and Wine's drive C: once for all tests.
var windowsKit = sync.OnceValues(func() (*winpe.Kit, error) {
	dir, err := os.MkdirTemp("", "wimcast-test-")
	if err != nil {
		return nil, err
	}
	scratch.add(dir)
	return winpe.NewKit(context.Background(), "..", dir)
})

// withWindows starts a daemon in a room whose first clients are Windows machines; the kit is there before the room is.
func withWindows(t *testing.T, machines, clients int, config rig.Config) (*stage, []*winpe.Machine) {
	t.Helper()
	if err := winpe.Supported(); err != nil {
		t.Skipf("wimcast.exe can't be run here: %v", err)
	}
	kit, err := windowsKit()
	if err != nil {
		t.Fatal(err)
	}
	s := inRoom(t, clients, config)
	var all []*winpe.Machine
	for i := range machines {
		m, err := kit.Machine(s.room.Client(i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		all = append(all, m)
	}
	return s, all
}

// program is the programs of a Windows machine.
func (s *stage) program() rig.Programs {
	s.t.Helper()
	kit, err := windowsKit()
	if err != nil {
		s.t.Fatal(err)
	}
	return rig.Programs{Client: kit.Client}
}

// getOn starts wimcast.exe on a Windows machine.
func (s *stage) getOn(m *winpe.Machine, args ...string) *rig.Get {
	s.t.Helper()
	base := []string{"w11", "--bundle", winpe.Z(s.daemon.Bundle()), "--output", winpe.Z(s.file(m.Name()))}
	g, err := rig.StartGet(s.ctx, m, s.program(), append(base, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.Kill)
	return g
}

// nothingFrom holds that no byte of content was written.
func (s *stage) nothingFrom(g *rig.Get, totals rig.Totals) {
	s.t.Helper()
	if totals.Multicast+totals.Unicast > 0 {
		s.t.Errorf("%s: %d bytes by multicast, %d by unicast, want none", g.Place.Name(), totals.Multicast, totals.Unicast)
	}
	if _, err := os.Stat(s.file(g.Place.Name())); err == nil {
		s.t.Errorf("%s: a file appeared", g.Place.Name())
	}
}

// hearsOnly holds that a machine's kernel is a member of a group for one source alone: a row "index device group source included excluded".
func (s *stage) hearsOnly(m *winpe.Machine, group, source netip.Addr) {
	s.t.Helper()
	table, err := m.Host.Run(s.ctx, "cat", "/proc/net/mcfilter")
	if err != nil {
		s.t.Fatal(err)
	}
	word := func(a netip.Addr) string { return fmt.Sprintf("0x%08x", binary.BigEndian.Uint32(a.AsSlice())) }
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) == 6 && f[2] == word(group) && f[3] == word(source) && f[4] == "1" && f[5] == "0" {
			return
		}
	}
	s.t.Errorf("%s isn't a member of %v for %v alone:\n%s", m.Name(), group, source, table)
}

// TestWinPEWineRoom: two Windows machines beside a Linux one, at 5 % loss of one's own: the switch hears of their memberships, all of
// it comes by multicast, losses are repaired, and the image is the server's to the byte. Drive letters and backslashes come back as they were given.
func TestWinPEWineRoom(t *testing.T) {
	s, machines := withWindows(t, 2, 3, rig.Config{Multicast: slowly})
	s.cli("image", "set", "w11", "--multicast-only") // on a busy machine Wine may lose so much that the server helps out by unicast
	if err := machines[1].SetLoss(s.ctx, 5); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(machines[0].C(), "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	const onC = `C:\images\w11 of lab 12.wim`
	gets := []*rig.Get{s.getOn(machines[0], "--output", onC), s.getOn(machines[1]), s.get(2)}
	if err := gets[0].AwaitProven(s.ctx, 0.01); err != nil {
		t.Fatal(err)
	}
	var sessions []struct {
		Group string `json:"group"`
	}
	if err := s.daemon.Ask(s.ctx, &sessions, "session", "list"); err != nil || len(sessions) != 1 {
		t.Fatalf("sessions: %+v, %v; want one for the whole room", sessions, err)
	}
	group, err := netip.ParseAddrPort(sessions[0].Group)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		if err := m.WaitMember(s.ctx, group.Addr()); err != nil {
			t.Error(err)
		}
		s.hearsOnly(m, group.Addr(), s.room.Server().Addr())
	}
	first, _ := s.ended(gets[0], 0)
	if first.File != onC || first.Size != s.size {
		t.Errorf("result: %+v; want file %s of %d bytes", first, onC, s.size)
	}
	if sum(t, filepath.Join(machines[0].C(), "images", "w11 of lab 12.wim")) != sum(t, s.image) {
		t.Error("content differs")
	}
	_, lossy := s.proven(gets[1])
	cable, err := machines[1].Stats(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if cable.Lost == 0 || lossy.Lost == 0 || lossy.Repaired == 0 { // Wine itself may lose some on a busy machine
		t.Errorf("the cable lost %d packets; the client knows of %d and repaired %d symbols", cable.Lost, lossy.Lost, lossy.Repaired)
	}
	s.proven(gets[2])
	for _, g := range gets {
		if _, totals, _ := g.Wait(s.ctx); totals.Multicast != s.size || totals.Unicast > 0 {
			t.Errorf("%s: %d bytes by multicast, %d by unicast; want all %d by multicast", g.Place.Name(), totals.Multicast, totals.Unicast, s.size)
		}
	}
	left, err := os.ReadDir(filepath.Join(machines[0].C(), "images"))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v; want the image alone: no part file, no have-map", left, err)
	}
	t.Logf("%.1f MB; at 5 %% loss the cable lost %d packets, the client knows of %d and repaired %d symbols", float64(s.size)/1e6, cable.Lost, lossy.Lost, lossy.Repaired)
}

// TestWinPEWineKilled pulls a Windows machine's plug in mid-cast: started again it goes on with what it held.
func TestWinPEWineKilled(t *testing.T) {
	s, machines := withWindows(t, 1, 1, rig.Config{Multicast: `ceiling = "2 MB/s"`})
	s.cli("image", "set", "w11", "--multicast-only") // see above
	g := s.getOn(machines[0])
	s.checkpoint(g, s.file("pc01"))
	g.Kill()
	s.hurry(rig.Config{Multicast: slowly})
	for _, suffix := range []string{".part", ".part.have"} {
		if _, err := os.Stat(s.file("pc01") + suffix); err != nil {
			t.Errorf("after the kill: %v", err)
		}
	}
	if _, err := os.Stat(s.file("pc01")); err == nil {
		t.Error("the file is there although it wasn't proven")
	}
	again := s.getOn(machines[0])
	_, totals := s.proven(again)
	if _, ok := again.Happened("resumed"); !ok || totals.Held == 0 || totals.Held+totals.Multicast != s.size {
		t.Errorf("%d bytes held, %d by multicast of %d; events %v", totals.Held, totals.Multicast, s.size, again.Events())
	}
}

// TestWinPEWinePruned: the switch gives no multicast to a Windows machine. It has the image by unicast, and says why; of a multicast-only
// package it has nothing, says so and ends with 5.
func TestWinPEWinePruned(t *testing.T) {
	s, machines := withWindows(t, 1, 1, rig.Config{Multicast: slowly})
	if err := machines[0].SetPruned(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	g := s.getOn(machines[0])
	_, totals := s.proven(g)
	if totals.Unicast != s.size || totals.UnicastReason != "group_silent" {
		t.Errorf("%+v", totals)
	}
	if text, ok := g.Happened("unicast"); !ok || !strings.Contains(text, "nothing of group") {
		t.Errorf("events: %v", g.Events())
	}

	s.cli("session", "stop", "s1")
	s.cli("image", "set", "w11", "--multicast-only")
	s.again()
	g = s.getOn(machines[0])
	r, totals := s.ended(g, 5)
	if !strings.Contains(r.Error, "multicast-only") {
		t.Errorf("error: %s", r.Error)
	}
	s.nothingFrom(g, totals)
}

// TestWinPEWineEvicted evicts a Windows machine in mid-cast.
func TestWinPEWineEvicted(t *testing.T) {
	s, machines := withWindows(t, 1, 1, rig.Config{Multicast: `ceiling = "2 MB/s"`})
	g := s.getOn(machines[0])
	if err := g.AwaitProven(s.ctx, 0.05); err != nil {
		t.Fatal(err)
	}
	s.cli("client", "evict", "pc01")
	s.ended(g, 8)
	if _, err := os.Stat(s.file("pc01")); err == nil {
		t.Error("a file appeared")
	}
}

// TestWinPEWineExitCodes: what a task sequence goes by. Each of them says in a sentence what is wrong.
func TestWinPEWineExitCodes(t *testing.T) {
	s, machines := withWindows(t, 2, 2, rig.Config{Multicast: slowly})
	m, exe := machines[0], s.program().Client
	lost := s.getOn(machines[1], "--server", s.room.Server().Addr().String()+":7699") // it tries for 30 s, all the while
	ends := func(t *testing.T, want int, says string, args ...string) (stdout string) {
		t.Helper()
		code, stdout, stderr, err := m.Run(s.ctx, exe, args...)
		if err != nil || code != want || !strings.Contains(stderr, says) {
			t.Errorf("wimcast %s: exit code %d, %v: %s; want %d and %q", strings.Join(args, " "), code, err, stderr, want, says)
		}
		return stdout
	}
	get := func(bundle string, more ...string) []string {
		return append([]string{"get", "w11", "--bundle", winpe.Z(bundle), "--output", winpe.Z(s.file("pc01"))}, more...)
	}
	t.Run("version", func(t *testing.T) {
		if out := ends(t, 0, "", "version"); strings.TrimSpace(out) == "" {
			t.Error("it prints nothing")
		}
		var version string
		if out := ends(t, 0, "", "--json", "version"); json.Unmarshal([]byte(out), &version) != nil || version == "" {
			t.Errorf("--json version: %q", out)
		}
	})
	t.Run("usage", func(t *testing.T) { ends(t, 2, "unknown flag --frobnicate", "get", "w11", "--frobnicate") })
	t.Run("no bundle", func(t *testing.T) { ends(t, 4, `nowhere.join`, get(filepath.Join(s.dir, "nowhere.join"))...) })
	t.Run("another site's bundle", func(t *testing.T) {
		other := onLoopback(t, rig.Config{})
		ends(t, 4, "certificate", get(other.daemon.Bundle(), "--server", s.room.Server().Addr().String())...)
	})
	t.Run("revoked bundle", func(t *testing.T) {
		bundle := filepath.Join(s.dir, "guest.join")
		s.cli("bundle", "create", "guest", "--output", bundle)
		s.cli("bundle", "revoke", "guest")
		ends(t, 4, "revoked", get(bundle, "--server", s.room.Server().Addr().String())...)
		s.wrote("revoked")
	})
	t.Run("not deployed", func(t *testing.T) {
		args := get(s.daemon.Bundle())
		args[1] = "w12"
		ends(t, 4, "w12", args...)
	})
	t.Run("file exists", func(t *testing.T) {
		if err := os.WriteFile(s.file("pc01"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		ends(t, 6, "exists already", get(s.daemon.Bundle())...)
		if b, _ := os.ReadFile(s.file("pc01")); string(b) != "precious" {
			t.Errorf("the file now holds %q", b)
		}
		if err := os.Remove(s.file("pc01")); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		ends(t, 6, `there is no directory`, get(s.daemon.Bundle(), "--output", `C:\no\such\w11.wim`)...)
	})
	t.Run("no space", func(t *testing.T) {
		small := filepath.Join(s.dir, "small")
		if err := os.Mkdir(small, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
			t.Fatalf("mount a small tmpfs: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(small, 0) })
		ends(t, 6, "not enough space", get(s.daemon.Bundle(), "--output", winpe.Z(filepath.Join(small, "w11.wim")))...)
		left, err := os.ReadDir(small)
		if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool {
			info, err := e.Info()
			return err != nil || info.Size() > 0
		}) {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	t.Run("proven", func(t *testing.T) {
		if out := ends(t, 0, "", get(s.daemon.Bundle())...); !strings.Contains(out, `pc01.wim proven`) || !strings.Contains(out, `Z:\`) {
			t.Errorf("it says %q", out)
		}
		if sum(t, s.file("pc01")) != sum(t, s.image) {
			t.Error("content differs")
		}
	})
	t.Run("no server", func(t *testing.T) {
		r, totals := s.ended(lost, 3)
		if !strings.Contains(r.Error, "unreachable") {
			t.Errorf("error: %s", r.Error)
		}
		s.nothingFrom(lost, totals)
	})
}

// TestWinPEWinePackages runs the tests of packages that meet Windows itself, built for it. client: the part file with its lock, holes,
// renaming and the volume's free space. multicast: groups joined for one source and for any, rejoining, closing, and the call that tells of
// joined datagrams. (Wine joins none; and a socket hears other groups of its port, which Windows keeps from it, so not all run.)
func TestWinPEWinePackages(t *testing.T) {
	s, machines := withWindows(t, 1, 1, rig.Config{})
	kit, err := windowsKit()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pkg, run string
		least    int // tests that pass
	}{
		{"./client", "Test", 20},
		{"./multicast", "^Test(Joined.*|Loopback|SourceOfRun|WithoutOffload|FromSource|CloseUnblocks|RejoinHears|NoAllocations|FindLoopback)$", 11},
	} {
		program, err := kit.Test(s.ctx, c.pkg)
		if err != nil {
			t.Fatal(err)
		}
		code, out, errOut, err := machines[0].Run(s.ctx, program, "-test.v", "-test.run", c.run)
		if passed := strings.Count(out, "--- PASS: Test") - strings.Count(out, "    --- PASS: Test"); err != nil || code != 0 || passed < c.least {
			t.Errorf("%s: %d tests passed, exit code %d, %v: %s %s", c.pkg, passed, code, err, out, errOut)
		}
	}
}
