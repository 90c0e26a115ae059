package doctor

import (
	"errors"

	"golang.org/x/sys/windows"
)

// unreachable reports whether the system has no way to the address.
func unreachable(err error) bool {
	return errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, windows.WSAENETDOWN)
}

// connectionRefused reports whether the host is there and nothing has the port.
func connectionRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }
