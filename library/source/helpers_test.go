package source

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"wimcast/test/noise"
)

func testWIM(size int) []byte { return noise.WIM(size, rand.Uint64(), "w") }

// put writes files below a folder.
func put(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, b := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// all reads a source to its end and closes it.
func all(t *testing.T, s *Source) []byte {
	t.Helper()
	b, err := io.ReadAll(s)
	if err := errors.Join(err, s.Err(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// wimlibImagex runs the real program.
func wimlibImagex(t *testing.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		t.Skip("wimlib-imagex is missing; it is in the package wimtools")
	}
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
	}
}

// split makes a split set of real parts in a folder, of noise that doesn't pack, and returns the folder.
func split(t *testing.T) string {
	t.Helper()
	from, dir := t.TempDir(), t.TempDir()
	for i := range 4 {
		put(t, from, map[string][]byte{fmt.Sprint(i): testWIM(700_000)})
	}
	whole := filepath.Join(t.TempDir(), "whole.wim")
	wimlibImagex(t, "capture", from, whole, "Windows", "--check", "--compress=none")
	wimlibImagex(t, "split", whole, filepath.Join(dir, "install.swm"), "1")
	return dir
}

// left returns what lies in a folder.
func left(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
