package keyex

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/logging"
)

const (
	// flightInterval is how often an unanswered flight is sent again. The
	// library's second is long in a room of 200 where the first burst loses some.
	flightInterval = 250 * time.Millisecond
	// handshakeTime is how long a handshake may take once the address answered.
	handshakeTime = 10 * time.Second
	// unprovenTime is how long an address that hasn't answered is kept.
	unprovenTime = time.Second
	// handshakeMTU bounds handshake datagrams, in bytes, so that they pass tunnels.
	handshakeMTU = 1200
)

// dtlsConfig returns what both sides agree on; docs/security.md argues each.
func dtlsConfig(cert *tls.Certificate, verify func(raw [][]byte) error) *dtls.Config {
	return &dtls.Config{
		Certificates: []tls.Certificate{*cert},
		GetClientCertificate: func(*dtls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert, nil
		},
		// Empty but not nil: nil would add the library's own suites.
		CipherSuites:       []dtls.CipherSuiteID{},
		CustomCipherSuites: suites,
		SignatureSchemes: []tls.SignatureScheme{
			tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384,
		},
		ExtendedMasterSecret: dtls.RequireExtendedMasterSecret,
		ClientAuth:           dtls.RequireAnyClientCert,
		// Our one verifier judges instead of the library's check.
		InsecureSkipVerify: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			return verify(raw)
		},
		FlightInterval: flightInterval,
		MTU:            handshakeMTU,
		LoggerFactory:  silence{},
	}
}

// silence keeps the library from writing to standard error: libraries don't log.
type silence struct{}

var (
	_ logging.LoggerFactory = silence{}
	_ logging.LeveledLogger = silence{}
)

func (s silence) NewLogger(string) logging.LeveledLogger { return s }
func (silence) Trace(string)                             {}
func (silence) Tracef(string, ...any)                    {}
func (silence) Debug(string)                             {}
func (silence) Debugf(string, ...any)                    {}
func (silence) Info(string)                              {}
func (silence) Infof(string, ...any)                     {}
func (silence) Warn(string)                              {}
func (silence) Warnf(string, ...any)                     {}
func (silence) Error(string)                             {}
func (silence) Errorf(string, ...any)                    {}
