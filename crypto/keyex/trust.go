package keyex

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxPEM bounds every credential file that is read, in bytes.
const maxPEM = 64 << 10

// Trust is what a server proves itself with and judges clients by. An Authority
// hands it out and keeps it current; LoadTrust reads it from an organisation's
// files, NewPointTrust from what a point was given.
type Trust struct {
	roots       *x509.CertPool
	subjects    []*x509.Certificate // the pinned CAs, for expiry
	now         func() time.Time
	certificate atomic.Pointer[tls.Certificate]
	revoked     func(*x509.Certificate) bool
	list        atomic.Pointer[revokedList] // a point's; nil on others
	late        bool                        // see verifier

	crlFile string // "": none
	reading sync.Mutex
	crl     atomic.Pointer[crl]
}

// LoadTrust reads an organisation's PKI: the CA certificates to pin, the server's
// chain and key (ECDSA P-256 or P-384, as the control channel's suite signs with
// it), and, where crlFile isn't empty, a revocation list signed by one of the CAs.
// All are PEM. Call ReloadCRL to take up a new list; other files want a new Trust.
func LoadTrust(caFile, certFile, keyFile, crlFile string) (*Trust, error) {
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
	t := newTrust(cas, time.Now)
	if crlFile != "" {
		t.crlFile = crlFile
		if _, err := t.ReloadCRL(); err != nil {
			return nil, err
		}
		t.revoked = func(c *x509.Certificate) bool { return t.crl.Load().has(c) }
	}
	cert, err := pair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("load server certificate: %s: %w", certFile, err)
	}
	if err := t.setCertificate(cert); err != nil {
		return nil, fmt.Errorf("load server certificate: %s: %w", certFile, err)
	}
	return t, nil
}

func newTrust(cas []*x509.Certificate, now func() time.Time) *Trust {
	t := &Trust{roots: x509.NewCertPool(), subjects: cas, now: now}
	for _, c := range cas {
		t.roots.AddCert(c)
	}
	return t
}

// setCertificate takes cert into use after judging it as a client would.
func (t *Trust) setCertificate(cert *tls.Certificate) error {
	v := &verifier{roots: t.roots, roles: []Role{Server}}
	if _, err := v.verify(cert.Certificate); err != nil {
		return err
	}
	if len(cert.Leaf.DNSNames) == 0 {
		return errors.New("certificate carries no DNS name")
	}
	t.certificate.Store(cert)
	return nil
}

// ServerName returns the name that clients will ask for: the certificate's
// first DNS name.
func (t *Trust) ServerName() string { return t.certificate.Load().Leaf.DNSNames[0] }

// Expiry returns when the server's certificate ends and when the first of the
// pinned CAs does.
func (t *Trust) Expiry() (server, ca time.Time) {
	ends := make([]time.Time, 0, len(t.subjects))
	for _, c := range t.subjects {
		ends = append(ends, c.NotAfter)
	}
	return t.certificate.Load().Leaf.NotAfter, slices.MinFunc(ends, time.Time.Compare)
}

// verifier returns the judge of clients; no roles means every client role.
func (t *Trust) verifier(roles []Role) *verifier {
	if len(roles) == 0 {
		roles = ClientRoles()
	}
	if slices.Contains(roles, Server) {
		panic("keyex: a server doesn't admit the role server")
	}
	return &verifier{roots: t.roots, roles: slices.Clone(roles), now: t.now, late: t.late, revoked: t.revoked}
}

// readBounded reads a whole file, refusing sizes that no credential has.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // *PathError: operation, path, cause
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxPEM {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, maxPEM)
	}
	return b, nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	b, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("load certificates: %w", err)
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("load certificates: %s: %w", path, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("load certificates: %s: no PEM block CERTIFICATE", path)
	}
	return certs, nil
}

func readKey(path string) (crypto.Signer, error) {
	b, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY", "EC PRIVATE KEY":
			key, err := parseKey(block)
			if err != nil {
				return nil, fmt.Errorf("load key: %s: %w", path, err)
			}
			return key, nil
		}
	}
	return nil, fmt.Errorf("load key: %s: no PEM block PRIVATE KEY", path)
}

func parseKey(block *pem.Block) (*ecdsa.PrivateKey, error) {
	var key any
	var err error
	if block.Type == "EC PRIVATE KEY" {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || (ec.Curve != elliptic.P256() && ec.Curve != elliptic.P384()) {
		return nil, errors.New("not an ECDSA key on P-256 or P-384; make one: openssl ecparam -name prime256v1 -genkey")
	}
	return ec, nil
}

// pair joins a chain and its key.
func pair(chain []*x509.Certificate, key crypto.Signer) (*tls.Certificate, error) {
	public, ok := chain[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("key doesn't belong to the certificate")
	}
	if len(chain) > maxChain {
		return nil, fmt.Errorf("%d certificates in the chain, at most %d are read", len(chain), maxChain)
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}
