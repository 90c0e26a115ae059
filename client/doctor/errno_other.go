//go:build !windows

package doctor

import (
	"errors"
	"syscall"
)

// unreachable reports whether the system has no way to the address.
func unreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.ENETDOWN)
}

// connectionRefused reports whether the host is there and nothing has the port.
func connectionRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
