package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/bits"
)

// Bitmap is a set of block numbers below a fixed length, one bit each. The zero
// value is an empty set of length 0; use NewBitmap. Numbers out of range panic,
// as an index does. A Bitmap is not safe for concurrent use.
type Bitmap struct {
	words []uint64 // bits at and beyond length are zero
	len   int
	count int
}

// NewBitmap returns an empty set for the numbers 0 to n-1.
func NewBitmap(n int) *Bitmap {
	if n < 0 {
		panic("client: NewBitmap: negative length")
	}
	return &Bitmap{words: make([]uint64, (n+63)/64), len: n}
}

// Len returns the length: every member is below it.
func (b *Bitmap) Len() int { return b.len }

// Count returns how many members there are.
func (b *Bitmap) Count() int { return b.count }

// Has reports whether i is a member.
func (b *Bitmap) Has(i int) bool {
	b.check(i)
	return b.words[i/64]>>(i%64)&1 != 0
}

// Set adds i and reports whether it is new.
func (b *Bitmap) Set(i int) bool {
	if b.Has(i) {
		return false
	}
	b.words[i/64] |= 1 << (i % 64)
	b.count++
	return true
}

// Clear removes i and reports whether it was a member.
func (b *Bitmap) Clear(i int) bool {
	if !b.Has(i) {
		return false
	}
	b.words[i/64] &^= 1 << (i % 64)
	b.count--
	return true
}

// SetRange adds the count numbers from first on.
func (b *Bitmap) SetRange(first, count int) {
	b.eachWord(first, count, func(word *uint64, mask uint64) {
		b.count += bits.OnesCount64(mask &^ *word)
		*word |= mask
	})
}

// ClearRange removes the count numbers from first on.
func (b *Bitmap) ClearRange(first, count int) {
	b.eachWord(first, count, func(word *uint64, mask uint64) {
		b.count -= bits.OnesCount64(mask & *word)
		*word &^= mask
	})
}

// NextSet returns the first member from i on, or -1. i may be the length.
func (b *Bitmap) NextSet(i int) int { return b.next(i, 0) }

// NextClear returns the first number from i on that isn't a member, or -1. i may
// be the length.
func (b *Bitmap) NextClear(i int) int { return b.next(i, ^uint64(0)) }

// All yields the members in order. A member added or removed meanwhile is or
// isn't seen.
func (b *Bitmap) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := b.NextSet(0); i >= 0; i = b.NextSet(i + 1) {
			if !yield(i) {
				return
			}
		}
	}
}

// Runs yields the members as ranges (first, count), in order, none touching the next.
func (b *Bitmap) Runs() iter.Seq2[int, int] {
	return func(yield func(first, count int) bool) {
		for i := b.NextSet(0); i >= 0; i = b.NextSet(i) {
			end := b.NextClear(i)
			if end < 0 {
				end = b.len
			}
			if !yield(i, end-i) {
				return
			}
			i = end
		}
	}
}

// Clone returns a copy.
func (b *Bitmap) Clone() *Bitmap {
	return &Bitmap{words: append([]uint64(nil), b.words...), len: b.len, count: b.count}
}

// AppendBinary appends the canonical form: u64 length, then one bit a number,
// the lowest number in the lowest bit of the first byte, unused bits zero. It
// never fails.
func (b *Bitmap) AppendBinary(dst []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.len))
	for i := range bitmapBytes(b.len) {
		dst = append(dst, byte(b.words[i/8]>>(8*(i%8))))
	}
	return dst, nil
}

// MarshalBinary returns what AppendBinary appends. It never fails.
func (b *Bitmap) MarshalBinary() ([]byte, error) {
	return b.AppendBinary(make([]byte, 0, 8+bitmapBytes(b.len)))
}

// UnmarshalBinary reads what MarshalBinary wrote, and nothing else: the length
// must fit exactly, unused bits must be zero. It allocates no more than data
// takes. On an error b is unchanged.
func (b *Bitmap) UnmarshalBinary(data []byte) error {
	if len(data) < 8 {
		return errors.New("parse bitmap: shorter than its length field")
	}
	n, body := binary.BigEndian.Uint64(data), data[8:]
	if n > uint64(len(body))*8 || bitmapBytes(int(n)) != len(body) {
		return fmt.Errorf("parse bitmap: %d bytes for %d bits", len(body), n)
	}
	if used := int(n % 8); used != 0 && body[len(body)-1]>>used != 0 {
		return errors.New("parse bitmap: bits beyond the length")
	}
	parsed := NewBitmap(int(n))
	for i, octet := range body {
		parsed.words[i/8] |= uint64(octet) << (8 * (i % 8))
		parsed.count += bits.OnesCount8(octet)
	}
	*b = *parsed
	return nil
}

// bitmapBytes returns how many bytes n bits take.
func bitmapBytes(n int) int { return (n + 7) / 8 }

// next returns the first number from i on whose bit, after a flip of all bits by
// flip, is one.
func (b *Bitmap) next(i int, flip uint64) int {
	if i < 0 || i > b.len {
		panic(fmt.Sprintf("client: bitmap: %d is out of 0..%d", i, b.len))
	}
	for w := i / 64; w < len(b.words); w++ {
		word := b.words[w] ^ flip
		if w == i/64 {
			word &= ^uint64(0) << (i % 64)
		}
		if word != 0 {
			// Only a flip makes bits beyond the length.
			if found := w*64 + bits.TrailingZeros64(word); found < b.len {
				return found
			}
			return -1
		}
	}
	return -1
}

// eachWord calls do for each word that holds bits of a range.
func (b *Bitmap) eachWord(first, count int, do func(word *uint64, mask uint64)) {
	if first < 0 || count < 0 || first > b.len-count {
		panic(fmt.Sprintf("client: bitmap: %d numbers from %d are out of %d", count, first, b.len))
	}
	for count > 0 {
		bit := first % 64
		n := min(64-bit, count)
		do(&b.words[first/64], ^uint64(0)>>(64-n)<<bit)
		first, count = first+n, count-n
	}
}

func (b *Bitmap) check(i int) {
	if i < 0 || i >= b.len {
		panic(fmt.Sprintf("client: bitmap: %d is out of %d", i, b.len))
	}
}
