package test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wimcast/test/rig"
)

// withBundle starts a client with a bundle of the stage's directory, and a PIN in its environment.
func (s *stage) withBundle(name, bundle, pin string, args ...string) *rig.Get {
	s.t.Helper()
	place := pinned{rig.Loopback(name), pin}
	base := []string{"w11", "--bundle", filepath.Join(s.dir, bundle), "--output", s.file(name)}
	g, err := rig.StartGet(s.ctx, place, s.programs, append(base, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.Kill)
	return g
}

// pinned is a place whose programs find a PIN in their environment.
type pinned struct {
	rig.Loopback

	pin string
}

func (p pinned) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := p.Loopback.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), "WIMCAST_PIN="+p.pin)
	return cmd
}

// TestWinPEPIN: a boot image that was stolen gets nothing by itself. Its machines get in with the PIN of their room, come back without
// it being typed again, and nothing that the daemon or a client wrote has it.
func TestWinPEPIN(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "8 MB/s"`})
	made := s.cli("bundle", "create", "room12", "--pin", "--output", filepath.Join(s.dir, "room12.join"))
	if !strings.Contains(made, `wimcast pin set "room12"`) {
		t.Errorf("bundle create says %q", made)
	}

	// The room is closed: who comes waits, and says what for.
	waits := s.withBundle("pc01", "room12.join", "")
	if err := waits.Await(s.ctx, "the room is closed", func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool {
			return e.Event == "locked" && strings.Contains(e.Text, "its room is closed") && strings.Contains(e.Text, `wimcast pin set "room12"`)
		})
	}); err != nil {
		t.Fatal(err)
	}

	// It is opened. Nobody can be asked at pc01, which has no PIN.
	set := s.cli("pin", "set", "room12", "--for", "30m")
	drawn := regexp.MustCompile(`^PIN (\d{6})\n`).FindStringSubmatch(set)
	if drawn == nil {
		t.Fatalf("pin set says %q", set)
	}
	pin := drawn[1]
	r, _ := s.ended(waits, 4)
	if !strings.Contains(r.Error, "wants the PIN of its room") || !strings.Contains(r.Error, "--pin") {
		t.Errorf("without a PIN: %s", r.Error)
	}
	wrong := "999999"
	if pin == wrong {
		wrong = "888888"
	}
	if r, _ = s.ended(s.withBundle("pc02", "room12.join", wrong), 4); !strings.Contains(r.Error, "is another one") {
		t.Errorf("with a wrong PIN: %s", r.Error)
	}
	// With the PIN. It survives a daemon that forgets it, once the operator has set it again.
	right := s.withBundle("pc03", "room12.join", pin)
	if err := right.AwaitProven(s.ctx, 0.1); err != nil {
		t.Fatal(err)
	}
	s.daemon.Kill()
	s.keepPort()
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	if list := s.cli("--json", "pin", "list"); strings.TrimSpace(list) != "[]" {
		t.Errorf("a restart forgot nothing: %s", list)
	}
	if err := right.Await(s.ctx, "the restarted server's room is closed", func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == "locked" })
	}); err != nil {
		t.Fatal(err)
	}
	s.cli("pin", "set", "room12", "--pin", pin)
	s.proven(right)
	var rooms []struct {
		Room         string
		Right, Wrong int
	}
	if err := s.daemon.Ask(s.ctx, &rooms, "pin", "list"); err != nil || len(rooms) != 1 || rooms[0].Right != 1 || rooms[0].Wrong != 0 {
		t.Errorf("%+v, %v", rooms, err)
	}

	// Other bundles are asked for nothing; nor is this one while the room is open.
	s.proven(s.get(3))
	s.cli("pin", "clear", "room12")
	s.cli("pin", "open", "room12", "--for", "5m")
	s.proven(s.withBundle("pc05", "room12.join", ""))

	s.unseen(pin, set, right)
	s.unseen(wrong, "", right)
}

// keepPort has the next start of the daemon listen where this one did.
func (s *stage) keepPort() {
	s.t.Helper()
	at := regexp.MustCompile(`"msg":"ready".*?"listen":"([^"]+)"`).FindStringSubmatch(s.daemon.Log())
	path := filepath.Join(s.daemon.Dir, "wimcastd.toml")
	text, err := os.ReadFile(path)
	if err != nil || at == nil {
		s.t.Fatalf("where it listened: %q, %v", at, err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`"127.0.0.1:0"`), []byte(`"`+at[1]+`"`), 1), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// unseen holds that a PIN is in nothing that was written: the daemon's log, its state, the client's output. shown is where it was shown once.
func (s *stage) unseen(pin, shown string, g *rig.Get) {
	s.t.Helper()
	if shown != "" && strings.Count(shown, pin) != 1 {
		s.t.Errorf("it is shown in %q", shown)
	}
	for name, text := range map[string]string{"daemon's log": s.daemon.Log(), "client's output": g.Stderr(), "history": s.cli("--json", "history", "actions")} {
		if found(text, pin) {
			s.t.Errorf("the %s has the PIN", name)
		}
	}
	for _, e := range g.Events() {
		if found(e.Text, pin) {
			s.t.Errorf("event %+v has the PIN", e)
		}
	}
	err := filepath.WalkDir(s.daemon.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.Contains(path, "library") {
			return err
		}
		text, err := os.ReadFile(path)
		if found(string(text), pin) {
			s.t.Errorf("%s has the PIN", path)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// found finds a PIN that stands by itself: six digits are found within serial numbers and times.
func found(text, pin string) bool {
	return regexp.MustCompile(`(^|[^0-9a-zA-Z.])` + pin + `([^0-9a-zA-Z]|$)`).MatchString(text)
}

// TestWinPEPINRequired: a configuration may want PINs of bundles whose certificates don't say so, as of an organisation's PKI.
func TestWinPEPINRequired(t *testing.T) {
	s := onLoopback(t, rig.Config{Admin: "[pin]\nrequire = [\"roo*\"]"})
	s.cli("pin", "set", "room", "--pin", "let-me-in")
	s.ended(s.get(0), 4)
	s.proven(s.get(1, "--pin", "let-me-in"))
}

// TestWinPEPINMachines: bundles of single machines hold an eviction.
func TestWinPEPINMachines(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "1 MB/s"`})
	list := filepath.Join(s.dir, "list.csv")
	if err := os.WriteFile(list, []byte("name,uuid\npc01\npc02\npc03,4c4c4544-0044-4a10-8054-b3c04f4e4d31\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(s.dir, "out", "pc02.join")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	create := func() string {
		return s.cli("bundle", "create", "--machines", list, "--output", filepath.Join(s.dir, "out"))
	}
	if out := create(); !strings.Contains(out, "2 bundles made, 1 there already") {
		t.Errorf("%s", out)
	}
	if text, err := os.ReadFile(mine); err != nil || string(text) != "mine" {
		t.Errorf("a file that was there is %q, %v", text, err)
	}
	if out := create(); !strings.Contains(out, "0 bundles made, 3 there already") {
		t.Errorf("again: %s", out)
	}
	left, err := os.ReadDir(filepath.Join(s.dir, "out"))
	if err != nil || len(left) != 3 {
		t.Errorf("%v, %v", left, err)
	}

	// Another machine's UUID in the certificate (none is claimed here, or the machine's own).
	if r, _ := s.ended(s.withBundle("pc03", "out/pc03.join", ""), 4); !strings.Contains(r.Error, "is for the machine with UUID 4c4c4544-0044-4a10-8054-b3c04f4e4d31") {
		t.Errorf("another machine: %s", r.Error)
	}

	goes, shared := s.withBundle("pc01", "out/pc01.join", ""), s.get(3)
	for _, g := range []*rig.Get{goes, shared} {
		if err := g.AwaitProven(s.ctx, 0.05); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.daemon.CLI(s.ctx, "client", "evict", "pc04", "--revoke"); err == nil || !strings.Contains(err.Error(), "isn't of this machine alone") {
		t.Errorf("a room's bundle: %v", err)
	}
	if out := s.cli("client", "evict", "pc01", "--revoke"); !strings.Contains(out, "its bundle is revoked") {
		t.Errorf("%s", out)
	}
	s.ended(goes, 8)
	s.hurry(rig.Config{Multicast: `ceiling = "8 MB/s"`})
	if r, _ := s.ended(s.withBundle("pc01", "out/pc01.join", "", "--name", "somebody-else"), 4); !strings.Contains(r.Error, "revoked") {
		t.Errorf("it came back: %s", r.Error)
	}
	s.proven(shared)
}
