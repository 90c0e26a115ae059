package servicing

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func names(list []Update) (out []string) {
	for i := range list {
		out = append(out, list[i].Reference())
	}
	return out
}

// stored lists what lies in a directory of the catalogue.
func stored(t *testing.T, dir, sub string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, sub))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestCatalogue(t *testing.T) {
	needs(t, "cabextract")
	dir := t.TempDir()
	c, err := OpenCatalogue(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	add := func(content []byte, name string, told Description) (Update, bool, error) {
		return c.Add(t.Context(), bytes.NewReader(content), name, int64(len(content)), strings.HasSuffix(name, ".tar"), told)
	}
	one := cabPackage("KB5000001", "10.0.1.1")
	first, again, err := add(one, `C:\down\windows11.0-kb5000001-x64.cab`, Description{Build: "22621"})
	if err != nil || again || first.Reference() != "KB5000001-x64" || first.File != "windows11.0-kb5000001-x64.cab" || first.Size != int64(len(one)) {
		t.Fatalf("%+v, %v, %v", first, again, err)
	}
	second, again, err := add(one, "other.cab", Description{Build: "any", Title: "better known"})
	if err != nil || !again || second.Title != "better known" || !second.Added.Equal(first.Added) || len(stored(t, dir, filesDir)) != 1 {
		t.Errorf("the same again: %+v, %v, %v", second, again, err)
	}
	if _, _, err := add(cabPackage("KB5000001", "10.0.1.2"), "x.cab", Description{Build: "any"}); !errors.Is(err, ErrExists) {
		t.Errorf("another file: %v", err)
	}
	if _, _, err := add(tree(map[string]string{"a": "a"}), "o.tar", Description{ID: "drivers"}); err != nil {
		t.Error(err)
	}
	if _, _, err := add([]byte("nonsense"), "x.cab", Description{}); err == nil {
		t.Error("nonsense was added")
	}
	if _, _, err := c.Add(t.Context(), bytes.NewReader(one), "x.cab", int64(len(one))+1, false, Description{Build: "any"}); err == nil || !strings.Contains(err.Error(), "it ended after") {
		t.Errorf("cut: %v", err)
	}
	broken := errors.New("the line is down")
	if _, _, err := c.Add(t.Context(), io.MultiReader(bytes.NewReader(one[:100]), failing{broken}), "x.cab", 0, false, Description{}); !errors.Is(err, broken) {
		t.Errorf("broken off: %v", err)
	}
	if left := stored(t, dir, incomingDir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if got := names(c.List()); !slices.Equal(got, []string{"KB5000001-x64", "drivers"}) {
		t.Errorf("%v", got)
	}

	// After a restart, with what a crash left.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{incomingDir + "/x", filesDir + "/" + strings.Repeat("0", 64)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = OpenCatalogue(dir); err != nil {
		t.Fatal(err)
	}
	if got := names(c.List()); !slices.Equal(got, []string{"KB5000001-x64", "drivers"}) || len(stored(t, dir, filesDir)) != 2 || len(stored(t, dir, incomingDir)) != 0 {
		t.Errorf("after a restart: %v, %v, %v", got, stored(t, dir, filesDir), stored(t, dir, incomingDir))
	}
	u, err := c.Get("kb5000001")
	if err != nil || u.Title != "better known" || u.Identity == nil {
		t.Errorf("%+v, %v", u, err)
	}
	if err := c.prove(t.Context(), &u); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(c.path(&u), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.prove(t.Context(), &u); err == nil || !strings.Contains(err.Error(), "it isn't what was added") {
		t.Errorf("a file that was changed: %v", err)
	}
	if _, err := c.remove("KB5000001", func(ref string) string { return "v7" }); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "wimcast schedule cancel v7") {
		t.Errorf("in use: %v", err)
	}
	if _, err := c.remove("KB5000001", func(string) string { return "" }); err != nil || len(stored(t, dir, filesDir)) != 1 {
		t.Errorf("removed: %v, %v", err, stored(t, dir, filesDir))
	}
	if _, err := c.Get("KB5000001"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after it was removed: %v", err)
	}

	// What somebody wrote into the file.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"{", `{"updates":[{"id":"x","kind":"cab","sha256":"../../etc/passwd"}]}`, `{"updates":[{"id":"..","kind":"cab","sha256":"` + strings.Repeat("0", 64) + `"}]}`} {
		if err := os.WriteFile(filepath.Join(dir, catalogueFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCatalogue(dir); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
