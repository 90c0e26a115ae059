package source

import "golang.org/x/sys/unix"

// freeBytes returns how many bytes can be written in a folder; false where the system doesn't say.
func freeBytes(dir string) (uint64, bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}
