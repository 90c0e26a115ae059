package wim

import (
	"bytes"
	"cmp"
	"crypto/sha1" //nolint:gosec // the format's own
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"testing"
	"unicode/utf16"
)

// sample says how to make a small WIM. The code below shares nothing with the package's.
type sample struct {
	pipable bool
	version uint32
	flags   uint32
	entry   byte // flags of the last entry of the lookup table; 0 for a compressed one
	images  int
	xml     string // made for the images where ""
	data    int    // bytes of noise in the place of resources
	chunk   int    // of the integrity table; 0 for none
}

// layout says where the parts of a sample lie.
type layout struct{ data, lookup, xml, integrity, end int }

func (s sample) build() ([]byte, layout) {
	if s.xml == "" {
		s.xml = "<WIM>"
		for i := range s.images {
			s.xml += fmt.Sprintf(`<IMAGE INDEX="%d"><NAME>image %d</NAME></IMAGE>`, i+1, i+1)
		}
		s.xml += "</WIM>"
	}
	magic, version := "MSWIM\x00\x00\x00", cmp.Or(s.version, 0x10d00)
	if s.pipable {
		magic = "WLPWM\x00\x00\x00"
	}
	le := binary.LittleEndian
	head := []byte(magic)
	head = le.AppendUint32(head, 208)
	head = le.AppendUint32(head, version)
	head = le.AppendUint32(head, s.flags)
	head = le.AppendUint32(head, 32768)
	head = append(head, "GUID of 16 bytes"...)
	head = le.AppendUint16(head, 1)
	head = le.AppendUint16(head, 1)
	head = le.AppendUint32(head, uint32(s.images))

	noise := make([]byte, s.data)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	b := slices.Concat(make([]byte, 208), noise)
	var at layout
	at.data, at.lookup = 208, len(b)
	for i := range 3 {
		flags := byte(4)
		if i == 2 {
			flags = cmp.Or(s.entry, flags)
		}
		b = le.AppendUint64(b, uint64(s.data/3)|uint64(flags)<<56)
		b = le.AppendUint64(b, uint64(208+i*(s.data/3)))
		b = le.AppendUint64(b, uint64(s.data))
		b = le.AppendUint16(b, 1)
		b = le.AppendUint32(b, uint32(i+1))
		b = append(b, bytes.Repeat([]byte{byte(0xa0 + i)}, 20)...)
	}
	at.xml = len(b)
	b = append(b, encode(s.xml)...)
	at.integrity = len(b)
	if s.chunk > 0 {
		b = append(b, integrityTwin(b[208:at.xml], s.chunk)...)
	}
	at.end = len(b)

	front := slices.Clone(head)
	head = appendResource(head, uint64(at.xml-at.lookup), 2, uint64(at.lookup), uint64(at.xml-at.lookup))
	head = appendResource(head, uint64(at.integrity-at.xml), 2, uint64(at.xml), uint64(at.integrity-at.xml))
	head = appendResource(head, 0, 0, 0, 0)
	head = le.AppendUint32(head, 0)
	if s.chunk > 0 {
		head = appendResource(head, uint64(at.end-at.integrity), 0, uint64(at.integrity), uint64(at.end-at.integrity))
	}
	head = append(head, make([]byte, 208-len(head))...)
	if s.pipable {
		copy(b, front)
		return append(b, head...), at
	}
	copy(b, head)
	return b, at
}

func appendResource(b []byte, size uint64, flags byte, offset, original uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, size|uint64(flags)<<56)
	b = binary.LittleEndian.AppendUint64(b, offset)
	return binary.LittleEndian.AppendUint64(b, original)
}

// encode returns little-endian UTF-16 with a byte order mark.
func encode(s string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// integrityTwin makes an integrity table.
func integrityTwin(covered []byte, chunk int) []byte {
	var sums []byte
	count := 0
	for part := range slices.Chunk(covered, chunk) {
		sum := sha1.Sum(part) //nolint:gosec // the format's own
		sums = append(sums, sum[:]...)
		count++
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(12+len(sums)))
	b = binary.LittleEndian.AppendUint32(b, uint32(count))
	b = binary.LittleEndian.AppendUint32(b, uint32(chunk))
	return append(b, sums...)
}

func open(b []byte) (*File, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func mustOpen(t *testing.T, b []byte) *File {
	t.Helper()
	f, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// use does all that can be done with a file, and returns each step's error.
func use(t *testing.T, b []byte) (opened, lookup, integrity error) {
	t.Helper()
	f, opened := open(b)
	if opened != nil {
		if f != nil {
			t.Error("a file and an error")
		}
		return opened, nil, nil
	}
	if len(f.Images) != int(f.ImageCount) {
		t.Errorf("%d images, the header says %d", len(f.Images), f.ImageCount)
	}
	if _, err := json.Marshal(f.Images); err != nil {
		t.Errorf("images that can't be written: %v", err)
	}
	_, lookup = f.Lookup()
	return nil, lookup, f.VerifyIntegrity(t.Context(), nil)
}

// known checks that an error wraps one of the package's, and stays short.
func known(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, ErrNoIntegrity) {
		return
	}
	if !errors.Is(err, ErrNotWIM) && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrDamaged) {
		t.Errorf("wraps no error of the package: %v", err)
	}
	if n := len(err.Error()); n > 1500 {
		t.Errorf("an error of %d bytes", n)
	}
}

// allocated returns about how many bytes of memory f took, freed since or not.
func allocated(f func()) uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	before := sample[0].Value.Uint64()
	f()
	metrics.Read(sample)
	return sample[0].Value.Uint64() - before
}
