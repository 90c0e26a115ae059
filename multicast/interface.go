package multicast

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Interface is a network interface that can carry a group. It is a picture of the
// time when it was asked for, and immutable.
type Interface struct {
	Name     string
	Index    int
	MTU      int            // bytes
	Prefixes []netip.Prefix // its addresses, with their networks
	Loopback bool
	up       bool
	running  bool // has a carrier
	capable  bool // of multicast
}

// Interfaces lists the machine's interfaces in the system's order.
func Interfaces() ([]*Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	out := make([]*Interface, 0, len(all))
	for i := range all {
		addrs, err := all[i].Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		out = append(out, newInterface(&all[i], addrs))
	}
	return out, nil
}

func newInterface(i *net.Interface, addrs []net.Addr) *Interface {
	ifc := &Interface{
		Name: i.Name, Index: i.Index, MTU: i.MTU, Loopback: i.Flags&net.FlagLoopback != 0,
		up: i.Flags&net.FlagUp != 0, running: i.Flags&net.FlagRunning != 0, capable: i.Flags&net.FlagMulticast != 0,
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		ones, _ := n.Mask.Size()
		if p := netip.PrefixFrom(addr.Unmap(), ones); ok && p.IsValid() {
			ifc.Prefixes = append(ifc.Prefixes, p)
		}
	}
	return ifc
}

// FindInterface picks the interface for a group. which is an interface's name, one
// of its addresses, or "" for the first one that is up, can do multicast, isn't
// loopback and has an address of the group's family; one with a carrier goes
// before one without. A loopback interface works too, when asked for.
func FindInterface(which string, group netip.Addr) (*Interface, error) {
	all, err := Interfaces()
	if err != nil {
		return nil, err
	}
	return choose(all, which, group)
}

func choose(all []*Interface, which string, group netip.Addr) (*Interface, error) {
	if !group.IsMulticast() {
		return nil, fmt.Errorf("find interface: %v is not a multicast group: take one of 239.0.0.0/8", group)
	}
	addr, err := netip.ParseAddr(which)
	byAddr := err == nil
	var found *Interface
	for _, ifc := range all {
		switch {
		case which == "":
			if ifc.automatic(group) && (found == nil || ifc.running && !found.running) {
				found = ifc
			}
		case ifc.Name == which, byAddr && ifc.has(addr):
			if found == nil {
				found = ifc
			}
		}
	}
	switch {
	case found == nil && which == "":
		return nil, fmt.Errorf("find interface: no interface can reach group %v: name one with interface = ...: %s", group, names(all))
	case found == nil:
		return nil, fmt.Errorf("find interface: there is no interface %q: name one of this machine: %s", which, names(all))
	case !found.up:
		return nil, fmt.Errorf("find interface: %s is down: bring it up, or name another with interface = ...: %s", found.Name, names(all))
	case !found.capable && !found.Loopback:
		return nil, fmt.Errorf("find interface: %s can't do multicast: name another with interface = ...: %s", found.Name, names(all))
	case !found.Addr(group).IsValid():
		return nil, fmt.Errorf("find interface: %s has no address of the family of group %v: give it one, or name another with interface = ...: %s", found.Name, group, names(all))
	}
	return found, nil
}

// Running reports whether the interface had a carrier.
func (i *Interface) Running() bool { return i.running }

func (i *Interface) automatic(group netip.Addr) bool {
	return i.up && i.capable && !i.Loopback && i.Addr(group).IsValid()
}

func (i *Interface) has(addr netip.Addr) bool {
	for _, p := range i.Prefixes {
		if p.Addr().WithZone("") == addr.Unmap().WithZone("") {
			return true
		}
	}
	return false
}

func names(all []*Interface) string {
	if len(all) == 0 {
		return "it has none"
	}
	var b strings.Builder
	b.WriteString("it has ")
	for i, ifc := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(ifc.Name)
		if !ifc.up {
			b.WriteString(" (down)")
		} else if len(ifc.Prefixes) == 0 {
			b.WriteString(" (no address)")
		}
	}
	return b.String()
}

// Addr returns the interface's first address of group's family, the source of what
// is sent to the group, or the zero Addr if it has none. In IPv6 that is its link-local
// address.
func (i *Interface) Addr(group netip.Addr) netip.Addr {
	for _, p := range i.Prefixes {
		if a := p.Addr(); a.Is4() == group.Unmap().Is4() && (a.Is4() || a.IsLinkLocalUnicast() || i.Loopback) {
			return a
		}
	}
	return netip.Addr{}
}

// Reaches reports whether a client at addr is on one of the interface's own
// networks, so that packets with TTL 1 get there.
func (i *Interface) Reaches(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range i.Prefixes {
		if p.Masked().Contains(addr) {
			return true
		}
	}
	return false
}

// Speed returns the link's speed in bit/s, 0 where the system doesn't tell (virtual
// interfaces, wireless, no carrier). It is read anew each time.
func (i *Interface) Speed() uint64 { return linkSpeed(i.Name) }

// system returns what the standard library calls the interface.
func (i *Interface) system() *net.Interface {
	return &net.Interface{Index: i.Index, Name: i.Name, MTU: i.MTU}
}
