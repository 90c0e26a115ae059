package keyex

import (
	"math/big"
	"os"
	"strings"
	"testing"
)

// TestReloadCRL: a new list counts at once, for those who come and for those who
// are here; what can't be used, or is older, changes nothing.
func TestReloadCRL(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	credentials, err := LoadCredentials(p.file("ca"), p.file("client"), p.file("client"), DefaultServerName)
	if err != nil {
		t.Fatal(err)
	}
	serial := credentials.certificate.Leaf.SerialNumber
	p.revoke(t, 2, big.NewInt(77))
	trust, err := LoadTrust(p.file("ca"), p.file("server"), p.file("server"), p.file("crl"))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, ServerConfig{Trust: trust})
	reload := func(says string, want bool) {
		t.Helper()
		if changed, err := trust.ReloadCRL(); changed != want || err != nil {
			t.Errorf("%s: changed %v, %v; want %v", says, changed, err, want)
		}
	}
	put := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(p.file("crl"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reload("the same file", false)
	dial(t, l, credentials)
	conn := accept(t, l)

	p.revoke(t, 3, big.NewInt(77), serial)
	if n := l.Recheck(nil); n != 0 {
		t.Errorf("%d ended by a list that nobody has read yet", n)
	}
	reload("a new list", true)
	if n := l.Recheck(nil); n != 1 {
		t.Errorf("%d ended by the new list, want 1", n)
	}
	if _, err := conn.Receive(make([]byte, MaxMessage)); refusal(t, err).Reason != Revoked {
		t.Errorf("Receive: %v", err)
	}
	if _, err := Dial(t.Context(), l.Addr(), credentials); refusal(t, err).Reason != Revoked {
		t.Errorf("Dial: %v", err)
	}

	other.revoke(t, 9)
	strange, err := os.ReadFile(other.file("crl"))
	if err != nil {
		t.Fatal(err)
	}
	p.revoke(t, 2)
	older, err := os.ReadFile(p.file("crl"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		content []byte
		says    string
	}{
		"empty":           {nil, "revocation list"},
		"garbage":         {[]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), "revocation list"},
		"of another's CA": {strange, "not signed by"},
		"older":           {older, "older than 3"},
	} {
		put(tc.content)
		if changed, err := trust.ReloadCRL(); changed || err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: changed %v, %v, want %q", name, changed, err, tc.says)
		}
	}
	if err := os.Remove(p.file("crl")); err != nil {
		t.Fatal(err)
	}
	if changed, err := trust.ReloadCRL(); changed || err == nil {
		t.Errorf("gone: changed %v, %v", changed, err)
	}
	if _, err := Dial(t.Context(), l.Addr(), credentials); refusal(t, err).Reason != Revoked {
		t.Errorf("after bad files the list that was good is forgotten: %v", err)
	}

	p.revoke(t, 4, big.NewInt(77))
	reload("off the list again", true)
	dial(t, l, credentials)
	_ = accept(t, l)
}

// TestReloadCRLWithoutOne: there is nothing to do.
func TestReloadCRLWithoutOne(t *testing.T) {
	p := newPKI(t)
	trust, err := LoadTrust(p.file("ca"), p.file("server"), p.file("server"), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, trust := range []*Trust{trust, p.a.Trust()} {
		if changed, err := trust.ReloadCRL(); changed || err != nil {
			t.Errorf("changed %v, %v", changed, err)
		}
	}
}
