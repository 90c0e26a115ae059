package wimlib

import (
	"crypto/sha1"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestHashes: everything in an image is there with the hash of what is in it.
func TestHashes(t *testing.T) {
	file := capture(t)
	got, err := Hashes(t.Context(), file, 2, "/")
	sum := sha1.Sum([]byte("other\n"))
	none := "0x0000000000000000000000000000000000000000"
	if want := map[string]string{"/": none, "/other": "0x" + hex.EncodeToString(sum[:])}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := Hashes(t.Context(), file, 1, "/windows"); err != nil || len(got) != 2 || got["/Windows"] != none {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Hashes(t.Context(), file, 3, "/"); code(err) != 18 {
		t.Errorf("no such image: %v", err)
	}
}

// TestOptimize: what no image refers to any more goes, the rest stays.
func TestOptimize(t *testing.T) {
	file := capture(t)
	if err := Update(t.Context(), file, 1, "delete /noise"); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	if err := Optimize(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	if after := size(); after > before-1_000_000 {
		t.Errorf("%d bytes became %d", before, after)
	}
	if got, err := Read(t.Context(), file, 1, "/Windows/it's a name"); err != nil || string(got) != "text\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := Optimize(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that isn't there was optimized")
	}
}
