package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/rig"
)

// The stories of servicing, with the real daemon and wimlib: an administrator has an image, updates that say what they
// are only by their names here, and an overlay.

// smallWindows adds an image as win@1 that is Windows by what is said of it, and small.
func (s *stage) smallWindows() {
	s.t.Helper()
	s.image = filepath.Join(s.dir, "small.wim")
	s.write(s.dir, "small/Windows/explorer.exe", "x")
	out, err := exec.CommandContext(s.ctx, "wimlib-imagex", "capture", filepath.Join(s.dir, "small"), s.image, "Windows 11", "--no-acls").CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	s.windows()
}

// windows marks the stage's image as Windows of a build and adds it as win@1, with what is installed in it.
func (s *stage) windows() {
	s.t.Helper()
	image := filepath.Join(s.dir, "win.wim")
	text, err := os.ReadFile(s.image)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(image, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	tree := filepath.Join(s.dir, "win")
	s.write(tree, "Windows/servicing/Packages/Package_for_KB5000009~31bf3856ad364e35~amd64~~22621.1.1.9.mum", "x")
	s.write(tree, "Windows/Setup/Scripts/SetupComplete.cmd", "echo mine\r\n")
	update := exec.CommandContext(s.ctx, "wimlib-imagex", "update", image, "1", "--command", "add "+tree+" /")
	if out, err := update.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	info := exec.CommandContext(s.ctx, "wimlib-imagex", "info", image, "1", "--check", "--image-property", "WINDOWS/ARCH=9",
		"--image-property", "WINDOWS/VERSION/BUILD=22621", "--image-property", "WINDOWS/EDITIONID=Education")
	if out, err := info.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	s.image = image
	if _, err := s.daemon.AddImage(s.ctx, image, "win", "--version", "1"); err != nil {
		s.t.Fatal(err)
	}
}

// getWindows starts a client of the image on loopback.
func (s *stage) getWindows(name, ref string, args ...string) *rig.Get {
	s.t.Helper()
	place := rig.Loopback(name)
	g, err := rig.StartGet(s.ctx, place, s.programs, append([]string{ref, "--bundle", s.daemon.Bundle(), "--output", s.file(name)}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.Kill)
	return g
}

// listeningNow is where the daemon takes clients since its latest start.
func (s *stage) listeningNow() string {
	s.t.Helper()
	all := regexp.MustCompile(`"listen":"([^"]+)"`).FindAllStringSubmatch(s.daemon.Log(), -1)
	if len(all) == 0 {
		s.t.Fatalf("the log doesn't say where the daemon listens:\n%s", s.daemon.Log())
	}
	return all[len(all)-1][1]
}

func (s *stage) write(dir, name, text string) string {
	s.t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// msu makes an update of the older form that says what it is by the names in it.
func (s *stage) msu(kb, arch string) string {
	name := fmt.Sprintf("Windows11.0-%s-%s", kb, arch)
	table := append(make([]byte, 16), name+".cab\x00"...)
	header := make([]byte, 36)
	copy(header, "MSCF")
	header[8], header[16], header[28] = byte(len(header)+len(table)), 36, 1
	return s.write(s.dir, "updates/"+strings.ToLower(name)+".msu", string(header)+string(table))
}

// catalogue adds updates and an overlay.
func (s *stage) catalogue() {
	s.t.Helper()
	for _, u := range [][2]string{{"KB5000001", "x64"}, {"KB5000002", "x64"}, {"KB5000003", "arm64"}} {
		s.msu(u[0], u[1])
	}
	s.cli("update", "add", "--dir", filepath.Join(s.dir, "updates"), "--build", "22621")
	s.write(s.dir, "overlay/Drivers/net.inf", "a driver")
	s.cli("overlay", "add", filepath.Join(s.dir, "overlay"), "--id", "drivers")
}

// awaitSchedule waits until a schedule is in one of some states.
func (s *stage) awaitSchedule(id string, states ...string) (sc api.Schedule) {
	s.t.Helper()
	s.await(fmt.Sprintf("schedule %s %v", id, states), func() bool {
		if err := s.daemon.Ask(s.ctx, &sc, "schedule", "show", id); err != nil {
			s.t.Fatal(err)
		}
		return slices.Contains(states, sc.State)
	})
	return sc
}

// service orders servicing and returns the schedule.
func (s *stage) service(args ...string) (sc api.Schedule) {
	s.t.Helper()
	if err := s.daemon.Ask(s.ctx, &sc, append([]string{"image", "service"}, args...)...); err != nil {
		s.t.Fatal(err)
	}
	return sc
}

func (s *stage) current(name string) (i api.Image) {
	s.t.Helper()
	if err := s.daemon.Ask(s.ctx, &i, "image", "show", name); err != nil {
		s.t.Fatal(err)
	}
	return i
}

// TestImagesServicing: what is applicable is scheduled while the image is being cast. The cast ends undisturbed with the old
// version, the new one is what the name means from then on, and rolling back is one command.
func TestImagesServicing(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "1 MB/s"`})
	s.windows()
	s.catalogue()
	if out := s.cli("update", "list"); !strings.Contains(out, "KB5000001") || strings.Contains(out, "drivers") {
		t.Errorf("an overlay is no update:\n%s", out)
	}
	out := s.cli("update", "applicable", "win:1")
	if !strings.Contains(out, "KB5000001-x64") || !strings.Contains(out, "KB5000002-x64") || strings.Contains(out, "KB5000003") || !strings.Contains(out, "1 update of Windows in it") {
		t.Errorf("applicable:\n%s", out)
	}
	if out := s.cli("update", "applicable", "win", "--all"); !strings.Contains(out, "KB5000003 is for arm64, the image is x64") {
		t.Errorf("all:\n%s", out)
	}

	// The cast of the old version.
	g := s.getWindows("pc01", "win")
	old := s.current("win")
	if err := g.AwaitProven(s.ctx, 0.05); err != nil {
		t.Fatal(err)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "300 kB/s"`}) // two minutes for the image: it is in mid-cast until that is raised

	out = s.cli("image", "service", "win", "--update", "KB5000001", "--overlay", "drivers", "--executor", "stage", "--dry-run")
	for _, want := range []string{"image          win@1", "new version    win@1+", "when           once, now", "distribute     no", "nothing was changed"} {
		if !strings.Contains(out, want) {
			t.Errorf("the summary lacks %q:\n%s", want, out)
		}
	}
	if list := s.cli("schedule", "list"); strings.Contains(list, "win") {
		t.Errorf("a dry run left a schedule:\n%s", list)
	}
	sc := s.awaitSchedule(s.service("win", "--update", "KB5000001", "--overlay", "drivers", "--executor", "stage").ID, "successful", "failed")
	if sc.State != "successful" || len(sc.Runs) != 1 || len(sc.Runs[0].Steps) != 2 {
		t.Fatalf("%+v", sc)
	}
	made := s.current("win")
	if "win@"+made.Version != sc.Runs[0].To || made.Digest == old.Digest || made.Encrypt != old.Encrypt {
		t.Errorf("the current version: %+v, want %s", made, sc.Runs[0].To)
	}
	select {
	case <-g.Done():
		t.Error("the cast was over before the new version was there: nothing was shown")
	default:
	}
	s.hurry(rig.Config{Multicast: `ceiling = "50 MB/s"`})
	r, _ := s.proven(g)
	if r.Package != "win@1" {
		t.Errorf("the cast was of %s", r.Package)
	}

	// The new version is a real image with all of it, for a client too.
	s.ended(s.getWindows("pc02", "win"), 0)
	file := s.file("pc02")
	if out, err := exec.CommandContext(s.ctx, "wimverify", file).CombinedOutput(); err != nil {
		t.Errorf("wimverify: %v: %s", err, out)
	}
	for path, want := range map[string]string{
		"/Drivers/net.inf": "a driver", "/Windows/Setup/Scripts/SetupComplete.cmd": "echo mine", "/Windows/Setup/wimcast/firstboot.cmd": `KB5000001-x64.msu" /quiet`,
	} {
		out, err := exec.CommandContext(s.ctx, "wimlib-imagex", "extract", file, "1", path, "--to-stdout").Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %q, %v", path, out, err)
		}
	}
	if out := s.cli("update", "applicable", "win"); strings.Contains(out, "KB5000001-x64") || !strings.Contains(out, "KB5000001 was applied here") || !strings.Contains(out, "KB5000002-x64") {
		t.Errorf("applicable to the new version:\n%s", out)
	}

	// Back, in one command, across a restart.
	s.cli("image", "rollback", "win")
	if err := s.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	if got := s.current("win"); got.Version != "1" || got.Digest != old.Digest {
		t.Errorf("after rolling back: %+v", got)
	}
	s.proven(s.getWindows("pc03", "win", "--server", s.listeningNow())) // its port is another one
	s.cli("image", "rollback", "win", "--version", made.Version)
	if got := s.current("win"); got.Digest != made.Digest {
		t.Errorf("and forth: %+v", got)
	}
}

// TestImagesServicingRefusals: what can't be is refused with the reason and the next step, and leaves nothing.
func TestImagesServicingRefusals(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.smallWindows()
	s.catalogue()
	s.denied("KB5000003 is for arm64, the image is x64", "image", "service", "win", "--update", "KB5000003", "--executor", "stage")
	s.denied("updates want an executor", "image", "service", "win", "--update", "KB5000001")
	s.denied("no Linux program can", "image", "service", "win", "--update", "KB5000001")
	s.denied("has no registry", "image", "service", "win", "--overlay", "drivers", "--distribute")
	s.denied("nothing to apply", "image", "service", "win")
	s.denied("neither an update nor an overlay", "image", "service", "win", "--update", "KB5999999", "--executor", "stage")
	s.denied("that never comes", "image", "service", "win", "--overlay", "drivers", "--cron", "0 0 30 2 *")
	s.denied("it is past", "image", "service", "win", "--overlay", "drivers", "--at", "2020-01-01T00:00:00Z")
	s.denied("no such package", "image", "service", "wim", "--overlay", "drivers")
	s.denied("the build of Windows can't be read from it", "update", "add", s.msu("KB5000004", "x64"))
	s.denied("neither an .msu nor a .cab", "update", "add", s.write(s.dir, "x.msu", "nothing"))
	s.denied("is the only one", "image", "rollback", "win")
	if out := s.cli("schedule", "list"); strings.Count(out, "\n") != 1 {
		t.Errorf("schedules were kept:\n%s", out)
	}
	if files, err := os.ReadDir(filepath.Join(s.daemon.Dir, "updates", "incoming")); err != nil || len(files) > 0 {
		t.Errorf("left over: %v, %v", files, err)
	}
	later := s.service("win", "--update", "KB5000001", "--executor", "stage", "--at", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	s.denied("schedule "+later.ID+" wants it", "update", "remove", "KB5000001")
	if out := s.cli("schedule", "list"); !strings.Contains(out, "waiting") {
		t.Errorf("schedule list:\n%s", out)
	}
	s.cli("schedule", "cancel", later.ID)
	s.denied("it has ended already", "schedule", "cancel", later.ID)
	s.cli("update", "remove", "KB5000001")

	// Continue on error: the disk has spoilt a package meanwhile.
	var all []api.Update
	if err := json.Unmarshal([]byte(s.cli("update", "list", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(all, func(u api.Update) bool { return u.ID == "KB5000002" })
	if err := os.WriteFile(filepath.Join(s.daemon.Dir, "updates", "files", all[at].SHA256), []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"win", "--update", "KB5000002", "--overlay", "drivers", "--executor", "stage"}
	if sc := s.awaitSchedule(s.service(args...).ID, "successful", "failed"); sc.State != "failed" || !strings.Contains(sc.Reason, "it isn't what was added") || s.current("win").Version != "1" {
		t.Errorf("%+v", sc)
	}
	sc := s.awaitSchedule(s.service(append(args, "--continue-on-error")...).ID, "successful", "failed")
	if sc.State != "successful" || !strings.Contains(sc.Reason, "1 of 2 failed") || s.current("win").Version == "1" {
		t.Errorf("%+v", sc)
	}
	if out := s.cli("schedule", "show", sc.ID); !strings.Contains(out, "failed") || !strings.Contains(out, "1 file of 8 bytes put into the image") {
		t.Errorf("the log:\n%s", out)
	}
}

// TestImagesServicingKilled: a run that is cancelled, and one in which the daemon is killed, change nothing and leave nothing.
func TestImagesServicingKilled(t *testing.T) {
	s := prepare(t)
	place := holding{"server", s.dir}
	place.install(t)
	s.start(place, rig.Config{})
	s.windows()
	s.catalogue()
	work := filepath.Join(s.daemon.Dir, "servicing", "work")
	blobs := func() int {
		files, err := os.ReadDir(filepath.Join(s.daemon.Dir, "library", "blobs", "sha256"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	before := blobs()
	begun := func(id string) {
		t.Helper()
		s.await("the work on "+id, func() bool { _, err := os.Stat(place.begun()); return err == nil })
		if files, err := os.ReadDir(work); err != nil || len(files) == 0 {
			t.Errorf("nothing is being worked on: %v, %v", files, err)
		}
		if sc := s.awaitSchedule(id, "waiting", "in_process", "successful", "failed"); sc.State != "in_process" {
			t.Fatalf("in the middle of its work: %+v", sc)
		}
	}
	empty := func() {
		t.Helper()
		if files, err := os.ReadDir(work); err != nil || len(files) > 0 {
			t.Errorf("left over: %v, %v", files, err)
		}
		if n := blobs(); n != before || s.current("win").Version != "1" {
			t.Errorf("%d blobs, %d before; the current version is %s", n, before, s.current("win").Version)
		}
	}
	args := []string{"win", "--update", "KB5000001", "--overlay", "drivers", "--executor", "stage"}
	place.hold(t, true)
	sc := s.service(args...)
	begun(sc.ID)
	s.cli("schedule", "cancel", sc.ID)
	if sc = s.awaitSchedule(sc.ID, "successful", "failed", "cancelled"); sc.State != "cancelled" {
		t.Fatalf("%+v", sc)
	}
	empty()

	place.hold(t, true)
	sc = s.service(args...)
	night := s.service("win", "--applicable", "--executor", "stage", "--cron", "0 3 * * SUN", "--utc")
	begun(sc.ID)
	group := s.daemon.Cmd().Process.Pid
	s.daemon.Kill()
	_ = syscall.Kill(-group, syscall.SIGKILL) // what it ran, which a kill leaves
	place.hold(t, false)
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	sc = s.awaitSchedule(sc.ID, "successful", "failed")
	if sc.State != "failed" || !strings.Contains(sc.Reason, "the daemon ended while it was in process") {
		t.Errorf("%+v", sc)
	}
	empty()
	if again := s.awaitSchedule(night.ID, "waiting"); !again.Due.Equal(night.Due) || again.Due.UTC().Weekday() != time.Sunday || again.Due.UTC().Hour() != 3 {
		t.Errorf("the one that recurs: %+v, was %+v", again, night)
	}
	// And then it works.
	if sc = s.awaitSchedule(s.service(args...).ID, "successful", "failed"); sc.State != "successful" {
		t.Errorf("%+v", sc)
	}
}

// holding is loopback, where wimlib-imagex, as the daemon runs it, never ends what it was asked to change, as long as it is held.
type holding struct {
	rig.Loopback
	dir string
}

func (h holding) held() string  { return filepath.Join(h.dir, "held") }
func (h holding) begun() string { return filepath.Join(h.dir, "held.begun") }

// install puts the stand-in in its place.
func (h holding) install(t *testing.T) {
	t.Helper()
	real, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = update ] && [ -e %q ]; then touch %q; exec sleep infinity; fi\nexec %q \"$@\"\n", h.held(), h.begun(), real)
	if err := errors.Join(os.Mkdir(filepath.Join(h.dir, "bin"), 0o700), os.WriteFile(filepath.Join(h.dir, "bin", "wimlib-imagex"), []byte(text), 0o700)); err != nil {
		t.Fatal(err)
	}
}

// hold has the stand-in hold what comes from now on, or nothing more.
func (h holding) hold(t *testing.T, on bool) {
	t.Helper()
	_ = os.Remove(h.begun())
	err := os.Remove(h.held())
	if on {
		err = os.WriteFile(h.held(), nil, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Command implements rig.Place.
func (h holding) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := h.Loopback.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(h.dir, "bin")+":"+os.Getenv("PATH"))
	return cmd
}
