package keyex

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// socket is a UDP socket that answers from the address it was asked at, also
// when it is bound to every address: a client's connected socket hears no other.
type socket struct {
	*net.UDPConn
	bound netip.AddrPort
	any   bool // bound to the unspecified address, and the system tells destinations
}

func listenSocket(addr netip.AddrPort) (*socket, error) {
	network := "udp4"
	if addr.Addr().Is6() && !addr.Addr().Is4In6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	s := &socket{UDPConn: conn, bound: plainAddr(conn.LocalAddr().(*net.UDPAddr).AddrPort())}
	if s.bound.Addr().IsUnspecified() {
		// Systems without it (Windows) answer from the address of the route.
		if network == "udp4" {
			s.any = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true) == nil
		} else {
			s.any = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true) == nil
		}
	}
	return s, nil
}

// plainAddr takes IPv4 out of its IPv6 clothes, so that addresses compare.
func plainAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// read returns a datagram's length, sender, and the local address it went to.
func (s *socket) read(b, oob []byte) (n int, from netip.AddrPort, to netip.Addr, err error) {
	n, oobn, _, from, err := s.ReadMsgUDPAddrPort(b, oob)
	if err != nil {
		return 0, from, to, err
	}
	from, to = plainAddr(from), s.bound.Addr()
	if !s.any || oobn == 0 {
		return n, from, to, nil
	}
	var dst net.IP
	if to.Is4() {
		var cm ipv4.ControlMessage
		if cm.Parse(oob[:oobn]) == nil {
			dst = cm.Dst
		}
	} else {
		var cm ipv6.ControlMessage
		if cm.Parse(oob[:oobn]) == nil {
			dst = cm.Dst
		}
	}
	if a, ok := netip.AddrFromSlice(dst); ok {
		to = a.Unmap()
	}
	return n, from, to, nil
}

// source returns the control data that makes a write leave from that address.
func (s *socket) source(from netip.Addr) []byte {
	switch {
	case !s.any || from.IsUnspecified() || from.IsMulticast():
		return nil
	case from.Is4():
		return (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: from.AsSlice()}).Marshal()
}

func (s *socket) write(b, source []byte, to netip.AddrPort) error {
	_, _, err := s.WriteMsgUDPAddrPort(b, source, to)
	return err
}
