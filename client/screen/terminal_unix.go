//go:build !windows

package screen

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// addressable reports whether text can be put anywhere on a terminal, and that is ours: a job in the background is stopped by the
// system when it takes the terminal.
func addressable(out *os.File, getenv func(string) string) bool {
	name := getenv("TERM")
	if name == "" || name == "dumb" {
		return false
	}
	group, err := unix.IoctlGetInt(int(out.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp() // an error: it isn't the terminal that stops us
}

// hasBlocks reports whether the locale writes UTF-8.
func hasBlocks(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// prepareOutput has nothing to prepare: terminals take escape sequences.
func prepareOutput(*os.File) (restore func(), err error) { return func() {}, nil }
