package fec

import (
	"fmt"

	"github.com/klauspost/reedsolomon"
)

// Symbols is how many symbols a block can have, source and parity together.
const Symbols = 256

// Code is the code for blocks of k source symbols. It is immutable and takes
// under 2 KiB; all methods are safe for concurrent use.
type Code struct {
	k     int
	field field
	// nodes[i] is the logarithm of the product of the differences between i and
	// every source point but i itself.
	nodes [Symbols]uint8
}

// New returns the code for blocks of k source symbols, 1 to 255.
func New(k int) (*Code, error) {
	if k < 1 || k >= Symbols {
		return nil, fmt.Errorf("make erasure code: %d source symbols: want 1 to %d", k, Symbols-1)
	}
	c := &Code{k: k}
	c.field.fill()
	for i := range c.nodes {
		sum := 0
		for t := range k {
			if t != i {
				sum += c.field.distance(i, t)
			}
		}
		c.nodes[i] = uint8(sum % order)
	}
	return c, nil
}

// K returns how many source symbols a block has.
func (c *Code) K() int { return c.k }

// Encode makes parity symbol index, k to 255, of a block and writes it to dst.
// source holds the block's k source symbols end to end, each as long as dst, the
// last one padded with zeros. source is only read. An index or a length that
// doesn't fit panics: both are the caller's own.
func (c *Code) Encode(dst []byte, index int, source []byte) {
	if index < c.k || index >= Symbols {
		panic(fmt.Sprintf("fec: Encode: no parity symbol %d with k = %d", index, c.k))
	}
	if len(dst) == 0 || len(source) != c.k*len(dst) {
		panic(fmt.Sprintf("fec: Encode: %d bytes of source for %d symbols of %d", len(source), c.k, len(dst)))
	}
	var kernel reedsolomon.LowLevel
	size := len(dst)
	for s := range c.k {
		symbol := source[s*size:][:size]
		if s == 0 {
			kernel.GalMulSlice(c.coefficient(index, s), symbol, dst)
		} else {
			kernel.GalMulSliceXor(c.coefficient(index, s), symbol, dst)
		}
	}
}

// coefficient is the weight of source symbol s in parity symbol index.
func (c *Code) coefficient(index, s int) byte {
	f := &c.field
	return f.exp[(2*order+int(c.nodes[index])-f.distance(index, s)-int(c.nodes[s]))%order]
}
