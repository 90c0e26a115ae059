//go:build !windows

package screen

import "os"

// addressable reports whether text can be put anywhere on a terminal.
func addressable(_ *os.File, getenv func(string) string) bool {
	name := getenv("TERM")
	return name != "" && name != "dumb"
}

func hasBlocks(getenv func(string) string) bool { return utf8Locale(getenv) }

// prepareOutput has nothing to prepare: terminals take escape sequences.
func prepareOutput(*os.File) (restore func(), err error) { return func() {}, nil }
