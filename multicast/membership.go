package multicast

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
)

// membership is a socket's membership of one IPv4 group on one interface.
type membership struct {
	conn     *net.UDPConn
	packets  *ipv4.PacketConn
	ifc      *Interface
	group    netip.Addr
	source   netip.Addr // the only one wanted, or the zero Addr
	specific bool       // joined for source alone
	joined   bool
}

// join joins for the source alone where that works (IGMPv3), and for any source otherwise.
func (m *membership) join() error {
	if m.source.IsValid() {
		if err := m.joinSource(); err == nil {
			m.specific, m.joined = true, true
			return nil
		}
	}
	if err := m.packets.JoinGroup(m.ifc.system(), udpAddr(m.group)); err != nil {
		return fmt.Errorf("join group %v on %s: %w", m.group, m.ifc.Name, err)
	}
	m.specific, m.joined = false, true
	return nil
}

func (m *membership) leave() error {
	if !m.joined {
		return nil
	}
	m.joined = false
	var err error
	if m.specific {
		err = m.leaveSource()
	} else {
		err = m.packets.LeaveGroup(m.ifc.system(), udpAddr(m.group))
	}
	if err != nil {
		return fmt.Errorf("leave group %v on %s: %w", m.group, m.ifc.Name, err)
	}
	return nil
}

func udpAddr(a netip.Addr) *net.UDPAddr { return &net.UDPAddr{IP: a.AsSlice()} }

// checkGroup refuses what isn't a group that a socket can be made for.
func checkGroup(group netip.AddrPort, ifc *Interface) error {
	switch {
	case ifc == nil:
		return fmt.Errorf("group %v: no interface given: find one with FindInterface", group)
	case !group.Addr().IsMulticast():
		return fmt.Errorf("group %v is not a multicast address: take one of 239.0.0.0/8", group)
	case !group.Addr().Is4():
		return fmt.Errorf("group %v: only IPv4 groups are supported: take one of 239.0.0.0/8", group)
	case group.Port() == 0:
		return fmt.Errorf("group %v has no port", group)
	case !ifc.Addr(group.Addr()).IsValid():
		return fmt.Errorf("group %v: %s has no IPv4 address: give it one, or name another with interface = ...", group, ifc.Name)
	}
	return nil
}
