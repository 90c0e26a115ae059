//go:build !linux

package multicast

import (
	"errors"
	"syscall"
)

// Drops counts what the kernel threw away at a socket; only Linux tells.
type Drops struct{}

// NewDrops fails with errors.ErrUnsupported.
func NewDrops(syscall.Conn) (*Drops, error) { return nil, errors.ErrUnsupported }

// Count returns 0.
func (*Drops) Count() uint64 { return 0 }
