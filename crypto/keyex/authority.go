package keyex

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Lifetimes of what an Authority makes.
const (
	caLifetime     = 20 * 365 * 24 * time.Hour
	serverLifetime = 2 * 365 * 24 * time.Hour
	// renewBefore is how long before its end the server's certificate is
	// replaced. Clients don't look at its end; HTTPS clients of others do.
	renewBefore = 90 * 24 * time.Hour
	// backdate covers clocks of other machines that run late.
	backdate = time.Hour
	// DefaultLifetime is a bundle's when none is asked for.
	DefaultLifetime = 365 * 24 * time.Hour
	minLifetime     = time.Minute
)

// DefaultServerName is the DNS name in the server's certificate when none is
// configured. It needn't resolve: clients check it, they don't look it up.
const DefaultServerName = "wimcast.internal"

// AuthorityConfig says how an Authority works. The zero value is ready for use.
type AuthorityConfig struct {
	ServerName string           // DNS name in the server's certificate; DefaultServerName when empty
	Now        func() time.Time // the clock; time.Now when nil
}

// Authority is the CA that a daemon runs for itself: it signs the server's own
// certificate and the bundles of clients, and remembers which it signed and
// which it took back. One process owns a directory at a time.
type Authority struct {
	dir        *stateDir
	serverName string
	now        func() time.Time
	ca         *x509.Certificate
	caKey      *ecdsa.PrivateKey
	trust      *Trust

	mu      sync.RWMutex
	issued  []Issued
	revoked map[string]bool // by serial
}

// Issued is one credential that an Authority made.
type Issued struct {
	Serial    string    `json:"serial"`
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Revoked   time.Time `json:"revoked,omitzero"` // zero while it isn't
	PIN       bool      `json:"pin,omitempty"`    // Marks.PIN
	Alone     bool      `json:"alone,omitempty"`  // Marks.Alone
}

// OpenAuthority opens the authority in dir, and makes it there on first start:
// CA, server certificate, empty list. The directory gets mode 0700, files 0600;
// each is written whole or not at all. A server certificate near its end, or for
// another server name, is replaced.
func OpenAuthority(dir string, cfg AuthorityConfig) (*Authority, error) {
	a := &Authority{serverName: cfg.ServerName, now: cfg.Now, revoked: map[string]bool{}}
	if a.serverName == "" {
		a.serverName = DefaultServerName
	}
	if a.now == nil {
		a.now = time.Now
	}
	if err := CheckServerName(a.serverName); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	var err error
	if a.dir, err = openStateDir(dir); err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	if err := a.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open authority: %s: %w", dir, err), a.dir.close())
	}
	return a, nil
}

// Close releases the directory.
func (a *Authority) Close() error { return a.dir.close() }

func (a *Authority) open() error {
	if err := a.loadCA(); err != nil {
		return err
	}
	if err := a.loadIssued(); err != nil {
		return err
	}
	a.trust = newTrust([]*x509.Certificate{a.ca}, a.now)
	a.trust.revoked = func(c *x509.Certificate) bool {
		a.mu.RLock()
		defer a.mu.RUnlock()
		return a.revoked[formatSerial(c.SerialNumber)]
	}
	_, err := a.Renew()
	return err
}

// loadCA reads the CA, and makes one when there is none. Key and certificate
// are one file, so that a crash can't leave one without the other.
func (a *Authority) loadCA() error {
	chain, key, err := a.dir.readCredential(caFile)
	if errors.Is(err, fs.ErrNotExist) {
		return a.makeCA()
	}
	if err != nil {
		return err
	}
	if !chain[0].IsCA {
		return fmt.Errorf("%s: not a CA certificate", caFile)
	}
	if a.now().After(chain[0].NotAfter) {
		return fmt.Errorf("%s: the CA ended %s; move the directory away to make a new one, then write new bundles", caFile, chain[0].NotAfter.Format(time.DateOnly))
	}
	a.ca, a.caKey = chain[0], key
	return nil
}

func (a *Authority) makeCA() error {
	// A list without a CA means that somebody lost the key: don't hide that.
	if a.dir.exists(issuedFile) {
		return fmt.Errorf("%s is gone but %s is there; restore it from a backup, or move the directory away and write new bundles", caFile, issuedFile)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial := newSerial()
	now := a.now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "wimcast CA " + hex.EncodeToString(serial.Bytes()[:4])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if a.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.caKey = key
	return a.dir.writeCredential(caFile, []*x509.Certificate{a.ca}, key)
}

// sign makes a key and a certificate for it that ends at end.
func (a *Authority) sign(name string, role Role, marks Marks, dns []string, end time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	if end.After(a.ca.NotAfter) {
		return nil, nil, fmt.Errorf("lifetime reaches beyond the CA's end on %s", a.ca.NotAfter.Format(time.DateOnly))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	start := a.now().Add(-backdate)
	if start.Before(a.ca.NotBefore) {
		start = a.ca.NotBefore
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             start,
		NotAfter:              end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{role.usage()},
		DNSNames:              dns,
		URIs:                  append([]*url.URL{role.uri()}, marks.uris()...),
	}, a.ca, key.Public(), a.caKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// newSerial draws 127 random bits with the top one set, so that every serial
// has 32 hexadecimal digits.
func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// Renew replaces the server's certificate when it is missing, near its end, or
// names another server. It costs a small file's reading: call it every few hours.
// Associations aren't disturbed.
func (a *Authority) Renew() (renewed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	chain, key, err := a.dir.readCredential(serverFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	case a.stillGood(chain[0]):
		cert, err := pair(chain, key)
		if err != nil {
			return false, fmt.Errorf("%s: %w", serverFile, err)
		}
		return false, a.trust.setCertificate(cert)
	}
	end := a.now().Add(serverLifetime)
	if end.After(a.ca.NotAfter) {
		end = a.ca.NotAfter
	}
	leaf, key, err := a.sign(a.serverName, Server, Marks{}, []string{a.serverName}, end)
	if err != nil {
		return false, fmt.Errorf("make server certificate: %w", err)
	}
	if err := a.dir.writeCredential(serverFile, []*x509.Certificate{leaf}, key); err != nil {
		return false, err
	}
	cert, err := pair([]*x509.Certificate{leaf}, key)
	if err != nil {
		return false, err
	}
	return true, a.trust.setCertificate(cert)
}

// stillGood reports whether a server certificate need not be replaced. One that
// ends with the CA can't be bettered.
func (a *Authority) stillGood(c *x509.Certificate) bool {
	return c.CheckSignatureFrom(a.ca) == nil && slices.Equal(c.DNSNames, []string{a.serverName}) &&
		(a.now().Before(c.NotAfter.Add(-renewBefore)) || c.NotAfter.Equal(a.ca.NotAfter))
}

// Trust returns what listeners need. It follows renewals and revocations.
func (a *Authority) Trust() *Trust { return a.trust }
