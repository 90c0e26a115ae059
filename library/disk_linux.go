package library

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile takes the lock that says that the library is open. It goes with the process.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// FreeBytes returns how many bytes can still be written where the library lies.
func (l *Library) FreeBytes() (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(l.lock.Fd()), &s); err != nil {
		return 0, fmt.Errorf("library %s: ask for free space: %w", l.path, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// syncAll makes everything last that was written where the library lies.
func (l *Library) syncAll() error {
	l.step("sync all")
	if err := unix.Syncfs(int(l.lock.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// full says what to do where the disk is full.
func (l *Library) full(err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	return fmt.Errorf("%w at %s (%w); next: remove packages (wimcast image remove), or give it more space", ErrDiskFull, l.path, err)
}

// passing reports whether an error of reading says nothing about what lies on the disk.
func passing(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EACCES) ||
		errors.Is(err, os.ErrClosed)
}
