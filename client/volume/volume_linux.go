package volume

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// exfat is EXFAT_SUPER_MAGIC of linux/magic.h, which x/sys doesn't have.
const exfat = 0x2011bab0

// Of returns the volume that a folder lies on. Errors are those of the system, with the folder in them.
func Of(dir string) (Volume, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Volume{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	var at unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return Volume{}, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	v := Volume{ID: fmt.Sprintf("%x", at.Dev), Free: int64(st.Bavail) * st.Bsize}
	if st.Blocks == 0 {
		v.Free = -1
	}
	switch st.Type {
	case unix.MSDOS_SUPER_MAGIC:
		v.Kind = "FAT32"
	case exfat:
		v.Kind = "exFAT"
	}
	return v.known(), nil
}
