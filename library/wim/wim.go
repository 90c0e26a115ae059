// Package wim reads the tables of Windows imaging files: header, XML, lookup and
// integrity table. It reads no compressed data and writes nothing.
//
// A File is opened over an io.ReaderAt of known size. Files come from anywhere, so every
// offset and size is held against the file's size before it is used, and against a bound before
// memory is taken for it. The layout is that of Microsoft's "Windows Imaging File Format
// (WIM)" white paper, with what wimlib's documentation adds: version 0xe00 with solid
// resources, and pipable files (magic WLPWM), whose real header stands at the end.
//
// The package imports nothing else of wimcast, doesn't log, and reads no clock.
package wim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Layout constants.
const (
	// HeaderSize is the length of a header, in bytes.
	HeaderSize = 208
	magic      = "MSWIM\x00\x00\x00"
	magicPipe  = "WLPWM\x00\x00\x00"

	versionDefault = 0x10d00
	versionSolid   = 0xe00
)

// Bounds of what is read into memory. Real media have less than a megabyte of
// XML, and about a million resources at the most.
const (
	maxXML    = 32 << 20
	maxLookup = 512 << 20
	maxImages = 4096
)

// Flags of the header.
const (
	flagCompressed = 0x2
	flagSpanned    = 0x8
	flagXPRESS     = 0x20000
	flagLZX        = 0x40000
	flagLZMS       = 0x80000
)

// Errors that Open's errors wrap.
var (
	// ErrNotWIM: the file is something else.
	ErrNotWIM = errors.New("not a WIM file")
	// ErrTruncated: the file ends before what its header names.
	ErrTruncated = errors.New("truncated WIM file")
	// ErrDamaged: fields contradict each other or the format.
	ErrDamaged = errors.New("damaged WIM file")
)

// Compression is how a WIM's resources are compressed.
type Compression string

// The compressions.
const (
	None    Compression = "none"
	XPRESS  Compression = "XPRESS"
	LZX     Compression = "LZX"
	LZMS    Compression = "LZMS"
	Unknown Compression = "unknown"
)

// Resource says where something lies in the file.
type Resource struct {
	Size         uint64 // bytes in the file
	Flags        uint8  // 1 free, 2 metadata, 4 compressed, 8 spanned, 16 solid
	Offset       uint64
	OriginalSize uint64
}

// Flags of a Resource.
const (
	Metadata   = 0x2
	Compressed = 0x4
	Solid      = 0x10
)

// Header is a WIM's header.
type Header struct {
	Version     uint32
	Flags       uint32
	ChunkSize   uint32
	GUID        [16]byte // shared by the parts of a split set; never names content: servicing keeps it
	Part, Parts uint16
	ImageCount  uint32
	Lookup      Resource
	XML         Resource
	Boot        Resource // metadata of the bootable image
	BootIndex   uint32   // 0 for none
	Integrity   Resource // zero where there is none
}

// Compression returns how resources are compressed.
func (h *Header) Compression() Compression {
	switch {
	case h.Flags&flagCompressed == 0:
		return None
	case h.Flags&flagXPRESS != 0:
		return XPRESS
	case h.Flags&flagLZX != 0:
		return LZX
	case h.Flags&flagLZMS != 0:
		return LZMS
	}
	return Unknown
}

// Split reports whether the file is a part of a split set.
func (h *Header) Split() bool { return h.Parts > 1 || h.Flags&flagSpanned != 0 }

// File is an open WIM. Its methods are safe for concurrent use when the reader is.
type File struct {
	Header
	Pipable bool // wimlib's own kind: Microsoft's tools don't read it
	Solid   bool // version 0xe00 (ESD): can't be applied from a stream
	Images  []Image

	r    io.ReaderAt
	size int64
}

// Open reads header and XML of a WIM of size bytes. The errors wrap ErrNotWIM,
// ErrTruncated, ErrDamaged, or are the reader's.
func Open(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	if err := f.readHeader(); err != nil {
		return nil, fmt.Errorf("open WIM: %w", err)
	}
	if err := f.readXML(); err != nil {
		return nil, fmt.Errorf("open WIM: %w", err)
	}
	return f, nil
}

func (f *File) readHeader() error {
	if f.size < HeaderSize {
		return fmt.Errorf("%w: %d bytes are fewer than a header's %d", ErrNotWIM, f.size, HeaderSize)
	}
	b := make([]byte, HeaderSize)
	if err := readFull(f.r, b, 0); err != nil {
		return err
	}
	switch string(b[:len(magic)]) {
	case magic:
	case magicPipe:
		f.Pipable = true
		// The header at the front names no tables; the real one ends the file.
		if err := readFull(f.r, b, f.size-HeaderSize); err != nil {
			return err
		}
		if string(b[:len(magic)]) != magicPipe {
			return fmt.Errorf("%w: a pipable file whose header isn't repeated at its end", ErrTruncated)
		}
	default:
		return fmt.Errorf("%w: it begins with %q; name a .wim, .esd or install.wim file", ErrNotWIM, b[:8])
	}
	return f.parseHeader(b)
}

func (f *File) parseHeader(b []byte) error {
	le := binary.LittleEndian
	if n := le.Uint32(b[8:]); n != HeaderSize {
		return fmt.Errorf("%w: header of %d bytes, want %d", ErrDamaged, n, HeaderSize)
	}
	h := &f.Header
	h.Version, h.Flags, h.ChunkSize = le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:])
	copy(h.GUID[:], b[24:])
	h.Part, h.Parts, h.ImageCount = le.Uint16(b[40:]), le.Uint16(b[42:]), le.Uint32(b[44:])
	h.Lookup, h.XML, h.Boot = parseResource(b[48:]), parseResource(b[72:]), parseResource(b[96:])
	h.BootIndex, h.Integrity = le.Uint32(b[120:]), parseResource(b[124:])
	f.Solid = h.Version == versionSolid
	switch {
	case h.Version != versionDefault && h.Version != versionSolid:
		return fmt.Errorf("%w: version %#x, want %#x or %#x", ErrDamaged, h.Version, versionDefault, versionSolid)
	case h.Part == 0 || h.Parts == 0 || h.Part > h.Parts:
		return fmt.Errorf("%w: part %d of %d", ErrDamaged, h.Part, h.Parts)
	case h.ImageCount > maxImages:
		return fmt.Errorf("%w: %d images, more than %d", ErrDamaged, h.ImageCount, maxImages)
	case h.BootIndex > h.ImageCount:
		return fmt.Errorf("%w: boot index %d of %d images", ErrDamaged, h.BootIndex, h.ImageCount)
	}
	for _, table := range []struct {
		name string
		r    Resource
	}{{"lookup table", h.Lookup}, {"XML", h.XML}, {"boot metadata", h.Boot}, {"integrity table", h.Integrity}} {
		if err := f.inside(table.name, table.r); err != nil {
			return err
		}
	}
	return nil
}

func parseResource(b []byte) Resource {
	v := binary.LittleEndian.Uint64(b)
	return Resource{
		Size: v & (1<<56 - 1), Flags: uint8(v >> 56), Offset: binary.LittleEndian.Uint64(b[8:]), OriginalSize: binary.LittleEndian.Uint64(b[16:]),
	}
}

// inside holds a resource against the file's size.
func (f *File) inside(name string, r Resource) error {
	if r.Size == 0 {
		return nil
	}
	if r.Offset > uint64(f.size) || r.Size > uint64(f.size)-r.Offset {
		return fmt.Errorf("%w: its %s ends at byte %d of %d; copy the file again", ErrTruncated, name, r.Offset+r.Size, f.size)
	}
	return nil
}

// readFull reads exactly len(b) bytes at an offset.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = ErrTruncated
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(b), off, err)
}

// Entry is a resource of the lookup table.
type Entry struct {
	Resource
	Part       uint16
	References uint32
	SHA1       [20]byte // of the uncompressed content
}

const entrySize = 50

// Lookup reads the lookup table.
func (f *File) Lookup() ([]Entry, error) {
	table := f.Header.Lookup
	switch {
	case table.Flags&Compressed != 0 || table.Size != table.OriginalSize:
		return nil, fmt.Errorf("read lookup table: %w: it is compressed", ErrDamaged)
	case table.Size > maxLookup:
		return nil, fmt.Errorf("read lookup table: %w: %d bytes, more than %d", ErrDamaged, table.Size, int64(maxLookup))
	case table.Size%entrySize != 0:
		return nil, fmt.Errorf("read lookup table: %w: %d bytes aren't whole entries of %d", ErrDamaged, table.Size, entrySize)
	}
	b := make([]byte, table.Size)
	if err := readFull(f.r, b, int64(table.Offset)); err != nil {
		return nil, fmt.Errorf("read lookup table: %w", err)
	}
	entries := make([]Entry, 0, len(b)/entrySize)
	for ; len(b) > 0; b = b[entrySize:] {
		e := Entry{Resource: parseResource(b), Part: binary.LittleEndian.Uint16(b[24:]), References: binary.LittleEndian.Uint32(b[26:])}
		copy(e.SHA1[:], b[30:])
		// Resources of other parts, and those inside solid resources, lie elsewhere.
		if e.Part == f.Part && e.Flags&Solid == 0 {
			if err := f.inside("resource", e.Resource); err != nil {
				return nil, fmt.Errorf("read lookup table: %w", err)
			}
		}
		entries = append(entries, e)
	}
	return entries, nil
}
