package main

import (
	"crypto/ed25519"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/crypto/keyex"
	"wimcast/library/release"
)

// testSite is a site's authority, and what it gives its points.
type testSite struct {
	*keyex.Authority

	t *testing.T
}

func newTestSite(t *testing.T) *testSite {
	t.Helper()
	a, err := keyex.OpenAuthority(t.TempDir(), keyex.AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return &testSite{a, t}
}

// point makes the file of a point whose credentials last so long.
func (s *testSite) point(name string, lasts time.Duration) *release.PointFile {
	s.t.Helper()
	p, err := s.IssuePoint(keyex.PointRequest{Name: name, Servers: []string{"10.0.0.1:7601"}, Lifetime: lasts})
	if err != nil {
		s.t.Fatal(err)
	}
	bundle, err := p.Client.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	identity, _, err := release.NewIdentity()
	if err != nil {
		s.t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	file := &release.PointFile{Name: name, Repository: "registry.example.org/wimcast", SiteKey: release.FormatPublicKey(public), Identity: identity, Bundle: string(bundle), Server: string(p.Server)}
	if _, err := file.Marshal(); err != nil { // fills in the format
		s.t.Fatal(err)
	}
	return file
}

func (s *testSite) open(file *release.PointFile, state string) *pointTrust {
	s.t.Helper()
	p, err := openPointTrust(file, state)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = p.Close() })
	return p
}

// admits reports whether a service with that trust lets a client of the site in.
func (s *testSite) admits(trust *keyex.Trust, client *keyex.Bundle) bool {
	s.t.Helper()
	credentials, err := client.Credentials()
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := keyex.Listen(netip.MustParseAddrPort("127.0.0.1:0"), keyex.ServerConfig{Trust: trust})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := keyex.Dial(s.t.Context(), l.Addr(), credentials)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// TestPointTrustKeeps: what the site revoked is refused after a restart too, and by nobody who isn't that point of that site.
func TestPointTrustKeeps(t *testing.T) {
	s, state := newTestSite(t), t.TempDir()
	file := s.point("berlin", 0)
	room, err := s.Issue(keyex.Request{Name: "room", Role: keyex.WinPE, Servers: []string{"10.0.0.1:7600"}})
	if err != nil {
		t.Fatal(err)
	}
	p := s.open(file, state)
	if !s.admits(p.trust, room) {
		t.Fatal("the site's bundle isn't good at its point")
	}
	if _, err := s.Revoke("room"); err != nil {
		t.Fatal(err)
	}
	if changed, err := p.setRevoked(s.Revoked()); !changed || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
	if changed, err := p.setRevoked(s.Revoked()); changed || err != nil {
		t.Errorf("the same again: changed %v, %v", changed, err)
	}
	if s.admits(p.trust, room) {
		t.Error("a revoked bundle is good")
	}
	if s.admits(s.open(file, state).trust, room) {
		t.Error("a revoked bundle is good after a restart")
	}
	stored := filepath.Join(state, pointDir, trustFile)
	if info, err := os.Stat(stored); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if !s.admits(s.open(s.point("paris", 0), state).trust, room) {
		t.Error("another point has taken over the list")
	}
	if err := os.WriteFile(stored, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openPointTrust(file, state); err == nil || !strings.Contains(err.Error(), stored) || !strings.Contains(err.Error(), "next: remove the file") {
		t.Errorf("a broken list: %v", err)
	}
}

// TestPointTrustRenews: renewed credentials are in use at once and after a restart, until a newer point file is there.
func TestPointTrustRenews(t *testing.T) {
	s, state := newTestSite(t), t.TempDir()
	file := s.point("berlin", time.Hour)
	p := s.open(file, state)
	if until := time.Until(p.renewAt()); until < 15*time.Minute || until > 50*time.Minute {
		t.Errorf("renewed in %v, want well before the end in an hour", until)
	}
	revoked := []string{strings.Repeat("5d", 16)}
	if _, err := p.setRevoked(revoked); err != nil {
		t.Fatal(err)
	}
	first := p.trust.Server()
	next := s.point("berlin", 2*time.Hour)
	for name, bad := range map[string][2]string{
		"another point's server": {s.point("paris", 3*time.Hour).Server, next.Bundle},
		"another point's bundle": {next.Server, s.point("paris", 3*time.Hour).Bundle},
		"another site's":         {newTestSite(t).point("berlin", 3*time.Hour).Server, next.Bundle},
		"another site's bundle":  {next.Server, newTestSite(t).point("berlin", 3*time.Hour).Bundle},
		"nothing":                {"", ""},
	} {
		if err := p.renewed(bad[0], bad[1]); err == nil || p.trust.Server() != first || p.kept.Server != "" {
			t.Errorf("%s: %v, in use is %+v", name, err, p.trust.Server())
		}
	}
	if err := p.renewed(next.Server, next.Bundle); err != nil {
		t.Fatal(err)
	}
	serial := p.trust.Server().Serial
	if serial == first.Serial || time.Until(p.renewAt()) < 50*time.Minute || p.bundle().Identity().NotAfter.Before(time.Now().Add(time.Hour)) {
		t.Errorf("%+v is in use", p.trust.Server())
	}
	again := s.open(file, state)
	if again.trust.Server().Serial != serial || !slices.Equal(again.kept.Revoked, revoked) {
		t.Errorf("after a restart: %+v, revoked %v", again.trust.Server(), again.kept.Revoked)
	}
	if again.bundle().Identity() != p.bundle().Identity() {
		t.Errorf("after a restart the point's own credential is %+v", again.bundle().Identity())
	}
	if _, err := again.setRevoked(nil); err != nil {
		t.Fatal(err)
	}
	if got := s.open(file, state).trust.Server().Serial; got != serial {
		t.Errorf("a new list has put the credentials back to %s", got)
	}
	newest := s.point("berlin", 4*time.Hour)
	if got := s.open(newest, state).trust.Server().Serial; got == serial || got == first.Serial {
		t.Errorf("a newer point file doesn't count: %s", got)
	}
}

// TestPointTrustRefuses: parts that don't fit together.
func TestPointTrustRefuses(t *testing.T) {
	s := newTestSite(t)
	paris := s.point("paris", 0)
	room, err := s.Issue(keyex.Request{Name: "berlin", Role: keyex.WinPE, Servers: []string{"10.0.0.1:7600"}})
	if err != nil {
		t.Fatal(err)
	}
	join, err := room.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*release.PointFile){
		"another's server": func(f *release.PointFile) { f.Server = paris.Server },
		"another's bundle": func(f *release.PointFile) { f.Bundle = paris.Bundle },
		"a join bundle":    func(f *release.PointFile) { f.Bundle = string(join) },
		"another site's":   func(f *release.PointFile) { f.Bundle = newTestSite(t).point("berlin", 0).Bundle },
		"no certificate":   func(f *release.PointFile) { f.Server = "x" },
		"a bundle as a server": func(f *release.PointFile) {
			_, credential, _ := strings.Cut(f.Bundle, "-----BEGIN")
			f.Server = "-----BEGIN" + credential
		},
	} {
		file := s.point("berlin", 0)
		edit(file)
		if p, err := openPointTrust(file, t.TempDir()); err == nil || !strings.Contains(err.Error(), "next, at the site: wimcast point add") {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// TestReadPointFile: a bare name is looked up where systemd puts secrets, then here.
func TestReadPointFile(t *testing.T) {
	s := newTestSite(t)
	text, err := s.point("berlin", 0).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	given, here := t.TempDir(), t.TempDir()
	t.Chdir(here)
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", given)
	if _, err := readPointFile("berlin.point"); err == nil {
		t.Error("reads a file that is nowhere")
	}
	write(filepath.Join(here, "berlin.point"))
	if f, err := readPointFile("berlin.point"); err != nil || f.Name != "berlin" {
		t.Errorf("here: %v, %v", f, err)
	}
	if err := os.Remove(filepath.Join(here, "berlin.point")); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(given, "berlin.point"))
	if f, err := readPointFile("berlin.point"); err != nil || f.Name != "berlin" {
		t.Errorf("from systemd: %v, %v", f, err)
	}
	if _, err := readPointFile(filepath.Join(here, "berlin.point")); err == nil {
		t.Error("a path is looked up elsewhere")
	}
}
