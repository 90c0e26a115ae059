package test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/crypto"
	"wimcast/test/rig"
)

// wimlib runs wimlib-imagex.
func wimlib(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("wimlib-imagex", args...).CombinedOutput(); err != nil {
		t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
	}
}

// copyTo copies a file.
func copyTo(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// onGroup adds up what all sessions sent to their groups, in bytes.
func (s *stage) onGroup() uint64 {
	s.t.Helper()
	var n uint64
	for _, c := range s.sessions() {
		n += c.Sent.Bytes
	}
	return n
}

// alike is the share of the blocks of a file that another has at the same offset.
func alike(t *testing.T, file, other string) float64 {
	t.Helper()
	a, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for off := 0; off < len(a); off += crypto.BlockSize {
		end := min(off+crypto.BlockSize, len(a))
		if end <= len(b) && bytes.Equal(a[off:end], b[off:end]) {
			same++
		}
	}
	return float64(same) / float64(crypto.BlockCount(int64(len(a))))
}

// TestImagesSeed casts what wimlib makes of an image when it is serviced to clients that hold the parent, and prints which share
// of the image went out.
func TestImagesSeed(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "10 MB/s"`}) // at which a busy machine's receive buffers hold
	parent := s.image
	dir := t.TempDir()
	overlay := filepath.Join(dir, "overlay")
	noise := make([]byte, s.size/20) // 5 %, of what doesn't compress
	_, _ = rand.NewChaCha8([32]byte{5}).Read(noise)
	if err := os.WriteFile(overlay, noise, 0o644); err != nil {
		t.Fatal(err)
	}
	updated, optimized, exported := filepath.Join(dir, "updated.wim"), filepath.Join(dir, "optimized.wim"), filepath.Join(dir, "exported.wim")
	copyTo(t, updated, parent)
	wimlib(t, "update", updated, "1", "--check", "--command=add "+overlay+" /overlay")
	copyTo(t, optimized, updated)
	wimlib(t, "update", optimized, "1", "--command=delete --recursive /cmd/compile")
	wimlib(t, "optimize", optimized)
	wimlib(t, "export", updated, "1", exported, "Another name")
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, noise, 0o644); err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.wim")
	copyTo(t, cut, parent)
	if err := os.Truncate(cut, s.size/2); err != nil {
		t.Fatal(err)
	}

	for i, test := range []struct {
		name, image, seed string
		least, most       float64 // of the image, sent
	}{
		{"the parent for an update of 5 %", updated, parent, 0.05, 0.12},
		{"the update for a re-export", exported, updated, 0, 0.06},
		{"the update for what was optimized after a deletion", optimized, updated, 0, 0.10},
		{"half of the parent", updated, cut, 0.5, 0.7},
		{"something else", updated, other, 1, 1.2},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.t = t
			s.image = test.image
			s.cli("image", "add", s.image, "--name", "w11", "--version", fmt.Sprint(i+2))
			before := s.onGroup()
			g := s.getAt(rig.Loopback(fmt.Sprintf("pc%02d", i+1)), "--seed", test.seed)
			r, totals := s.proven(g)
			share := float64(s.onGroup()-before) / float64(r.Size)
			t.Logf("%s: %.1f MB, of which %.1f MB came from the seed; %.1f %% of the image went out (%.0f %% of its blocks are in the seed at the same offset); %.1f s",
				test.name, float64(r.Size)/1e6, float64(totals.Seed)/1e6, 100*share, 100*alike(t, test.image, test.seed), r.Seconds)
			if share < test.least || share > test.most {
				t.Errorf("%.3f of the image went out, want %.2f to %.2f", share, test.least, test.most)
			}
			if sum := totals.Seed + totals.Multicast; sum != r.Size {
				t.Errorf("%d bytes from the seed, %d multicast, of %d", totals.Seed, totals.Multicast, r.Size)
			}
		})
	}

	// What the server counts.
	if text := page(t, s.daemon.Metrics()); !strings.Contains(text, `wimcast_client_proven_bytes_total{package="w11@2",path="seed"}`) {
		t.Errorf("no metric of bytes from seeds in:\n%s", text)
	}
	for recorded := 0; recorded < 4; { // the record is a second late
		var history []api.HistoryClient
		if err := s.daemon.Ask(s.ctx, &history, "history", "list", "--client", "pc*"); err != nil {
			t.Fatal(err)
		}
		recorded = 0
		for _, c := range history {
			if c.SeedBytes > 0 {
				recorded++
			}
		}
		select {
		case <-s.ctx.Done():
			t.Fatalf("the history knows of %d clients with a seed, want 4: %+v", recorded, history)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestImagesSeedReplaced has the file to be replaced as its own seed, and beside it a client without one, and then a seed that isn't there.
func TestImagesSeedReplaced(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "10 MB/s"`}) // at which a busy machine's receive buffers hold
	dir := t.TempDir()
	overlay := filepath.Join(dir, "overlay")
	if err := os.WriteFile(overlay, []byte("what is new"), 0o644); err != nil {
		t.Fatal(err)
	}
	updated := filepath.Join(dir, "updated.wim")
	copyTo(t, updated, s.image)
	copyTo(t, s.file("pc01"), s.image)
	wimlib(t, "update", updated, "1", "--command=add "+overlay+" /overlay")
	s.image = updated
	s.cli("image", "add", s.image, "--name", "w11", "--version", "2")
	first, second := s.get(0, "--overwrite", "--seed", s.file("pc01")), s.get(1)
	if _, totals := s.proven(first); totals.Seed == 0 {
		t.Errorf("nothing came from the seed: %+v", totals)
	}
	if _, totals := s.proven(second); totals.Seed != 0 || totals.Multicast == 0 {
		t.Errorf("a client without a seed: %+v", totals)
	}
	if share := float64(s.onGroup()) / float64(s.size); share > 1.15 {
		t.Errorf("%.3f of the image went out", share)
	}
	missing := s.get(2, "--seed", filepath.Join(dir, "no.wim"))
	select {
	case <-missing.Done():
	case <-s.ctx.Done():
		t.Fatal("a client without its seed goes on")
	}
	if missing.Code() != 2 || !strings.Contains(missing.Stderr(), "open seed") {
		t.Errorf("a seed that isn't there: exit code %d: %s", missing.Code(), missing.Stderr())
	}
	if _, err := os.Stat(s.file("pc03") + ".part"); err == nil {
		t.Error("a part file was left for a seed that isn't there")
	}
}

// page gets a page.
func page(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
