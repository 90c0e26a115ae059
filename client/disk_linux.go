package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openPart opens or makes a FILE.part and locks it, so that no two processes
// write one target. created says that it is new. The error is ErrLocked where
// another process has it.
func openPart(path string) (part osPart, created bool, err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		created = errors.Is(err, fs.ErrNotExist)
		if created {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
			if errors.Is(err, fs.ErrExist) {
				continue // somebody was quicker
			}
		}
		if err != nil {
			return osPart{}, false, err
		}
		if err := lock(f); err != nil {
			_ = f.Close()
			return osPart{}, false, err
		}
		// Between open and lock the last holder may have renamed the file to its
		// final name: then this handle is of a finished image.
		named, err := os.Lstat(path)
		if err == nil {
			var held fs.FileInfo
			if held, err = f.Stat(); err == nil && os.SameFile(named, held) {
				return osPart{f}, created, nil
			}
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return osPart{}, false, err
		}
	}
}

// lock takes the file's advisory lock. File systems that know no locks (some
// network ones) are used without.
func lock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOLCK):
			return nil
		case err != nil:
			return fmt.Errorf("lock: %w", err)
		default:
			return nil
		}
	}
}

func (p osPart) Datasync() error {
	for {
		err := unix.Fdatasync(int(p.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (p osPart) Allocated() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(p.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Blocks * 512, nil
}

// sparse does nothing: files with holes are usual here.
func (p osPart) sparse() {}

func (d osDirectory) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osDirectory) renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, d.path(from), unix.AT_FDCWD, d.path(to), unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	// The file system can't; look first, then.
	if _, err := os.Lstat(d.path(to)); err == nil {
		return fs.ErrExist
	}
	return d.rename(from, to)
}

func (d osDirectory) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	// Some network file systems can't sync a directory, and needn't.
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// full reports whether an error means that the volume, or the caller's share of
// it, is used up.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
