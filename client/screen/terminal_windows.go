package screen

import (
	"os"
	"slices"

	"golang.org/x/sys/windows"
)

// addressable reports whether text can be put anywhere on a console: whether it takes escape sequences. Consoles before Windows 10
// don't, and one in legacy mode doesn't either.
func addressable(out *os.File, getenv func(string) string) bool {
	if getenv("TERM") == "dumb" {
		return false
	}
	console := windows.Handle(out.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return false
	}
	if mode&windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING != 0 {
		return true
	}
	if err := windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING); err != nil {
		return false
	}
	_ = windows.SetConsoleMode(console, mode) // the screen sets it, and puts it back
	return true
}

// blockPages are the code pages whose raster fonts have the glyphs that are used: lines, full block, light shade.
var blockPages = []uint32{437, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 865, 866, 869, 65001}

func hasBlocks(func(string) string) bool {
	page, err := windows.GetConsoleOutputCP()
	return err == nil && slices.Contains(blockPages, page)
}

// prepareOutput has the console take escape sequences, until restore.
func prepareOutput(out *os.File) (restore func(), err error) {
	console := windows.Handle(out.Fd())
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return nil, err
	}
	if err := windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING); err != nil {
		return nil, err
	}
	return func() { _ = windows.SetConsoleMode(console, mode) }, nil
}
