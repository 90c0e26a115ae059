package apply

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wimcast/client/volume"
)

func put(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// says holds that an error is of a kind and has a text.
func says(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("%v; want one that is %v and says %q", err, kind, text)
	}
}

// TestTargetIsLookedAt: only what is there, is a folder, and is empty but for what volumes and task sequences have there.
func TestTargetIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenTarget(filepath.Join(dir, "none"), false)
	says(t, err, ErrTarget, "it isn't there; next:")
	_, err = OpenTarget(put(t, filepath.Join(dir, "file"), "x"), false)
	says(t, err, ErrTarget, "neither a volume nor a folder")

	for name, allowed := range map[string]bool{
		"System Volume Information/x": true, "$RECYCLE.BIN/x": true, "lost+found/x": true, "_SMSTaskSequence/x": true, "wimcast/w11.wim": true, "pagefile.sys": true,
		"mine.wim": true, "mine.wim.part": true, "mine.wim.part.have": true, "mine.wim.proven": true, "mine/is/deep": true,
		"Windows/explorer.exe": false, "etc/passwd": false, "a": false, "mine.wim2": false,
	} {
		target := t.TempDir()
		put(t, filepath.Join(target, filepath.FromSlash(name)), "x")
		mine := []string{filepath.Join(target, "mine.wim"), filepath.Join(target, "mine", "w11.wim"), filepath.Join(dir, "a")}
		_, err := OpenTarget(target, false, mine...)
		if allowed && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !allowed {
			first, _, _ := strings.Cut(name, "/")
			says(t, err, ErrTarget, `it isn't empty: "`+first+`" there; next: name an empty volume or folder, or apply over what is there by --force-apply`)
			if _, err := OpenTarget(target, true, mine...); err != nil {
				t.Errorf("%s, by force: %v", name, err)
			}
		}
	}
	full := t.TempDir()
	for _, name := range []string{"Windows/x", "Users/x", "a\nb", "Program Files/x", "z"} {
		put(t, filepath.Join(full, name), "x")
	}
	_, err = OpenTarget(full, false)
	says(t, err, ErrTarget, `"Program Files", "Users", "Windows" and 2 more are there`)

	odd := t.TempDir()
	put(t, filepath.Join(odd, WorkFolder), "x")
	_, err = OpenTarget(odd, true)
	says(t, err, ErrTarget, "isn't a folder, and wimcast wants to work there")
	if err := os.Remove(filepath.Join(odd, WorkFolder)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(odd, WorkFolder)); err == nil {
		_, err = OpenTarget(odd, true)
		says(t, err, ErrTarget, "isn't a folder, and wimcast wants to work there")
	}
}

// TestHalfApplied: what an earlier try left may be applied over with the same image, and with no other.
func TestHalfApplied(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenTarget(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.MakeWork(); err != nil {
		t.Fatal(err)
	}
	if err := first.writeMark(mark{Digest: "abc", Index: 2, Free: 1 << 60, Began: time.Unix(0, 0)}); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "Windows", "half"), "x")
	again, err := OpenTarget(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		digest string
		index  int
		good   bool
	}{{"abc", 0, true}, {"abc", 2, true}, {"abc", 1, false}, {"abd", 0, false}, {"abd", 2, false}} {
		if err := again.Begin(tc.digest, tc.index); (err == nil) != tc.good {
			t.Errorf("%s, %d: %v", tc.digest, tc.index, err)
		} else if err != nil {
			says(t, err, ErrTarget, "it is half applied with another image (index 2 of abc, begun ")
		}
	}
	// What is there already of the image counts as room: it is replaced.
	if err := again.Fits(dir, 0, 1<<59); err != nil {
		t.Error(err)
	}
	forced, err := OpenTarget(dir, true)
	if err != nil || forced.Begin("abd", 1) != nil {
		t.Errorf("by force: %v, %v", err, forced.Begin("abd", 1))
	}
	put(t, filepath.Join(dir, WorkFolder, markFile), "no JSON")
	_, err = OpenTarget(dir, true)
	says(t, err, ErrTarget, "applying.json isn't wimcast's; next: remove it")
	put(t, filepath.Join(dir, WorkFolder, markFile), strings.Repeat(" ", maxMark+1))
	_, err = OpenTarget(dir, true)
	says(t, err, ErrTarget, "more than 4096 bytes")
}

// TestFits: file and content count together where they lie on one volume.
func TestFits(t *testing.T) {
	dir := t.TempDir()
	target, err := OpenTarget(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	now, err := volume.Of(dir)
	if err != nil {
		t.Fatal(err)
	}
	const spare = 1 << 30 // others write here too
	if now.Free < 4*spare {
		t.Skipf("needs 4 GiB of free space here, there are %d bytes", now.Free)
	}
	if err := target.Fits(dir, 0, now.Free-spare); err != nil {
		t.Error(err)
	}
	says(t, target.Fits(dir, 0, now.Free+spare), ErrTarget, "not enough room: ")
	says(t, target.Fits(dir, now.Free/2+spare, now.Free/2+spare), ErrTarget, " for what is in the image and ")
	if other := "/proc"; now.ID != of(other).ID && of(other).ID != "" {
		if err := target.Fits(other, now.Free/2+spare, now.Free/2); err != nil {
			t.Errorf("the file lies elsewhere: %v", err)
		}
	}
	target.Volume = volume.Volume{Kind: "FAT32", Largest: 1<<32 - 1, Plain: true}
	says(t, target.Takes(true), ErrTarget, "the volume is FAT32, which keeps no permissions and links")
	if err := target.Takes(false); err != nil {
		t.Error(err)
	}
	says(t, target.Fits(dir, 0, 1<<32), ErrTarget, "the volume is FAT32, whose files end at 4 GiB")
	if err := target.Fits(dir, 0, 1<<32-1); err != nil {
		t.Error(err)
	}
}

func of(dir string) volume.Volume {
	v, _ := volume.Of(dir)
	return v
}

// TestClean: only what is ours goes, and the folder with the last of it. What leads out of the target is left alone.
func TestClean(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	target, err := OpenTarget(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	work := target.Work()
	for _, name := range []string{"w11.wim", "w11.wim.proven", markFile, logFile, "scratch/a/b"} {
		put(t, filepath.Join(work, name), "x")
	}
	if err := target.Clean(true, "w11.wim.part"); err != nil {
		t.Error(err)
	}
	left := func() (names []string) {
		entries, _ := os.ReadDir(work)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if got := strings.Join(left(), " "); got != "dism.log w11.wim w11.wim.proven" {
		t.Errorf("kept: %s", got)
	}
	put(t, filepath.Join(work, "theirs"), "x")
	if err := target.Clean(false, "w11.wim", "w11.wim.proven"); err != nil || strings.Join(left(), " ") != "theirs" {
		t.Errorf("%v, left: %v", err, left())
	}
	if err := os.Remove(filepath.Join(work, "theirs")); err != nil {
		t.Fatal(err)
	}
	if err := target.Clean(false); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(work); err == nil {
		t.Error("the empty work folder is still there")
	}
	put(t, filepath.Join(elsewhere, "scratch", "precious"), "x")
	if err := os.Symlink(elsewhere, work); err != nil {
		t.Skip(err)
	}
	if err := target.Clean(false); err == nil {
		t.Error("cleaning by a link that leads out went well")
	}
	if _, err := os.Stat(filepath.Join(elsewhere, "scratch", "precious")); err != nil {
		t.Error("what lies elsewhere was removed:", err)
	}
}
