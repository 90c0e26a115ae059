//go:build unix

package bootimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives a file the owner and the group of another: a PXE server may read boot images by its group.
func keepOwner(name string, of os.FileInfo) error {
	was, ok := of.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	err := os.Chown(name, int(was.Uid), int(was.Gid))
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("it belongs to user %d and group %d, and its new version couldn't be given to them; next: run this as that user or as root (%w)", was.Uid, was.Gid, err)
	}
	return err
}
