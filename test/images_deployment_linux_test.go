package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/test/rig"
)

// deployedSession is a session as `wimcast --json session list` shows it, with what concerns deployments.
type deployedSession struct {
	ID         string `json:"id"`
	Deployment string `json:"deployment"`
	Package    string `json:"package"`
	Group      string `json:"group"`
	State      string `json:"state"`
	Lane       int    `json:"lane"`
	Waiting    int    `json:"waiting_clients"`
	Clients    []struct {
		Name string `json:"name"`
		Role string `json:"role"`
	} `json:"clients"`
}

// deployedSessions returns the sessions, running and ended.
func (s *stage) deployedSessions() (list []deployedSession) {
	s.t.Helper()
	if err := s.daemon.Ask(s.ctx, &list, "session", "list"); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// holder makes a bundle and returns its file.
func (s *stage) holder(name, role string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name+".join")
	if _, err := os.Stat(file); err != nil {
		s.cli("bundle", "create", name, "--role", role, "--output", file)
	}
	return file
}

// getBy starts a client that asks for something with a bundle of its own name.
func (s *stage) getBy(ref, name, role string, args ...string) *rig.Get {
	s.t.Helper()
	_ = os.Remove(s.file(name))
	base := []string{ref, "--bundle", s.holder(name, role), "--server", s.listening().String(), "--output", s.file(name)}
	g, err := rig.StartGet(s.ctx, rig.Loopback(name), s.programs, append(base, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.Kill)
	return g
}

// refused waits for a client that is refused in these words.
func (s *stage) refused(g *rig.Get, says string) {
	s.t.Helper()
	if r, _ := s.ended(g, 4); !strings.Contains(r.Error, says) {
		s.t.Errorf("%s: %s; want %q", g.Place.Name(), r.Error, says)
	}
}

// denied holds that a command fails in these words.
func (s *stage) denied(says string, args ...string) {
	s.t.Helper()
	if out, err := s.daemon.CLI(s.ctx, args...); err == nil || !strings.Contains(err.Error(), says) {
		s.t.Errorf("wimcast %s: %s, %v; want %q", strings.Join(args, " "), out, err, says)
	}
}

// TestImagesDeployment: a room that may have an image gets it by multicast, a bundle that may not is told so; without a deployment only
// operators get it. Session list, metrics and history name the deployment, and the record who made it.
func TestImagesDeployment(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.cli("deployment", "remove", "w11")
	if out := s.cli("deployment", "list"); !strings.Contains(out, "wimcast deployment create NAME --image PACKAGE") {
		t.Errorf("list of none: %s", out)
	}

	// Nobody but operators.
	const next = "without a deployment a package is open to operator bundles only; on the server: wimcast deployment create NAME --image"
	s.refused(s.getBy("w11", "lab12", "winpe"), next)
	s.refused(s.getBy("lab12", "lab12", "winpe"), "no such package")
	if _, totals := s.proven(s.getBy("w11", "ann", "operator")); totals.Unicast != s.size || totals.UnicastReason != "unicast_only" {
		t.Errorf("an operator: %+v", totals)
	}

	// A room.
	if out := s.cli("deployment", "create", "lab12", "--image", "w11", "--index", "1", "--who", "lab12", "--who", "front-*"); out != "created lab12: image w11 (now w11@1), index 1, for lab12 front-*\n" {
		t.Errorf("create: %s", out)
	}
	for _, ref := range []string{"lab12", "w11"} {
		if _, totals := s.proven(s.getBy(ref, "lab12", "winpe")); totals.Multicast != s.size {
			t.Errorf("get %s: %+v", ref, totals)
		}
	}
	s.refused(s.getBy("lab12", "r3", "winpe"), `deployment lab12 isn't for bundle r3; on the server: wimcast deployment set "lab12" --who "r3"`)
	s.refused(s.getBy("w11", "r3", "winpe"), "no deployment of package w11@1 is for bundle r3")
	casts := 0
	for _, one := range s.deployedSessions() {
		if one.Lane == 0 && one.Deployment == "lab12" && one.Package == "w11@1" {
			casts++
		} else if one.Deployment != "" || one.Group != "" {
			t.Errorf("session of the operator: %+v", one)
		}
	}
	if casts != 1 {
		t.Errorf("%d casts of lab12, want one that both came into", casts)
	}
	if out := s.cli("session", "list"); !strings.Contains(out, "DEPLOYMENT") || !strings.Contains(out, "lab12") {
		t.Errorf("session list:\n%s", out)
	}
	if out := s.cli("history", "list"); !strings.Contains(out, "DEPLOYMENT") || !strings.Contains(out, "lab12") {
		t.Errorf("history:\n%s", out)
	}
	if out := s.cli("deployment", "show", "lab12"); !strings.Contains(out, "front-*") || !strings.Contains(out, "w11@1") {
		t.Errorf("show:\n%s", out)
	}

	// Another room's bundle, once it may.
	s.cli("deployment", "set", "lab12", "--who", "")
	if _, totals := s.proven(s.getBy("lab12", "r3", "winpe")); totals.Multicast != s.size {
		t.Errorf("%+v", totals)
	}

	var did []struct {
		Action string `json:"action"`
		Detail string `json:"detail"`
	}
	if err := s.daemon.Ask(s.ctx, &did, "history", "actions"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"{deployment create lab12: image w11, index 1, for lab12 front-*}", "{deployment set lab12: image w11, index 1}", "{deployment remove w11}"} {
		if !strings.Contains(fmt.Sprint(did), want) {
			t.Errorf("the history has no %s: %v", want, did)
		}
	}
}

// TestImagesDeploymentPEOnly: who isn't WinPE by its certificate goes by unicast beside the room's cast, waits for no start, and is refused
// where there is no unicast. With multicast off everybody goes by unicast.
func TestImagesDeploymentPEOnly(t *testing.T) {
	s := onLoopback(t, rig.Config{Top: "[package.\"w11\"]\nstart = \"scheduled\"\nmin_clients = 1\ndelay = \"30m\""})
	desk := s.getBy("w11", "desk", "client")
	if _, totals := s.proven(desk); totals.Unicast != s.size || totals.Packets > 0 || totals.UnicastReason != "unicast_only" {
		t.Errorf("%+v", totals)
	}
	if told := fmt.Sprint(desk.Events()); !strings.Contains(told, "multicast is for Windows PE only, and this bundle's role is client; fetching by unicast") || strings.Contains(told, "full") {
		t.Errorf("isn't told why: %s", told)
	}
	if list := s.deployedSessions(); len(list) != 1 || list[0].Group != "" || list[0].Lane != 2 || list[0].Clients[0].Role != "client" {
		t.Errorf("%+v", list)
	}
	if _, totals := s.proven(s.getBy("w11", "pc01", "winpe")); totals.Multicast != s.size {
		t.Errorf("%+v", totals)
	}
	s.refused(s.getBy("w11", "desk", "client", "--no-unicast"), "and this client was told never to fetch by unicast; next: leave out --no-unicast")

	s.cli("image", "set", "w11", "--multicast-only")
	s.refused(s.getBy("w11", "desk", "client"), "multicast is for Windows PE only, and this bundle's role is client, and w11@1 is multicast-only")
	s.refused(s.getBy("w11", "ann", "operator"), "this bundle's role is operator, and w11@1 is multicast-only")
	if _, totals := s.proven(s.getBy("w11", "pc01", "winpe")); totals.Multicast != s.size {
		t.Errorf("multicast-only: %+v", totals)
	}

	s.cli("image", "set", "w11", "--no-multicast-only", "--no-multicast")
	pc := s.getBy("w11", "pc01", "winpe")
	if _, totals := s.proven(pc); totals.Unicast != s.size || totals.Packets > 0 {
		t.Errorf("multicast off: %+v", totals)
	}
	if told := fmt.Sprint(pc.Events()); !strings.Contains(told, "package w11@1 isn't allowed by multicast") {
		t.Errorf("isn't told why: %s", told)
	}
}

// TestImagesDeploymentTwo: two deployments of one package are two casts with start rules of their own; a change of one counts at once
// for its session alone.
func TestImagesDeploymentTwo(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.cli("deployment", "remove", "w11")
	if out := s.cli("deployment", "create", "lab12", "--image", "w11", "--index", "1", "--min-clients", "24", "--delay", "15m", "--who", "pc12"); !strings.Contains(out, "min-clients 24, delay 15m") {
		t.Errorf("create: %s", out)
	}
	s.cli("deployment", "create", "lab13", "--image", "w11@1", "--who", "pc13", "--weight", "2")
	waits := s.getBy("w11", "pc12", "winpe")
	if one := s.waits(1); one.Minimum != 24 {
		t.Errorf("%+v", one)
	}
	if _, totals := s.proven(s.getBy("w11", "pc13", "winpe")); totals.Multicast != s.size {
		t.Errorf("%+v", totals)
	}
	of := map[string]deployedSession{}
	for _, one := range s.deployedSessions() {
		of[one.Deployment] = one
	}
	if len(of) != 2 || of["lab12"].State != "waiting" || of["lab12"].Group == of["lab13"].Group || of["lab13"].ID == of["lab12"].ID {
		t.Errorf("%+v", of)
	}

	// The daemon keeps them, and takes up where it was.
	s.daemon.Kill()
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	if out := s.cli("deployment", "list"); strings.Count(out, "w11@1") != 3 || !strings.Contains(out, "min-clients 24, delay 15m") {
		t.Errorf("list after a kill:\n%s", out)
	}
	waits.Kill() // on loopback the daemon has another port now
	waits = s.getBy("lab12", "pc12", "winpe")
	s.waits(1)
	if out := s.cli("deployment", "set", "lab12", "--min-clients", "1"); out != "lab12: image w11 (now w11@1), index 1, for pc12, min-clients 1, delay 15m\n" {
		t.Errorf("set: %s", out)
	}
	if _, totals := s.proven(waits); totals.Multicast != s.size {
		t.Errorf("%+v", totals)
	}
}

// TestImagesDeploymentEdits: what contradicts a package, another key or the configuration is refused whichever side is edited last; nothing
// changes then.
func TestImagesDeploymentEdits(t *testing.T) {
	s := onLoopback(t, rig.Config{Top: "[limits]\nmax_clients = 30"})
	s.cli("deployment", "remove", "w11")
	s.cli("image", "add", s.image, "--name", "w10", "--version", "1")
	create := func(args ...string) []string { return append([]string{"deployment", "create", "lab12"}, args...) }
	s.denied(`no such package "w13"; did you mean`, create("--image", "w13")...)
	s.denied("index: w11@1 has no image 2, the last is 1", create("--image", "w11", "--index", "2")...)
	s.denied("content: direct is not supported", create("--image", "w11", "--content", "direct")...)
	s.denied("min_clients (31) is above limits.max_clients (30)", create("--image", "w11", "--min-clients", "31")...)
	s.denied(`"soon"`, create("--image", "w11", "--delay", "soon")...)
	s.denied("missing flags: --image", create()...)
	if out := s.cli("--json", "deployment", "list"); strings.TrimSpace(out) != "[]" {
		t.Errorf("something was made: %s", out)
	}

	s.cli(create("--image", "w11", "--slow", "unicast")...)
	s.denied("deployment exists; next: wimcast deployment set", create("--image", "w10")...)
	s.denied(`slow = "unicast" and multicast-only`, "image", "set", "w11", "--multicast-only")
	s.denied("deployment lab12 names it; first: wimcast deployment set \"lab12\" --image OTHER", "image", "remove", "w11")
	s.denied("deployment lab12 names it", "image", "rename", "w11", "w12")
	s.cli("deployment", "set", "lab12", "--slow", "")
	s.cli("image", "set", "w11", "--multicast-only")
	s.denied(`package w11@1: slow = "unicast" and multicast-only`, "deployment", "set", "lab12", "--slow", "unicast")
	s.denied("content: direct reads from the point, and package w11@1 is multicast-only; next: --content download", "deployment", "set", "lab12", "--content", "direct")
	s.denied("did you mean lab12?", "deployment", "set", "lab1", "--comment", "x")
	s.denied("did you mean lab12?", "deployment", "remove", "lab21")
	if out := s.cli("deployment", "set", "lab12", "--image", "w10"); out != "lab12: image w10 (now w10@1), for every bundle\n" {
		t.Errorf("set: %s", out)
	}
	s.cli("image", "remove", "w11")

	var did []struct {
		Action string `json:"action"`
		Error  string `json:"error"`
	}
	if err := s.daemon.Ask(s.ctx, &did, "history", "actions"); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, a := range did {
		if strings.HasPrefix(a.Action, "deployment ") && a.Error != "" {
			tried++
		}
	}
	if tried < 8 {
		t.Errorf("the record has %d refused edits: %+v", tried, did)
	}
}
