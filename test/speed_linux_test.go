package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"wimcast/crypto"
	"wimcast/test/rig"
)

// What is asked of speed and isn't about time. What needs no network is counted in virtual time, by tests of package session
// with the same names, which TestSpeedEngine runs; make check runs them with the race detector besides, in short.

// TestSpeedEngine runs package session's: allocations, packets sent, ends of casts, late joiners, feedback of up to 10,000
// clients, and the rate law over queues. Without the race detector, under which they'd count something else or take too long.
func TestSpeedEngine(t *testing.T) {
	t.Parallel()
	engine(t, "^Test(Speed|Bottleneck|RandomLoss|Bursts|BesideTCP|TwoDaemons|CeilingHeld|TwoSessionsShare)", 15)
}

// engine runs tests of package session without the race detector; so many must pass at least, and none be skipped. They are about
// virtual time, and give way to the programs of the tests beside them.
func engine(t *testing.T, which string, least int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nice", "-n", "10", "go", "test", "-count=1", "-timeout=30m", "-run", which, "-v", "wimcast/session")
	out, err := cmd.CombinedOutput()
	ran := 0
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "=== ") {
			t.Log(strings.TrimRight(line, "\n"))
		}
		if strings.HasPrefix(line, "--- PASS") {
			ran++
		}
		if strings.HasPrefix(line, "--- SKIP") {
			t.Errorf("skipped: %s", line)
		}
	}
	if err != nil || ran < least {
		t.Errorf("%d tests passed, of %d at least: %v", ran, least, err)
	}
}

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// furtherMost is what each further session may take, in MiB.
const furtherMost = 8

// wholeVariable makes TestSpeedMemory receive all of its image, which takes minutes.
const wholeVariable = "WIMCAST_WHOLE"

// TestSpeedMemory casts an image of 16 GiB, holes but for its beginning, and looks at the greatest resident memory of the two programs: 96 MiB
// for the server, 128 MiB for a client, and furtherMost for each further session of the server. The client proves every block and
// throws it away. It is stopped after the manifest and 256 MiB; what is kept for each block is allocated by then, and the
// rest doesn't grow with what was received. WIMCAST_WHOLE=1 goes on to 99 % of the image.
func TestSpeedMemory(t *testing.T) {
	const imageSize = 16 * gibibyte
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "1 GB/s"`})
	_, _ = s.ended(s.get(0, "--discard"), 0)
	small := peak(t, s.daemon.Cmd())
	s.daemon.Kill()
	lengthen(t, filepath.Join(s.daemon.Dir, "library"), imageSize)
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}

	least := int64(256 * mebibyte)
	if os.Getenv(wholeVariable) != "" {
		least = imageSize
	}
	got := func(g *rig.Get, least int64) {
		t.Helper()
		err := g.Await(s.ctx, "enough was proven", func(p rig.Event, _ []rig.Event) bool { return p.Proven >= min(least, imageSize*99/100) })
		if err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--discard", "--no-unicast", "--server", bundleServer(t, s)} // its port is another since the start
	first := s.get(0, args...)
	got(first, least)
	if p := first.Progress(); p.Size != imageSize {
		t.Fatalf("the image has %d bytes, want %d", p.Size, int64(imageSize))
	}
	if _, ok := first.Happened("manifest"); !ok {
		t.Error("the manifest wasn't whole")
	}
	client, server := peak(t, first.Cmd()), peak(t, s.daemon.Cmd())

	// A package whose flags change gets another session for those who join from then on.
	for i, flag := range []string{"--no-encrypt", "--multicast-only"} {
		s.cli("image", "set", "w11", flag)
		got(s.get(i+1, args...), 64*mebibyte)
	}
	if n := len(s.sessions()); n != 3 {
		t.Fatalf("%d sessions, want 3", n)
	}
	further := (peak(t, s.daemon.Cmd()) - server) / 2
	t.Logf("image of 16 GiB: server %.1f MiB, each further session %.1f, client %.1f; server with an image of %.0f MB: %.1f MiB",
		server, further, client, float64(s.size)/1e6, small)
	if server > 96 {
		t.Errorf("server: %.1f MiB, want at most 96", server)
	}
	if further > furtherMost {
		t.Errorf("each further session: %.1f MiB, want at most %d", further, furtherMost)
	}
	if client > 128 {
		t.Errorf("client: %.1f MiB, want at most 128", client)
	}
}

// peak returns the greatest resident memory that a process had, in MiB.
func peak(t *testing.T, cmd *exec.Cmd) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	t.Fatalf("no VmHWM in %s", b)
	return 0
}

// lengthen makes the one content of a library as long as size, with a hole. That is done behind the daemon's back, as adding such a
// file would copy and hash 16 GiB. Every block's hash is right; the SHA-256 of the whole, which nobody computes in a cast, is that
// of the short one.
func lengthen(t *testing.T, library string, size int64) {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatalf("lengthen: %v", err)
		}
	}
	blob := func(d map[string]any) string {
		return filepath.Join(library, "blobs", "sha256", strings.TrimPrefix(d["digest"].(string), "sha256:"))
	}
	read := func(name string) (v map[string]any) {
		b, err := os.ReadFile(name)
		fail(err)
		fail(json.Unmarshal(b, &v))
		return v
	}
	write := func(d map[string]any, b []byte) {
		d["digest"], d["size"] = fmt.Sprintf("sha256:%x", sha256.Sum256(b)), len(b)
		fail(os.WriteFile(blob(d), b, 0o640))
	}
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		fail(err)
		return b
	}
	index := read(filepath.Join(library, "index.json"))
	pkg := index["manifests"].([]any)[0].(map[string]any)
	oci := read(blob(pkg))
	layers := oci["layers"].([]any)
	content, manifest, config := layers[0].(map[string]any), layers[1].(map[string]any), oci["config"].(map[string]any)
	settings := read(blob(config))

	b, err := os.ReadFile(blob(manifest))
	fail(err)
	m, err := crypto.ParseManifest(b)
	fail(err)
	f, err := os.OpenFile(blob(content), os.O_RDWR, 0)
	fail(err)
	defer func() { _ = f.Close() }()
	fail(f.Truncate(size))
	buf := make([]byte, crypto.BlockSize)
	hole := crypto.BlockHash(buf)
	first := int(m.Size/crypto.BlockSize) + 1 // that is all hole
	m.Size = size
	old := m.Blocks
	m.Blocks = nil
	for i := range crypto.BlockCount(size) {
		n := crypto.BlockLen(size, i)
		switch {
		case i < first-1:
			m.Blocks = append(m.Blocks, old[i])
		case i >= first && n == crypto.BlockSize:
			m.Blocks = append(m.Blocks, hole)
		default:
			if n, err := f.ReadAt(buf[:n], int64(i)*crypto.BlockSize); n != crypto.BlockLen(size, i) && !errors.Is(err, io.EOF) {
				fail(err)
			}
			m.Blocks = append(m.Blocks, crypto.BlockHash(buf[:n]))
		}
	}
	content["size"], settings["size"], settings["digest"] = size, size, m.Digest().String()
	write(manifest, m.Marshal())
	write(config, marshal(settings))
	write(pkg, marshal(oci))
	pkg["annotations"].(map[string]any)["vnd.wimcast.digest"] = m.Digest().String()
	fail(os.WriteFile(filepath.Join(library, "index.json"), bytes.TrimSpace(marshal(index)), 0o640))
}
