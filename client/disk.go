package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"wimcast/client/volume"
)

// partFile is the open FILE.part. The real one is an osPart; tests put one in
// its place that loses what wasn't synced.
type partFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Size returns the file's length, Allocated how much of it takes space on the volume.
	Size() (int64, error)
	Allocated() (int64, error)
	// Datasync makes the data durable, and the metadata that reading it needs.
	Datasync() error
}

// directory is where FILE, FILE.part and FILE.part.have live. Names are base names.
type directory interface {
	// create writes a new file in place of an old one of that name; the handle's
	// Close doesn't sync.
	create(name string) (syncWriter, error)
	// read returns a file of at most limit bytes.
	read(name string, limit int64) ([]byte, error)
	// rename replaces what bears the new name, in one step.
	rename(from, to string) error
	// renameNew does too, but fails with fs.ErrExist where the new name is taken.
	renameNew(from, to string) error
	// remove is silent when there is nothing to remove.
	remove(name string) error
	// sync makes creations, renames and removals durable.
	sync() error
	volume() (volume.Volume, error)
}

type syncWriter interface {
	io.WriteCloser
	Sync() error
}

// osPart is a real FILE.part. Datasync and Allocated stand in the per-OS files.
type osPart struct{ *os.File }

var _ partFile = osPart{}

func (p osPart) Size() (int64, error) {
	info, err := p.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// osDirectory is a real directory, by its path. rename, renameNew and sync stand in the per-OS files.
type osDirectory string

var _ directory = osDirectory("")

func (d osDirectory) volume() (volume.Volume, error) { return volume.Of(string(d)) }

func (d osDirectory) path(name string) string { return filepath.Join(string(d), name) }

func (d osDirectory) create(name string) (syncWriter, error) {
	return os.OpenFile(d.path(name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
}

func (d osDirectory) read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%d bytes, at most %d expected", info.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

func (d osDirectory) remove(name string) error {
	if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SpaceError says that an image doesn't fit on the volume. It matches
// syscall.ENOSPC.
type SpaceError struct {
	Path string // of the target
	Need int64  // bytes still to be stored
	Free int64  // bytes that the volume has left
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("receive %s: not enough space: %s are needed and %s are free; free some or choose another volume",
		e.Path, volume.Figure(e.Need), volume.Figure(e.Free))
}

// Unwrap makes errors.Is(err, syscall.ENOSPC) true.
func (e *SpaceError) Unwrap() error { return syscall.ENOSPC }
