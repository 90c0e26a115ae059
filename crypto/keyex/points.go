package keyex

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxPoints bounds a bundle's table of points.
const maxPoints = 64

// PointAt is a row of a bundle's table of points: machines with an address in Prefix go to Server first.
type PointAt struct {
	Prefix netip.Prefix // masked; IPv4 or IPv6, never IPv4 within IPv6
	Server string       // host:port of a control channel
}

// String returns the row as it stands in a bundle: "10.1.0.0/16 10.1.0.5:7600".
func (p PointAt) String() string { return p.Prefix.String() + " " + p.Server }

// ParsePointAt reads what String returns; an equals sign may stand for the space.
func ParsePointAt(s string) (PointAt, error) {
	prefix, server, ok := strings.Cut(s, " ")
	if !ok {
		prefix, server, ok = strings.Cut(s, "=")
	}
	if !ok {
		return PointAt{}, fmt.Errorf("point %.80q: want a prefix and a server, such as 10.1.0.0/16=10.1.0.5:7600", s)
	}
	parsed, err := netip.ParsePrefix(prefix)
	if err != nil {
		return PointAt{}, fmt.Errorf("point %.80q: %.80q isn't a prefix such as 10.1.0.0/16", s, prefix)
	}
	p := PointAt{Prefix: parsed, Server: server}
	return p, p.check()
}

func (p PointAt) check() error {
	switch {
	case !p.Prefix.IsValid():
		return fmt.Errorf("point %.80q: no prefix", p.Server)
	case p.Prefix.Addr().Is4In6():
		return fmt.Errorf("point %v: write the prefix as IPv4", p.Prefix)
	case p.Prefix != p.Prefix.Masked():
		return fmt.Errorf("point %v: it has bits beyond its length; want %v", p.Prefix, p.Prefix.Masked())
	}
	if err := checkHostPort(p.Server); err != nil {
		return fmt.Errorf("point %v: %w", p.Prefix, err)
	}
	return nil
}

// CheckPoints holds that a bundle may have this table: at most 64 rows, none twice.
func CheckPoints(points []PointAt) error {
	if len(points) > maxPoints {
		return fmt.Errorf("%d points, want at most %d", len(points), maxPoints)
	}
	for i, p := range points {
		if err := p.check(); err != nil {
			return err
		}
		if slices.Contains(points[:i], p) {
			return fmt.Errorf("point %v stands twice", p)
		}
	}
	return nil
}

// checkTable holds that a bundle of that role may have a table: it is for those who join.
func checkTable(points []PointAt, r Role) error {
	if len(points) > 0 && !slices.Contains([]Role{WinPE, Client, Operator}, r) {
		return fmt.Errorf("role %s: a table of points is for the roles winpe, client and operator only", r)
	}
	return CheckPoints(points)
}

// PointsFor returns the rows of a table that are meant for a machine with these addresses: the longest prefix first, rows of equal
// length in the table's order.
func PointsFor(points []PointAt, own []netip.Addr) []PointAt {
	var out []PointAt
	for _, p := range points {
		if slices.ContainsFunc(own, func(a netip.Addr) bool { return p.Prefix.Contains(a.Unmap().WithZone("")) }) {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b PointAt) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	return out
}

// maxRefused bounds the list of servers that a bundle refuses.
const maxRefused = 256

// checkRefused holds that a bundle may refuse servers with these serials.
func checkRefused(serials []string) error {
	if len(serials) > maxRefused {
		return fmt.Errorf("%d servers were revoked, and a bundle takes at most %d; next: set another name in the site's wimcastd.toml, so that none of them is good, and write new bundles", len(serials), maxRefused)
	}
	for i, s := range serials {
		if plain, ok := parseSerial(s); !ok || plain != s {
			return fmt.Errorf("refused server %.80q: not a serial number", s)
		}
		if slices.Contains(serials[:i], s) {
			return errors.New("refused server " + s + " stands twice")
		}
	}
	return nil
}
