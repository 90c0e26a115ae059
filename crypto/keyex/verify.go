package keyex

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxChain bounds how many certificates a peer may show.
const maxChain = 4

// verifier is the one judge of certificates. It is immutable and has two
// settings: of a server about clients, and of a client about its server.
type verifier struct {
	roots      *x509.CertPool
	roles      []Role           // admitted; {Server} on clients
	serverName string           // clients: the name that the server must bear
	site       bool             // clients: the server must be the site itself, not a point
	now        func() time.Time // servers: the clock; nil takes the time inside the leaf's validity
	late       bool             // servers: the clock may be late; what it thinks hasn't begun is let in
	revoked    func(*x509.Certificate) bool
}

// verify judges the certificates that a peer showed, leaf first. Every error is
// a *RefusedError.
//
// Order: readable, chain and usage, time, revocation, role, name. So the word is
// always the most basic fault.
func (v *verifier) verify(raw [][]byte) (Identity, error) {
	if len(raw) == 0 {
		return Identity{}, &RefusedError{Reason: NoCertificate}
	}
	if len(raw) > maxChain {
		return Identity{}, &RefusedError{Reason: Malformed, Err: fmt.Errorf("%d certificates, at most %d are read", len(raw), maxChain)}
	}
	certs := make([]*x509.Certificate, len(raw))
	for i, der := range raw {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return Identity{}, &RefusedError{Reason: Malformed, Err: err}
		}
		certs[i] = cert
	}
	return v.verifyParsed(certs)
}

func (v *verifier) verifyParsed(certs []*x509.Certificate) (Identity, error) {
	if len(certs) == 0 {
		return Identity{}, &RefusedError{Reason: NoCertificate}
	}
	leaf := certs[0]
	refuse := func(reason Reason, format string, args ...any) (Identity, error) {
		return Identity{}, &RefusedError{Reason: reason, Holder: holderOf(leaf), Err: fmt.Errorf(format, args...)}
	}
	usage := x509.ExtKeyUsageClientAuth
	if slices.Contains(v.roles, Server) {
		usage = x509.ExtKeyUsageServerAuth
	}
	// The chain is judged at a time inside the leaf's validity, on both sides: a
	// client's clock may be wrong by years, and on the server "expired" must not
	// hide "untrusted".
	chain, err := v.chain(certs, usage, insideValidity(leaf))
	switch e := (x509.CertificateInvalidError{}); {
	case errors.As(err, &e) && e.Reason == x509.IncompatibleUsage:
		return refuse(WrongUsage, "extended key usage doesn't allow %s", usageName(usage))
	case err != nil:
		return refuse(Untrusted, "%w", err)
	}
	if err := checkUsage(leaf, usage); err != nil {
		return refuse(WrongUsage, "%w", err)
	}
	if v.now != nil {
		now := v.now()
		for _, c := range chain {
			if now.After(c.NotAfter) {
				return refuse(Expired, "%s ended %s", holderOf(c), c.NotAfter.UTC().Format(time.RFC3339))
			}
			if now.Before(c.NotBefore) && !v.late {
				return refuse(NotYetValid, "%s begins %s, the clock says %s", holderOf(c), c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
			}
		}
	}
	if v.revoked != nil {
		for _, c := range chain {
			if v.revoked(c) {
				return refuse(Revoked, "serial %s", formatSerial(c.SerialNumber))
			}
		}
	}
	id, err := identityOf(leaf)
	if err != nil {
		return refuse(WrongRole, "%w", err)
	}
	if !slices.Contains(v.roles, id.Role) {
		return refuse(WrongRole, "role %s isn't admitted here, only %v", id.Role, v.roles)
	}
	if err := checkName(leaf.Subject.CommonName); err != nil {
		return refuse(WrongName, "%w", err)
	}
	if v.serverName != "" {
		if err := leaf.VerifyHostname(v.serverName); err != nil {
			return refuse(WrongName, "%w", err)
		}
	}
	if v.site && id.Marks.Point {
		return refuse(WrongName, "it is a point, and this is for the site alone")
	}
	return id, nil
}

// chain builds the way from the leaf to a pinned root.
func (v *verifier) chain(certs []*x509.Certificate, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{
		Roots:         v.roots,
		Intermediates: between,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, err
	}
	// A pinned certificate itself is no credential, even though it verifies.
	if len(chains[0]) < 2 || certs[0].IsCA {
		return nil, errors.New("a CA certificate isn't a credential")
	}
	return chains[0], nil
}

// checkUsage holds that the leaf names the wanted usage and not the other one,
// nor "any": a certificate serves one direction.
func checkUsage(leaf *x509.Certificate, want x509.ExtKeyUsage) error {
	other := x509.ExtKeyUsageServerAuth
	if want == other {
		other = x509.ExtKeyUsageClientAuth
	}
	switch {
	case !slices.Contains(leaf.ExtKeyUsage, want):
		return fmt.Errorf("extended key usage doesn't name %s", usageName(want))
	case slices.Contains(leaf.ExtKeyUsage, other), slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return fmt.Errorf("extended key usage names more than %s", usageName(want))
	}
	return nil
}

func usageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageServerAuth {
		return "serverAuth"
	}
	return "clientAuth"
}

// insideValidity returns the middle of a certificate's life, which also lies in
// the life of its issuers wherever they outlive it or nearly so.
func insideValidity(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
}

// holderOf names a certificate for people; what it says isn't trusted.
func holderOf(c *x509.Certificate) string {
	name := fmt.Sprintf("%.64q", c.Subject.CommonName)
	if role, err := roleOf(c); err == nil {
		name += " (" + string(role) + ")"
	}
	return name
}

// sameCertificate reports whether two chains start with the same leaf.
func sameCertificate(a, b [][]byte) bool {
	return len(a) > 0 && len(b) > 0 && bytes.Equal(a[0], b[0])
}
