package keyex

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
)

// crl is a revocation list in use.
type crl struct {
	raw     []byte
	issuer  []byte          // DER of the name of the CA whose certificates it is about
	number  *big.Int        // RFC 5280, section 5.2.3; nil on lists without
	serials map[string]bool // revoked
}

func (l *crl) has(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, l.issuer) && l.serials[formatSerial(c.SerialNumber)]
}

// ReloadCRL reads the revocation list's file again, and reports whether the list
// is another one now. A file that can't be used, or has an older list of the same CA
// than the one in use, is an error and changes nothing. Handshakes from now on obey
// the new list; call Listener.Recheck to end associations that run. Without a list
// it does nothing. Safe for concurrent use.
func (t *Trust) ReloadCRL() (changed bool, err error) {
	if t.crlFile == "" {
		return false, nil
	}
	t.reading.Lock()
	defer t.reading.Unlock()
	list, err := readCRL(t.crlFile, t.subjects)
	if err != nil {
		return false, err
	}
	old := t.crl.Load()
	switch {
	case old == nil:
	case bytes.Equal(old.raw, list.raw):
		return false, nil
	case bytes.Equal(old.issuer, list.issuer) && old.number != nil && list.number != nil && list.number.Cmp(old.number) < 0:
		return false, fmt.Errorf("load revocation list: %s: its number is %v, older than %v, which is in use", t.crlFile, list.number, old.number)
	}
	t.crl.Store(list)
	return true, nil
}

func readCRL(path string, cas []*x509.Certificate) (*crl, error) {
	b, err := os.ReadFile(path) // lists of big organisations are big; the operator chose the file
	if err != nil {
		return nil, fmt.Errorf("load revocation list: %w", err)
	}
	if block, _ := pem.Decode(b); block != nil && block.Type == "X509 CRL" {
		b = block.Bytes
	}
	list, err := x509.ParseRevocationList(b)
	if err != nil {
		return nil, fmt.Errorf("load revocation list: %s: %w", path, err)
	}
	for _, ca := range cas {
		if list.CheckSignatureFrom(ca) == nil {
			return newCRL(list), nil
		}
	}
	return nil, fmt.Errorf("load revocation list: %s: not signed by a CA that is pinned", path)
}

func newCRL(list *x509.RevocationList) *crl {
	l := &crl{raw: list.Raw, issuer: list.RawIssuer, number: list.Number, serials: make(map[string]bool, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		l.serials[formatSerial(e.SerialNumber)] = true
	}
	return l
}
