package route

import (
	"fmt"
	"net/netip"
	"slices"

	"wimcast/crypto/keyex"
)

// Way is a server that a client may go to.
type Way struct {
	Server string // host:port of the control channel
	Why    string // why it stands where it stands, in words
}

// Order is the way of a machine to its servers: the points that the table has for its subnets, the longest prefix first; then the servers
// on its own networks; then the others; each as the bundle lists them, and once. own are the machine's addresses with their networks. A
// server with a name in place of an address is on no network: names aren't looked up.
func Order(points []keyex.PointAt, servers []string, own []netip.Prefix) []Way {
	var out []Way
	add := func(server, why string) {
		if !slices.ContainsFunc(out, func(w Way) bool { return w.Server == server }) {
			out = append(out, Way{Server: server, Why: why})
		}
	}
	addrs := make([]netip.Addr, 0, len(own))
	for _, p := range own {
		if a := p.Addr(); !a.IsLoopback() && !a.IsLinkLocalUnicast() { // every machine has these, or gives them to itself
			addrs = append(addrs, a)
		}
	}
	for _, p := range keyex.PointsFor(points, addrs) {
		add(p.Server, fmt.Sprintf("the bundle's point for %v, where this machine is", p.Prefix))
	}
	for _, server := range servers {
		if near(server, own) {
			add(server, "on this machine's own network")
		}
	}
	for _, server := range servers {
		add(server, "in the bundle's list")
	}
	return out
}

// near reports whether a server is on one of the machine's networks.
func near(server string, own []netip.Prefix) bool {
	addr, err := netip.ParseAddrPort(server)
	return err == nil && slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Masked().Contains(addr.Addr().Unmap().WithZone("")) })
}
