package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/test/rig"
)

// machineLog is what `wimcast client log --list --json` says of a log.
type machineLog struct {
	ID          string `json:"id"`
	Certificate string `json:"certificate"`
	ExitCode    int    `json:"exit_code"`
	Error       string `json:"error"`
	Machine     struct {
		Name string `json:"name"`
	} `json:"machine"`
}

func (s *stage) logs(args ...string) []machineLog {
	s.t.Helper()
	var list []machineLog
	if err := s.daemon.Ask(s.ctx, &list, append([]string{"client", "log", "--list"}, args...)...); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// TestWinPELog: what a machine wrote is at the distribution point when its get failed, or was asked to send it, and stays there; it changes
// nothing of how the get ends; who may not join leaves nothing.
func TestWinPELog(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.cli("image", "set", "w11", "--multicast-only") // a log isn't content

	// A get that fails.
	pc01 := rig.Loopback("pc01")
	if err := os.WriteFile(s.file("pc01"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := s.getAt(pc01)
	s.ended(failed, 6)
	said, ok := failed.Happened("log")
	list := s.logs("pc01")
	if len(list) != 1 || list[0].ExitCode != 6 || list[0].Certificate != "room" || !strings.Contains(list[0].Error, "exists already") || !ok || !strings.HasSuffix(said, "wimcast client log "+list[0].ID) {
		t.Fatalf("%+v; the client said %q", list, said)
	}
	shown := s.cli("client", "log", "pc01")
	for _, want := range []string{"pc01  received ", "exit code 6", "begun  wimcast dev on linux/", "result  exit code 6", "exists already"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the log doesn't say %q:\n%s", want, shown)
		}
	}

	// One that ends well sends nothing, unless it was asked to.
	s.proven(s.get(1))
	if list := s.logs("pc02"); len(list) != 0 {
		t.Errorf("a get that ended well sent %+v", list)
	}
	s.proven(s.get(2, "--send-log"))
	if list := s.logs("pc03"); len(list) != 1 || list[0].ExitCode != 0 {
		t.Errorf("asked for: %+v", list)
	}
	if raw := s.cli("client", "log", "pc03", "--raw"); !strings.Contains(raw, `"event":"joined"`) || !strings.Contains(raw, `"event":"proven"`) {
		t.Errorf("the log has no events:\n%s", raw)
	}

	// A name that would steer a terminal, or leave the directory.
	s.ended(s.getAt(rig.Loopback("../\x1b[2Jpc"), "--output", s.file("pc01")), 6)
	out := s.cli("client", "log", "*2Jpc")
	if strings.Contains(out, "\x1b") || !strings.Contains(out, "../?[2Jpc") {
		t.Errorf("a hostile name is shown as %q", out)
	}

	// Who may not join leaves nothing, and is told its own error.
	s.cli("bundle", "create", "lost", "--output", filepath.Join(s.dir, "lost.join"))
	s.cli("bundle", "revoke", "lost")
	g, err := rig.StartGet(s.ctx, rig.Loopback("pc05"), s.programs, "w11", "--bundle", filepath.Join(s.dir, "lost.join"), "--output", s.file("pc05"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	r, _ := s.ended(g, 4)
	if list := s.logs("pc05"); len(list) != 0 || !strings.Contains(r.Error, "revoked") {
		t.Errorf("a revoked bundle left %+v; the get ended with %s", list, r.Error)
	}

	// A restart keeps them; then they go.
	if err := s.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.daemon.Dir, "logs", ".new-0123"), 0o700); err != nil { // as a kill leaves it
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	if list := s.logs(); len(list) != 3 {
		t.Errorf("after a restart: %+v", list)
	}
	s.cli("client", "log", "pc01", "--remove")
	s.cli("client", "log", "pc03", "--remove")
	left, err := os.ReadDir(filepath.Join(s.daemon.Dir, "logs"))
	if err != nil || len(left) != 1 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// TestWinPELogRefused: a point that takes no logs says so, and the get ends as it would have.
func TestWinPELogRefused(t *testing.T) {
	s := onLoopback(t, rig.Config{Admin: "[logs]\nmax = \"0\""})
	if err := os.WriteFile(s.file("pc01"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	g := s.get(0)
	s.ended(g, 6)
	if said, _ := g.Happened("log"); !strings.Contains(said, "no logs of clients are kept here") {
		t.Errorf("the client said %q", said)
	}
	if list := s.logs(); len(list) != 0 {
		t.Error(fmt.Sprint(list))
	}
}
