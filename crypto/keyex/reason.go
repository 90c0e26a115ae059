package keyex

import (
	"errors"
	"fmt"
)

// Reason is why a handshake didn't end in an association. The list is closed; a
// word of it is the label of wimcast_handshakes_total.
type Reason string

// The reasons. The first group is the verifier's.
const (
	OK            Reason = "ok"             // no refusal
	NoCertificate Reason = "no_certificate" // the peer showed none
	Malformed     Reason = "malformed"      // the certificate can't be read
	Untrusted     Reason = "untrusted"      // the chain doesn't end at our CA
	Expired       Reason = "expired"        // by the server's clock
	NotYetValid   Reason = "not_yet_valid"  // by the server's clock
	Revoked       Reason = "revoked"        // on the server's list
	WrongUsage    Reason = "wrong_usage"    // extended key usage of the other direction, of both, or of none
	WrongRole     Reason = "wrong_role"     // no role, an unknown one, or one that isn't served here
	WrongName     Reason = "wrong_name"     // not the server's name; or no usable holder's name

	Incompatible Reason = "incompatible" // no common cipher suite, version or extension
	PeerRefused  Reason = "peer_refused" // the other side refused us and didn't say why
	TimedOut     Reason = "timed_out"    // started, never finished
	Failed       Reason = "failed"       // anything else: broken or forged messages
)

// Reasons returns the closed list, in a fixed order.
func Reasons() []Reason {
	return []Reason{
		OK, NoCertificate, Malformed, Untrusted, Expired, NotYetValid, Revoked, WrongUsage, WrongRole, WrongName,
		Incompatible, PeerRefused, TimedOut, Failed,
	}
}

// ErrUnreachable is in the chain of a Dial error when no answer came, or none
// that ended the handshake (exit code 3).
var ErrUnreachable = errors.New("server unreachable")

// ErrNothingListens is in the chain besides when the host said so: it is there, and nothing has the port.
var ErrNothingListens = errors.New("nothing listens")

// ErrClosed is returned by operations on what was closed on this side.
var ErrClosed = errors.New("closed")

// RefusedError tells that one side refused the other (exit code 4 on clients).
type RefusedError struct {
	Reason Reason
	// ByPeer is true when the other side refused us. Its word came as an alert,
	// which nobody signs: believe it for a hint, not for a decision.
	ByPeer bool
	// Holder is the name and role that the refused certificate claims, empty when there is none.
	Holder string
	Err    error // the detail
}

// Error returns one line that ends in what to do next.
func (e *RefusedError) Error() string {
	who, hint := "certificate refused", e.hint()
	if e.ByPeer {
		who = "refused by the other side"
	}
	if e.Holder != "" {
		who += ": " + e.Holder
	}
	s := fmt.Sprintf("%s: %s", who, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; " + hint
}

// Unwrap returns the detail.
func (e *RefusedError) Unwrap() error { return e.Err }

func (e *RefusedError) hint() string {
	switch e.Reason {
	case NoCertificate:
		return "start the client with its bundle"
	case Malformed:
		return "write a new bundle: wimcast bundle create"
	case Untrusted:
		return "the bundle belongs to another server; write one on this server: wimcast bundle create"
	case Expired:
		return "write a new bundle: wimcast bundle create (and check the server's clock)"
	case NotYetValid:
		return "set the server's clock, or write a new bundle: wimcast bundle create"
	case Revoked:
		return "write a new bundle if the holder may come back: wimcast bundle create"
	case WrongUsage, WrongRole:
		return "use a bundle of a role that this service admits: wimcast bundle create --role"
	case WrongName:
		return "the name must match: check server-name in the bundle"
	case Incompatible:
		return "use the same version of wimcast on both sides"
	case PeerRefused:
		return "the other side's log says why"
	}
	return "try again; if it persists, capture the UDP port of the control channel"
}

// DTLS alert descriptions (RFC 5246, section 7.2.2) that carry our reasons.
const (
	alertUnexpectedMessage    = 10
	alertHandshakeFailure     = 40
	alertNoCertificate        = 41
	alertBadCertificate       = 42
	alertUnsupportedCert      = 43
	alertCertificateRevoked   = 44
	alertCertificateExpired   = 45
	alertCertificateUnknown   = 46
	alertUnknownCA            = 48
	alertAccessDenied         = 49
	alertDecryptError         = 51 // a signature or Finished doesn't fit the messages before it
	alertProtocolVersion      = 70
	alertInsufficientSecurity = 71
)

// alert returns the description that tells the peer of a refusal.
func (r Reason) alert() byte {
	switch r {
	case NoCertificate:
		return alertNoCertificate
	case Untrusted:
		return alertUnknownCA
	case Expired, NotYetValid:
		return alertCertificateExpired
	case Revoked:
		return alertCertificateRevoked
	case WrongUsage:
		return alertUnsupportedCert
	case WrongRole:
		return alertAccessDenied
	case WrongName:
		return alertCertificateUnknown
	}
	return alertBadCertificate
}

// reasonOfAlert is the inverse, as far as an alert can tell.
func reasonOfAlert(description byte) Reason {
	switch description {
	case alertNoCertificate:
		return NoCertificate
	case alertUnknownCA:
		return Untrusted
	case alertCertificateExpired:
		return Expired
	case alertCertificateRevoked:
		return Revoked
	case alertUnsupportedCert:
		return WrongUsage
	case alertAccessDenied:
		return WrongRole
	case alertCertificateUnknown:
		return WrongName
	case alertBadCertificate:
		return Malformed
	case alertHandshakeFailure, alertProtocolVersion, alertInsufficientSecurity:
		return Incompatible
	}
	return PeerRefused
}
