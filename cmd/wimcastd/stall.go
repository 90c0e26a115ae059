//go:build stall

// This file is in no released program: test/operations_booted_linux_test.go builds a daemon with it, to have one that hangs.

package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"wimcast/session"
)

// stallable returns content whose disk stops answering at SIGUSR1: the session that reads it hangs in its next read, and with it whoever asks
// that session.
func stallable(c session.Content) session.Content {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	return &stalling{c, told}
}

type stalling struct {
	session.Content
	told chan os.Signal
}

// ReadBlock implements session.Content.
func (s *stalling) ReadBlock(i int, dst []byte) (int, error) {
	select {
	case <-s.told:
		fmt.Fprintf(os.Stderr, "reading block %d hangs from now on\n", i)
		select {}
	default:
		return s.Content.ReadBlock(i, dst)
	}
}
