package test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"wimcast/test/rig"
)

// The stories of a machine that has its image put onto a volume, by the real daemon, the real client and real wimlib; and by a program that
// stands in for DISM.

// applyDISM stands in for DISM, which is on Windows only: the same commands, with the work done by wimlib. It ends with what is in $FAIL.
const applyDISM = `#!/bin/sh
for a; do
	case $a in
	/ImageFile:*) file=${a#*:} ;;
	/Index:*) index=${a#*:} ;;
	/ApplyDir:*) dir=${a#*:} ;;
	/Apply-Unattend:*) answer=${a#*:} ;;
	/ScratchDir:*) [ -d "${a#*:}" ] || exit 3 ;;
	/LogPath:*) log=${a#*:} ;;
	esac
done
echo "$2" >>"$log"
echo "$2" >>"$CALLS"
if [ -n "$answer" ]; then
	[ -f "$answer" ] && [ -n "$configsetroot" ] || exit 2
	exit 0
fi
if [ "$(cat "$FAIL")" = wait ]; then mkdir -p "$dir/Windows"; echo $$ >"$FAIL.pid"; printf '[==  5.0%%  ]'; sleep 3600; fi
if [ -s "$FAIL" ]; then mkdir -p "$dir/Windows"; echo "Error: 1392"; exit "$(cat "$FAIL")"; fi
printf '\r[===   10.0%%   ]'
wimlib-imagex apply "$file" "$index" "$dir" >/dev/null || exit 5
printf '\r[=====100.0%%=====]\r\n'
`

// applies starts a client that applies w2 to a target.
func (s *stage) applies(name, target string, args ...string) *rig.Get {
	s.t.Helper()
	base := []string{"w2", "--bundle", s.daemon.Bundle(), "--apply", target}
	g, err := rig.StartGet(s.ctx, rig.Loopback(name), s.programs, append(base, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.Kill)
	return g
}

// tree reads all files below a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// same holds a target against the folder that was captured.
func (s *stage) same(target, from string) {
	s.t.Helper()
	got, want := tree(s.t, target), tree(s.t, from)
	if !maps.Equal(got, want) {
		s.t.Errorf("%s has %v, want %v", target, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// twoImages adds w2, with two images, and returns the folders that they were captured from.
func (s *stage) twoImages() (one, two string) {
	s.t.Helper()
	one, two = filepath.Join(s.dir, "one"), filepath.Join(s.dir, "two")
	noise(s.t, filepath.Join(one, "Windows", "noise-1"), 1_500_000)
	noise(s.t, filepath.Join(two, "Windows", "noise-2"), 2_500_000)
	s.write(two, "Users/a name with blanks", "x")
	file := filepath.Join(s.dir, "w2.wim")
	s.imagex("capture", one, file, "One", "--check")
	s.imagex("append", two, file, "Two", "--check")
	s.image = file
	if _, err := s.daemon.AddImage(s.ctx, file, "w2", "--version", "1"); err != nil {
		s.t.Fatal(err)
	}
	return one, two
}

// sentSource is how many packets of content the daemon has cast so far.
func (s *stage) sentSource() (packets uint64) {
	s.t.Helper()
	for _, c := range s.sessions() {
		packets += c.Sent.Source
	}
	return packets
}

// TestWinPEApply: an image is received, proven and applied: the one that the deployment names, or another by number or name. What was
// received goes, or stays where a person named it.
func TestWinPEApply(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	one, two := s.twoImages()

	t.Run("none is named", func(t *testing.T) {
		target := t.TempDir()
		g := s.applies("pc00", target)
		if r, _ := s.ended(g, 2); !strings.Contains(r.Error, "the package has 2 images and the deployment names none; next: name one by --index N") {
			t.Errorf("%+v", r)
		}
		if n := s.sentSource(); n > 0 {
			t.Errorf("%d packets of content were sent", n)
		}
		if left := tree(t, target); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	s.cli("deployment", "set", "w2", "--index", "2")
	for _, tc := range []struct {
		name, from string
		index      int
		args       []string
	}{{"the deployment's", two, 2, nil}, {"by number", one, 1, []string{"--index", "1"}}, {"by name", one, 1, []string{"--index", "one"}}} {
		t.Run(tc.name, func(t *testing.T) {
			target := t.TempDir()
			g := s.applies("pc01", target, tc.args...)
			r, totals := s.ended(g, 0)
			if r.Index != tc.index || r.Applied <= 0 || r.Size != totals.Multicast+totals.Unicast || filepath.Dir(r.File) != filepath.Join(target, "wimcast") {
				t.Errorf("%+v, %+v", r, totals)
			}
			if text, ok := g.Happened("applying"); !ok || !strings.Contains(text, "applying image ") {
				t.Errorf("it isn't said that it is being applied: %v", g.Events())
			}
			s.same(target, tc.from)
		})
	}
	t.Run("told", func(t *testing.T) {
		var list []struct {
			State   string
			Index   int     `json:"applied_index"`
			Seconds float64 `json:"apply_seconds"`
			Error   string  `json:"apply_error"`
		}
		if err := s.daemon.Ask(s.ctx, &list, "history", "--client", "pc01"); err != nil {
			t.Fatal(err)
		}
		var indexes []int
		for _, c := range list {
			indexes = append(indexes, c.Index)
			if c.State != "proven" || c.Seconds <= 0 || c.Error != "" {
				t.Errorf("%+v", c)
			}
		}
		if slices.Sort(indexes); !slices.Equal(indexes, []int{1, 1, 2}) {
			t.Errorf("the history has %+v", list)
		}
		if out := s.cli("history", "--client", "pc01"); !strings.Contains(out, "proven, 2 applied in ") {
			t.Errorf("history:\n%s", out)
		}
	})
	t.Run("kept", func(t *testing.T) {
		target := t.TempDir()
		s.ended(s.applies("pc02", target, "--keep"), 0)
		if got, want := sum(t, filepath.Join(target, "wimcast", "w2.wim")), sum(t, s.image); got != want {
			t.Error("the file that was kept differs")
		}
		target, output := t.TempDir(), filepath.Join(t.TempDir(), "seed.wim")
		s.ended(s.applies("pc03", target, "--output", output), 0)
		s.same(target, two)
		if got, want := sum(t, output), sum(t, s.image); got != want {
			t.Error("the file that a person named differs")
		}
	})
}

// TestWinPEApplyRefused: what can't be applied is refused before a byte of it is sent.
func TestWinPEApplyRefused(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.twoImages()
	s.cli("deployment", "set", "w2", "--index", "2")
	refused := func(code int, says string, args ...string) {
		t.Helper()
		g, err := rig.StartGet(s.ctx, rig.Loopback("pc01"), s.programs, append([]string{"w2", "--bundle", s.daemon.Bundle()}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Kill)
		if r, _ := s.ended(g, code); !strings.Contains(r.Error, says) {
			t.Errorf("%v: %q, want %q", args, r.Error, says)
		}
	}
	full := t.TempDir()
	s.write(full, "Windows/explorer.exe", "x")
	refused(6, "it isn't there; next:", "--apply", filepath.Join(full, "none"))
	refused(6, `it isn't empty: "Windows" there; next:`, "--apply", full)
	refused(2, "index 3: the package has 2 images", "--apply", t.TempDir(), "--index", "3")
	refused(2, "go with --apply TARGET", "--index", "2")
	refused(9, "DISM isn't here", "--apply", t.TempDir(), "--dism", filepath.Join(full, "dism.exe"))
	if os.Geteuid() == 0 {
		// Room for the file, and not for what is in it as well.
		small := t.TempDir()
		if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=6m"); err != nil {
			t.Skipf("a small tmpfs can't be mounted: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(small, 0) })
		refused(6, "not enough room: ", "--apply", small)
		if left := tree(t, small); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if n := s.sentSource(); n > 0 {
		t.Errorf("%d packets of content were sent", n)
	}
	if text := tree(t, full); len(text) != 1 {
		t.Errorf("what was there was changed: %v", text)
	}
}

// TestWinPEApplyAgain: when the program that applies fails, exit code and words say so, and the same command again receives nothing: the file is
// proven from the disk and applied.
func TestWinPEApplyAgain(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	_, two := s.twoImages()
	s.cli("deployment", "set", "w2", "--index", "2")
	dism, fail, calls := filepath.Join(s.dir, "dism"), filepath.Join(s.dir, "fail"), filepath.Join(s.dir, "calls")
	if err := os.WriteFile(dism, []byte(applyDISM), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAIL", fail)
	t.Setenv("CALLS", calls)
	s.write(s.dir, "fail", "30")
	target := t.TempDir()
	first, totals := s.ended(s.applies("pc01", target, "--dism", dism), 9)
	if !strings.Contains(first.Error, "DISM ended with 30: Error: 1392; log "+filepath.Join(target, "wimcast", "dism.log")+"; "+target+" is half applied") || totals.Multicast == 0 {
		t.Errorf("%+v, %+v", first, totals)
	}
	if len(first.Logs) != 1 || string(read(t, first.Logs[0])) != "/Apply-Image\n" {
		t.Errorf("logs %v", first.Logs)
	}
	if out := s.cli("history", "--client", "pc01"); !strings.Contains(out, "proven, apply failed") || !strings.Contains(out, "DISM ended with 30") {
		t.Errorf("history:\n%s", out)
	}
	sent := s.sentSource()
	s.write(s.dir, "fail", "")
	again, totals := s.ended(s.applies("pc01", target, "--dism", dism), 0)
	if totals.Held != again.Size || totals.Multicast+totals.Unicast > 0 || again.Index != 2 || again.SHA256 != first.SHA256 {
		t.Errorf("%+v, %+v", again, totals)
	}
	if n := s.sentSource(); n != sent {
		t.Errorf("%d packets of content were sent again", n-sent)
	}
	s.same(target, two)
	if got := string(read(t, calls)); got != "/Apply-Image\n/Apply-Image\n" {
		t.Errorf("DISM was asked for %q", got)
	}

	// It is stopped in the middle, which is said; and killed, which isn't. Both times the same again does it.
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		s.write(s.dir, "fail", "wait")
		target = t.TempDir()
		g := s.applies("pc03", target, "--dism", dism)
		if err := g.Await(s.ctx, "being applied", func(_ rig.Event, events []rig.Event) bool {
			return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == "applying" && e.Text == "" })
		}); err != nil {
			t.Fatal(err)
		}
		if err := g.Cmd().Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if r, _, err := g.Wait(s.ctx); err != nil || signal == syscall.SIGTERM && (r.Code != 9 || !strings.Contains(r.Error, "it was stopped; log ")) {
			t.Errorf("%v: %+v, %v", signal, r, err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(read(t, fail+".pid"))))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(-pid, syscall.SIGKILL) }) // the stand-in's own child, which a kill leaves
		s.await("what it ran to end", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
		s.write(s.dir, "fail", "")
		if again, totals = s.ended(s.applies("pc03", target, "--dism", dism), 0); totals.Held != again.Size {
			t.Errorf("%v: %+v, %+v", signal, again, totals)
		}
		s.same(target, two)
	}

	// The file is damaged between the two: what was lost is received, and nothing else is applied.
	s.write(s.dir, "fail", "30")
	target = t.TempDir()
	s.ended(s.applies("pc02", target, "--dism", dism), 9)
	file := filepath.Join(target, "wimcast", "w2.wim")
	flip(t, file, file, 2_000_000)
	s.write(s.dir, "fail", "")
	again, totals = s.ended(s.applies("pc02", target, "--dism", dism), 0)
	if lost := again.Size - totals.Held; lost <= 0 || lost > 200_000 || totals.Multicast+totals.Unicast != lost {
		t.Errorf("%+v, %+v", again, totals)
	}
	s.same(target, two)
}

// TestWinPEApplyEvents: what is applied is read by programs.
func TestWinPEApplyEvents(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.twoImages()
	cmd := rig.Loopback("pc01").Command(s.ctx, s.programs.Client, "--json", "--bundle", s.daemon.Bundle(), "get", "w2", "--index", "2", "--apply", t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var shares []float64
	ends := ""
	for line := range strings.Lines(string(out)) {
		var e struct {
			Event string
			Share float64
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.Event == "applying" && e.Share > 0 {
			shares = append(shares, e.Share)
		}
		ends = line
	}
	if len(shares) == 0 || !slices.IsSorted(shares) || shares[len(shares)-1] > 1 || !strings.Contains(ends, `"apply_seconds":`) || !strings.Contains(ends, `"applied_image":"Two"`) {
		t.Errorf("shares %v, the end is %s", shares, ends)
	}
}

// TestWinPERunApply: the machine of a boot image receives to the volume that it applies to, and keeps the file there as the seed of
// the next version. What is applied once isn't applied over.
func TestWinPERunApply(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	_, two := s.twoImages()
	s.cli("deployment", "set", "w2", "--index", "2")
	s.cli("deployment", "remove", "w11")
	machine := rig.Loopback("pc01")
	g := s.run(machine, "--bundle", s.daemon.Bundle(), "--apply", "data")
	r, _ := s.ended(g, 0)
	if r.Index != 2 || r.Applied <= 0 {
		t.Errorf("%+v", r)
	}
	volume := s.volume(machine.Name(), "Data")
	s.received(filepath.Join(volume, "wimcast", "w2.wim"))
	got := tree(t, volume)
	for name := range got {
		if strings.HasPrefix(name, "wimcast/") {
			delete(got, name)
		}
	}
	if want := tree(t, two); !maps.Equal(got, want) {
		t.Errorf("%s has %v, want %v", volume, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	before := s.sentSource()
	r, _ = s.ended(s.run(machine, "--bundle", s.daemon.Bundle(), "--apply", "data"), 6)
	if !strings.Contains(r.Error, "isn't empty") || s.sentSource() != before {
		t.Errorf("a second time: %s, %d packets", r.Error, s.sentSource()-before)
	}
}
