package client

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"wimcast/crypto"
)

// TestParts: what earlier tries left is found by its content, whatever else lies there.
func TestParts(t *testing.T) {
	dir := t.TempDir()
	if parts, err := Parts(filepath.Join(dir, "none")); parts != nil || err != nil {
		t.Errorf("no folder: %v, %v", parts, err)
	}
	little, much := makeImage(5*crypto.BlockSize+7, 1), makeImage(4*crypto.BlockSize, 2)
	leave := func(name string, im image, blocks ...int) {
		t.Helper()
		f := mustOpen(t, filepath.Join(dir, name), Options{})
		mustBegin(t, f, im)
		mustWrite(t, f, im, blocks...)
		if err := f.Checkpoint(slices.Values(blocks), nil); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	leave("little.wim", little, 5)
	leave("much.wim", much, 0, 2)
	leave("torn.wim", much, 0, 1, 2)
	leave("cut.wim", much, 0, 1, 2)
	leave("lonely.wim", much, 0, 1, 2)
	have := filepath.Join(dir, "torn.wim"+haveSuffix)
	b, err := os.ReadFile(have)
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"torn":   func() error { return os.WriteFile(have, bytes.Replace(b, []byte{0}, []byte{1}, 3), 0o600) },
		"cut":    func() error { return os.Truncate(filepath.Join(dir, "cut.wim"+partSuffix), 7) },
		"lonely": func() error { return os.Remove(filepath.Join(dir, "lonely.wim"+partSuffix)) },
		"no name": func() error {
			return errors.Join(os.WriteFile(filepath.Join(dir, haveSuffix), b, 0o600), os.WriteFile(filepath.Join(dir, partSuffix), much.data, 0o600))
		},
		"link":  func() error { return os.Symlink(have, filepath.Join(dir, "link.wim"+haveSuffix)) },
		"other": func() error { return os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("buy milk"), 0o600) },
	} {
		if err := do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	want := []Part{{"much.wim", much.digest, much.size(), 2 * crypto.BlockSize}, {"little.wim", little.digest, little.size(), crypto.BlockSize}}
	if parts, err := Parts(dir); err != nil || !slices.Equal(parts, want) {
		t.Errorf("%+v, %v; want %+v", parts, err, want)
	}
}
