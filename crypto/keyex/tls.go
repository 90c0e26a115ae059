package keyex

import (
	"crypto/tls"
	"errors"
)

// ServerTLS returns the configuration of the HTTPS side: TLS 1.3, client
// certificates required and judged by the same verifier as the control channel.
// roles are those admitted; none means every client role. results counts the
// handshakes and may be nil.
//
// The standard library sends the alert bad_certificate for every refusal of
// ours; the reason stands in the server's error only.
func ServerTLS(t *Trust, results *Results, roles ...Role) *tls.Config {
	v := t.verifier(roles)
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true, // each connection is judged anew
		ClientAuth:             tls.RequireAnyClientCert,
		NextProtos:             []string{"h2", "http/1.1"},
		Time:                   t.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.certificate.Load(), nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := v.verifyParsed(cs.PeerCertificates)
			if results != nil {
				results.add(reasonOf(err))
			}
			return err
		},
	}
}

// ClientTLS returns the configuration of an HTTPS client: TLS 1.3, our
// certificate, and the server judged by the same verifier as on the control
// channel.
func ClientTLS(c *Credentials) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: c.verifier.serverName,
		NextProtos: []string{"h2", "http/1.1"},
		// The standard check trusts the clock; VerifyConnection replaces it, and
		// runs on every connection.
		InsecureSkipVerify: true, //nolint:gosec // replaced by VerifyConnection
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.certificate, nil
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := c.verifier.verifyParsed(cs.PeerCertificates)
			return err
		},
	}
}

// PeerIdentity returns who stands at the other end of a TLS connection that a
// configuration of ServerTLS accepted.
func PeerIdentity(cs *tls.ConnectionState) (Identity, error) {
	if cs == nil || !cs.HandshakeComplete || len(cs.PeerCertificates) == 0 {
		return Identity{}, errors.New("peer identity: no verified certificate on this connection")
	}
	return identityOf(cs.PeerCertificates[0])
}

// Judge judges the client of a TLS connection again, as the handshake of ServerTLS
// did, for connections that may outlive their certificate or its revocation. roles
// are those admitted; none means every client role. Every error is a *RefusedError.
func (t *Trust) Judge(cs *tls.ConnectionState, roles ...Role) (Identity, error) {
	if cs == nil || !cs.HandshakeComplete {
		return Identity{}, &RefusedError{Reason: NoCertificate}
	}
	return t.verifier(roles).verifyParsed(cs.PeerCertificates)
}

// reasonOf returns the word of a handshake's error.
func reasonOf(err error) Reason {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return e.Reason
	}
	return Failed
}
