// Package wim reads the tables of Windows imaging files: header, XML, lookup and
// integrity table. It reads no compressed data and writes nothing.
//
// A File is opened over an io.ReaderAt of known size. Files come from anywhere, so every
// offset and size is held against the file's size before it is used, and against a bound before
// memory is taken for it. The layout is that of Microsoft's "Windows Imaging File Format
// (WIM)" white paper, with what wimlib's documentation adds: version 0xe00 with LZMS and
// solid resources, and pipable files (magic WLPWM), whose real header stands at the end.
//
// Open takes parts of split sets too: ask Split. It believes the tables, not the content:
// a file that opens may still hold resources that don't unpack.
//
// The package imports nothing else of wimcast, doesn't log, and reads no clock.
package wim

import (
	"errors"
	"fmt"
	"io"
)

// Errors that this package's errors wrap.
var (
	// ErrNotWIM: the file is something else.
	ErrNotWIM = errors.New("not a WIM file")
	// ErrTruncated: the file ends before what its header names.
	ErrTruncated = errors.New("truncated WIM file")
	// ErrDamaged: fields contradict each other or the format, or are beyond this package's bounds.
	ErrDamaged = errors.New("damaged WIM file")
)

// File is an open WIM. Its methods are safe for concurrent use when the reader is.
type File struct {
	Header
	Pipable bool // wimlib's own kind: Microsoft's tools don't read it
	Solid   bool // has solid resources (ESD): can't be applied from a stream
	Images  []Image

	r    io.ReaderAt
	size int64
}

// Open reads header and XML of a WIM of size bytes, and the lookup table where that may name
// solid resources. It keeps r for the methods of File, and
// doesn't close it. The errors wrap ErrNotWIM, ErrTruncated, ErrDamaged, or are the reader's.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	if err := f.readHeader(); err != nil {
		return nil, fmt.Errorf("open WIM: %w", err)
	}
	if err := f.readXML(); err != nil {
		return nil, fmt.Errorf("open WIM: %w", err)
	}
	if err := f.readSolid(); err != nil {
		return nil, fmt.Errorf("open WIM: %w", err)
	}
	return f, nil
}

// end returns where the room for tables and resources ends.
func (f *File) end() uint64 {
	if f.Pipable {
		return uint64(f.size) - HeaderSize
	}
	return uint64(f.size)
}

// inside holds a resource against the room between the headers.
func (f *File) inside(name string, r Resource) error {
	switch end := f.end(); {
	case r == Resource{}:
		return nil
	case r.Offset > 1<<63-1:
		return fmt.Errorf("%w: its %s begins at byte %d, where no file reaches", ErrDamaged, name, r.Offset)
	case r.Offset > end || r.Size > end-r.Offset:
		return fmt.Errorf("%w: its %s of %d bytes at %d doesn't fit in %d bytes; copy the file again", ErrTruncated, name, r.Size, r.Offset, end)
	case r.Size > 0 && r.Offset < HeaderSize:
		return fmt.Errorf("%w: its %s at %d lies on the header", ErrDamaged, name, r.Offset)
	}
	return nil
}

// readFull reads exactly len(b) bytes at an offset.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrTruncated
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), off, err)
}
