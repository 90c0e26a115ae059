package wim

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

// goldenEntries is two entries of the part of part 3; each field has another value.
const goldenEntries = "\x11\x22\x33\x44\x55\x66\x00\x04" + "\xd0\x00\x00\x00\x00\x00\x00\x00" + "\x21\x22\x23\x24\x25\x26\x27\x28" +
	"\x03\x00" + "\x31\x32\x33\x34" + "\x41\x42\x43\x44\x45\x46\x47\x48\x49\x4a\x4b\x4c\x4d\x4e\x4f\x50\x51\x52\x53\x54" +
	"\xff\xff\xff\xff\xff\xff\xff\x1f" + "\xfe\xff\xff\xff\xff\xff\xff\xff" + "\xfd\xff\xff\xff\xff\xff\xff\xff" +
	"\xfc\xff" + "\xfb\xff\xff\xff" + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

func TestGoldenEntries(t *testing.T) {
	sha := [20]byte{0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53, 0x54}
	full := [20]byte{}
	for i := range full {
		full[i] = 0xff
	}
	for i, want := range []Entry{
		{Resource{0x665544332211, 4, 208, 0x2827262524232221}, 3, 0x34333231, sha},
		{Resource{1<<56 - 1, 0x1f, math.MaxUint64 - 1, math.MaxUint64 - 2}, 0xfffc, math.MaxUint32 - 4, full},
	} {
		if got := parseEntry([]byte(goldenEntries[i*entrySize:][:entrySize])); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	b, _ := sample{images: 1, data: 900}.build()
	got, err := mustOpen(t, b).Lookup()
	if err != nil {
		t.Fatal(err)
	}
	want := make([]Entry, 3)
	for i := range want {
		want[i] = Entry{Resource: Resource{300, 4, uint64(208 + 300*i), 900}, Part: 1, References: uint32(i + 1)}
		for j := range want[i].SHA1 {
			want[i].SHA1[j] = byte(0xa0 + i)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// TestHostileEntries changes the last of three entries.
func TestHostileEntries(t *testing.T) {
	for name, c := range map[string]struct {
		flags                  byte
		size, offset, original uint64
		part                   uint16
		want                   error
	}{
		"good":                       {4, 300, 808, 900, 1, nil},
		"empty":                      {0, 0, 0, 0, 1, nil},
		"as large as it gets":        {4, 842, 208, 1, 1, nil},
		"over the end":               {4, 5000, 208, 1, 1, ErrTruncated},
		"on the header":              {0, 10, 207, 10, 1, ErrDamaged},
		"size most":                  {4, 1<<56 - 1, 208, 1, 1, ErrTruncated},
		"offset most":                {4, 1, math.MaxUint64, 1, 1, ErrDamaged},
		"offset 2^63-1":              {4, 1, 1<<63 - 1, 1, 1, ErrTruncated},
		"in another part":            {4, 1, math.MaxUint64, 1, 2, nil},
		"solid":                      {0x10, 300, 208, SolidSize, 1, nil},
		"solid over the end":         {0x10, 5000, 208, SolidSize, 1, ErrTruncated},
		"solid offset most":          {0x10, 5000, math.MaxUint64, SolidSize, 1, ErrDamaged},
		"piece of a solid resource":  {0x10, 1 << 40, 1 << 41, 0, 1, nil},
		"piece, old version":         {0x10, 1 << 40, 1 << 41, 0, 1, ErrTruncated},
		"not solid but as if":        {0, 5000, 208, SolidSize, 1, ErrTruncated},
		"solid, in another part too": {0x10, 5000, 208, SolidSize, 9, nil},
	} {
		t.Run(name, func(t *testing.T) {
			version := uint32(versionDefault)
			if c.flags&Solid != 0 && !strings.HasSuffix(name, "old version") {
				version = versionSolid
			}
			b, at := sample{images: 1, data: 900, version: version}.build()
			e := b[at.lookup+2*entrySize:]
			copy(e, appendResource(nil, c.size, c.flags, c.offset, c.original))
			binary.LittleEndian.PutUint16(e[24:], c.part)
			f, err := open(b)
			if err != nil {
				// Open has looked for solid resources.
				if c.want == nil || !errors.Is(err, c.want) || version != versionSolid {
					t.Error(err)
				}
				return
			}
			if _, err := f.Lookup(); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			n := 0
			for e, err := range f.Entries() {
				if err != nil {
					if c.want == nil || n != 2 || e != (Entry{}) {
						t.Errorf("entry %d: %+v, %v", n, e, err)
					}
					continue
				}
				n++
			}
			if n != 3 && c.want == nil {
				t.Errorf("%d entries", n)
			}
		})
	}
}

// TestEntriesManyRuns has a table of several reads, its last not full.
func TestEntriesManyRuns(t *testing.T) {
	b, at := sample{images: 1, data: 100}.build()
	const count = 2*lookupRun/entrySize + 7
	offset := len(b)
	for i := range count {
		b = append(b, b[at.lookup:at.lookup+entrySize]...)
		binary.LittleEndian.PutUint32(b[len(b)-24:], uint32(i))
	}
	setField(b, "lookup offset", uint64(offset))
	setField(b, "lookup size", count*entrySize)
	setField(b, "lookup original", count*entrySize)
	f := mustOpen(t, b)
	entries, err := f.Lookup()
	if err != nil || len(entries) != count {
		t.Fatal(len(entries), err)
	}
	for i, e := range entries {
		if e.References != uint32(i) {
			t.Fatalf("entry %d: %+v", i, e)
		}
	}
	// Who stops early isn't called again.
	n := 0
	for _, err := range f.Entries() {
		if n++; err != nil || n == lookupRun/entrySize+1 {
			break
		}
	}
	// Memory doesn't grow with the table.
	if took := allocated(func() {
		for _, err := range f.Entries() {
			if err != nil {
				t.Error(err)
			}
		}
	}); took > 4*lookupRun {
		t.Errorf("took %d bytes", took)
	}
	f.Header.Lookup.Size, f.Header.Lookup.OriginalSize = maxLookup+14, maxLookup+14
	if _, err := f.Lookup(); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	f.Header.Lookup.Size, f.Header.Lookup.OriginalSize = maxLookup/entrySize*entrySize, maxLookup/entrySize*entrySize
	if took := allocated(func() {
		if _, err := f.Lookup(); !errors.Is(err, ErrTruncated) {
			t.Error(err)
		}
	}); took > 4<<20 {
		t.Errorf("took %d bytes", took)
	}
}
