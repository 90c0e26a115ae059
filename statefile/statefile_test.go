package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func open(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, dir
}

func names(t *testing.T, root *os.Root) []string {
	t.Helper()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func holds(t *testing.T, root *os.Root, name, want string) {
	t.Helper()
	if got, err := Read(root, name, 100); err != nil || string(got) != want {
		t.Errorf("%s: %q, %v, want %q", name, got, err, want)
	}
}

func TestReplace(t *testing.T) {
	root, dir := open(t)
	for _, text := range []string{"one", "two, which is longer", "", "four"} {
		if err := Replace(root, "state.json", 0o600, []byte(text)); err != nil {
			t.Fatal(err)
		}
		holds(t, root, "state.json", text)
	}
	if err := ReplacePath(filepath.Join(dir, "state.json"), 0o600, []byte("five")); err != nil {
		t.Fatal(err)
	}
	holds(t, root, "state.json", "five")
	if got := names(t, root); !slices.Equal(got, []string{"state.json"}) {
		t.Errorf("left over: %v", got)
	}
}

// TestReplaceKilled stops where a kill would, before the rename: the old file is whole, and the next writer isn't in the way of what was left.
func TestReplaceKilled(t *testing.T) {
	root, _ := open(t)
	if err := Replace(root, "state.json", 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	killed := errors.New("killed")
	func() {
		defer func() {
			if recover() != killed { //nolint:errorlint // the very value that was thrown
				t.Error("it never came to its rename")
			}
		}()
		_ = Write(root, "state.json"+unborn, "state.json", 0o600, []byte("new, and longer"), func() {
			holds(t, root, "state.json"+unborn, "new, and longer")
			panic(killed)
		})
	}()
	holds(t, root, "state.json", "old")
	if err := Replace(root, "state.json", 0o600, []byte("next")); err != nil {
		t.Fatal(err)
	}
	holds(t, root, "state.json", "next")
	if got := names(t, root); !slices.Equal(got, []string{"state.json"}) {
		t.Errorf("left over: %v", got)
	}
}

// TestReplaceFails leaves the old file and nothing else.
func TestReplaceFails(t *testing.T) {
	root, dir := open(t)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "folder", "in"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"folder", "nowhere/state.json", "../outside.json"} {
		if err := Replace(root, name, 0o600, []byte("x")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := names(t, root); !slices.Equal(got, []string{"folder"}) {
		t.Errorf("left over: %v", got)
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(dir), "outside.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("outside of the root: %v", err)
	}
}

func TestRead(t *testing.T) {
	root, dir := open(t)
	if err := os.WriteFile(filepath.Join(dir, "four"), []byte("four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		limit int64
		ok    bool
	}{{"four", 4, true}, {"four", 3, false}, {".", 100, false}, {"link", 1 << 20, false}, {"none", 4, false}} {
		b, err := Read(root, c.name, c.limit)
		if (err == nil) != c.ok || c.ok && string(b) != "four" {
			t.Errorf("%s, limit %d: %q, %v", c.name, c.limit, b, err)
		}
	}
	if _, err := ReadPath(filepath.Join(dir, "none"), 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if _, err := ReadPath(filepath.Join(dir, "nowhere", "none"), 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no folder: %v", err)
	}
	if b, err := ReadPath(filepath.Join(dir, "four"), 4); err != nil || string(b) != "four" {
		t.Errorf("%q, %v", b, err)
	}
}
