package fec

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/klauspost/reedsolomon"
)

// Bitmap is a set of source symbols: symbol i is bit i%64 of word i/64.
type Bitmap [Symbols / 64]uint64

// Has reports whether symbol i, 0 to 255, is in the set.
func (b *Bitmap) Has(i int) bool { return b[i/64]>>(i%64)&1 != 0 }

// Set puts symbol i, 0 to 255, into the set.
func (b *Bitmap) Set(i int) { b[i/64] |= 1 << (i % 64) }

// Count returns how many symbols the set has.
func (b *Bitmap) Count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Parity is a parity symbol at hand.
type Parity struct {
	Index int // k to 255
	Data  []byte
}

// Errors of Decode.
var (
	// ErrTooFew is returned when the symbols at hand are fewer than k.
	ErrTooFew = errors.New("too few symbols")
	// ErrParity is returned for parity that can't be: twice the same symbol, an
	// index that is no parity symbol's, or another length than the source has.
	ErrParity = errors.New("parity that doesn't fit")
)

// Decoder is the scratch space of Decode, 2 KiB. The zero value is ready, and one
// Decoder serves any number of codes, one after the other. It isn't safe for
// concurrent use.
type Decoder struct {
	lost  [Symbols]uint8 // source points to restore
	top   [Symbols]int   // for each lost point, log Π (lost − t), t over all known
	known [Symbols]uint8 // parity points used
}

// NewDecoder returns a decoder.
func NewDecoder() *Decoder { return new(Decoder) }

// Decode restores the source symbols of a block that aren't in have. source holds
// the block's k symbols of symbol bytes end to end; what lies in the places of the
// lost ones doesn't matter and is overwritten. Bits of have from k on are ignored.
// As many of the parity symbols are used as symbols are lost, the first ones;
// parity is only read and must not overlap source.
//
// Any k distinct symbols serve. The errors wrap ErrTooFew and ErrParity, and leave
// source as it was. A source whose length isn't k·symbol panics: it is the
// caller's own. Decode can't tell whether the symbols are right; the block's hash does.
// It doesn't allocate unless it fails.
func (d *Decoder) Decode(code *Code, source []byte, symbol int, have Bitmap, parity []Parity) error {
	if symbol < 1 || len(source) != code.k*symbol {
		panic(fmt.Sprintf("fec: Decode: %d bytes of source for %d symbols of %d", len(source), code.k, symbol))
	}
	n := 0
	for i := range code.k {
		if !have.Has(i) {
			d.lost[n] = uint8(i)
			n++
		}
	}
	if err := check(code.k, n, symbol, parity); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	lost, parity := d.lost[:n], parity[:n]
	for i, p := range parity {
		d.known[i] = uint8(p.Index)
	}
	known := d.known[:n]
	for i, x := range lost {
		d.top[i] = code.reach(int(x), lost, known)
	}
	first := true
	for s := range code.k {
		if have.Has(s) {
			d.add(code, lost, known, s, source[s*symbol:][:symbol], source, first)
			first = false
		}
	}
	for i := range parity {
		d.add(code, lost, known, parity[i].Index, parity[i].Data, source, first)
		first = false
	}
	return nil
}

// reach returns the logarithm, not reduced but positive, of the product of the
// differences between x and every known point but x itself: the source points
// without the lost ones, and the parity points.
func (c *Code) reach(x int, lost, known []uint8) int {
	sum := int(c.nodes[x]) + order*len(lost)
	for _, t := range lost {
		if int(t) != x {
			sum -= c.field.distance(x, int(t))
		}
	}
	for _, t := range known {
		if int(t) != x {
			sum += c.field.distance(x, int(t))
		}
	}
	return sum
}

// add adds the share of the known symbol s to every lost one; the first share
// overwrites what was there.
func (d *Decoder) add(code *Code, lost, known []uint8, s int, data, source []byte, first bool) {
	var kernel reedsolomon.LowLevel
	f, size := &code.field, len(data)
	own := code.reach(s, lost, known) % order
	for i, x := range lost {
		c := f.exp[(d.top[i]+2*order-f.distance(int(x), s)-own)%order]
		to := source[int(x)*size:][:size]
		if first {
			kernel.GalMulSlice(c, data, to)
		} else {
			kernel.GalMulSliceXor(c, data, to)
		}
	}
}

// check refuses parity that can't be or doesn't suffice for lost symbols.
func check(k, lost, symbol int, parity []Parity) error {
	var seen Bitmap
	for i := range parity {
		p := &parity[i]
		switch {
		case p.Index < k || p.Index >= Symbols:
			return fmt.Errorf("decode: parity symbol %d with k = %d: %w", p.Index, k, ErrParity)
		case len(p.Data) != symbol:
			return fmt.Errorf("decode: parity symbol %d has %d bytes, want %d: %w", p.Index, len(p.Data), symbol, ErrParity)
		case seen.Has(p.Index):
			return fmt.Errorf("decode: parity symbol %d twice: %w", p.Index, ErrParity)
		}
		seen.Set(p.Index)
	}
	if len(parity) < lost {
		return fmt.Errorf("decode: %d source symbols of %d lost, %d parity symbols: %w", lost, k, len(parity), ErrTooFew)
	}
	return nil
}
