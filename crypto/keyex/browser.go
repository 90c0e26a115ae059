package keyex

import (
	"crypto/tls"
	"fmt"
)

// BrowserTLS returns the configuration of a server for browsers: TLS 1.3, client certificates asked for but not required, and those that
// are shown judged by the one verifier. Whoever shows none has to be told apart in another way. certificate is what the server shows; nil
// is its own of the control channel. roles are those admitted. results counts the handshakes with certificates and may be nil.
func BrowserTLS(t *Trust, certificate func() *tls.Certificate, results *Results, roles ...Role) *tls.Config {
	c := ServerTLS(t, results, roles...)
	judge := c.VerifyConnection
	c.ClientAuth = tls.RequestClientCert
	c.ClientCAs = t.roots // so that a browser offers ours alone; it is the verifier that judges
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		return judge(cs)
	}
	if certificate != nil {
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(), nil }
	}
	return c
}

// Names returns the DNS names in the server's certificate.
func (t *Trust) Names() []string { return t.certificate.Load().Leaf.DNSNames }

// ReadPair reads a certificate with its chain, and its key, for a server that is none of ours to its clients, such as one for browsers.
func ReadPair(certFile, keyFile string) (*tls.Certificate, error) {
	chain, err := readBounded(certFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	key, err := readBounded(keyFile)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %s and %s: %w", certFile, keyFile, err)
	}
	return &pair, nil
}
