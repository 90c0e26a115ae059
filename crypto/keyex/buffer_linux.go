package keyex

import (
	"net"

	"golang.org/x/sys/unix"
)

// growReceiveBuffer asks for a receive buffer and returns what the kernel
// granted, in bytes of its own accounting halved, as setsockopt takes them. It
// goes past net.core.rmem_max where the process may.
func growReceiveBuffer(conn *net.UDPConn, want int) int {
	_ = conn.SetReadBuffer(want) // clamped silently
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	got := 0
	_ = raw.Control(func(fd uintptr) {
		read := func() { got, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) }
		if read(); got/2 < want {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) == nil {
				read()
			}
		}
	})
	return got / 2
}
