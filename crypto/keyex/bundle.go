package keyex

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Bundle is all that a client needs to join: who it is, whom it trusts, where
// that is. As text it is a header of "key: value" lines and PEM blocks:
//
//	# wimcast join bundle. Whoever holds this file can join: keep it secret.
//	format: wimcast-bundle-1
//	name: lab12
//	role: winpe
//	expires: 2027-11-23T15:00:00Z
//	server-name: wimcast.internal
//	server: 10.1.2.3:63000
//	point: 10.1.0.0/16 10.1.0.5:7600
//	refused-server: 5d1f…            a serial number
//	-----BEGIN CERTIFICATE-----    the holder's
//	-----BEGIN CERTIFICATE-----    intermediates, at most two
//	-----BEGIN CERTIFICATE-----    the CA to pin, always the last one
//	-----BEGIN PRIVATE KEY-----    PKCS #8, ECDSA
//
// "server" may repeat, the first is tried first. "point" may repeat up to 64 times: machines with an address in
// the prefix try that server before the others. "refused-server" may repeat: no server with that certificate is
// believed, whatever it says of itself. Lines that start with # and empty lines are allowed in the header. name, role and expires are for people;
// they must say what the certificate says.
type Bundle struct {
	Servers    []string            // host:port, 1 to 16
	Points     []PointAt           // which machines go elsewhere first; at most 64
	Refused    []string            // serials of servers that aren't believed, as Identity has them; at most 256
	ServerName string              // the DNS name that the server's certificate must bear
	CA         *x509.Certificate   // pinned
	Chain      []*x509.Certificate // the holder's certificate, then intermediates
	Key        *ecdsa.PrivateKey   // of Chain[0]

	// Exposed is true when the bundle was read from a file that its group or
	// others can read. Boot images make that unavoidable, elsewhere it is a
	// mistake; the caller says so.
	Exposed bool
}

const (
	bundleFormat   = "wimcast-bundle-1"
	bundleComment  = "# wimcast join bundle. Whoever holds this file can join: keep it secret.\n"
	maxServers     = 16
	maxServerName  = 253
	maxBundleChain = 3
)

// Identity returns whom the bundle is for.
func (b *Bundle) Identity() Identity {
	id, _ := identityOf(b.Chain[0]) // check held it
	return id
}

// check holds that the parts fit together, with no look at a clock.
func (b *Bundle) check() error {
	if err := CheckServers(b.Servers); err != nil {
		return err
	}
	if err := CheckServerName(b.ServerName); err != nil {
		return err
	}
	if b.CA == nil || !b.CA.IsCA {
		return errors.New("the last certificate must be the CA's")
	}
	if len(b.Chain) == 0 || len(b.Chain) > maxBundleChain || b.Key == nil {
		return errors.New("want the holder's certificate, at most two intermediates, and the key")
	}
	if public, ok := b.Chain[0].PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(b.Key.Public()) {
		return errors.New("key doesn't belong to the certificate")
	}
	if err := errors.Join(CheckPoints(b.Points), checkRefused(b.Refused)); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(b.CA)
	_, err := (&verifier{roots: roots, roles: ClientRoles()}).verifyParsed(b.Chain)
	return err
}

// CheckServers holds that a bundle may name these servers: 1 to 16 of host:port.
func CheckServers(servers []string) error {
	if len(servers) == 0 || len(servers) > maxServers {
		return fmt.Errorf("%d servers, want 1 to %d", len(servers), maxServers)
	}
	for _, s := range servers {
		if err := checkHostPort(s); err != nil {
			return err
		}
	}
	return nil
}

// CheckServerName holds that s can be AuthorityConfig.ServerName: a DNS name of
// letters, digits, hyphens, dots, and no IP address.
func CheckServerName(s string) error {
	bad := s == "" || len(s) > maxServerName || net.ParseIP(s) != nil
	for label := range strings.SplitSeq(s, ".") {
		bad = bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-'
		for _, r := range label {
			bad = bad || !(r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}
	}
	if bad {
		return fmt.Errorf("server name %.80q: not a DNS name", s)
	}
	return nil
}

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(port, 10, 16); err == nil && n == 0 {
			err = errors.New("port 0")
		}
	}
	if err != nil || host == "" || len(s) > 300 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("server %.80q: want host:port", s)
	}
	return nil
}

// Marshal returns the bundle as text.
func (b *Bundle) Marshal() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("marshal bundle: %w", err)
	}
	id := b.Identity()
	var out bytes.Buffer
	out.WriteString(bundleComment)
	fmt.Fprintf(&out, "format: %s\nname: %s\nrole: %s\nexpires: %s\nserver-name: %s\n", bundleFormat, id.Name, id.Role, expires(id.NotAfter), b.ServerName)
	for _, s := range b.Servers {
		fmt.Fprintf(&out, "server: %s\n", s)
	}
	for _, p := range b.Points {
		fmt.Fprintf(&out, "point: %s\n", p)
	}
	for _, s := range b.Refused {
		fmt.Fprintf(&out, "refused-server: %s\n", s)
	}
	chain := append(append([]*x509.Certificate{}, b.Chain...), b.CA)
	text, err := appendCredential(out.Bytes(), chain, b.Key)
	if err != nil {
		return nil, fmt.Errorf("marshal bundle: %w", err)
	}
	return text, nil
}

func expires(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ParseBundle reads what Marshal wrote. It accepts at most 64 KiB, no unknown or
// repeated keys, and nothing whose parts don't fit; it looks at no clock.
func ParseBundle(text []byte) (*Bundle, error) {
	b, err := parseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("parse bundle: %w", err)
	}
	return b, nil
}

func parseBundle(text []byte) (*Bundle, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("larger than %d bytes", maxPEM)
	}
	b := &Bundle{}
	header := map[string]string{}
	rest := text
	for n := 1; len(rest) > 0 && !bytes.HasPrefix(rest, []byte("-----BEGIN ")); n++ {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(string(line), ": ")
		if !ok {
			return nil, fmt.Errorf("line %d: want key: value", n)
		}
		switch key {
		case "server":
			if len(b.Servers) == maxServers {
				return nil, fmt.Errorf("line %d: more than %d servers", n, maxServers)
			}
			b.Servers = append(b.Servers, value)
			continue
		case "point":
			if len(b.Points) == maxPoints {
				return nil, fmt.Errorf("line %d: more than %d points", n, maxPoints)
			}
			p, err := ParsePointAt(value)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			b.Points = append(b.Points, p)
			continue
		case "refused-server":
			if len(b.Refused) == maxRefused {
				return nil, fmt.Errorf("line %d: more than %d refused servers", n, maxRefused)
			}
			b.Refused = append(b.Refused, value)
			continue
		case "format", "name", "role", "expires", "server-name":
		default:
			return nil, fmt.Errorf("line %d: unknown key %.40q", n, key)
		}
		if _, twice := header[key]; twice {
			return nil, fmt.Errorf("line %d: %s stands twice", n, key)
		}
		header[key] = value
	}
	if header["format"] != bundleFormat {
		return nil, fmt.Errorf("format is %.40q, this program reads %s", header["format"], bundleFormat)
	}
	chain, key, err := parseCredential(rest)
	if err != nil {
		return nil, err
	}
	b.ServerName, b.Key = header["server-name"], key
	b.Chain, b.CA = chain[:len(chain)-1], chain[len(chain)-1]
	if err := b.check(); err != nil {
		return nil, err
	}
	id := b.Identity()
	for k, want := range map[string]string{"name": id.Name, "role": string(id.Role), "expires": expires(id.NotAfter)} {
		if header[k] != want {
			return nil, fmt.Errorf("%s is %.80q, but the certificate says %q", k, header[k], want)
		}
	}
	return b, nil
}

// ReadBundle reads a bundle from a file; see Bundle.Exposed.
func ReadBundle(path string) (*Bundle, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	b, err := parseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %s: %w; write a new one: wimcast bundle create", path, err)
	}
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" {
		b.Exposed = info.Mode().Perm()&0o077 != 0
	}
	return b, nil
}

// WriteFile writes the bundle to a new file with mode 0600. It replaces nothing.
func (b *Bundle) WriteFile(path string) error {
	text, err := b.Marshal()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}
