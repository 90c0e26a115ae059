package client

import (
	"errors"
	"fmt"
	"syscall"

	"wimcast/crypto"
)

// WriteBlock stores block i of the image; data is the whole block. It is durable
// after the next Checkpoint.
func (f *File) WriteBlock(i int, data []byte) error {
	f.shape.RLock()
	defer f.shape.RUnlock()
	n, err := f.blockLen(i)
	if err == nil && len(data) != n {
		err = fmt.Errorf("%d bytes, want %d", len(data), n)
	}
	if err != nil {
		return fmt.Errorf("write %s: block %d: %w", f.path, i, err)
	}
	if _, err := f.part.WriteAt(data, int64(i)*crypto.BlockSize); err != nil {
		return f.explain("write", fmt.Errorf("block %d: %w", i, err))
	}
	return nil
}

// ReadBlock reads block i of the image into dst, which must have room for it, and
// returns its length. What was never written reads as zeros.
func (f *File) ReadBlock(i int, dst []byte) (int, error) {
	f.shape.RLock()
	defer f.shape.RUnlock()
	n, err := f.blockLen(i)
	if err == nil && len(dst) < n {
		err = fmt.Errorf("room for %d bytes, want %d", len(dst), n)
	}
	if err == nil {
		n, err = f.part.ReadAt(dst[:n], int64(i)*crypto.BlockSize)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: block %d: %w", f.path, i, err)
	}
	return n, nil
}

// blockLen returns the length of block i. The caller holds shape.
func (f *File) blockLen(i int) (int, error) {
	if err := f.usable(); err != nil {
		return 0, err
	}
	if i < 0 || i >= f.blocks {
		return 0, fmt.Errorf("the image has %d blocks", f.blocks)
	}
	return crypto.BlockLen(f.size, i), nil
}

// WriteAt stores a part of a block, such as a symbol, at its offset in the image.
// It writes nothing beyond the image's end.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	f.shape.RLock()
	defer f.shape.RUnlock()
	if err := f.inside(len(p), off); err != nil {
		return 0, fmt.Errorf("write %s: %w", f.path, err)
	}
	n, err := f.part.WriteAt(p, off)
	if err != nil {
		return n, f.explain("write", err)
	}
	return n, nil
}

// ReadAt reads what lies at an offset of the image; all of p must lie inside.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	f.shape.RLock()
	defer f.shape.RUnlock()
	if err := f.inside(len(p), off); err != nil {
		return 0, fmt.Errorf("read %s: %w", f.path, err)
	}
	n, err := f.part.ReadAt(p, off)
	if err != nil {
		return n, fmt.Errorf("read %s: %w", f.path, err)
	}
	return n, nil
}

// inside says whether n bytes at off lie in the image. The caller holds shape.
func (f *File) inside(n int, off int64) error {
	if err := f.usable(); err != nil {
		return err
	}
	if off < 0 || off > f.size-int64(n) {
		return fmt.Errorf("%d bytes at %d are outside of an image of %d", n, off, f.size)
	}
	return nil
}

// explain adds to an error of the disk what a person can do about it.
func (f *File) explain(operation string, err error) error {
	switch {
	case full(err):
		return fmt.Errorf("%s %s: the disk is full, free some space and start again (what is there is kept): %w", operation, f.path, err)
	case errors.Is(err, syscall.EIO):
		return fmt.Errorf("%s %s: the disk reports a fault, check it or choose another: %w", operation, f.path, err)
	}
	return fmt.Errorf("%s %s: %w", operation, f.path, err)
}
