//go:build !linux

package multicast

import "syscall"

// Only Linux sends runs whole; elsewhere every datagram is a system call, and DF is
// the system's choice.
const hasOffload = false

func senderOptions(_, _ string, _ syscall.RawConn) error { return nil }

type segmentControl struct{}

func (segmentControl) init()               {}
func (segmentControl) segments(int) []byte { return nil }

func offloadRefused(error) bool { return false }
func noBuffer(error) bool       { return false }
func tooLarge(error) bool       { return false }
func pendingError(error) bool   { return false }
