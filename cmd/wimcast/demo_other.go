//go:build !linux

package main

import "errors"

// demoCommand runs on Linux only: it needs the daemon.
type demoCommand struct{}

// Run implements the command.
func (*demoCommand) Run() error { return errors.New("the demo runs on Linux only") }
