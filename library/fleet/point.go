package fleet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"wimcast/library/release"
)

// Bounds of what a site keeps.
const (
	maxPoints    = 1000
	maxGroups    = 32 // of a point
	maxSubnets   = 64 // of a point
	maxAddresses = 16 // of a point
	maxHost      = 253
)

// All is the name that stands for every point.
const All = "all"

// Point is another distribution point, as the site knows it.
type Point struct {
	Name      string         `json:"name"`
	Groups    []string       `json:"groups,omitempty"`
	Multicast bool           `json:"multicast"`           // whether it casts
	Subnets   []netip.Prefix `json:"subnets,omitempty"`   // whose clients go to it
	Addresses []string       `json:"addresses,omitempty"` // where they reach it, host:port
	Recipient string         `json:"recipient"`           // of age: whom content keys are wrapped to
	Added     time.Time      `json:"added"`               // UTC
}

// clone returns a copy that shares nothing that changes.
func (p *Point) clone() Point {
	out := *p
	out.Groups, out.Subnets, out.Addresses = slices.Clone(p.Groups), slices.Clone(p.Subnets), slices.Clone(p.Addresses)
	return out
}

// check refuses what can't be, whatever else there is, and brings lists into order.
func (p *Point) check() error {
	if err := release.CheckPointName(p.Name); err != nil {
		return err
	}
	if p.Name == All {
		return fmt.Errorf("point name %q: it stands for all points; choose another", p.Name)
	}
	if len(p.Groups) > maxGroups || len(p.Subnets) > maxSubnets || len(p.Addresses) > maxAddresses {
		return fmt.Errorf("at most %d groups, %d subnets and %d addresses", maxGroups, maxSubnets, maxAddresses)
	}
	slices.Sort(p.Groups)
	p.Groups = slices.Compact(p.Groups)
	for _, g := range p.Groups {
		if err := release.CheckPointName(g); err != nil {
			return fmt.Errorf("group: %w", err)
		}
		if g == All || g == p.Name {
			return fmt.Errorf("group %q: it names all points, or this one; choose another", g)
		}
	}
	for i, prefix := range p.Subnets {
		if !prefix.IsValid() {
			return fmt.Errorf("subnet %d isn't a network such as 10.1.0.0/16", i+1)
		}
		p.Subnets[i] = prefix.Masked()
	}
	slices.SortFunc(p.Subnets, comparePrefixes)
	p.Subnets = slices.Compact(p.Subnets)
	for _, a := range p.Addresses {
		if err := checkAddress(a); err != nil {
			return err
		}
	}
	if len(p.Subnets) > 0 && len(p.Addresses) == 0 {
		return fmt.Errorf("subnets without an address: clients there couldn't reach it; name one: --address HOST:PORT")
	}
	return nil
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

func checkAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || len(host) > maxHost || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("address %.80q: want host:port, such as 10.1.0.5:7600", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %.80q: its port isn't a number from 1 to 65535", s)
	}
	return nil
}

// in reports whether a distribution to a target is to this point.
func (p *Point) in(t Target) bool {
	switch t.Kind {
	case ToPoint:
		return t.Name == p.Name
	case ToGroup:
		return slices.Contains(p.Groups, t.Name)
	default:
		return t.Kind == ToAll
	}
}
