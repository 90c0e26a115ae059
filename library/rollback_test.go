package library

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRollback: a name means the version that was added last, or made current since, across restarts; nothing else changes.
func TestRollback(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	current := func(want string) {
		t.Helper()
		p, err := l.Get("w")
		if err != nil || p.Version != want {
			t.Errorf("w is %q, want %q; %v", p.Version, want, err)
		}
		if list := l.List(); list[0].Version != want {
			t.Errorf("the list begins with %q, want %q", list[0].Version, want)
		}
	}
	for i, v := range []string{"1", "2", "3"} {
		add(t, l, testWIM(1000, uint64(i), "w"), "w", v)
	}
	add(t, l, testWIM(1000, 9, "z"), "z", "")
	current("3")
	content, err := l.OpenContent("w@3")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()

	from, to, err := l.Rollback("w", nil)
	if err != nil || from.Version != "3" || to.Version != "2" {
		t.Fatalf("%s to %s, %v", from.Reference(), to.Reference(), err)
	}
	current("2")
	if _, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size())); err != nil {
		t.Errorf("what reads version 3: %v", err)
	}
	one := "1"
	if _, _, err := l.Rollback("w", &one); err != nil {
		t.Fatal(err)
	}
	current("1")
	if _, to, err = l.Rollback("w", nil); err != nil || to.Version != "2" {
		t.Errorf("back to %q, %v: it wasn't current before", to.Version, err)
	}
	if _, _, err = l.Rollback("w", nil); err != nil {
		t.Error(err)
	}
	current("1") // twice is there and back
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openAt(t, dir)
	current("1")
	if _, to, err := l.Rollback("w", &one); err != nil || to.Version != "1" {
		t.Errorf("to the current one: %v", err)
	}
	// What is added then is current again.
	add(t, l, testWIM(1000, 7, "w"), "w", "4")
	current("4")

	// What can't be.
	nine := "9"
	if _, _, err := l.Rollback("w", &nine); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such version: %v", err)
	}
	if _, _, err := l.Rollback("w@1", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such name: %v", err)
	}
	if _, _, err := l.Rollback("z", nil); !errors.Is(err, ErrNoFormer) {
		t.Errorf("the only version: %v", err)
	}
	p, err := l.Get("w@1")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.setService(&p, "broken"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Rollback("w", nil); err == nil {
		t.Error("to a version that is out of service")
	}
	current("4")
}

// TestFlagsOfAdd: a version has its flags from the first moment on, or isn't added.
func TestFlagsOfAdd(t *testing.T) {
	l := openAt(t, t.TempDir())
	b := testWIM(1000, 1, "w")
	want := Flags{AllowMulticast: true, MulticastOnly: true}
	p, _, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Name: "w", Flags: &want})
	if err != nil || p.Flags != want {
		t.Errorf("%+v, %v", p.Flags, err)
	}
	if _, _, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Name: "v", Flags: &Flags{MulticastOnly: true}}); !errors.Is(err, ErrFlags) {
		t.Errorf("multicast-only without multicast: %v", err)
	}
	if n := len(l.List()); n != 1 {
		t.Errorf("%d packages", n)
	}
}

// TestContentPath: other programs find the file there.
func TestContentPath(t *testing.T) {
	l := openAt(t, t.TempDir())
	b := testWIM(1000, 1, "w")
	add(t, l, b, "w", "")
	c, err := l.OpenContent("w")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	file, err := c.Path()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || !slices.Equal(got, b) || !filepath.IsAbs(file) {
		t.Errorf("%s: %d bytes, %v", file, len(got), err)
	}
}
