package keyex

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"
)

// Role says what the holder of a certificate may be. The list is closed.
type Role string

// The roles. Server is the daemon's own; the others are clients'.
const (
	Server   Role = "server"   // wimcastd itself
	WinPE    Role = "winpe"    // machines booted from an image that holds the bundle
	Client   Role = "client"   // installed machines and people who fetch by hand
	Operator Role = "operator" // may change things
	Viewer   Role = "viewer"   // may look
	Worker   Role = "worker"   // services images for the point
	Point    Role = "point"    // another distribution point
)

// ClientRoles returns every role but Server, in a fixed order.
func ClientRoles() []Role { return []Role{WinPE, Client, Operator, Viewer, Worker, Point} }

// ParseRole returns the role of that name.
func ParseRole(s string) (Role, error) {
	for _, r := range append(ClientRoles(), Server) {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("parse role %q: not one of winpe, client, operator, viewer, worker, point, server", s)
}

// rolePrefix starts the URI name that says a certificate's role.
const rolePrefix = "wimcast:role:"

func (r Role) uri() *url.URL { return &url.URL{Scheme: "wimcast", Opaque: "role:" + string(r)} }

// usage returns the one extended key usage that fits the role.
func (r Role) usage() x509.ExtKeyUsage {
	if r == Server {
		return x509.ExtKeyUsageServerAuth
	}
	return x509.ExtKeyUsageClientAuth
}

// roleOf reads the role out of a certificate: exactly one URI name of ours, and
// a role that we know.
func roleOf(cert *x509.Certificate) (Role, error) {
	var found []string
	for _, u := range cert.URIs {
		if s, ok := strings.CutPrefix(u.String(), rolePrefix); ok {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("certificate carries %d %s names, want one", len(found), rolePrefix)
	}
	return ParseRole(found[0])
}

// Identity is what a verified certificate says about its holder.
type Identity struct {
	Name     string    // subject's common name, 1 to 64 characters
	Role     Role      // what the holder may be
	Serial   string    // lower-case hexadecimal
	NotAfter time.Time // end of validity
	Marks    Marks     // what else the CA has signed
}

// identityOf reads who a certificate is for.
func identityOf(leaf *x509.Certificate) (Identity, error) {
	role, err := roleOf(leaf)
	if err != nil {
		return Identity{}, err
	}
	marks, err := marksOf(leaf)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Name: leaf.Subject.CommonName, Role: role, Serial: formatSerial(leaf.SerialNumber), NotAfter: leaf.NotAfter, Marks: marks}, nil
}

// maxName bounds a holder's name (RFC 5280 gives common names 64 characters).
const maxName = 64

// checkName says whether s can be a holder's name: printable, no line breaks, no
// white space at its ends. Names go into logs, the bundle's header and tables.
func checkName(s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("name %.80q: want 1 to %d bytes", s, maxName)
	}
	if strings.TrimSpace(s) != s {
		return fmt.Errorf("name %q: white space at an end", s)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd || (r >= 0x80 && r < 0xa0) || r == 0x2028 || r == 0x2029 {
			return fmt.Errorf("name %q: control character", s)
		}
	}
	return nil
}

// formatSerial returns a serial number as Identity and the lists print it.
func formatSerial(n *big.Int) string { return fmt.Sprintf("%032x", n) }

// parseSerial reads a serial number as people type it: hexadecimal, colons and
// upper case allowed.
func parseSerial(s string) (string, bool) {
	n, ok := new(big.Int).SetString(strings.ReplaceAll(strings.ToLower(s), ":", ""), 16)
	if !ok || n.Sign() <= 0 || n.BitLen() > 160 {
		return "", false
	}
	return formatSerial(n), true
}
