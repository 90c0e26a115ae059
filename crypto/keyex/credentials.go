package keyex

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Credentials are what a client proves itself with and judges its server by.
// They are immutable.
type Credentials struct {
	certificate *tls.Certificate
	verifier    *verifier
	identity    Identity
}

// Credentials returns the bundle's credentials.
func (b *Bundle) Credentials() (*Credentials, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("use bundle: %w", err)
	}
	cert, err := pair(b.Chain, b.Key)
	if err != nil {
		return nil, fmt.Errorf("use bundle: %w", err)
	}
	c := newCredentials(cert, []*x509.Certificate{b.CA}, b.ServerName, b.Identity())
	if refused := slices.Clone(b.Refused); len(refused) > 0 {
		c.verifier.revoked = func(cert *x509.Certificate) bool { return slices.Contains(refused, formatSerial(cert.SerialNumber)) }
	}
	return c, nil
}

// LoadCredentials reads a client's credentials from an organisation's PEM files:
// the CAs to pin, the chain, the key. serverName is the DNS name that the
// server's certificate must bear.
func LoadCredentials(caFile, certFile, keyFile, serverName string) (*Credentials, error) {
	cas, err := readCertificates(caFile)
	if err != nil {
		return nil, err
	}
	chain, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	if err := CheckServerName(serverName); err != nil {
		return nil, fmt.Errorf("load credentials: %w", err)
	}
	cert, err := pair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("load credentials: %s: %w", certFile, err)
	}
	roots := x509.NewCertPool()
	for _, c := range cas {
		roots.AddCert(c)
	}
	id, err := (&verifier{roots: roots, roles: ClientRoles()}).verifyParsed(chain)
	if err != nil {
		return nil, fmt.Errorf("load credentials: %s: %w", certFile, err)
	}
	return newCredentials(cert, cas, serverName, id), nil
}

func newCredentials(cert *tls.Certificate, cas []*x509.Certificate, serverName string, id Identity) *Credentials {
	roots := x509.NewCertPool()
	for _, c := range cas {
		roots.AddCert(c)
	}
	// No clock: WinPE's may be wrong by years. The server judges the client's
	// time, and a server's expired certificate still proves the same key.
	return &Credentials{certificate: cert, identity: id, verifier: &verifier{
		roots: roots, roles: []Role{Server}, serverName: serverName,
		site: id.Role == Point || id.Role == Worker, // what they bring and get is the site's; a stolen point mustn't have it
	}}
}

// Site returns the same credentials for the site alone: a point that answers in its place is refused. Those of the roles point and
// worker are so from the start.
func (c *Credentials) Site() *Credentials {
	site, judge := *c, *c.verifier
	judge.site = true
	site.verifier = &judge
	return &site
}

// Identity returns whom the credentials are for.
func (c *Credentials) Identity() Identity { return c.identity }

// ServerName returns the name that the server must bear.
func (c *Credentials) ServerName() string { return c.verifier.serverName }

// Expired reports whether the credentials have ended at that time. A client
// can't refuse on it, as its clock may lie, but may warn.
func (c *Credentials) Expired(at time.Time) bool { return at.After(c.identity.NotAfter) }
