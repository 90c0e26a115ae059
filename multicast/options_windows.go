package multicast

import (
	"errors"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// bindAddr is any address: Windows refuses to bind to a group, and gives a socket
// only the groups that it joined itself.
func bindAddr(group netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), group.Port())
}

func receiverOptions(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt SO_REUSEADDR", windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1))
	})
	return errors.Join(err, failed)
}

// passing reports an error that says nothing about the socket: a datagram longer
// than the buffer, or what somebody answered to a datagram.
func passing(err error) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && (errno == windows.WSAEMSGSIZE || errno == windows.WSAECONNRESET)
}
