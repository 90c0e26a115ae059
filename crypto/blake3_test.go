package crypto

import (
	"encoding/binary"
	"math/bits"
)

// slowBlake3 is BLAKE3-256 written from its paper (section 2) for clarity: one
// chunk and one node after the other, the tree by recursion. It is the twin of
// the library that the package uses.
func slowBlake3(input []byte) []byte {
	words := blake3Node(input, 0).root()
	out := make([]byte, 0, 32)
	for _, w := range words[:8] {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

const (
	blake3ChunkStart = 1 << iota
	blake3ChunkEnd
	blake3Parent
	blake3Root

	blake3Chunk = 1024
	blake3Block = 64
)

var blake3IV = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

// blake3Output is a node before its last compression.
type blake3Output struct {
	chain   [8]uint32
	block   [16]uint32
	counter uint64
	length  uint32
	flags   uint32
}

func (o blake3Output) value() [16]uint32 {
	return blake3Compress(o.chain, o.block, o.counter, o.length, o.flags)
}

func (o blake3Output) root() [16]uint32 {
	return blake3Compress(o.chain, o.block, 0, o.length, o.flags|blake3Root)
}

// blake3Node returns the node over input, whose first chunk has that number.
func blake3Node(input []byte, chunk uint64) blake3Output {
	if len(input) <= blake3Chunk {
		return blake3Leaf(input, chunk)
	}
	// The left child gets the largest power of two of whole chunks that leaves
	// something for the right one.
	left := blake3Chunk
	for left*2 < len(input) {
		left *= 2
	}
	parent := blake3Output{chain: blake3IV, length: blake3Block, flags: blake3Parent}
	l, r := blake3Node(input[:left], chunk).value(), blake3Node(input[left:], chunk+uint64(left/blake3Chunk)).value()
	copy(parent.block[:8], l[:8])
	copy(parent.block[8:], r[:8])
	return parent
}

func blake3Leaf(input []byte, chunk uint64) blake3Output {
	chain, start := blake3IV, uint32(blake3ChunkStart)
	for {
		n := min(len(input), blake3Block)
		var padded [blake3Block]byte
		copy(padded[:], input[:n])
		o := blake3Output{chain: chain, counter: chunk, length: uint32(n), flags: start}
		for i := range o.block {
			o.block[i] = binary.LittleEndian.Uint32(padded[4*i:])
		}
		if input = input[n:]; len(input) == 0 {
			o.flags |= blake3ChunkEnd
			return o
		}
		words := o.value()
		copy(chain[:], words[:8])
		start = 0
	}
}

func blake3Compress(chain [8]uint32, m [16]uint32, counter uint64, length, flags uint32) [16]uint32 {
	v := [16]uint32{
		chain[0], chain[1], chain[2], chain[3], chain[4], chain[5], chain[6], chain[7],
		blake3IV[0], blake3IV[1], blake3IV[2], blake3IV[3], uint32(counter), uint32(counter >> 32), length, flags,
	}
	mix := func(a, b, c, d int, x, y uint32) {
		v[a] += v[b] + x
		v[d] = bits.RotateLeft32(v[d]^v[a], -16)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -12)
		v[a] += v[b] + y
		v[d] = bits.RotateLeft32(v[d]^v[a], -8)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -7)
	}
	permutation := [16]int{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8}
	for range 7 {
		for i := range 4 {
			mix(i, 4+i, 8+i, 12+i, m[2*i], m[2*i+1])
		}
		for i := range 4 {
			mix(i, 4+(i+1)%4, 8+(i+2)%4, 12+(i+3)%4, m[8+2*i], m[8+2*i+1])
		}
		before := m
		for i, from := range permutation {
			m[i] = before[from]
		}
	}
	for i := range 8 {
		v[i] ^= v[i+8]
		v[i+8] ^= chain[i]
	}
	return v
}
