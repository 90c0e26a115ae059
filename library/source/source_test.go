package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

func TestLocalFile(t *testing.T) {
	dir, b := t.TempDir(), testWIM(3<<20)
	put(t, dir, map[string][]byte{"w11 x64.wim": b})
	s, err := Open(t.Context(), filepath.Join(dir, "w11 x64.wim"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "w11 x64.wim" || s.Stem != "w11 x64" || s.Size != int64(len(b)) || len(s.Images) != 1 || s.Again != filepath.Join(dir, "w11 x64.wim") {
		t.Errorf("%+v", s)
	}
	if !bytes.Equal(all(t, s), b) {
		t.Error("other bytes")
	}
}

// TestMedia: the image is found however the names are written, and the WIM goes before the rest.
func TestMedia(t *testing.T) {
	b, other := testWIM(1000), testWIM(2000)
	for name, c := range map[string]struct {
		files map[string][]byte
		shown string
		bad   error
	}{
		"WIM":             {files: map[string][]byte{"sources/boot.wim": other, "sources/install.wim": b}, shown: "disc/sources/install.wim"},
		"upper case":      {files: map[string][]byte{"SOURCES/INSTALL.WIM": b}, shown: "disc/SOURCES/INSTALL.WIM"},
		"ESD":             {files: map[string][]byte{"sources/Install.esd": b}, shown: "disc/sources/Install.esd"},
		"both":            {files: map[string][]byte{"sources/install.esd": other, "sources/install.wim": b}, shown: "disc/sources/install.wim"},
		"sources itself":  {files: map[string][]byte{"install.wim": b}, shown: "disc/install.wim"},
		"none":            {files: map[string][]byte{"sources/boot.wim": b}, bad: ErrNoImage},
		"no folder":       {files: map[string][]byte{"readme": b}, bad: ErrNoImage},
		"a folder of it":  {files: map[string][]byte{"sources/install.wim/x": b}, bad: ErrNoImage},
		"not one":         {files: map[string][]byte{"sources/install.wim": []byte("none")}, bad: wim.ErrNotWIM},
		"broken off":      {files: map[string][]byte{"sources/install.wim": b[:500]}, bad: wim.ErrTruncated},
		"a file, sources": {files: map[string][]byte{"sources": b}, bad: ErrNoImage},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "disc")
			put(t, dir, c.files)
			s, err := Open(t.Context(), dir+string(filepath.Separator), Options{})
			if c.bad != nil {
				if !errors.Is(err, c.bad) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != c.shown || s.Stem != "disc" || !bytes.Equal(all(t, s), b) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestLocalBad(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string][]byte{"page.wim": []byte("<html>log in first, please, whoever you are</html>")})
	for name, bad := range map[string]error{
		filepath.Join(dir, "none.wim"): fs.ErrNotExist, filepath.Join(dir, "page.wim"): wim.ErrNotWIM, os.DevNull: nil, "ftp://server/a.wim": nil, "": nil,
	} {
		s, err := Open(t.Context(), name, Options{})
		if err == nil || bad != nil && !errors.Is(err, bad) {
			t.Errorf("%q: %v, %v", name, s, err)
		}
	}
}

// TestShrinks: a file that ends before its size is an error, not an end.
func TestShrinks(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string][]byte{"a.wim": testWIM(4 << 20)})
	at := filepath.Join(dir, "a.wim")
	s, err := Open(t.Context(), at, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := io.ReadFull(s, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(at, 2<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, s); !errors.Is(err, ErrChanged) || !errors.Is(s.Err(), ErrChanged) {
		t.Errorf("%v, %v", err, s.Err())
	}
}

// TestSplit: any part brings the whole set, always as the same file, and nothing of it is left.
func TestSplit(t *testing.T) {
	dir, temp := split(t), t.TempDir()
	parts := left(t, dir)
	if len(parts) < 4 {
		t.Fatalf("parts: %v", parts)
	}
	put(t, dir, map[string][]byte{"broken.swm": []byte("MSWIM"), "other.wim": testWIM(100)})
	var first [32]byte
	for i, name := range []string{parts[0], parts[2], "."} {
		s, err := Open(t.Context(), filepath.Join(dir, name), Options{Temp: temp})
		if err != nil {
			t.Fatal(err)
		}
		if n := left(t, temp); len(n) != 1 {
			t.Errorf("while it is open: %v", n)
		}
		if s.Again != "" || len(s.Images) != 1 || s.Images[0].Name != "Windows" {
			t.Errorf("%+v", s)
		}
		b := all(t, s)
		sum := sha256.Sum256(b)
		if i == 0 {
			first = sum
		}
		if sum != first || int64(len(b)) != s.Size {
			t.Errorf("%s gives another file", name)
		}
		if n := left(t, temp); len(n) != 0 {
			t.Errorf("left over: %v", n)
		}
		if i > 0 {
			continue
		}
		whole := filepath.Join(t.TempDir(), "whole.wim")
		if err := os.WriteFile(whole, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := wimlib.Verify(t.Context(), whole); err != nil {
			t.Error(err)
		}
	}
}

// TestSplitIncomplete: a missing, doubled, strange or damaged part is named, and nothing is left.
func TestSplitIncomplete(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		says  string
	}{
		"missing":   {func(dir string) error { return os.Remove(filepath.Join(dir, "install3.swm")) }, "part 3 of"},
		"first":     {func(dir string) error { return os.Remove(filepath.Join(dir, "install.swm")) }, "part 1 of"},
		"truncated": {func(dir string) error { return os.Truncate(filepath.Join(dir, "install3.swm"), 5000) }, "install3.swm: "},
		"doubled":   {func(dir string) error { return copyFile(dir, "install3.swm", "copy.swm", nil) }, "are part 3"},
		"of another": {func(dir string) error {
			return copyFile(dir, "install3.swm", "install3.swm", func(b []byte) { b[30] ^= 1 })
		}, "part 3 of"},
		"other count": {func(dir string) error {
			return copyFile(dir, "install3.swm", "install3.swm", func(b []byte) { binary.LittleEndian.PutUint16(b[42:], 9) })
		}, "says 9"},
		"flipped bit": {func(dir string) error {
			return copyFile(dir, "install3.swm", "install3.swm", func(b []byte) { b[100_000] ^= 1 })
		}, "wimlib-imagex join"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, temp := split(t), t.TempDir()
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), filepath.Join(dir, "install2.swm"), Options{Temp: temp})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, %v", s, err)
			}
			if n := left(t, temp); len(n) != 0 {
				t.Errorf("left over: %v", n)
			}
		})
	}
}

func copyFile(dir, from, to string, change func([]byte)) error {
	b, err := os.ReadFile(filepath.Join(dir, from))
	if err != nil {
		return err
	}
	if change != nil {
		change(b)
	}
	return os.WriteFile(filepath.Join(dir, to), b, 0o600)
}
