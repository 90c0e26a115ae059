package session

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/fec"
)

// symbolsOf returns all 256 symbols of a block of the stream: the slow twin that
// assembled blocks are held against.
func symbolsOf(t *testing.T, geo *geometry, block int, content []byte) [][]byte {
	t.Helper()
	k := geo.k(block)
	code, err := fec.New(k)
	if err != nil {
		t.Fatal(err)
	}
	source := make([]byte, k*geo.symbol)
	copy(source, content)
	out := make([][]byte, 256)
	for i := range out {
		if i < k {
			out[i] = source[i*geo.symbol:][:geo.symbol]
		} else {
			out[i] = make([]byte, geo.symbol)
			code.Encode(out[i], i, source)
		}
	}
	return out
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// checkOpen holds a block under assembly against the symbols that it was given:
// each lies somewhere, none over another, and the numbers are right.
func checkOpen(t *testing.T, b *openBlock, size int, symbols [][]byte, given map[int]bool) {
	t.Helper()
	if b.count != len(given) || b.lacking() != b.k-len(given) {
		t.Fatalf("count %d, lacking %d with %d of %d given", b.count, b.lacking(), len(given), b.k)
	}
	slots := map[int]int{}
	for i := range b.k {
		if b.present.has(i) && b.spilled.has(i) {
			t.Fatalf("symbol %d is both here and in the target", i)
		}
		if given[i] != (b.present.has(i) || b.spilled.has(i)) {
			t.Fatalf("symbol %d: given %v, present %v, spilled %v", i, given[i], b.present.has(i), b.spilled.has(i))
		}
		if b.present.has(i) {
			slots[i] = i
		}
	}
	if want := len(given) - b.present.count() - b.spilled.count(); len(b.parity) != want {
		t.Fatalf("%d parity symbols held, want %d", len(b.parity), want)
	}
	for _, p := range b.parity {
		if other, taken := slots[p.slot]; taken || p.slot >= b.k || !given[int(p.index)] {
			t.Fatalf("parity symbol %d lies at %d, where %d does", p.index, p.slot, other)
		}
		slots[p.slot] = int(p.index)
	}
	for slot, index := range slots {
		if !bytes.Equal(b.data[slot*size:][:size], symbols[index]) {
			t.Fatalf("symbol %d isn't what was given", index)
		}
	}
}

// TestOpenBlock gives blocks their symbols in any order with duplicates, source and
// parity, some of them already spilled to the target: k distinct ones give the block.
func TestOpenBlock(t *testing.T) {
	for _, symbol := range symbolSizes {
		for _, length := range []int{1, symbol, symbol + 1, 5*symbol - 7, crypto.BlockSize - 1, crypto.BlockSize} {
			if length > crypto.BlockSize {
				continue
			}
			for seed := range uint64(4) {
				t.Run(fmt.Sprintf("%d/%d/%d", symbol, length, seed), func(t *testing.T) {
					r := seeded(seed)
					// One image block: the second block of the stream. Its manifest is the first.
					geo := newGeometry(int64(length), symbol)
					block, k := geo.m, geo.k(geo.m)
					content := randomBytes(r, length)
					symbols := symbolsOf(t, &geo, block, content)
					target := &simTarget{data: make([]byte, length)}
					p := &prover{target: target, codes: codes{}, decoder: fec.NewDecoder()}
					b := &openBlock{block: block, k: k, data: randomBytes(r, k*symbol)} // buffers come used
					given := map[int]bool{}
					if seed%2 == 1 { // some were spilled in an earlier opening
						early := &openBlock{block: block, k: k, data: randomBytes(r, k*symbol)}
						for range k / 2 {
							i := r.IntN(k)
							early.add(i, symbols[i])
							given[i] = true
						}
						if k < 200 {
							early.add(200, symbols[200]) // parity isn't spilled: it comes again
						}
						if err := p.spill(job{block: block, open: early, geo: geo}); err != nil {
							t.Fatal(err)
						}
						b.spilled, b.count = early.present, early.present.count()
					}
					// Mostly parity, mostly source, or any.
					draw := func() int {
						switch seed {
						case 0:
							return r.IntN(256)
						case 1:
							return k + r.IntN(256-k)
						}
						if r.IntN(4) == 0 {
							return k + r.IntN(256-k)
						}
						return r.IntN(k)
					}
					for b.lacking() > 0 {
						i := draw()
						if got := b.add(i, symbols[i]); got == given[i] {
							t.Fatalf("symbol %d with it given %v: add says %v", i, given[i], got)
						}
						given[i] = true
						if k < 40 || r.IntN(16) == 0 {
							checkOpen(t, b, symbol, symbols, given)
						}
					}
					checkOpen(t, b, symbol, symbols, given)
					sources := 0
					for i := range k {
						if given[i] {
							sources++
						}
					}
					want := crypto.BlockHash(content)
					out := p.do(job{kind: jobProve, block: block, open: b, geo: geo, want: &want})
					if out.err != nil || !out.proven || out.rejected || out.repaired != k-sources {
						t.Fatalf("proven %v, rejected %v, repaired %d of %d, %v", out.proven, out.rejected, out.repaired, k-sources, out.err)
					}
					if !bytes.Equal(target.data, content) || !bytes.Equal(b.data[:length], content) {
						t.Error("the block isn't what was sent")
					}
				})
			}
		}
	}
}

// TestOpenBlockForged: one wrong symbol makes a block that is refused and not stored.
func TestOpenBlockForged(t *testing.T) {
	r := seeded(1)
	geo := newGeometry(crypto.BlockSize, defaultSymbol)
	content := randomBytes(r, crypto.BlockSize)
	symbols := symbolsOf(t, &geo, geo.m, content)
	target := &simTarget{data: make([]byte, crypto.BlockSize)}
	p := &prover{target: target, codes: codes{}, decoder: fec.NewDecoder()}
	b := &openBlock{block: geo.m, k: 128, data: make([]byte, crypto.BlockSize)}
	forged := bytes.Clone(symbols[140])
	forged[1000] ^= 4
	b.add(140, forged)
	for i := 1; i < 128; i++ {
		b.add(i, symbols[i])
	}
	if b.lacking() != 0 || b.add(140, symbols[140]) {
		t.Fatalf("lacking %d; a second symbol 140 must change nothing", b.lacking())
	}
	want := crypto.BlockHash(content)
	out := p.do(job{kind: jobProve, block: geo.m, open: b, geo: geo, want: &want})
	if out.err != nil || out.proven || !out.rejected || target.writes != 0 {
		t.Errorf("proven %v, rejected %v, %d writes, %v", out.proven, out.rejected, target.writes, out.err)
	}
}

// TestSpill: more blocks than may be open cost the quietest of the image its memory,
// not its symbols, and never one of the manifest.
func TestSpill(t *testing.T) {
	const blocks = maxOpen + 20
	geo := newGeometry(blocks*crypto.BlockSize, 8192)
	h := quietHearing(t, geo, &simTarget{data: make([]byte, geo.image)})
	s := h.image
	now := instant(0)
	symbol := func(block int) []byte {
		return bytes.Repeat([]byte{byte(block), byte(block >> 8)}, 4096)
	}
	hear := func(block, index int) {
		t.Helper()
		now = now.Add(time.Millisecond)
		h.hearSymbol(now, 1, symbolWith(block, index, symbol(block)))
		h.settleAll()
	}
	hear(0, 1) // of the manifest: the quietest of all
	for block := geo.m; block < geo.m+blocks; block++ {
		hear(block, 3)
	}
	if len(s.open) != maxOpen || s.open[0] == nil {
		t.Fatalf("%d blocks open, the manifest's %v", len(s.open), s.open[0] != nil)
	}
	wantSpilled := map[int]bool{}
	for block := geo.m; block < geo.m+blocks-(maxOpen-1); block++ {
		wantSpilled[block] = true
	}
	if got := slices.Sorted(maps.Keys(s.spilled)); !slices.Equal(got, slices.Sorted(maps.Keys(wantSpilled))) {
		t.Fatalf("spilled %v", got)
	}
	// A spilled block opens again, knows its symbol, and another goes.
	hear(geo.m, 3)
	b := s.open[geo.m]
	if b == nil || b.lacking() != b.k-1 || !b.spilled.has(3) || h.totals.Duplicate != 1 {
		t.Fatalf("the spilled block came back as %+v, duplicates %d", b, h.totals.Duplicate)
	}
	for i := range b.k {
		hear(geo.m, i)
	}
	if s.open[geo.m] != nil || s.spilled[geo.m] != nil || !s.settled(geo.m) {
		t.Error("the block didn't get whole from spilled and new symbols")
	}
	target, _ := h.cfg.Target.(*simTarget)
	if got := target.data[:crypto.BlockSize]; !bytes.Equal(got, bytes.Repeat([]byte{byte(geo.m), 0}, crypto.BlockSize/2)) {
		t.Error("the block in the target is wrong")
	}
	if s.made > maxOpen+proverQueue {
		t.Errorf("%d buffers made", s.made)
	}
	held := len(s.spare)
	for range s.open {
		held++
	}
	if held != s.made {
		t.Errorf("%d buffers made, %d are free or in use", s.made, held)
	}
}

// TestLacks: need is what is neither settled, nor claimed, nor so nearly whole that a NACK may name it.
func TestLacks(t *testing.T) {
	geo := newGeometry(30*crypto.BlockSize, defaultSymbol)
	s := newImageState(crypto.Hash{1}, geo)
	m := geo.m
	s.have.set(3)
	s.unproven[4] = crypto.Hash{}
	s.busy[m+5] = true
	s.claims[6] = true
	s.manifestHash[0] = crypto.Hash{}
	s.open[m+7] = &openBlock{block: m + 7, k: 128, count: 64}
	s.open[m+8] = &openBlock{block: m + 8, k: 128, count: 63}
	var got, want []int
	for block := range s.lacks().all() {
		got = append(got, block-m)
	}
	for block := 1 - m; block < 30; block++ {
		if block < 3 || block > 7 {
			want = append(want, block)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("lacking %v, want %v", got, want)
	}
}

// TestBuffers: as many as may be in use, no more; each comes back whole and empty, unless it is of another geometry.
func TestBuffers(t *testing.T) {
	s := newImageState(crypto.Hash{}, newGeometry(crypto.BlockSize, 8192))
	var taken []*openBlock
	for {
		b := s.take()
		if b == nil {
			break
		}
		if len(b.data) < crypto.BlockSize || len(b.data)%8192 != 0 {
			t.Fatalf("a buffer of %d bytes", len(b.data))
		}
		taken = append(taken, b)
	}
	if len(taken) != maxOpen+proverQueue {
		t.Errorf("%d buffers, want %d", len(taken), maxOpen+proverQueue)
	}
	s.giveBack(&openBlock{data: make([]byte, 1408)})
	if b := s.take(); b != nil {
		t.Errorf("a buffer of another geometry came back with %d bytes", len(b.data))
	}
	used := taken[0]
	used.data = used.data[:10]
	used.k, used.block = 22, 7
	used.add(3, make([]byte, 1))
	used.add(200, make([]byte, 1))
	s.giveBack(used)
	b := s.take()
	if b == nil || len(b.data) != len(taken[1].data) {
		t.Fatalf("came back as %v", b)
	}
	if b.count != 0 || len(b.parity) != 0 || b.present != (symbolSet{}) || b.block != 0 {
		t.Error("a buffer came back with what it held before")
	}
}
