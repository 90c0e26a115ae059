package session

import (
	"math/bits"
	"time"

	"wimcast/crypto"
)

// maxOpen is how many blocks a client assembles at once: 46 MB.
const maxOpen = 256

// symbolSet is the set of source symbols present, by index.
type symbolSet [4]uint64

func (s *symbolSet) has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }
func (s *symbolSet) set(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *symbolSet) count() int {
	return bits.OnesCount64(s[0]) + bits.OnesCount64(s[1]) + bits.OnesCount64(s[2]) + bits.OnesCount64(s[3])
}

// openBlock is a block under assembly. Parity symbols lie in the places of source
// symbols that are missing, so a block never takes more than k symbols of memory.
type openBlock struct {
	block   int // stream number
	k       int
	data    []byte // k symbols
	present symbolSet
	spilled symbolSet // source symbols that lie in the target already
	parity  []paritySlot
	count   int // distinct symbols held, spilled ones included

	end   uint64    // packet number at which the newest turn of the block ends
	seen  time.Time // of the latest symbol
	held  time.Time // no NACK before
	first time.Time
}

type paritySlot struct {
	index uint8
	slot  int
}

// add takes a symbol and reports whether it was new.
func (b *openBlock) add(index int, symbol []byte) bool {
	size := len(symbol)
	if index < b.k {
		if b.present.has(index) || b.spilled.has(index) {
			return false
		}
		for i := range b.parity {
			if b.parity[i].slot == index { // make room
				free := b.freeSlot(index)
				copy(b.data[free*size:][:size], b.data[index*size:][:size])
				b.parity[i].slot = free
			}
		}
		copy(b.data[index*size:][:size], symbol)
		b.present.set(index)
		b.count++
		return true
	}
	for _, p := range b.parity {
		if int(p.index) == index {
			return false
		}
	}
	slot := b.freeSlot(-1)
	copy(b.data[slot*size:][:size], symbol)
	b.parity = append(b.parity, paritySlot{index: uint8(index), slot: slot})
	b.count++
	return true
}

// freeSlot finds a place that holds neither a source symbol nor parity. There is
// one as long as the block isn't whole.
func (b *openBlock) freeSlot(except int) int {
	used := b.present
	for _, p := range b.parity {
		used.set(p.slot)
	}
	for i := range b.k {
		if i != except && !used.has(i) {
			return i
		}
	}
	panic("session: open block has no free slot")
}

// lacking is how many symbols are missing.
func (b *openBlock) lacking() int { return b.k - b.count }

// imageState is what a client holds of an image, across connections.
type imageState struct {
	digest crypto.Hash
	geo    geometry

	roots        []crypto.Hash // so far
	rootsWhole   bool
	manifestData []byte  // under assembly
	manifestHave *bitset // blocks of it that are proven
	manifestHash map[int]crypto.Hash
	manifest     *crypto.Manifest // once whole

	have     *bitset             // image blocks proven,
	cells    cellCounts          // and how many of each cell
	unproven map[int]crypto.Hash // stored, waiting for the manifest
	busy     map[int]bool        // stream blocks with the prover
	claims   map[int]bool        // image blocks of an earlier try, to be proven again
	sources  map[int]source      // where an unproven block came from

	seed *seeding // nil without one

	open    map[int]*openBlock
	spilled map[int]*symbolSet
	ready   []job        // waiting for the prover
	spare   []*openBlock // with their buffers, to be used again
	made    int          // with a buffer, so far
}

// source is where a block's bytes came from.
type source uint8

const (
	fromMulticast source = iota
	fromUnicast
	fromHeld
	fromSeed
)

func newImageState(digest crypto.Hash, geo geometry) *imageState {
	return &imageState{
		digest: digest, geo: geo, manifestData: make([]byte, geo.manifest), manifestHave: newBitset(geo.m), manifestHash: map[int]crypto.Hash{},
		have: newBitset(geo.b), cells: newCellCounts(geo.b), unproven: map[int]crypto.Hash{}, busy: map[int]bool{}, sources: map[int]source{}, claims: map[int]bool{},
		open: map[int]*openBlock{}, spilled: map[int]*symbolSet{},
	}
}

// settled reports whether a block of the stream needs no more symbols.
func (s *imageState) settled(block int) bool {
	if s.busy[block] {
		return true
	}
	if block < s.geo.m {
		if s.manifest != nil || s.manifestHave.has(block) {
			return true
		}
		_, stored := s.manifestHash[block]
		return stored
	}
	image := block - s.geo.m
	if s.have.has(image) {
		return true
	}
	_, stored := s.unproven[image]
	return stored
}

// expected reports whether a block of the stream may turn out to be there without being asked for: it was
// claimed by an earlier try, or the seed may have it.
func (s *imageState) expected(block int) bool {
	image := block - s.geo.m
	return s.claims[image] || s.seed != nil && image >= 0 && s.seed.left.has(image)
}

// done reports whether every block is proven.
func (s *imageState) done() bool { return s.manifest != nil && s.have.count == s.geo.b }

// take returns a block with a buffer and nothing in it, or nil when all are in use.
func (s *imageState) take() *openBlock {
	if n := len(s.spare); n > 0 {
		b := s.spare[n-1]
		s.spare = s.spare[:n-1]
		*b = openBlock{data: b.data[:cap(b.data)], parity: b.parity[:0]}
		return b
	}
	if s.made == maxOpen+proverQueue {
		return nil
	}
	s.made++
	return &openBlock{data: make([]byte, s.bufferSize())}
}

func (s *imageState) bufferSize() int { return (crypto.BlockSize/s.geo.symbol + 1) * s.geo.symbol }

// giveBack takes back a block that is no longer open, for another.
func (s *imageState) giveBack(b *openBlock) {
	if cap(b.data) == s.bufferSize() { // not one of an earlier geometry
		s.spare = append(s.spare, b)
	}
}

// opened returns the block under assembly, opening it if there is room. It
// returns nil when there is none: then victim is the block to spill, if any.
func (s *imageState) opened(block int, now time.Time) (b, victim *openBlock) {
	if b = s.open[block]; b != nil {
		return b, nil
	}
	if len(s.open) >= maxOpen {
		return nil, s.oldest()
	}
	if b = s.take(); b == nil {
		return nil, nil
	}
	b.block, b.k, b.first = block, s.geo.k(block), now
	b.data = b.data[:b.k*s.geo.symbol]
	if spilled := s.spilled[block]; spilled != nil {
		b.spilled, b.count = *spilled, spilled.count()
	}
	s.open[block] = b
	return b, nil
}

// oldest returns the open image block that has been quiet longest. One that the seed is being tried for isn't
// spilled: its symbols could get over what was proven.
func (s *imageState) oldest() *openBlock {
	var oldest *openBlock
	for _, b := range s.open {
		if b.block >= s.geo.m && (s.seed == nil || !s.seed.trying[b.block-s.geo.m]) && (oldest == nil || b.seen.Before(oldest.seen)) {
			oldest = b
		}
	}
	return oldest
}

// lacks returns the blocks of the stream that need whole turns: those that are
// neither settled nor open with a number of missing symbols that a NACK may name.
func (s *imageState) lacks() *bitset {
	lacks := newBitset(s.geo.blocks())
	for block := range s.geo.blocks() {
		if s.settled(block) || s.expected(block) {
			continue
		}
		if b := s.open[block]; b != nil && b.lacking() <= b.k/2 {
			continue
		}
		lacks.set(block)
	}
	return lacks
}
