package noise

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"wimcast/library/wim"
)

// TestWIM: the library's own reader takes them, and they have the size that was asked for.
func TestWIM(t *testing.T) {
	b := WIM(1000, 1, "Windows 11", "Windows 10")
	w, err := wim.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if images := w.Images; len(images) != 2 || images[1].Name != "Windows 10" || images[1].TotalBytes != 1000 {
		t.Errorf("%+v", images)
	}
	if !bytes.Equal(b, WIM(1000, 1, "Windows 11", "Windows 10")) || bytes.Equal(b, WIM(1000, 2, "Windows 11", "Windows 10")) {
		t.Error("the seed isn't what decides")
	}
	for _, total := range []int64{1 << 20, 9_999, 10_600, 10_601} {
		file := filepath.Join(t.TempDir(), "noise.wim")
		if err := WriteFile(file, total, 1); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Size() != total {
			t.Errorf("%d bytes, %v, want %d", info.Size(), err, total)
		}
	}
	if err := WriteFile(filepath.Join(t.TempDir(), "noise.wim"), 100, 1); err == nil {
		t.Error("a WIM of 100 bytes")
	}
}
