package keyex

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func openTestAuthority(t testing.TB, c *clock) *Authority {
	t.Helper()
	a, err := OpenAuthority(t.TempDir(), AuthorityConfig{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func issue(t testing.TB, a *Authority, name string, role Role) *Credentials {
	t.Helper()
	b, err := a.Issue(Request{Name: name, Role: role, Servers: []string{"127.0.0.1:63000"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// forge signs what the template says with an authority's key: certificates that
// the authority itself would never make.
func forge(t testing.TB, a *Authority, edit func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: "forged"},
		NotBefore:    a.now().Add(-time.Hour),
		NotAfter:     a.now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{WinPE.uri()},
	}
	edit(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, key.Public(), a.caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// with returns credentials that show another certificate.
func (c *Credentials) with(cert *tls.Certificate) *Credentials {
	other := *c
	other.certificate = cert
	return &other
}

func listen(t testing.TB, cfg ServerConfig) *Listener {
	t.Helper()
	l, err := Listen(loopback, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(t testing.TB, l *Listener, c *Credentials) *Conn {
	t.Helper()
	conn, err := Dial(t.Context(), l.Addr(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// redial dials until ctx ends, as programs do: an attempt ends after 10 s, which a busy machine may take for so many. An attempt of the
// caller's own length would outlive the server's side of it, which begins another that doesn't fit.
func redial(ctx context.Context, l *Listener, c *Credentials) (*Conn, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, handshakeTime)
		conn, err := Dial(attempt, l.Addr(), c)
		cancel()
		if err == nil || !errors.Is(err, ErrUnreachable) || ctx.Err() != nil {
			return conn, err
		}
	}
}

func accept(t testing.TB, l *Listener) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := l.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func receive(t testing.TB, c *Conn) string {
	t.Helper()
	b := make([]byte, MaxMessage)
	n, err := c.Receive(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func send(t testing.TB, c *Conn, s string) {
	t.Helper()
	if err := c.Send([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what another goroutine does; it fails after a long time
// only, so that a slow machine doesn't.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

func refusal(t testing.TB, err error) *RefusedError {
	t.Helper()
	e, ok := errors.AsType[*RefusedError](err)
	if !ok {
		t.Fatalf("error %v, want a *RefusedError", err)
	}
	return e
}

// mustPEM writes certificates, the second of which may be nil, and a key, which may be nil too.
func mustPEM(t testing.TB, leaf, ca *x509.Certificate, key any) []byte {
	t.Helper()
	var b []byte
	for _, c := range []*x509.Certificate{leaf, ca} {
		if c != nil {
			b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
	}
	if key == nil {
		return b
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(b, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}
