package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"wimcast/crypto/keyex"
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
		if got := findSocket(); got != path {
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
}

// TestConnect: who is asked, for all that flags and environment may say.
func TestConnect(t *testing.T) {
	dir := t.TempDir()
	authority, err := keyex.OpenAuthority(filepath.Join(dir, "ca"), keyex.AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = authority.Close() })
	bundle := func(role keyex.Role) string {
		t.Helper()
		b, err := authority.Issue(keyex.Request{Name: string(role), Role: role, Servers: []string{"127.0.0.1:9"}})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, string(role)+".join")
		if err := b.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	operator, viewer, room := bundle(keyex.Operator), bundle(keyex.Viewer), bundle(keyex.WinPE)
	none := filepath.Join(dir, "none.sock")
	for says, tc := range map[string]struct {
		place place
		want  string // in the error, as nothing answers anywhere
	}{
		"a socket":                       {place{Socket: none}, none + " ("},
		"a socket, and get's bundle":     {place{Socket: none, Bundle: room}, none + " ("},
		"a socket, and an operator's":    {place{Socket: none, Bundle: operator}, none + " ("},
		"a socket and a server":          {place{Socket: none, Server: []string{"dp1"}}, "name one of them"},
		"an operator's bundle":           {place{Bundle: operator}, "127.0.0.1:9 ("},
		"a viewer's bundle":              {place{Bundle: viewer}, "127.0.0.1:9 ("},
		"a server with its port":         {place{Bundle: operator, Server: []string{"127.0.0.1:10"}}, "127.0.0.1:10 ("},
		"a server without":               {place{Bundle: operator, Server: []string{"127.0.0.9"}}, "127.0.0.9:7601 ("},
		"IPv6":                           {place{Bundle: operator, Server: []string{"[::1]", "::1"}}, "[::1]:7601, [::1]:7601 ("},
		"a server, no bundle":            {place{Server: []string{"127.0.0.1"}}, "--bundle FILE"},
		"a server, and a join bundle":    {place{Bundle: room, Server: []string{"127.0.0.1"}}, "of role winpe"},
		"a bundle that can't be read":    {place{Bundle: filepath.Join(dir, "none.join")}, "none.join"},
		"get's bundle, and nothing else": {place{Bundle: room}, findSocket() + " ("},
	} {
		_, err := (&console{place: tc.place}).admin().Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", says, err, tc.want)
		}
	}
}

// TestOnControlPort: an operator's bundle names the admin API; get looks for clients' port there.
func TestOnControlPort(t *testing.T) {
	got := onControlPort([]string{"10.1.2.3:7601", "[2001:db8::1]:7601", "dp1:9000"})
	if want := []string{"10.1.2.3:7600", "[2001:db8::1]:7600", "dp1:7600"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
