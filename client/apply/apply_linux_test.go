package apply

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wimcast/client/volume"
	"wimcast/library/servicing"
	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// standIn stands in for DISM, which is on Windows only: it takes the same commands and does the work by wimlib. $LOG gets what it was
// asked for. $FAIL makes it end so before it applies, $FAILUPDATES before it installs updates.
const standIn = `#!/bin/sh
[ "$1" = /English ] || exit 87
for a; do
	case $a in
	/ImageFile:*) file=${a#*:} ;;
	/Index:*) index=${a#*:} ;;
	/ApplyDir:*) dir=${a#*:} ;;
	/Apply-Unattend:*) answer=${a#*:} ;;
	/ScratchDir:*) [ -d "${a#*:}" ] || exit 3; echo x >"${a#*:}/temporary" ;;
	/LogPath:*) log=${a#*:} ;;
	esac
done
printf '%s\n' "$2" >>"$LOG"
echo "$*" >>"$log"
printf '\r[=====   12.0%%    ] '
if [ -n "$answer" ]; then
	[ -f "$configsetroot/KB5031455.cab" ] || exit 2
	if [ -n "$FAILUPDATES" ]; then echo "Error: $FAILUPDATES"; exit 30; fi
	printf '\r[=====100.0%%=====]\r\n'
	exit 0
fi
if [ -n "$FAIL" ]; then mkdir -p "$dir/Windows"; printf '\r\nError: 112\r\n\r\nThere is not enough space on the disk.\r\n'; exit "$FAIL"; fi
wimlib-imagex apply "$file" "$index" "$dir" >/dev/null || exit 5
printf '\r[=====100.0%%=====]\r\nThe operation completed successfully.\r\n'
`

// stage is a target, a WIM of two images, and the stand-in.
type stage struct {
	t               *testing.T
	dir, wim, calls string
	dism            string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	if err := wimlib.Available(); err != nil {
		t.Skip(err)
	}
	s := &stage{t: t, dir: t.TempDir()}
	for _, name := range []string{"one/a", "one/Windows/b", "two/Windows/explorer.exe", "two/Windows/Setup/wimcast/KB5031455.cab"} {
		put(t, filepath.Join(s.dir, name), name)
	}
	put(t, filepath.Join(s.dir, "two/Windows/Setup/wimcast/unattend.xml"),
		`<?xml version="1.0" encoding="utf-8"?><unattend xmlns="urn:schemas-microsoft-com:unattend"><servicing><package action="install"/></servicing></unattend>`)
	s.wim = filepath.Join(s.dir, "w.wim")
	for _, args := range [][]string{{"capture", "one", s.wim, "One", "--check"}, {"append", "two", s.wim, "Two", "--check"}} {
		cmd := exec.CommandContext(t.Context(), "wimlib-imagex", args...)
		cmd.Dir = s.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s.calls = filepath.Join(s.dir, "calls")
	s.dism = put(t, filepath.Join(s.dir, "dism"), standIn)
	if err := os.Chmod(s.dism, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LOG", s.calls)
	return s
}

// job is to apply an image of the WIM to a target.
func (s *stage) job(target, want, dism string) *Job {
	s.t.Helper()
	where, err := OpenTarget(target, false)
	if err != nil {
		s.t.Fatal(err)
	}
	f, err := os.Open(s.wim)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = f.Close() })
	info, err := f.Stat()
	if err != nil {
		s.t.Fatal(err)
	}
	return &Job{Target: where, File: s.wim, Content: f, Size: info.Size(), Digest: "abc", Want: want, DISM: dism}
}

func (s *stage) asked() string {
	b, err := os.ReadFile(s.calls)
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", " ")
}

// same holds a folder against what was captured.
func (s *stage) same(dir, from string) {
	s.t.Helper()
	var got, want []string
	for root, list := range map[string]*[]string{dir: &got, filepath.Join(s.dir, from): &want} {
		err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
			if name == WorkFolder {
				return fs.SkipDir
			}
			if err == nil && !e.IsDir() {
				b, err := os.ReadFile(filepath.Join(root, name))
				*list = append(*list, name+"="+string(b))
				return err
			}
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("applied: %q, want %q", got, want)
	}
}

func (s *stage) marked(dir string) (m mark, is bool) {
	b, err := os.ReadFile(filepath.Join(dir, WorkFolder, markFile))
	return m, err == nil && json.Unmarshal(b, &m) == nil
}

// TestApplyByWimlib: the image that was chosen is there, whole, and nothing else.
func TestApplyByWimlib(t *testing.T) {
	s, target := newStage(t), t.TempDir()
	j := s.job(target, "two", "")
	var chosen wim.Image
	j.Chosen = func(i wim.Image) { chosen = i }
	result, err := j.Run(t.Context())
	if err != nil || result.Image.Index != 2 || chosen.Name != "Two" || result.Log != "" || result.Updates || result.Elapsed <= 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	s.same(target, "two")
	if err := j.Target.Clean(false); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(target); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestApplyByDISM: DISM applies, then installs what is staged, and only where something is.
func TestApplyByDISM(t *testing.T) {
	s := newStage(t)
	for _, tc := range []struct {
		want, asked string
		updates     bool
	}{{"One", "/Apply-Image", false}, {"Two", "/Apply-Image /Image:TARGET", true}} {
		target := t.TempDir()
		_ = os.Remove(s.calls)
		j := s.job(target, tc.want, s.dism)
		var shares []float64
		steps := map[Step]float64{}
		j.Progress = func(step Step, share float64) { steps[step] = share; shares = append(shares, share) }
		result, err := j.Run(t.Context())
		if err != nil || result.Updates != tc.updates || result.Log != filepath.Join(target, "wimcast", "dism.log") {
			t.Fatalf("%s: %+v, %v", tc.want, result, err)
		}
		if got, want := s.asked(), strings.ReplaceAll(tc.asked, "TARGET", target); got != want {
			t.Errorf("%s: DISM was asked for %q, want %q", tc.want, got, want)
		}
		if steps[StepImage] != 1 || (steps[StepUpdates] == 1) != tc.updates || shares[0] != 0.12 {
			t.Errorf("%s: progress %v, %v", tc.want, steps, shares)
		}
		s.same(target, strings.ToLower(tc.want))
		if b, err := os.ReadFile(result.Log); err != nil || !strings.Contains(string(b), "/CheckIntegrity") {
			t.Errorf("%s: its log: %q, %v", tc.want, b, err)
		}
	}
}

// TestApplyFails: what DISM said is told, the target is known to be half applied, and the same again goes well.
func TestApplyFails(t *testing.T) {
	s, target := newStage(t), t.TempDir()
	t.Setenv("FAIL", "112")
	result, err := s.job(target, "One", s.dism).Run(t.Context())
	says(t, err, ErrFailed, "DISM ended with 112: Error: 112 There is not enough space on the disk.; log "+result.Log+"; "+target+" is half applied and won't start; next: the same command again (w.wim is proven, and isn't received again)")
	if m, is := s.marked(target); !is || m.Digest != "abc" || m.Index != 1 || m.Free <= 0 {
		t.Errorf("mark %+v, %v", m, is)
	}
	t.Setenv("FAIL", "")
	if _, err := s.job(target, "Two", s.dism).Run(t.Context()); !errors.Is(err, ErrTarget) || !strings.Contains(err.Error(), "half applied with another image") {
		t.Errorf("another image over it: %v", err)
	}
	again := s.job(target, "One", s.dism)
	if _, err := again.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.same(target, "one")
	if err := again.Target.Clean(true); err != nil {
		t.Error(err)
	}
	if _, is := s.marked(target); is {
		t.Error("still marked as half applied")
	}

	t.Setenv("FAILUPDATES", "0x800f081e")
	target = t.TempDir()
	_, err = s.job(target, "Two", s.dism).Run(t.Context())
	says(t, err, ErrFailed, "the image is applied, its staged updates aren't: DISM ended with 30: Error: 0x800f081e; log ")
	if _, is := s.marked(target); !is {
		t.Error("not marked")
	}
}

// TestApplyIsStopped: whoever stops it hears what state the target is in.
func TestApplyIsStopped(t *testing.T) {
	s, target := newStage(t), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	j := s.job(target, "One", put(t, filepath.Join(s.dir, "slow"), "#!/bin/sh\nprintf '[== 5.0%% ]'\nexec sleep 3600\n"))
	if err := os.Chmod(j.DISM, 0o700); err != nil {
		t.Fatal(err)
	}
	j.Progress = func(Step, float64) { cancel() }
	_, err := j.Run(ctx)
	says(t, err, ErrFailed, "it was stopped; log ")
	says(t, err, ErrFailed, target+" is half applied and won't start")
	if _, is := s.marked(target); !is {
		t.Error("not marked")
	}
}

// TestApplyRefuses: what can't be applied is refused before the target is touched.
func TestApplyRefuses(t *testing.T) {
	s, target := newStage(t), t.TempDir()
	refuses := func(j *Job, kind error, text string) {
		t.Helper()
		_, err := j.Run(t.Context())
		says(t, err, kind, text)
		if entries, err := os.ReadDir(target); err != nil || len(entries) > 0 {
			t.Errorf("%s: the target was touched: %v, %v", text, entries, err)
		}
	}
	refuses(s.job(target, "Three", ""), ErrIndex, `none is called "Three"; there are 1 "One", 2 "Two"`)
	refuses(s.job(target, "", ""), ErrIndex, "none is named")
	j := s.job(target, "1", s.dism)
	j.Target.Volume = volume.Volume{Kind: "exFAT", Plain: true}
	refuses(j, ErrTarget, "the volume is exFAT, which keeps no permissions and links")
	j = s.job(target, "1", "")
	j.Content, j.Size = strings.NewReader(strings.Repeat("no WIM ", 100)), 700
	refuses(j, ErrTarget, "the package is no WIM that can be applied")
	pipable := filepath.Join(s.dir, "p.wim")
	if out, err := exec.CommandContext(t.Context(), "wimlib-imagex", "export", s.wim, "1", pipable, "--pipable").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.wim = pipable
	refuses(s.job(target, "1", s.dism), ErrTarget, "pipable kind, which DISM doesn't read")
	if _, err := s.job(target, "1", "").Run(t.Context()); err != nil {
		t.Errorf("wimlib reads them: %v", err)
	}
	says(t, Available(filepath.Join(s.dir, "none")), ErrFailed, "DISM isn't here")
	if err := Available(s.dism); err != nil {
		t.Error(err)
	}
}

// TestStagedPlace: what is staged is looked for where it is put.
func TestStagedPlace(t *testing.T) {
	if "/"+stagedDir != servicing.StagedDir || stagedAnswer != servicing.StagedAnswer {
		t.Errorf("%s/%s, and it is put into %s/%s", stagedDir, stagedAnswer, servicing.StagedDir, servicing.StagedAnswer)
	}
}

// TestStaged: only an answer file that names packages counts, wherever links lead.
func TestStaged(t *testing.T) {
	answer := filepath.FromSlash(stagedDir + "/" + stagedAnswer)
	for name, tc := range map[string]struct {
		text string
		is   bool
		says string
	}{
		"none":       {"", false, ""},
		"of nothing": {`<unattend xmlns="urn:schemas-microsoft-com:unattend"></unattend>`, false, ""},
		"of one":     {`<unattend xmlns="urn:schemas-microsoft-com:unattend"><servicing><package action="install"></package></servicing></unattend>`, true, ""},
		"broken":     {`<unattend><serv`, false, "can't be read"},
		"large":      {strings.Repeat(" ", maxAnswer+1), false, "more than 4194304 bytes"},
	} {
		dir := t.TempDir()
		if tc.text != "" {
			put(t, filepath.Join(dir, answer), tc.text)
		}
		is, err := (&Target{Path: dir}).staged()
		if is != tc.is || (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, %v", name, is, err)
		}
	}
	dir, elsewhere := t.TempDir(), t.TempDir()
	put(t, filepath.Join(elsewhere, answer), `<package/>`)
	if err := os.Symlink(filepath.Join(elsewhere, "Windows"), filepath.Join(dir, "Windows")); err != nil {
		t.Fatal(err)
	}
	if is, err := (&Target{Path: dir}).staged(); is || err == nil {
		t.Errorf("a link that leads out: %v, %v", is, err)
	}
}
