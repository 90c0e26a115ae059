package keyex

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// attime is the authority's time as openssl takes it.
func attime(a *Authority) string { return strconv.FormatInt(a.now().Unix(), 10) }

func writePEM(t *testing.T, path string, key crypto.PrivateKey, certs ...*x509.Certificate) {
	t.Helper()
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
}

// pki is an organisation's own: the files that LoadTrust and LoadCredentials read.
type pki struct {
	dir string
	a   *Authority // stands in for the organisation's CA; its clock is the machine's
}

func newPKI(t *testing.T) pki {
	t.Helper()
	a, err := OpenAuthority(t.TempDir(), AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	p := pki{dir: t.TempDir(), a: a}
	writePEM(t, p.file("ca"), nil, a.ca)
	p.put(t, "server", posing(func(*x509.Certificate) {})(t, a))
	p.put(t, "client", forge(t, a, func(c *x509.Certificate) { c.Subject.CommonName = "pc17" }))
	return p
}

func (p pki) file(name string) string { return filepath.Join(p.dir, name+".pem") }

func (p pki) put(t *testing.T, name string, c *tls.Certificate) {
	t.Helper()
	writePEM(t, p.file(name), c.PrivateKey, c.Leaf)
}

func (p pki) revoke(t *testing.T, number int64, serials ...*big.Int) {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, p.a.ca, p.a.caKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.file("crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOrganisationsPKI: files of one's own instead of the daemon's CA, with and
// without a revocation list.
func TestOrganisationsPKI(t *testing.T) {
	p := newPKI(t)
	credentials, err := LoadCredentials(p.file("ca"), p.file("client"), p.file("client"), DefaultServerName)
	if err != nil {
		t.Fatal(err)
	}
	if id := credentials.Identity(); id.Name != "pc17" || id.Role != WinPE {
		t.Errorf("identity %+v", id)
	}
	p.revoke(t, 1, big.NewInt(77))
	for _, crl := range []string{"", p.file("crl")} {
		trust, err := LoadTrust(p.file("ca"), p.file("server"), p.file("server"), crl)
		if err != nil {
			t.Fatal(err)
		}
		if trust.ServerName() != DefaultServerName {
			t.Errorf("server name %q", trust.ServerName())
		}
		l := listen(t, ServerConfig{Trust: trust})
		dial(t, l, credentials)
		if got := accept(t, l).Peer(); got != credentials.Identity() {
			t.Errorf("server sees %+v", got)
		}
	}
	p.revoke(t, 2, big.NewInt(77), credentials.certificate.Leaf.SerialNumber)
	trust, err := LoadTrust(p.file("ca"), p.file("server"), p.file("server"), p.file("crl"))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, ServerConfig{Trust: trust})
	if _, err := Dial(t.Context(), l.Addr(), credentials); refusal(t, err).Reason != Revoked {
		t.Errorf("revoked: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	other.revoke(t, 1)
	write := func(name, text string) string {
		if err := os.WriteFile(p.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p.file(name)
	}
	garbage, empty := write("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), write("empty", "")
	huge := write("huge", strings.Repeat("#", maxPEM+1))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, p.file("ed"), ed)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, p.file("p521"), p521)
	nameless := posing(func(c *x509.Certificate) { c.DNSNames = nil })(t, p.a)
	p.put(t, "nameless", nameless)
	p.put(t, "roleless", posing(func(c *x509.Certificate) { c.URIs = []*url.URL{} })(t, p.a))

	ca, server, client := p.file("ca"), p.file("server"), p.file("client")
	for name, tc := range map[string]struct {
		ca, cert, key, crl, says string
	}{
		"no CA file":          {p.file("none"), server, server, "", "none.pem"},
		"empty CA file":       {empty, server, server, "", "no PEM block CERTIFICATE"},
		"garbage":             {ca, garbage, server, "", "garbage.pem"},
		"huge":                {ca, huge, server, "", "larger"},
		"no key":              {ca, server, ca, "", "no PEM block PRIVATE KEY"},
		"Ed25519 key":         {ca, server, p.file("ed"), "", "openssl ecparam"},
		"P-521 key":           {ca, server, p.file("p521"), "", "openssl ecparam"},
		"key of another":      {ca, server, client, "", "doesn't belong"},
		"CA of another":       {other.file("ca"), server, server, "", "untrusted"},
		"client as server":    {ca, client, client, "", "wrong_usage"},
		"no DNS name":         {ca, p.file("nameless"), p.file("nameless"), "", "no DNS name"},
		"no role":             {ca, p.file("roleless"), p.file("roleless"), "", "wrong_role"},
		"garbage CRL":         {ca, server, server, garbage, "revocation list"},
		"no CRL":              {ca, server, server, p.file("none"), "revocation list"},
		"CRL of another's CA": {ca, server, server, other.file("crl"), "not signed by"},
	} {
		if _, err := LoadTrust(tc.ca, tc.cert, tc.key, tc.crl); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("trust, %s: %v, want %q", name, err, tc.says)
		}
	}
	for name, tc := range map[string]struct {
		ca, cert, key, server, says string
	}{
		"server as client": {ca, server, server, DefaultServerName, "wrong_usage"},
		"CA of another":    {other.file("ca"), client, client, DefaultServerName, "untrusted"},
		"key of another":   {ca, client, server, DefaultServerName, "doesn't belong"},
		"bad server name":  {ca, client, client, "10.0.0.1", "DNS name"},
		"no server name":   {ca, client, client, "", "DNS name"},
		"no key file":      {ca, client, p.file("none"), DefaultServerName, "none.pem"},
		"no certificate":   {ca, empty, client, DefaultServerName, "no PEM block"},
		"no CA":            {empty, client, client, DefaultServerName, "no PEM block"},
	} {
		if _, err := LoadCredentials(tc.ca, tc.cert, tc.key, tc.server); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("credentials, %s: %v, want %q", name, err, tc.says)
		}
	}
}
