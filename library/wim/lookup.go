package wim

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// Entry is a resource of the lookup table.
type Entry struct {
	Resource
	Part       uint16
	References uint32
	SHA1       [20]byte // of the unpacked content
}

// SolidSize is what a solid resource has in place of its OriginalSize. An entry with flag
// Solid and another OriginalSize is a piece: its Size is unpacked, and its Offset counts in the
// unpacked content of all solid resources of the run of entries that it stands in, one after the other.
const SolidSize = 1 << 32

const (
	entrySize = 50
	maxLookup = 256 << 20        // 5 million entries; a large installation has half a million
	lookupRun = 1024 * entrySize // read at once
)

// Entries reads the lookup table entry by entry, in little memory. The first error ends it,
// and wraps ErrTruncated, ErrDamaged, or is the reader's.
func (f *File) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		table := f.Header.Lookup
		err := checkTable("lookup table", table, maxLookup)
		if err == nil && table.Size%entrySize != 0 {
			err = fmt.Errorf("%w: its %d bytes aren't whole entries of %d", ErrDamaged, table.Size, entrySize)
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("read lookup table: %w", err))
			return
		}
		buf := make([]byte, min(table.Size, lookupRun))
		for off := uint64(0); off < table.Size; off += uint64(len(buf)) {
			buf = buf[:min(uint64(len(buf)), table.Size-off)]
			if err := readFull(f.r, buf, int64(table.Offset+off)); err != nil {
				yield(Entry{}, fmt.Errorf("read lookup table: %w", err))
				return
			}
			for b := buf; len(b) > 0; b = b[entrySize:] {
				e := parseEntry(b)
				if err := f.checkEntry(&e); err != nil {
					yield(Entry{}, fmt.Errorf("read lookup table: entry %d: %w", (off+uint64(len(buf)-len(b)))/entrySize, err))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// Lookup returns the lookup table whole, in up to three times its bytes of memory; who only wants
// to see each entry once ranges over Entries, with the same errors.
func (f *File) Lookup() ([]Entry, error) {
	var entries []Entry
	for e, err := range f.Entries() {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// readSolid finds out whether there are solid resources.
func (f *File) readSolid() error {
	if f.Version != versionSolid {
		return nil
	}
	for e, err := range f.Entries() {
		if err != nil {
			return err
		}
		if f.Solid = e.Flags&Solid != 0; f.Solid {
			break
		}
	}
	return nil
}

func parseEntry(b []byte) Entry {
	return Entry{
		Resource:   parseResource(b),
		Part:       binary.LittleEndian.Uint16(b[24:]),
		References: binary.LittleEndian.Uint32(b[26:]),
		SHA1:       [20]byte(b[30:entrySize]),
	}
}

// checkEntry holds an entry against the file. What lies in other parts, or inside of a
// solid resource, isn't at its offset here. The flag Solid means something in version 0xe00 alone.
func (f *File) checkEntry(e *Entry) error {
	piece := f.Version == versionSolid && e.Flags&Solid != 0 && e.OriginalSize != SolidSize
	if e.Part != f.Part || piece {
		return nil
	}
	return f.inside("resource", e.Resource)
}
