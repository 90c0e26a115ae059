package wim

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Range says that Length bytes of a file, at To, are likely to be those at From of another.
type Range struct {
	To, From, Length uint64 // bytes
}

// maxMoved bounds how many resources of a file are remembered to be looked for in another, 24 bytes each. A large installation
// has half a million; what is beyond isn't found.
const maxMoved = 1 << 20

// streamHeader is what stands before each resource of a pipable file, in bytes.
const streamHeader = 40

// OpenHeader reads the header alone: a File of it has Entries and Lookup, but no Images, and Solid isn't known. It reads
// HeaderSize bytes at the front, and in a pipable file as many at its end, so that it opens a file of which no more is there.
// The errors are those of Open.
func OpenHeader(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	if err := f.readHeader(); err != nil {
		return nil, fmt.Errorf("open WIM: %w", err)
	}
	return f, nil
}

// Moved finds the resources of a file that another holds too, wherever they stand, by their lookup tables: the
// same SHA-1 of the unpacked content, the same size in the file, and where they are compressed the same compression and
// chunk size. It reads no content, so each range is a guess: who compressed the same content with another level has other bytes.
// Solid resources are left out.
//
// The ranges come in the order of To and don't overlap; neighbours that are neighbours in both files are one range. All of
// them lie inside of both files. The errors are those of Entries.
func Moved(file, other *File) ([]Range, error) {
	packed := file.Compression() == other.Compression() && file.Compression() != Unknown && file.ChunkSize == other.ChunkSize && file.Pipable == other.Pipable
	var front uint64 // what goes with a resource before it
	if file.Pipable && other.Pipable {
		front = streamHeader
	}
	have, err := places(other, packed, front)
	if err != nil {
		return nil, err
	}
	var ranges []Range
	for e, err := range file.Entries() {
		if err != nil {
			return nil, err
		}
		if !file.plain(&e, packed, front) {
			continue
		}
		key := placeOf(&e)
		if i, found := slices.BinarySearchFunc(have, key, place.compare); found {
			ranges = append(ranges, Range{To: e.Offset - front, From: have[i].offset - front, Length: e.Size + front})
		}
	}
	return joined(ranges), nil
}

// place says where a resource lies, and what it is as far as eight bytes of its hash tell.
type place struct{ hash, size, offset uint64 }

func placeOf(e *Entry) place {
	return place{hash: binary.LittleEndian.Uint64(e.SHA1[:]), size: e.Size, offset: e.Offset}
}

// compare orders places by what lies there.
func (p place) compare(other place) int {
	return cmp.Or(cmp.Compare(p.hash, other.hash), cmp.Compare(p.size, other.size))
}

// places lists a file's resources, in the order of compare.
func places(f *File, packed bool, front uint64) ([]place, error) {
	var out []place
	for e, err := range f.Entries() {
		if err != nil {
			return nil, err
		}
		if len(out) < maxMoved && f.plain(&e, packed, front) {
			out = append(out, placeOf(&e))
		}
	}
	slices.SortFunc(out, place.compare)
	return out, nil
}

// plain reports whether a resource lies in the file by itself, in bytes that another file may have; packed says whether
// those of compressed ones may be the same there, front what it needs before it.
func (f *File) plain(e *Entry, packed bool, front uint64) bool {
	switch {
	case e.Part != f.Part || e.Size == 0 || e.Offset < HeaderSize+front:
		return false
	case f.Version == versionSolid && e.Flags&Solid != 0:
		return false
	}
	return packed || e.Flags&Compressed == 0
}

// joined puts ranges in order, cuts what overlaps, and joins neighbours.
func joined(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.From, b.From)) })
	out := ranges[:0]
	var end uint64
	for _, r := range ranges {
		if r.To < end {
			cut := min(end-r.To, r.Length)
			r.To, r.From, r.Length = r.To+cut, r.From+cut, r.Length-cut
		}
		if r.Length == 0 {
			continue
		}
		end = r.To + r.Length
		if n := len(out); n > 0 && out[n-1].To+out[n-1].Length == r.To && out[n-1].From+out[n-1].Length == r.From {
			out[n-1].Length += r.Length
			continue
		}
		out = append(out, r)
	}
	return out
}

// Cover returns the ranges, cut to fit, that make up the length bytes at off; nil when something of
// them is in no range. The ranges must be as Moved returns them.
func Cover(ranges []Range, off, length uint64) []Range {
	i, _ := slices.BinarySearchFunc(ranges, off, func(r Range, off uint64) int {
		if r.To+r.Length <= off {
			return -1
		}
		return 1
	})
	var out []Range
	for at, end := off, off+length; at < end; i++ {
		if i == len(ranges) || ranges[i].To > at {
			return nil
		}
		r := ranges[i]
		cut := at - r.To
		r.To, r.From, r.Length = at, r.From+cut, min(r.Length-cut, end-at)
		out = append(out, r)
		at += r.Length
	}
	return out
}
