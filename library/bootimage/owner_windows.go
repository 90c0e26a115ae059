package bootimage

import "os"

// keepOwner does nothing: a new file has the rights of its folder.
func keepOwner(string, os.FileInfo) error { return nil }
