//go:build !linux && !windows

package multicast

import (
	"net"
	"net/netip"
)

// joined reads datagrams, which nothing joins here.
type joined struct{}

func (joined) init(*net.UDPConn, int) {}

func (joined) read(conn *net.UDPConn, buffer []byte) (n, segment int, from netip.AddrPort, err error) {
	n, from, err = conn.ReadFromUDPAddrPort(buffer)
	return n, n, from, err
}
