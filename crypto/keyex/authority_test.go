package keyex

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// modes returns the permission bits of everything in dir, itself included.
func modes(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	found := map[string]fs.FileMode{}
	if err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		found[name] = info.Mode().Perm()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestFirstStart: out of nothing come a CA, a server certificate and a bundle that
// lets its holder in; nobody else can read them, and the next start finds the same.
func TestFirstStart(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes say nothing on Windows")
	}
	c := newClock()
	dir := filepath.Join(t.TempDir(), "state", "ca")
	open := func() *Authority {
		t.Helper()
		a, err := OpenAuthority(dir, AuthorityConfig{Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open()
	bundle, err := a.Issue(Request{Name: "room", Role: WinPE, Servers: []string{"127.0.0.1:63000"}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "room.join")
	if err := bundle.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if mode := modes(t, path)["."]; mode != 0o600 {
		t.Errorf("the bundle has mode %o", mode)
	}
	if err := bundle.WriteFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second WriteFile: %v", err)
	}
	want := map[string]fs.FileMode{".": 0o700, caFile: 0o600, serverFile: 0o600, issuedFile: 0o600}
	got := modes(t, dir)
	for name, mode := range want {
		if got[name] != mode {
			t.Errorf("%s has mode %o, want %o", name, got[name], mode)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the directory holds %v", got)
	}
	server := a.trust.certificate.Load().Leaf
	if _, err := a.Revoke("room"); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}

	// A careless copy made it readable: the next start mends the directory.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a = open()
	defer a.Close()
	if mode := modes(t, dir)["."]; mode != 0o700 {
		t.Errorf("the directory has mode %o after the next start", mode)
	}
	if !a.ca.Equal(bundle.CA) || !a.trust.certificate.Load().Leaf.Equal(server) {
		t.Error("the next start made new certificates")
	}
	if issued := a.Issued(); len(issued) != 1 || issued[0].Name != "room" || issued[0].Revoked.IsZero() {
		t.Errorf("the next start knows of %+v", issued)
	}
	if _, err := a.trust.verifier(nil).verifyParsed(bundle.Chain); refusal(t, err).Reason != Revoked {
		t.Errorf("the revocation is forgotten: %v", err)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := openTestAuthority(t, newClock())
	good := Request{Name: "lab12", Role: WinPE, Servers: []string{"10.1.2.3:63000"}}
	for name, edit := range map[string]func(*Request){
		"no name":             func(r *Request) { r.Name = "" },
		"long name":           func(r *Request) { r.Name = strings.Repeat("x", 65) },
		"line break":          func(r *Request) { r.Name = "a\nrole: operator" },
		"blank at the end":    func(r *Request) { r.Name = "a " },
		"name like a serial":  func(r *Request) { r.Name = strings.Repeat("ab", 16) },
		"no role":             func(r *Request) { r.Role = "" },
		"the server's role":   func(r *Request) { r.Role = Server },
		"unknown role":        func(r *Request) { r.Role = "king" },
		"short life":          func(r *Request) { r.Lifetime = time.Second },
		"negative life":       func(r *Request) { r.Lifetime = -time.Hour },
		"beyond the CA":       func(r *Request) { r.Lifetime = caLifetime + time.Hour },
		"no server":           func(r *Request) { r.Servers = nil },
		"seventeen servers":   func(r *Request) { r.Servers = make([]string, 17) },
		"server without port": func(r *Request) { r.Servers = []string{"10.1.2.3"} },
		"port 0":              func(r *Request) { r.Servers = []string{"10.1.2.3:0"} },
		"server, two lines":   func(r *Request) { r.Servers = []string{"a\nb:1"} },
	} {
		r := good
		edit(&r)
		if _, err := a.Issue(r); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(a.Issued()); n != 0 {
		t.Errorf("%d refused bundles are in the list", n)
	}
	if _, err := a.Issue(good); err != nil {
		t.Error(err)
	}
}

func TestRevoke(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	for range 2 {
		issue(t, a, "lab12", WinPE)
	}
	issue(t, a, "lab13", WinPE)
	list := a.Issued()

	upper := strings.ToUpper(list[0].Serial)
	colons := upper[:2] + ":" + upper[2:]
	if taken, err := a.Revoke(colons); err != nil || len(taken) != 1 || taken[0].Serial != list[0].Serial || !taken[0].Revoked.Equal(c.now()) {
		t.Errorf("by serial: %+v, %v", taken, err)
	}
	if taken, err := a.Revoke("lab12"); err != nil || len(taken) != 1 || taken[0].Serial != list[1].Serial {
		t.Errorf("by name, of two one was taken back before: %+v, %v", taken, err)
	}
	if taken, err := a.Revoke("lab12"); err != nil || len(taken) != 0 {
		t.Errorf("again: %+v, %v", taken, err)
	}
	if _, err := a.Revoke("lab14"); !errors.Is(err, ErrUnknownCredential) || !strings.Contains(err.Error(), "bundle list") {
		t.Errorf("unknown: %v", err)
	}
	if list := a.Issued(); !list[2].Revoked.IsZero() {
		t.Error("lab13 was taken back as well")
	}
}

// TestServerCertificateRenews by itself before its end; clients that pin the CA
// don't notice.
func TestServerCertificateRenews(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	credentials := issue(t, a, "lab12", WinPE)
	if renewed, err := a.Renew(); renewed || err != nil {
		t.Fatalf("renewed at once: %v, %v", renewed, err)
	}
	first, _ := a.Trust().Expiry()
	c.add(serverLifetime - renewBefore + time.Hour)
	if renewed, err := a.Renew(); !renewed || err != nil {
		t.Fatalf("not renewed: %v, %v", renewed, err)
	}
	second, ca := a.Trust().Expiry()
	if !second.After(first) || !ca.After(second) {
		t.Errorf("server's ends %v, then %v; CA's %v", first, second, ca)
	}
	if id, err := credentials.verifier.verify(a.trust.certificate.Load().Certificate); err != nil || id.Role != Server {
		t.Errorf("the client says %+v, %v", id, err)
	}
}

// TestRenewAtTheEndOfTheCA: the last certificate ends with the CA and is made once,
// however often one looks, and however the clock moves meanwhile.
func TestRenewAtTheEndOfTheCA(t *testing.T) {
	c := newClock()
	a, err := OpenAuthority(t.TempDir(), AuthorityConfig{Now: func() time.Time { c.add(time.Millisecond); return c.now() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	c.add(caLifetime - 30*24*time.Hour)
	for i := range 3 {
		if renewed, err := a.Renew(); renewed != (i == 0) || err != nil {
			t.Fatalf("look %d: renewed %v, %v", i, renewed, err)
		}
	}
	if server, ca := a.Trust().Expiry(); !server.Equal(ca) {
		t.Errorf("the server's ends %v, the CA's %v", server, ca)
	}
}

// TestNewServerName: configuring another name makes a certificate for it.
func TestNewServerName(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.example", "b.example", "b.example"} {
		a, err := OpenAuthority(dir, AuthorityConfig{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Trust().ServerName(); got != name {
			t.Errorf("serves %q, want %q", got, name)
		}
		_ = a.Close()
	}
	for _, bad := range []string{"10.0.0.1", "a..b", "-a", "a b", strings.Repeat("x", 64), "ä.example"} {
		if _, err := OpenAuthority(t.TempDir(), AuthorityConfig{ServerName: bad}); err == nil {
			t.Errorf("accepts the server name %q", bad)
		}
	}
}

// TestDamagedState: nothing is silently made anew, and each line says what to do.
func TestDamagedState(t *testing.T) {
	c := newClock()
	for name, tc := range map[string]struct {
		damage func(dir string) error
		says   string
	}{
		"CA gone":  {func(dir string) error { return os.Remove(filepath.Join(dir, caFile)) }, "restore it from a backup"},
		"CA cut":   {func(dir string) error { return os.Truncate(filepath.Join(dir, caFile), 300) }, "restore it from a backup"},
		"CA empty": {func(dir string) error { return os.Truncate(filepath.Join(dir, caFile), 0) }, "missing"},
		"list cut": {func(dir string) error { return os.Truncate(filepath.Join(dir, issuedFile), 10) }, "revocations are in it"},
		"list of the future": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, issuedFile), []byte(`{"version":2}`), 0o600)
		}, "version 2"},
		"unknown key in list": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, issuedFile), []byte(`{"version":1,"x":1}`), 0o600)
		}, "x"},
		"huge CA file": {func(dir string) error { return os.Truncate(filepath.Join(dir, caFile), maxPEM+1) }, "more than"},
		"key of another CA": {func(dir string) error {
			one, err := os.ReadFile(filepath.Join(dir, caFile))
			if err != nil {
				return err
			}
			two, err := os.ReadFile(filepath.Join(dir, serverFile))
			if err != nil {
				return err
			}
			certificate, _, _ := strings.Cut(string(one), "-----BEGIN PRIVATE KEY-----")
			_, key, _ := strings.Cut(string(two), "-----BEGIN PRIVATE KEY-----")
			return os.WriteFile(filepath.Join(dir, caFile), []byte(certificate+"-----BEGIN PRIVATE KEY-----"+key), 0o600)
		}, "doesn't belong"},
		"CA ended": {func(string) error { c.add(caLifetime + time.Hour); return nil }, "new bundles"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a, err := OpenAuthority(dir, AuthorityConfig{Now: c.now})
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Close()
			if err := tc.damage(dir); err != nil {
				t.Fatal(err)
			}
			before := modes(t, dir)
			if a, err := OpenAuthority(dir, AuthorityConfig{Now: c.now}); err == nil {
				_ = a.Close()
				t.Fatal("opened")
			} else if !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line with %q", err, tc.says)
			}
			if after := modes(t, dir); len(after) != len(before) {
				t.Errorf("before %v, after %v", before, after)
			}
		})
	}
}

// TestServerCertificateGone: it is made again from the CA; no client notices.
func TestServerCertificateGone(t *testing.T) {
	dir := t.TempDir()
	a, err := OpenAuthority(dir, AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ca := a.ca
	_ = a.Close()
	if err := os.Remove(filepath.Join(dir, serverFile)); err != nil {
		t.Fatal(err)
	}
	a, err = OpenAuthority(dir, AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if !a.ca.Equal(ca) || a.trust.certificate.Load().Leaf.CheckSignatureFrom(ca) != nil {
		t.Error("another CA")
	}
}

// TestIssuedListForgets: entries go 90 days after their credential's end, and
// not a day earlier.
func TestIssuedListForgets(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	a, err := OpenAuthority(dir, AuthorityConfig{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	issue(t, a, "lab12", WinPE)
	_ = a.Close()
	end := c.now().Add(DefaultLifetime + forgetAfter)
	c.add(DefaultLifetime + forgetAfter - time.Hour)
	if a, err = OpenAuthority(dir, AuthorityConfig{Now: c.now}); err != nil {
		t.Fatal(err)
	}
	if n := len(a.Issued()); n != 1 {
		t.Errorf("%d an hour before %v", n, end)
	}
	_ = a.Close()
	c.add(2 * time.Hour)
	if a, err = OpenAuthority(dir, AuthorityConfig{Now: c.now}); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if n := len(a.Issued()); n != 0 {
		t.Errorf("%d an hour after %v", n, end)
	}
}
