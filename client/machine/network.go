package machine

import (
	"net/netip"
	"slices"
	"strings"

	"wimcast/multicast/fault"
)

// Adapter is a network adapter; loopback and tunnels are none.
type Adapter struct {
	Name  string // as people see it: eth0, Ethernet 2
	On    bool   // not turned off by a person
	Link  bool   // a cable, or an access point, with somebody at the other end
	Addrs []netip.Addr
}

// Network is what a machine has to reach others with, at one moment.
type Network struct {
	Adapters []Adapter
	// Driverless are PCI network controllers without a working driver, such as "VEN_8086&DEV_15F3".
	Driverless []string
}

// Fault says what keeps the machine from reaching servers by what it has itself. servers are their addresses, none where only names
// are known. false: nothing does, as far as can be told from here.
func (n *Network) Fault(servers []netip.Addr) (fault.Fault, bool) {
	if slices.ContainsFunc(servers, n.itself) || n.Address(servers).IsValid() {
		return fault.Fault{}, false
	}
	var off, unlinked, unaddressed []string
	var self netip.Addr
	for _, a := range n.Adapters {
		switch {
		case !a.On:
			off = append(off, a.Name)
		case !a.Link:
			unlinked = append(unlinked, a.Name)
		default:
			unaddressed = append(unaddressed, a.Name)
			for _, addr := range a.Addrs {
				if addr.Is4() && addr.IsLinkLocalUnicast() {
					self = addr
				}
			}
		}
	}
	// What is nearest to working is what a person can do most about.
	switch {
	case len(unaddressed) > 0:
		return fault.MissingAddress(unaddressed, self), true
	case len(unlinked) > 0:
		return fault.MissingLink(unlinked, n.Driverless), true
	case len(off) > 0:
		return fault.AdaptersOff(off), true
	case len(n.Driverless) > 0:
		return fault.MissingDriver(n.Driverless), true
	}
	return fault.MissingAdapter(), true
}

// itself reports whether an address is the machine's own.
func (n *Network) itself(addr netip.Addr) bool {
	return addr.IsLoopback() || slices.ContainsFunc(n.Adapters, func(a Adapter) bool { return slices.Contains(a.Addrs, addr) })
}

// Address is an address of the machine that may reach one of the servers, the zero Addr where it has none, or needs none as it is one of them.
func (n *Network) Address(servers []netip.Addr) netip.Addr {
	if slices.ContainsFunc(servers, n.itself) {
		return netip.Addr{}
	}
	for _, a := range n.Adapters {
		if !a.On || !a.Link {
			continue
		}
		for _, addr := range a.Addrs {
			family := len(servers) == 0 || slices.ContainsFunc(servers, func(s netip.Addr) bool { return s.Is4() == addr.Is4() })
			if family && addr.IsGlobalUnicast() {
				return addr
			}
		}
	}
	return netip.Addr{}
}

// hardware makes "VEN_8086&DEV_15F3" of a Windows hardware id, "PCI\VEN_8086&DEV_15F3&SUBSYS_00008086&REV_03"; "" of what
// isn't one of PCI.
func hardware(id string) string {
	rest, ok := strings.CutPrefix(strings.ToUpper(id), `PCI\VEN_`)
	vendor, rest, more := strings.Cut(rest, "&DEV_")
	if !ok || !more || len(vendor) != 4 || len(rest) < 4 {
		return ""
	}
	for _, r := range vendor + rest[:4] {
		if !strings.ContainsRune("0123456789ABCDEF", r) {
			return ""
		}
	}
	return "VEN_" + vendor + "&DEV_" + rest[:4]
}

// networkClass begins the hardware or compatible ids of PCI network controllers: class 02.
const networkClass = `CC_02`

// isNetwork reports whether ids of a device say that it is a network controller.
func isNetwork(ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		_, class, ok := strings.Cut(strings.ToUpper(id), "CC_")
		return ok && strings.HasPrefix("CC_"+class, networkClass)
	})
}
