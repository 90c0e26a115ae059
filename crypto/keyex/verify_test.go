package keyex

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// verdictCase is one way to be refused, or not, on both channels.
type verdictCase struct {
	name string
	// client and server return what each side shows; nil means the honest one.
	client func(t *testing.T, a, stranger *Authority) *Credentials
	server func(t *testing.T, a *Authority) *tls.Certificate
	before func(t *testing.T, a *Authority, c *clock)
	roles  []Role

	want     Reason
	byClient bool   // the client refuses the server
	alert    Reason // what the other side learns from the alert; PeerRefused on TLS
	says     string // part of the line
}

func lab(t *testing.T, a, _ *Authority) *Credentials { return issue(t, a, "lab12", WinPE) }

func showing(edit func(*x509.Certificate)) func(*testing.T, *Authority, *Authority) *Credentials {
	return func(t *testing.T, a, _ *Authority) *Credentials {
		return issue(t, a, "lab12", WinPE).with(forge(t, a, edit))
	}
}

func posing(edit func(*x509.Certificate)) func(*testing.T, *Authority) *tls.Certificate {
	return func(t *testing.T, a *Authority) *tls.Certificate {
		return forge(t, a, func(c *x509.Certificate) {
			c.DNSNames = []string{DefaultServerName}
			c.URIs = []*url.URL{Server.uri()}
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			edit(c)
		})
	}
}

func verdictCases() []verdictCase {
	clientAuth, serverAuth := x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	return []verdictCase{
		{name: "honest", client: lab, want: OK},
		{name: "forged but right", client: showing(func(*x509.Certificate) {}), want: OK},
		{name: "server certificate ended, client has no clock", client: lab, want: OK, server: func(t *testing.T, a *Authority) *tls.Certificate {
			return posing(func(c *x509.Certificate) {
				c.NotBefore, c.NotAfter = a.now().Add(-time.Hour), a.now().Add(-30*time.Minute)
			})(t, a)
		}},

		// The server refuses the client.
		{name: "stranger", client: func(t *testing.T, a, stranger *Authority) *Credentials {
			return issue(t, a, "lab12", WinPE).with(issue(t, stranger, "lab12", WinPE).certificate)
		}, want: Untrusted, alert: Untrusted, says: "another server"},
		{name: "self-signed look-alike", client: func(t *testing.T, a, stranger *Authority) *Credentials {
			subject := *stranger.ca
			subject.RawSubject = a.ca.RawSubject
			look := &Authority{now: a.now, ca: &subject, caKey: stranger.caKey}
			return issue(t, a, "lab12", WinPE).with(forge(t, look, func(*x509.Certificate) {}))
		}, want: Untrusted, alert: Untrusted},
		{name: "expired", client: lab, want: Expired, alert: Expired, says: "new bundle", before: func(_ *testing.T, _ *Authority, c *clock) {
			c.add(DefaultLifetime + time.Hour)
		}},
		{name: "not yet valid", client: lab, want: NotYetValid, alert: Expired, says: "clock", before: func(_ *testing.T, _ *Authority, c *clock) {
			c.add(-2 * time.Hour)
		}},
		{name: "revoked", client: lab, want: Revoked, alert: Revoked, says: "serial", before: func(t *testing.T, a *Authority, _ *clock) {
			if _, err := a.Revoke("lab12"); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "server certificate poses as client", client: func(t *testing.T, a, _ *Authority) *Credentials {
			return issue(t, a, "lab12", WinPE).with(a.trust.certificate.Load())
		}, want: WrongUsage, alert: WrongUsage},
		{name: "both usages", client: showing(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{clientAuth, serverAuth}
		}), want: WrongUsage, alert: WrongUsage},
		{name: "any usage", client: showing(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{clientAuth, x509.ExtKeyUsageAny}
		}), want: WrongUsage, alert: WrongUsage},
		{name: "no usage", client: showing(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), want: WrongUsage, alert: WrongUsage},
		{name: "no role", client: showing(func(c *x509.Certificate) { c.URIs = nil }), want: WrongRole, alert: WrongRole},
		{name: "two roles", client: showing(func(c *x509.Certificate) {
			c.URIs = []*url.URL{WinPE.uri(), Operator.uri()}
		}), want: WrongRole, alert: WrongRole},
		{name: "unknown role", client: showing(func(c *x509.Certificate) {
			c.URIs = []*url.URL{Role("king").uri()}
		}), want: WrongRole, alert: WrongRole},
		{name: "role of the server on a client", client: showing(func(c *x509.Certificate) {
			c.URIs = []*url.URL{Server.uri()}
		}), want: WrongRole, alert: WrongRole},
		{name: "role not admitted", client: lab, roles: []Role{Operator, Viewer}, want: WrongRole, alert: WrongRole, says: "operator viewer"},
		{name: "nameless", client: showing(func(c *x509.Certificate) { c.Subject.CommonName = "" }), want: WrongName, alert: WrongName},
		{name: "name with a line break", client: showing(func(c *x509.Certificate) {
			c.Subject.CommonName = "a\nb"
		}), want: WrongName, alert: WrongName},

		// The client refuses the server.
		{name: "client certificate poses as server", client: lab, byClient: true, want: WrongUsage, alert: WrongUsage, server: func(t *testing.T, a *Authority) *tls.Certificate {
			return issue(t, a, "evil", WinPE).certificate
		}},
		{name: "client certificate with the server's name", client: lab, byClient: true, want: WrongUsage, alert: WrongUsage, server: posing(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{clientAuth}
		})},
		{name: "server of a client's role", client: lab, byClient: true, want: WrongRole, alert: WrongRole, server: posing(func(c *x509.Certificate) {
			c.URIs = []*url.URL{WinPE.uri()}
		})},
		{name: "server of another name", client: lab, byClient: true, want: WrongName, alert: WrongName, says: "server-name", server: posing(func(c *x509.Certificate) {
			c.DNSNames = []string{"other.internal"}
		})},
		{name: "stranger's server", byClient: true, want: Untrusted, alert: Untrusted, client: func(t *testing.T, _, stranger *Authority) *Credentials {
			return issue(t, stranger, "lab12", WinPE)
		}},
	}
}

func (tc verdictCase) set(t *testing.T) (*Trust, *Credentials) {
	c := newClock()
	a, stranger := openTestAuthority(t, c), openTestAuthority(t, c)
	credentials := tc.client(t, a, stranger)
	if tc.server != nil {
		a.trust.certificate.Store(tc.server(t, a))
	}
	if tc.before != nil {
		tc.before(t, a, c)
	}
	return a.Trust(), credentials
}

func (tc verdictCase) check(t *testing.T, side string, err error) {
	t.Helper()
	r := refusal(t, err)
	if r.Reason != tc.want || r.ByPeer {
		t.Errorf("%s refuses with %q (by peer %v), want %q: %v", side, r.Reason, r.ByPeer, tc.want, err)
	}
	if line := err.Error(); !strings.Contains(line, tc.says) || strings.Contains(line, "\n") || !strings.Contains(line, "; ") {
		t.Errorf("%s says %q, want one line with %q and a next step", side, line, tc.says)
	}
}

func TestVerdictsOverDTLS(t *testing.T) {
	for _, tc := range verdictCases() {
		t.Run(tc.name, func(t *testing.T) {
			trust, credentials := tc.set(t)
			refused := make(chan error, 1)
			l := listen(t, ServerConfig{Trust: trust, Roles: tc.roles, OnRefused: func(_ netip.AddrPort, err error) { refused <- err }})
			conn, err := Dial(t.Context(), l.Addr(), credentials)
			if tc.want == OK {
				if err != nil {
					t.Fatal(err)
				}
				accept(t, l)
				_ = conn.Close()
				return
			}
			if err == nil {
				_ = conn.Close()
				t.Fatal("no refusal")
			}
			own, other, word := <-refused, err, tc.want
			if tc.byClient {
				own, other, word = err, own, PeerRefused
			}
			tc.check(t, "DTLS", own)
			// The other side learns the word from the alert.
			if r := refusal(t, other); !r.ByPeer || r.Reason != tc.alert {
				t.Errorf("other side: %v, want %q by peer", other, tc.alert)
			}
			s := l.Stats()
			if s.Handshakes[word] != 1 || s.Handshakes[OK] != 0 {
				t.Errorf("counted %v, want one %s", s.Handshakes, word)
			}
			eventually(t, "the table is empty", func() bool {
				s := l.Stats()
				return s.Associations+s.HalfOpen+s.Unproven == 0
			})
		})
	}
}

func TestVerdictsOverTLS(t *testing.T) {
	for _, tc := range verdictCases() {
		t.Run(tc.name, func(t *testing.T) {
			trust, credentials := tc.set(t)
			var results Results
			ln, err := tls.Listen("tcp", "127.0.0.1:0", ServerTLS(trust, &results, tc.roles...))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			served := make(chan error, 1)
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					served <- err
					return
				}
				defer conn.Close()
				err = conn.(*tls.Conn).Handshake()
				if err == nil {
					state := conn.(*tls.Conn).ConnectionState()
					var id Identity
					if id, err = PeerIdentity(&state); err == nil {
						_, err = io.WriteString(conn, id.Name)
					}
				}
				served <- err
			}()
			read := func() (string, error) {
				conn, err := tls.Dial("tcp", ln.Addr().String(), ClientTLS(credentials))
				if err != nil {
					return "", err
				}
				defer conn.Close()
				b, err := io.ReadAll(conn)
				return string(b), err
			}
			got, clientErr := read()
			serverErr := <-served
			if tc.want == OK {
				if clientErr != nil || serverErr != nil || (got != "lab12" && got != "forged") {
					t.Fatalf("client %q %v, server %v", got, clientErr, serverErr)
				}
				if results.Snapshot()[OK] != 1 {
					t.Errorf("counted %v", results.Snapshot())
				}
				return
			}
			own, other := serverErr, clientErr
			if tc.byClient {
				own, other = clientErr, serverErr
			}
			tc.check(t, "TLS", own)
			if other == nil || !strings.Contains(other.Error(), "bad certificate") {
				t.Errorf("other side: %v, want the alert bad certificate", other)
			}
			if !tc.byClient && results.Snapshot()[tc.want] != 1 {
				t.Errorf("counted %v, want one %s", results.Snapshot(), tc.want)
			}
		})
	}
}

// TestClientClockDoesNotMatter: the client's verifier reads no clock at all, so
// a WinPE that believes in 2002 joins. The server's clock stands at 2026 and the
// certificates are of 2026; this machine's clock plays no part on either side.
func TestClientClockDoesNotMatter(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC), // the whole PKI in the past of this machine
		time.Date(2002, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC), // in its future, as 2026 is for a clock of 2002
	} {
		c := newClock()
		c.at = at
		a := openTestAuthority(t, c)
		l := listen(t, ServerConfig{Trust: a.Trust()})
		client := dial(t, l, issue(t, a, "lab12", WinPE))
		server := accept(t, l)
		send(t, client, "joined")
		if got := receive(t, server); got != "joined" {
			t.Errorf("%d: got %q", at.Year(), got)
		}
	}
}

func TestTLSNeedsACertificateAndVersion13(t *testing.T) {
	a := openTestAuthority(t, newClock())
	var results Results
	ln, err := tls.Listen("tcp", "127.0.0.1:0", ServerTLS(a.Trust(), &results))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	attempt := func(edit func(*tls.Config)) error {
		cfg := ClientTLS(issue(t, a, "lab12", WinPE))
		edit(cfg)
		served := make(chan struct{})
		go func() {
			defer close(served)
			if conn, err := ln.Accept(); err == nil {
				_ = conn.(*tls.Conn).Handshake()
				_ = conn.Close()
			}
		}()
		conn, err := tls.Dial("tcp", ln.Addr().String(), cfg)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		<-served
		return err
	}
	if err := attempt(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("TLS 1.2: %v", err)
	}
	if err := attempt(func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	}); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("no certificate: %v", err)
	}
}

func TestVerifierRefusesOddities(t *testing.T) {
	a := openTestAuthority(t, newClock())
	v := a.trust.verifier(nil)
	leaf := issue(t, a, "lab12", WinPE).certificate.Certificate[0]
	for name, tc := range map[string]struct {
		raw  [][]byte
		want Reason
	}{
		"none":              {nil, NoCertificate},
		"empty":             {[][]byte{{}}, Malformed},
		"garbage":           {[][]byte{{1, 2, 3}}, Malformed},
		"truncated":         {[][]byte{leaf[:len(leaf)-1]}, Malformed},
		"garbage behind":    {[][]byte{leaf, {1}}, Malformed},
		"too many":          {[][]byte{leaf, leaf, leaf, leaf, leaf}, Malformed},
		"the CA itself":     {[][]byte{a.ca.Raw}, Untrusted},
		"tampered contents": {[][]byte{flip(leaf, len(leaf)-1)}, Untrusted},
	} {
		if _, err := v.verify(tc.raw); refusal(t, err).Reason != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if _, err := v.verify([][]byte{leaf, a.ca.Raw}); err != nil {
		t.Errorf("chain with its CA: %v", err)
	}
}

func flip(b []byte, at int) []byte { return edit(b, at, b[at]^1) }

// TestReasonsAreClosed: every word has a counter, and a line with a next step.
func TestReasonsAreClosed(t *testing.T) {
	var r Results
	for _, reason := range Reasons() {
		r.add(reason)
		if line := (&RefusedError{Reason: reason, Err: net.ErrClosed}).Error(); !strings.Contains(line, string(reason)) || !strings.Contains(line, "; ") {
			t.Errorf("%s: %q", reason, line)
		}
	}
	for reason, n := range r.Snapshot() {
		if n != 1 {
			t.Errorf("%s counted %d", reason, n)
		}
	}
	if len(r.counts) != len(Reasons()) {
		t.Errorf("%d counters for %d reasons", len(r.counts), len(Reasons()))
	}
	var d drops
	for _, reason := range Drops() {
		d.add(reason)
	}
	if len(d.counts) != len(Drops()) || len(d.snapshot()) != len(Drops()) {
		t.Errorf("%d counters for %d drops", len(d.counts), len(Drops()))
	}
}

// TestJudge: a client whose handshake was good is refused once its time is up, it was
// revoked, or another role is asked for.
func TestJudge(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	b, err := a.Issue(Request{Name: "ann", Role: Viewer, Lifetime: time.Hour, Servers: []string{"127.0.0.1:7601"}})
	if err != nil {
		t.Fatal(err)
	}
	cs := &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: b.Chain}
	if id, err := a.Trust().Judge(cs, Operator, Viewer); err != nil || id.Name != "ann" || id.Role != Viewer {
		t.Errorf("%+v, %v", id, err)
	}
	refused := func(cs *tls.ConnectionState, want Reason, roles ...Role) {
		t.Helper()
		_, err := a.Trust().Judge(cs, roles...)
		if e := refusal(t, err); e.Reason != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused(cs, WrongRole, Operator)
	refused(nil, NoCertificate)
	refused(&tls.ConnectionState{PeerCertificates: b.Chain}, NoCertificate)
	refused(&tls.ConnectionState{HandshakeComplete: true}, NoCertificate)
	c.add(2 * time.Hour)
	refused(cs, Expired, Viewer)
	c.add(-2 * time.Hour)
	if _, err := a.Revoke("ann"); err != nil {
		t.Fatal(err)
	}
	refused(cs, Revoked, Viewer)
}
