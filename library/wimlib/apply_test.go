package wimlib

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestApply: an image lands in a folder, with progress that only grows; what isn't there is an error of wimlib's.
func TestApply(t *testing.T) {
	file, to := capture(t), t.TempDir()
	var shares []float64
	if err := Apply(t.Context(), file, 1, to, false, func(s float64) { shares = append(shares, s) }); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "Windows", "it's a name")); err != nil || string(got) != "text\n" {
		t.Errorf("%q, %v", got, err)
	}
	if len(shares) < 2 || !slices.IsSorted(shares) || shares[len(shares)-1] < 0.9 || shares[len(shares)-1] > 1 {
		t.Errorf("progress %v", shares)
	}
	if err := Apply(t.Context(), file, 3, t.TempDir(), false, nil); code(err) != 18 {
		t.Errorf("no such image: %v", err)
	}
}

// TestApplyIsStopped: a cancelled apply ends, whatever it does, and says why.
func TestApplyIsStopped(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf 'Extracting file data: 1 MiB of 2 MiB (50%%) done\\r'\nexec sleep 3600\n"
	if err := os.WriteFile(filepath.Join(dir, "wimlib-imagex"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("power button")
	err := Apply(ctx, "w.wim", 1, t.TempDir(), false, func(share float64) {
		if math.Abs(share-0.5) > 0.001 {
			t.Errorf("at %v", share)
		}
		cancel(stop)
	})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestApplyArgs(t *testing.T) {
	if got := ApplyArgs("a b.wim", 2, "/mnt/x", false); !slices.Equal(got, []string{"apply", "a b.wim", "2", "/mnt/x"}) {
		t.Errorf("%q", got)
	}
	if got := ApplyArgs("w.wim", 2, "/mnt/x", true); !slices.Equal(got, []string{"apply", "w.wim", "2", "/mnt/x", "--check"}) {
		t.Errorf("%q", got)
	}
}

// TestApplyProgress: lines come in pieces, some are of other kinds, and some are endless.
func TestApplyProgress(t *testing.T) {
	said := "Applying image 1 (\"One (99%)\") from \"t.wim\" to directory \"out\"\n\rCreating files: 50 of 100 (50%) done" +
		"\rExtracting file data: 1 MiB of 4 MiB (25%) done\rExtracting file data: 1 MiB of 4 MiB (25%) done\n" +
		strings.Repeat("x", 100_000) + "\rUnknown step: 1 of 1 (100%)\rExtracting file data: 9 of 4 (999%) done\rApplying metadata to files: 3 of 4 (75%) done\n"
	want := []float64{0.025, 0.275, 0.95, 0.9875}
	for _, size := range []int{1, 7, len(said)} {
		var got []float64
		w := &progressWriter{tell: func(s float64) { got = append(got, s) }}
		for rest := []byte(said); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if n, err := w.Write(rest[:min(size, len(rest))]); err != nil || n != min(size, len(rest)) {
				t.Fatal(n, err)
			}
		}
		if !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("in pieces of %d: %v, want %v", size, got, want)
		}
	}
}
