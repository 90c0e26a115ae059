package keyex

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Marks are what a certificate says beside its role, as URI names that the CA has signed: whoever edits a bundle can't take
// them off.
type Marks struct {
	// PIN: the holder gets nothing before somebody has shown a PIN ("wimcast:pin").
	PIN bool
	// Alone: the certificate is one machine's, not a room's ("wimcast:machine:any", or with the UUID).
	Alone bool
	// Point: a server's certificate is a point's, not the site's ("wimcast:point").
	Point bool
	// Machine is the SMBIOS UUID that the machine must claim, as it stands in RFC 9562 order; zero: any. Alone is set then.
	Machine [16]byte
}

const (
	pinMark       = "wimcast:pin"
	pointMark     = "wimcast:point"
	machinePrefix = "wimcast:machine:"
	anyMachine    = "any"
)

// uris are the names that carry the marks.
func (m Marks) uris() []*url.URL {
	var out []*url.URL
	if m.PIN {
		out = append(out, &url.URL{Scheme: "wimcast", Opaque: "pin"})
	}
	if m.Point {
		out = append(out, &url.URL{Scheme: "wimcast", Opaque: "point"})
	}
	if m.Alone {
		which := anyMachine
		if m.Machine != [16]byte{} {
			which = FormatUUID(m.Machine)
		}
		out = append(out, &url.URL{Scheme: "wimcast", Opaque: "machine:" + which})
	}
	return out
}

// marksOf reads the marks out of a certificate. One that can't be read is refused: it meant to bind.
func marksOf(cert *x509.Certificate) (m Marks, err error) {
	for _, u := range cert.URIs {
		switch s := u.String(); {
		case s == pinMark:
			m.PIN = true
		case s == pointMark:
			m.Point = true
		case strings.HasPrefix(s, machinePrefix):
			if m.Alone {
				return Marks{}, fmt.Errorf("certificate carries two %s names", machinePrefix)
			}
			m.Alone = true
			if which := strings.TrimPrefix(s, machinePrefix); which != anyMachine {
				if m.Machine, err = ParseUUID(which); err != nil {
					return Marks{}, fmt.Errorf("certificate carries %.80q: %w", s, err)
				}
			}
		}
	}
	return m, nil
}

// checkMarks holds that a certificate of that role may have the marks: they are for those who join.
func checkMarks(m Marks, r Role) error {
	if m.Point {
		return errors.New("only a point's own certificate says that it is a point")
	}
	if m != (Marks{}) && !slices.Contains([]Role{WinPE, Client}, r) {
		return fmt.Errorf("role %s: a PIN, or a machine of its own, is for the roles winpe and client only", r)
	}
	return nil
}

// FormatUUID writes a UUID as RFC 9562, section 4, has it.
func FormatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// ParseUUID reads what FormatUUID writes, in any case, and no UUID that says nothing (all zeros, all ones).
func ParseUUID(s string) (u [16]byte, err error) {
	plain := strings.ReplaceAll(s, "-", "")
	b, err := hex.DecodeString(plain)
	if err != nil || len(b) != len(u) || len(s) != 36 || FormatUUID([16]byte(b)) != strings.ToLower(s) {
		return u, fmt.Errorf("%.80q isn't a UUID such as 4c4c4544-0044-4a10-8054-b3c04f4e4d31", s)
	}
	copy(u[:], b)
	if u == [16]byte{} || u == [16]byte(slices.Repeat([]byte{0xff}, 16)) {
		return [16]byte{}, fmt.Errorf("%s is what machines have that have none", s)
	}
	return u, nil
}
