// Package statefile replaces small files of state so that a crash, a kill or a power loss leaves each one whole: as it was, or as it is
// now. It is the one place that knows the order of writing, syncing and renaming which that takes.
//
// A name is relative to its root, which also keeps it from leading out by a symbolic link. Functions are safe for concurrent use on
// different files; two writers of one file are the caller's to keep apart.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
)

// unborn ends the name of what isn't whole yet. The name is always the same one, so that kills leave one such file at most.
const unborn = ".new"

// Replace makes b the content of a file, and has that last: when it returns nil, the content is on the disk under this name. After an
// error the file is as it was, unless syncing its directory failed: then it is replaced, and may be the old one again after a power loss.
func Replace(root *os.Root, name string, mode fs.FileMode, b []byte) error {
	if err := Write(root, name+unborn, name, mode, b, nil); err != nil {
		return err
	}
	return SyncDir(root, path.Dir(name))
}

// ReplacePath is Replace for the file at a path.
func ReplacePath(name string, mode fs.FileMode, b []byte) error {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(Replace(root, filepath.Base(name), mode, b), root.Close())
}

// Write is the first half of Replace: b is written to temporary, synced, and renamed to name. Both are of one file system. The rename
// lasts once the caller has called SyncDir; several can share one. Before it renames it calls renames, unless that is nil: a test stops
// there. After an error the file is as it was, and temporary is gone.
func Write(root *os.Root, temporary, name string, mode fs.FileMode, b []byte, renames func()) error {
	err := writeNew(root, temporary, mode, b)
	if err == nil {
		if renames != nil {
			renames()
		}
		err = root.Rename(temporary, name)
	}
	if err != nil {
		_ = root.Remove(temporary)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeNew writes a file of its own and syncs it. What a killed writer left under the name goes.
func writeNew(root *os.Root, name string, mode fs.FileMode, b []byte) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncDir makes renames in a directory last, "." being the root itself. Windows can't open directories for that: there it does nothing.
func SyncDir(root *os.Root, name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Read reads a regular file of at most limit bytes. The error wraps fs.ErrNotExist where there is none.
func Read(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return b, nil
}

// ReadPath is Read for the file at a path.
func ReadPath(name string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	return Read(root, filepath.Base(name), limit)
}
