package machine

import (
	"errors"

	"golang.org/x/sys/windows"
)

// NoRoute reports whether an error of the network says that there is no way to an address.
func NoRoute(err error) bool {
	return errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, windows.WSAEHOSTUNREACH)
}
