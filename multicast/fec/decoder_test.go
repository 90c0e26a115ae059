package fec

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/reedsolomon"
)

// block is a block with all its symbols, made by the library.
type block struct {
	code   *Code
	size   int
	source []byte
	all    [][]byte
}

func newBlock(t testing.TB, r *rand.Rand, k, m, size int) *block {
	t.Helper()
	source := randomBytes(r, k*size)
	return &block{code: mustNew(t, k), size: size, source: source, all: library(t, k, m, size, source)}
}

// decode loses the source symbols of lost, fills their places with rubbish and
// restores them from the parity symbols of parity.
func (b *block) decode(t testing.TB, d *Decoder, r *rand.Rand, lost, parity []int) {
	t.Helper()
	var have Bitmap
	for i := range b.code.k {
		have.Set(i)
	}
	got := bytes.Clone(b.source)
	for _, i := range lost {
		have[i/64] &^= 1 << (i % 64)
		copy(got[i*b.size:][:b.size], randomBytes(r, b.size))
	}
	symbols := make([]Parity, len(parity))
	for i, p := range parity {
		symbols[i] = Parity{Index: p, Data: bytes.Clone(b.all[p])}
	}
	if err := d.Decode(b.code, got, b.size, have, symbols); err != nil {
		t.Fatalf("k = %d, lost %v, parity %v: %v", b.code.k, lost, parity, err)
	}
	if !bytes.Equal(got, b.source) {
		t.Fatalf("k = %d, lost %v, parity %v: wrong bytes", b.code.k, lost, parity)
	}
	for i, p := range parity {
		if !bytes.Equal(symbols[i].Data, b.all[p]) {
			t.Fatalf("k = %d: Decode changed parity symbol %d", b.code.k, p)
		}
	}
}

// TestDecodeExhaustive tries every choice of k among the first k+m symbols.
func TestDecodeExhaustive(t *testing.T) {
	const m = 5
	r := rand.New(rand.NewPCG(3, 4))
	var d Decoder
	for k := 1; k <= 6; k++ {
		b := newBlock(t, r, k, m, 5)
		for set := range 1 << (k + m) {
			var lost, parity []int
			for i := range k + m {
				if in := set>>i&1 == 1; i < k && !in {
					lost = append(lost, i)
				} else if i >= k && in {
					parity = append(parity, i)
				}
			}
			if len(parity) == len(lost) {
				b.decode(t, &d, r, lost, parity)
			}
		}
	}
}

// TestDecodeTwin compares random losses with the library's Reconstruct, which
// inverts a matrix for each.
func TestDecodeTwin(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var d Decoder
	for _, k := range []int{1, 2, 22, 67, 128, 135, 255} {
		const size = 65
		m := Symbols - k
		b := newBlock(t, r, k, m, size)
		twin, err := reedsolomon.New(k, m, reedsolomon.WithInversionCache(false))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			n := 1 + r.IntN(min(k, m, 64))
			lost, parity := r.Perm(k)[:n], r.Perm(m)[:n]
			shards := make([][]byte, Symbols)
			for i := range k {
				shards[i] = bytes.Clone(b.all[i])
			}
			for i := range n {
				shards[lost[i]] = nil
				parity[i] += k
				shards[parity[i]] = b.all[parity[i]]
			}
			if err := twin.ReconstructData(shards); err != nil {
				t.Fatal(err)
			}
			for i := range k {
				if !bytes.Equal(shards[i], b.source[i*size:][:size]) {
					t.Fatal("the twin itself is wrong")
				}
			}
			b.decode(t, &d, r, lost, parity)
		}
	}
}

func TestDecodeUsesOnlyWhatItNeeds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	b := newBlock(t, r, 22, 30, 8)
	var d Decoder
	b.decode(t, &d, r, nil, []int{22, 51})
	b.decode(t, &d, r, []int{3}, []int{40, 22, 51})
}

func TestDecodeRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	b := newBlock(t, r, 4, 8, 16)
	symbol := func(i int) Parity { return Parity{Index: i, Data: b.all[i]} }
	for _, c := range []struct {
		name   string
		have   Bitmap
		parity []Parity
		want   error
	}{
		{"none", Bitmap{0b0111}, nil, ErrTooFew},
		{"one short", Bitmap{0b0011}, []Parity{symbol(4)}, ErrTooFew},
		{"bits beyond k don't count", Bitmap{0b11110111, 1, 1, 1}, nil, ErrTooFew},
		{"twice", Bitmap{0b0011}, []Parity{symbol(5), symbol(5)}, ErrParity},
		{"twice beyond need", Bitmap{0b0111}, []Parity{symbol(5), symbol(6), symbol(5)}, ErrParity},
		{"source as parity", Bitmap{0b0111}, []Parity{symbol(3)}, ErrParity},
		{"negative", Bitmap{0b0111}, []Parity{{Index: -1, Data: b.all[4]}}, ErrParity},
		{"index 256", Bitmap{0b0111}, []Parity{{Index: 256, Data: b.all[4]}}, ErrParity},
		{"short", Bitmap{0b0111}, []Parity{{Index: 4, Data: b.all[4][:15]}}, ErrParity},
		{"long", Bitmap{0b0111}, []Parity{{Index: 4, Data: make([]byte, 17)}}, ErrParity},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := bytes.Clone(b.source)
			if err := NewDecoder().Decode(b.code, source, 16, c.have, c.parity); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if !bytes.Equal(source, b.source) {
				t.Error("source was changed")
			}
		})
	}
}

func TestBitmap(t *testing.T) {
	var b Bitmap
	for n, i := range []int{0, 63, 64, 127, 128, 255} {
		if b.Has(i) {
			t.Errorf("%d is there", i)
		}
		b.Set(i)
		b.Set(i)
		if !b.Has(i) || b.Count() != n+1 {
			t.Errorf("after setting %d: has %t, count %d", i, b.Has(i), b.Count())
		}
	}
}

// TestNoAllocations uses another pattern each time: there is nothing to warm up.
func TestNoAllocations(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	b := newBlock(t, r, 128, 16, 1408)
	parity := make([]Parity, 16)
	for i := range parity {
		parity[i] = Parity{Index: 128 + i, Data: b.all[128+i]}
	}
	d, dst := NewDecoder(), make([]byte, 1408)
	if n := testing.AllocsPerRun(50, func() {
		have := Bitmap{^uint64(0), ^uint64(0)}
		for range 16 {
			i := r.IntN(128)
			have[i/64] &^= 1 << (i % 64)
		}
		if err := d.Decode(b.code, b.source, 1408, have, parity); err != nil {
			t.Error(err)
		}
		b.code.Encode(dst, 200, b.source)
	}); n != 0 {
		t.Errorf("%v allocations per block", n)
	}
}

// FuzzDecode takes loss, parity and sizes from the fuzzer: whatever they are, the
// outcome is the block or an error.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(128), uint8(9), []byte{1, 5, 77}, []byte{128, 200, 255})
	f.Add(uint8(1), uint8(1), []byte{0}, []byte{1})
	f.Add(uint8(22), uint8(3), []byte{0, 1}, []byte{30, 30})
	f.Add(uint8(255), uint8(2), []byte{254}, []byte{255})
	f.Fuzz(func(t *testing.T, k, size uint8, lose, parity []byte) {
		if k == 0 || size == 0 {
			return
		}
		b := &block{code: mustNew(t, int(k)), size: int(size)}
		b.source = randomBytes(rand.New(rand.NewPCG(uint64(k), uint64(size))), int(k)*b.size)
		var have, distinct Bitmap
		for i := range int(k) {
			have.Set(i)
		}
		got := bytes.Clone(b.source)
		for _, i := range lose {
			i %= k
			have[i/64] &^= 1 << (i % 64)
			clear(got[int(i)*b.size:][:b.size])
		}
		valid := true
		var symbols []Parity
		for _, i := range parity {
			p := Parity{Index: int(i), Data: make([]byte, size)}
			if i >= k {
				b.code.Encode(p.Data, p.Index, b.source)
			}
			valid = valid && i >= k && !distinct.Has(p.Index)
			distinct.Set(p.Index)
			symbols = append(symbols, p)
		}
		valid = valid && len(symbols) >= int(k)-have.Count()
		err := NewDecoder().Decode(b.code, got, b.size, have, symbols)
		if (err == nil) != valid {
			t.Fatalf("valid %t, got %v", valid, err)
		}
		if err == nil && !bytes.Equal(got, b.source) {
			t.Fatal("wrong bytes")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	const k, size = 128, 1408
	r := rand.New(rand.NewPCG(13, 14))
	for _, n := range []int{1, 3, 6, 12, 32, 64} {
		blk := newBlock(b, r, k, n, size)
		patterns := make([][]int, 64)
		for i := range patterns {
			patterns[i] = r.Perm(k)[:n]
		}
		b.Run(fmt.Sprintf("lost=%d", n), func(b *testing.B) {
			d := NewDecoder()
			parity := make([]Parity, n)
			for i := range parity {
				parity[i] = Parity{Index: k + i, Data: blk.all[k+i]}
			}
			b.SetBytes(k * size)
			b.ReportAllocs()
			turn := 0
			for b.Loop() {
				have := Bitmap{^uint64(0), ^uint64(0)}
				for _, i := range patterns[turn%len(patterns)] {
					have[i/64] &^= 1 << (i % 64)
				}
				turn++
				if err := d.Decode(blk.code, blk.source, size, have, parity); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("library/lost=%d", n), func(b *testing.B) {
			enc, err := reedsolomon.New(k, n, reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
			if err != nil {
				b.Fatal(err)
			}
			shards := make([][]byte, k+n)
			b.SetBytes(k * size)
			b.ReportAllocs()
			turn := 0
			for b.Loop() {
				copy(shards, blk.all)
				for _, i := range patterns[turn%len(patterns)] {
					shards[i] = shards[i][:0]
				}
				turn++
				if err := enc.ReconstructData(shards); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
