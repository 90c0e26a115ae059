package wim

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Layout of the header.
const (
	// HeaderSize is the length of a header, in bytes.
	HeaderSize = 208
	magic      = "MSWIM\x00\x00\x00"
	magicPipe  = "WLPWM\x00\x00\x00"

	versionDefault = 0x10d00
	versionSolid   = 0xe00 // LZMS too, be it solid or not

	tables = 48 // up to here both headers of a pipable file say the same
)

// maxImages bounds the images of a file. Real media have about a dozen.
const maxImages = 4096

// Flags of the header.
const (
	flagCompressed = 0x2
	flagSpanned    = 0x8
	flagWriting    = 0x40
	flagXPRESS     = 0x20000
	flagLZX        = 0x40000
	flagLZMS       = 0x80000
	flagXPRESS2    = 0x200000
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
	Size         uint64 // bytes in the file, below 2^56
	Flags        uint8  // 1 free, 2 metadata, 4 compressed, 8 spanned, 16 solid
	Offset       uint64
	OriginalSize uint64 // bytes unpacked
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
	ChunkSize   uint32   // bytes; 0 where nothing is compressed
	GUID        [16]byte // shared by the parts of a split set; never names content: servicing keeps it
	Part, Parts uint16   // from 1
	ImageCount  uint32
	Lookup      Resource
	XML         Resource
	Boot        Resource // metadata of the bootable image
	BootIndex   uint32   // from 1; 0 for none
	Integrity   Resource // zero where there is none
}

// Compression returns how resources are compressed: Unknown where the header names no
// kind, or several.
func (h *Header) Compression() Compression {
	if h.Flags&flagCompressed == 0 {
		return None
	}
	switch h.Flags & (flagXPRESS | flagXPRESS2 | flagLZX | flagLZMS) {
	case flagXPRESS, flagXPRESS2, flagXPRESS | flagXPRESS2:
		return XPRESS
	case flagLZX:
		return LZX
	case flagLZMS:
		return LZMS
	}
	return Unknown
}

// Split reports whether the file is a part of a split set.
func (h *Header) Split() bool { return h.Parts > 1 || h.Flags&flagSpanned != 0 }

// Magic says of the first bytes of a file whether a WIM begins like that, and whether it is a
// pipable one. The error wraps ErrNotWIM. Fewer than 8 bytes are none.
func Magic(b []byte) (pipable bool, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(magic)):
		return false, nil
	case bytes.HasPrefix(b, []byte(magicPipe)):
		return true, nil
	}
	return false, fmt.Errorf("%w: it begins with %q; name a .wim, .esd or install.wim file", ErrNotWIM, b[:min(len(b), len(magic))])
}

// ParseHeader reads the header that a file begins with, while the rest may not be there yet: what
// it says isn't held against the file. The header of a pipable file names no tables here. b has HeaderSize bytes or
// more. The errors wrap ErrNotWIM, ErrTruncated or ErrDamaged.
func ParseHeader(b []byte) (Header, error) {
	if _, err := Magic(b); err != nil {
		return Header{}, err
	}
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes have no room for its header; copy the file again", ErrTruncated, len(b))
	}
	if n := binary.LittleEndian.Uint32(b[8:]); n != HeaderSize {
		return Header{}, fmt.Errorf("%w: header of %d bytes, want %d", ErrDamaged, n, HeaderSize)
	}
	return parseHeader(b), nil
}

func (f *File) readHeader() error {
	b := make([]byte, min(max(f.size, 0), HeaderSize))
	if err := readFull(f.r, b, 0); err != nil {
		return err
	}
	var err error
	if f.Pipable, err = Magic(b); err != nil {
		return err
	}
	if len(b) < HeaderSize || f.Pipable && f.size < 2*HeaderSize {
		return fmt.Errorf("%w: %d bytes have no room for its header; copy the file again", ErrTruncated, f.size)
	}
	if f.Pipable {
		// The header at the front names no tables: who wrote it didn't know them yet. The real one
		// ends the file.
		last := make([]byte, HeaderSize)
		if err := readFull(f.r, last, f.size-HeaderSize); err != nil {
			return err
		}
		if !bytes.HasPrefix(last, []byte(magicPipe)) {
			return fmt.Errorf("%w: a pipable file whose header isn't repeated at its end; copy the file again", ErrTruncated)
		}
		if !bytes.Equal(b[:tables], last[:tables]) {
			return fmt.Errorf("%w: a pipable file whose first and last header disagree", ErrDamaged)
		}
		b = last
	}
	if n := binary.LittleEndian.Uint32(b[8:]); n != HeaderSize {
		return fmt.Errorf("%w: header of %d bytes, want %d", ErrDamaged, n, HeaderSize)
	}
	f.Header = parseHeader(b)
	return f.checkHeader()
}

// parseHeader reads the fields after the magic. b must have HeaderSize bytes.
func parseHeader(b []byte) Header {
	le := binary.LittleEndian
	return Header{
		Version:    le.Uint32(b[12:]),
		Flags:      le.Uint32(b[16:]),
		ChunkSize:  le.Uint32(b[20:]),
		GUID:       [16]byte(b[24:]),
		Part:       le.Uint16(b[40:]),
		Parts:      le.Uint16(b[42:]),
		ImageCount: le.Uint32(b[44:]),
		Lookup:     parseResource(b[48:]),
		XML:        parseResource(b[72:]),
		Boot:       parseResource(b[96:]),
		BootIndex:  le.Uint32(b[120:]),
		Integrity:  parseResource(b[124:]),
	}
}

// resourceSize is the length of a Resource, in bytes.
const resourceSize = 24

func parseResource(b []byte) Resource {
	v := binary.LittleEndian.Uint64(b)
	return Resource{
		Size: v & (1<<56 - 1), Flags: uint8(v >> 56), Offset: binary.LittleEndian.Uint64(b[8:]), OriginalSize: binary.LittleEndian.Uint64(b[16:resourceSize]),
	}
}

func (f *File) checkHeader() error {
	switch h := &f.Header; {
	case h.Version != versionDefault && h.Version != versionSolid:
		return fmt.Errorf("%w: version %#x, want %#x or %#x", ErrDamaged, h.Version, versionDefault, versionSolid)
	case h.Flags&flagWriting != 0:
		return fmt.Errorf("%w: it says that it is being written; wait until that has ended, or mend it with wimlib-imagex optimize", ErrDamaged)
	case h.Part == 0 || h.Part > h.Parts:
		return fmt.Errorf("%w: part %d of %d", ErrDamaged, h.Part, h.Parts)
	case h.ImageCount > maxImages:
		return fmt.Errorf("%w: %d images, more than %d", ErrDamaged, h.ImageCount, maxImages)
	case h.BootIndex > h.ImageCount:
		return fmt.Errorf("%w: image %d of %d is to boot; mend it with wimlib-imagex optimize", ErrDamaged, h.BootIndex, h.ImageCount)
	}
	boot := f.Boot
	if f.Part != 1 {
		boot = Resource{} // lies in the first part
	}
	named := []struct {
		name string
		r    Resource
	}{{"lookup table", f.Header.Lookup}, {"XML", f.Header.XML}, {"boot metadata", boot}, {"integrity table", f.Header.Integrity}}
	for i, a := range named {
		if err := f.inside(a.name, a.r); err != nil {
			return err
		}
		for _, b := range named[:i] {
			if a.r.Size > 0 && b.r.Size > 0 && a.r.Offset < b.r.Offset+b.r.Size && b.r.Offset < a.r.Offset+a.r.Size {
				return fmt.Errorf("%w: its %s and its %s overlap", ErrDamaged, b.name, a.name)
			}
		}
	}
	return nil
}

// checkTable holds a table that is read into memory, or that must lie open in the file.
func checkTable(name string, r Resource, bound uint64) error {
	switch {
	case r.Flags&Compressed != 0 || r.Size != r.OriginalSize:
		return fmt.Errorf("%w: its %s is compressed", ErrDamaged, name)
	case r.Size > bound:
		return fmt.Errorf("%w: its %s has %d bytes, more than %d", ErrDamaged, name, r.Size, bound)
	}
	return nil
}
