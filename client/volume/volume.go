// Package volume says what the volume that a folder lies on can take: how much room there is, how large a file may be, and whether it keeps
// what Windows wants of its files. It only looks, and knows nothing of images.
package volume

import (
	"fmt"
	"strings"
)

// Volume is a volume at one moment.
type Volume struct {
	ID      string // the same for all folders of one volume, and for no other volume
	Kind    string // of file system, as people call it; "" where the system doesn't tell
	Free    int64  // bytes that the caller may still use; -1 where the volume doesn't tell
	Largest int64  // file, in bytes; 0 where it doesn't matter
	Plain   bool   // it keeps neither permissions nor hard links

	Label    string // on Windows; "" for none, and elsewhere
	ReadOnly bool
}

// Largest file of FAT32 and its like, in bytes.
const fat32 = 1<<32 - 1

// known fills in what follows from the kind of file system.
func (v Volume) known() Volume {
	switch strings.ToUpper(v.Kind) {
	case "FAT", "FAT32":
		v.Largest, v.Plain = fat32, true
	case "EXFAT":
		v.Plain = true
	}
	return v
}

// Figure writes an amount of bytes for people, exact enough to act on.
func Figure(n int64) string {
	switch {
	case n >= 10_000_000_000:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 10_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d bytes", n)
}
