package booted

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wimcast/test/lab"
)

// TestTreeIsWhole interrupts whoever makes a tree, and has two make one at once.
func TestTreeIsWhole(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tree")
	half := func(_ context.Context, dir string, _ *os.File) error {
		if err := os.MkdirAll(filepath.Join(dir, "half"), 0o755); err != nil {
			return err
		}
		return errors.New("no network")
	}
	if _, err := keep(t.Context(), name, half); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("error %v", err)
	}
	if left, _ := filepath.Glob(name + "*"); len(left) != 1 {
		t.Errorf("left are %v, want the lock alone", left)
	}
	// As a process that was killed leaves it.
	if err := os.MkdirAll(filepath.Join(name+".part", "half"), 0o755); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int32
	whole := func(_ context.Context, dir string, _ *os.File) error {
		made.Add(1)
		return os.MkdirAll(filepath.Join(dir, "whole"), 0o755)
	}
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			got, err := keep(t.Context(), name, whole)
			if err == nil && got != name {
				err = errors.New("it is " + got)
			}
			ended <- err
		}()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if made.Load() != 1 {
		t.Errorf("made %d times, want once", made.Load())
	}
	if _, err := os.Stat(filepath.Join(name, "half")); err == nil {
		t.Error("what an interrupted one left is in the tree")
	}
}

// TestTreeIsWaitedForWhileAnyoneWrites holds the lock as a debootstrap does whose test was killed.
func TestTreeIsWaitedForWhileAnyoneWrites(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tree")
	writer, err := os.OpenFile(name+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := syscall.Flock(int(writer.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("patience"))
	defer cancel()
	_, err = keep(ctx, name, func(context.Context, string, *os.File) error { return errors.New("it was begun") })
	if err == nil || !strings.Contains(err.Error(), "patience") {
		t.Errorf("error %v, want that it waited", err)
	}
}

// machine lays a machine on the tree, in a room with one client.
func machine(t *testing.T) *Machine {
	t.Helper()
	if err := errors.Join(lab.Supported(), Supported()); err != nil {
		t.Skip(err)
	}
	tree, err := Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	room, err := lab.New(t.Context(), lab.Config{Clients: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	m, err := New(t.Context(), room.Server(), tree, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestMachine boots, powers off and boots again: what was written stays on the machine, and doesn't get into the tree.
func TestMachine(t *testing.T) {
	m := machine(t)
	if out, err := m.Chroot(t.Context(), "sh", "-c", "echo kept >/srv/note; . /etc/os-release; echo $VERSION_CODENAME"); err != nil || out != suite+"\n" {
		t.Fatalf("%q, %v", out, err)
	}
	s, err := m.Boot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.Run(t.Context(), "systemctl", "is-system-running"); out != "running" {
		failed, _ := s.Run(t.Context(), "systemctl", "--failed", "--no-legend", "--plain")
		t.Errorf("the system is %q, %v; failed: %s", out, err, failed)
	}
	if out, err := s.Run(t.Context(), "ip", "-brief", "-4", "address", "show", "dev", "eth0"); err != nil || !strings.Contains(out, "10.77.0.1/24") {
		t.Errorf("its network: %q, %v", out, err)
	}
	if err := os.WriteFile(s.Path("/run/note"), []byte("gone"), 0o600); err != nil {
		t.Error(err)
	}
	if err := s.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err = m.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Run(t.Context(), "sh", "-c", "cat /srv/note; ls /run/note"); err == nil || !strings.Contains(out, "kept") || !strings.Contains(out, "No such file") {
		t.Errorf("after the boot: %q, %v", out, err)
	}
	s.Kill()
	if _, err := os.Stat(m.Path("/srv/note")); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	tree, _ := Tree(t.Context())
	if _, err := os.Stat(filepath.Join(tree, "root/note")); err == nil {
		t.Error("the tree was changed")
	}
}
