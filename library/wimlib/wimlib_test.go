package wimlib

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// capture makes a WIM of two images: One with a file and a folder, Two with another file.
func capture(t *testing.T, options ...string) string {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	one, two, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "w.wim")
	noise := make([]byte, 1_500_000)
	_, _ = rand.Read(noise)
	write(t, filepath.Join(one, "noise"), noise)
	if err := os.Mkdir(filepath.Join(one, "Windows"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(one, "Windows", "it's a name"), []byte("text\n"))
	write(t, filepath.Join(two, "other"), []byte("other\n"))
	imagex(t, append([]string{"capture", one, file, "One"}, options...)...)
	imagex(t, append([]string{"append", two, file, "Two"}, slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "--solid" })...)...)
	return file
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func imagex(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "wimlib-imagex", args...).CombinedOutput(); err != nil {
		t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
	}
}

func code(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return -1
}

// TestExport: one image comes out alone and whole; what isn't there is wimlib's error 18.
func TestExport(t *testing.T) {
	file, to := capture(t), filepath.Join(t.TempDir(), "one.wim")
	if err := Export(t.Context(), file, 1, to); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), to); err != nil {
		t.Error(err)
	}
	if got, err := Read(t.Context(), to, 1, "/Windows/it's a name"); err != nil || string(got) != "text\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Dir(t.Context(), to, 2, "/"); code(err) != 18 {
		t.Errorf("the second image: %v", err)
	}
	if err := Export(t.Context(), file, 3, to+"2"); code(err) != 18 || !strings.Contains(err.Error(), "wimlib-imagex export: ") {
		t.Errorf("no such image: %v", err)
	}
	if _, err := os.Stat(to + "2"); err == nil {
		t.Error("a file is left of what failed")
	}
}

// TestGUID: with the same GUID, exports of the same image are the same file, pipable ones too.
func TestGUID(t *testing.T) {
	file := capture(t)
	for _, option := range []string{"--not-pipable", "--pipable"} {
		var files [2][]byte
		for i := range files {
			to := filepath.Join(t.TempDir(), "one.wim")
			imagex(t, "export", file, "1", to, "--check", option)
			if err := SetGUID(to, [16]byte{1, 2, 3}); err != nil {
				t.Fatal(err)
			}
			if err := Verify(t.Context(), to); err != nil {
				t.Errorf("%s: %v", option, err)
			}
			var err error
			if files[i], err = os.ReadFile(to); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(files[0], files[1]) {
			t.Errorf("%s: two files", option)
		}
		if !bytes.Equal(files[0][guidAt:guidAt+3], []byte{1, 2, 3}) {
			t.Errorf("%s: the GUID isn't there", option)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	write(t, none, []byte("a text, and no WIM"))
	if err := SetGUID(none, [16]byte{1}); err == nil {
		t.Error("a text got a GUID")
	}
	if b, _ := os.ReadFile(none); string(b) != "a text, and no WIM" {
		t.Errorf("%q", b)
	}
}

func TestJoin(t *testing.T) {
	file, dir := capture(t), t.TempDir()
	imagex(t, "split", file, filepath.Join(dir, "w.swm"), "1")
	parts, err := filepath.Glob(filepath.Join(dir, "*.swm"))
	if err != nil || len(parts) < 2 {
		t.Fatalf("%v, %v", parts, err)
	}
	slices.Reverse(parts)
	whole := filepath.Join(dir, "whole.wim")
	if err := Join(t.Context(), whole, parts...); err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), whole); err != nil {
		t.Error(err)
	}
	if got, err := Read(t.Context(), whole, 2, "/other"); err != nil || string(got) != "other\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := Join(t.Context(), whole+"2", parts[1:]...); code(err) != 62 {
		t.Errorf("a part too few: %v", err)
	}
}

// TestUpdate: commands change an image in place, all of them or none.
func TestUpdate(t *testing.T) {
	file, add := capture(t), filepath.Join(t.TempDir(), "new file")
	write(t, add, []byte("new\n"))
	quoted, err := Quote(add)
	if err != nil {
		t.Fatal(err)
	}
	if err := Update(t.Context(), file, 2, "add "+quoted+" /folder/new", "delete /other"); err != nil {
		t.Fatal(err)
	}
	paths, err := Dir(t.Context(), file, 2, "/")
	if err != nil || !slices.Equal(paths, []string{"/", "/folder", "/folder/new"}) {
		t.Errorf("%q, %v", paths, err)
	}
	if err := Update(t.Context(), file, 2, "delete /folder/new", "delete /none"); err == nil {
		t.Error("half of it was done")
	}
	if got, err := Read(t.Context(), file, 2, "/folder/new"); err != nil || string(got) != "new\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Dir(t.Context(), file, 2, "/none"); code(err) != CodeNoPath {
		t.Errorf("%v", err)
	}
	if err := SetProperty(t.Context(), file, 2, "DESCRIPTION", "two words"); err != nil {
		t.Error(err)
	}
	xml, err := exec.CommandContext(t.Context(), "wimlib-imagex", "info", file, "2").Output()
	if err != nil || !strings.Contains(string(xml), "two words") {
		t.Errorf("%s, %v", xml, err)
	}
	to := t.TempDir()
	if err := Extract(t.Context(), file, 2, to, "/folder"); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "folder", "new")); err != nil || string(b) != "new\n" {
		t.Errorf("%q, %v", b, err)
	}
	for _, path := range []string{"a\"b", "a\nb", "a\x00b"} {
		if q, err := Quote(path); err == nil {
			t.Errorf("%q became %s", path, q)
		}
	}
}

// TestDamage: what doesn't unpack is found, and said in one line.
func TestDamage(t *testing.T) {
	file := capture(t)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, 700_000); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, 700_000); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := Verify(t.Context(), file); code(err) <= 0 || strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("%v", err)
	}
}

// TestCancel ends a command that would run on, and its name is in the error.
func TestCancel(t *testing.T) {
	file := capture(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if err := Export(ctx, file, 1, filepath.Join(t.TempDir(), "x.wim")); !errors.Is(err, enough) || !strings.Contains(err.Error(), "export") {
		t.Errorf("%v", err)
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := Available(); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if err := Verify(t.Context(), "x.wim"); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install wimtools") {
		t.Error(err)
	}
}

// TestWords of what wimlib says: one line, without its marks, and bounded.
func TestWords(t *testing.T) {
	for said, want := range map[string]string{
		"": "no reason given",
		"[WARNING] x\n[ERROR] first\nERROR: Exiting with error code 2:\n       No such file.\n": "first Exiting with error code 2: No such file.",
	} {
		if got := lastWords([]byte(said)); got != want {
			t.Errorf("%q: %q", said, got)
		}
	}
	long := lastWords([]byte(strings.Repeat("ü", maxSaid) + "end"))
	if len(long) > maxSaid+len("…") || !strings.HasSuffix(long, "end") || strings.ToValidUTF8(long, "?") != long {
		t.Errorf("%d bytes", len(long))
	}
	b := bounded{limit: 5}
	if n, err := io.Copy(&b, struct{ io.Reader }{strings.NewReader("1234567")}); n != 7 || err != nil || b.kept.String() != "12345" || !b.over {
		t.Errorf("%d, %v, %q, %v", n, err, b.kept.String(), b.over)
	}
}
