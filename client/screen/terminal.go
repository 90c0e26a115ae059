package screen

import (
	"os"

	"golang.org/x/term"
)

// Terminal tells whether a file is a terminal that can show a full screen, and what that can look like. getenv is os.Getenv.
func Terminal(out *os.File, getenv func(string) string) (Look, bool) {
	if out == nil || !term.IsTerminal(int(out.Fd())) || !addressable(out, getenv) {
		return Look{}, false
	}
	return Look{Blocks: hasBlocks(getenv), Colour: getenv("NO_COLOR") == ""}, true
}

// Sizes of a terminal that doesn't say its size, as those on serial lines don't.
const (
	usualWidth  = 80
	usualHeight = 24
)

// Size returns the size of a terminal, in columns and lines.
func Size(out *os.File) (width, height int) {
	width, height, err := term.GetSize(int(out.Fd()))
	if err != nil || width == 0 || height == 0 {
		return usualWidth, usualHeight
	}
	return width, height
}
