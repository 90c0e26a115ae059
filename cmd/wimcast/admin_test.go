package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestSocketIsFound wherever a daemon that a user started puts it.
func TestSocketIsFound(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the daemon runs on Linux only")
	}
	for _, path := range sockets()[:2] {
		if _, err := os.Stat(path); err == nil {
			t.Skipf("a daemon of the system has %s", path)
		}
	}
	home, xdg := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	want := func(says, path string) {
		t.Helper()
		c := &console{}
		if got := c.socketPath(); got != path {
			t.Errorf("%s: %s, want %s", says, got, path)
		}
	}
	place := func(dir ...string) string {
		t.Helper()
		path := filepath.Join(append(dir, "wimcast", "admin.sock")...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("XDG_STATE_HOME", "")
	want("nowhere", sockets()[0])
	atHome := place(home, ".local", "state")
	want("at home", atHome)
	t.Setenv("XDG_STATE_HOME", xdg)
	want("at home, in spite of $XDG_STATE_HOME", atHome)
	want("in $XDG_STATE_HOME", place(xdg))
	if got := (&console{socket: "named"}).socketPath(); got != "named" {
		t.Errorf("named: %s", got)
	}
}
