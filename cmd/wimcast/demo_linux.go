package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"wimcast/test/demo"
	"wimcast/test/rig"
)

// demoCommand runs the demo.
type demoCommand struct {
	Daemon string `help:"wimcastd to run (default: beside this program)." placeholder:"FILE"`
	Cache  string `help:"Directory where the captured image is kept." placeholder:"DIR"`
}

// Run implements the command.
func (d *demoCommand) Run(ctx context.Context, c *console) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server := d.Daemon
	if server == "" {
		server = filepath.Join(filepath.Dir(self), "wimcastd")
	}
	if _, err := os.Stat(server); err != nil {
		return fmt.Errorf("demo: %w; build it first: make build", err)
	}
	cache := d.Cache
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("demo: %w; name a directory with --cache", err)
		}
		cache = filepath.Join(base, "wimcast")
	}
	f, isFile := c.out.(*os.File)
	return demo.Run(ctx, demo.Options{
		Programs: rig.Programs{Daemon: server, Client: self}, Cache: cache, Out: c.out, Terminal: isFile && term.IsTerminal(int(f.Fd())),
	})
}
