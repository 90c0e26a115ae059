package clientlog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// smallDiskEnv tells the test binary that it runs inside a mount namespace of its
// own, with a small tmpfs at the path that it names.
const smallDiskEnv = "WIMCAST_TEST_SMALL_DISK"

// TestDiskFull stores reports on a real volume of 1 MiB.
func TestDiskFull(t *testing.T) {
	if dir := os.Getenv(smallDiskEnv); dir != "" {
		onSmallDisk(t, dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small tmpfs in a namespace of its own")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("needs unshare (package util-linux)")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), unshare, "--mount", "sh", "-ec",
		`mount -t tmpfs -o size=1m none "$1"; shift; exec "$@"`, "sh", dir, os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), smallDiskEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "mount:") {
		t.Skipf("can't mount a tmpfs here: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDiskFull") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func onSmallDisk(t *testing.T, dir string) {
	s, err := Open(dir, 0, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept := put(t, s, time.Now(), "10.0.0.1", "pc01", 100_000)
	_, err = s.Add(time.Now(), Entry{}, 2<<20, func(_ *Entry, create func(string, io.Reader) error) error {
		if err := create(OwnLog, bytes.NewReader(make([]byte, 200_000))); err != nil {
			return err
		}
		return create("dism.log", bytes.NewReader(make([]byte, 2<<20)))
	})
	if !errors.Is(err, ErrDiskFull) {
		t.Errorf("%v", err)
	}
	if names := left(t, dir); len(names) != 1 || names[0] != kept.ID {
		t.Errorf("left are %q", names)
	}
	put(t, s, time.Now(), "10.0.0.1", "pc02", 100_000) // there is room again
}
