//go:build !linux

package keyex

import "net"

// growReceiveBuffer asks for a receive buffer. Elsewhere than on Linux what was
// granted isn't read back; 0 says so.
func growReceiveBuffer(conn *net.UDPConn, want int) int {
	_ = conn.SetReadBuffer(want)
	return 0
}
