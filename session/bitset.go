package session

import (
	"iter"
	"math/bits"

	"wimcast/multicast/wire"
)

// bitset is a dense set of block numbers below a fixed length.
type bitset struct {
	words []uint64
	n     int // length
	count int // members
}

func newBitset(n int) *bitset { return &bitset{words: make([]uint64, (n+63)/64), n: n} }

func (s *bitset) has(i int) bool { return s.words[i/64]>>(i%64)&1 != 0 }

// set adds i and reports whether it is new.
func (s *bitset) set(i int) bool {
	if s.has(i) {
		return false
	}
	s.words[i/64] |= 1 << (i % 64)
	s.count++
	return true
}

// clear removes i and reports whether it was there.
func (s *bitset) clear(i int) bool {
	if !s.has(i) {
		return false
	}
	s.words[i/64] &^= 1 << (i % 64)
	s.count--
	return true
}

// clearAll removes everything.
func (s *bitset) clearAll() {
	clear(s.words)
	s.count = 0
}

// keep removes what isn't in another set of the same length.
func (s *bitset) keep(other *bitset) {
	s.count = 0
	for i := range s.words {
		s.words[i] &= other.words[i]
		s.count += bits.OnesCount64(s.words[i])
	}
}

// next returns the first member from i on, or -1.
func (s *bitset) next(i int) int {
	for w := i / 64; i < s.n && w < len(s.words); w++ {
		word := s.words[w]
		if w == i/64 {
			word &= ^uint64(0) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// all yields the members in order.
func (s *bitset) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := s.next(0); i >= 0; i = s.next(i + 1) {
			if !yield(i) {
				return
			}
		}
	}
}

// runs returns the members as ranges.
func (s *bitset) runs() []wire.Run {
	var runs []wire.Run
	for i := range s.all() {
		if n := len(runs); n > 0 && runs[n-1].First+runs[n-1].Count == uint32(i) {
			runs[n-1].Count++
		} else {
			runs = append(runs, wire.Run{First: uint32(i), Count: 1})
		}
	}
	return runs
}
