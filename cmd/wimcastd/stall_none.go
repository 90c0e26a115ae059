//go:build !stall

package main

import "wimcast/session"

// stallable returns the content as it is. In a daemon that is built with the tag stall, which only the test of systemd's watchdog does,
// reading it can be made to hang (stall.go).
func stallable(c session.Content) session.Content { return c }
