package fec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/reedsolomon"
)

// library encodes a block with the library's default matrix, all m parity symbols.
func library(t testing.TB, k, m, size int, source []byte) [][]byte {
	t.Helper()
	enc, err := reedsolomon.New(k, m, reedsolomon.WithInversionCache(false))
	if err != nil {
		t.Fatal(err)
	}
	shards := make([][]byte, k+m)
	for i := range shards {
		if i < k {
			shards[i] = source[i*size:][:size]
		} else {
			shards[i] = make([]byte, size)
		}
	}
	if err := enc.Encode(shards); err != nil {
		t.Fatal(err)
	}
	return shards
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func mustNew(t testing.TB, k int) *Code {
	t.Helper()
	code, err := New(k)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestMatrix holds every coefficient of a code against the library's: the parity
// of the unit vectors is its matrix. (Every k passes; all 255 take minutes with -race.)
func TestMatrix(t *testing.T) {
	for _, k := range []int{1, 2, 22, 67, 128, 135, 255} {
		unit := make([]byte, k*k)
		for i := range k {
			unit[i*k+i] = 1
		}
		want := library(t, k, Symbols-k, k, unit)
		code := mustNew(t, k)
		for r := k; r < Symbols; r++ {
			for c := range k {
				if got := code.coefficient(r, c); got != want[r][c] {
					t.Fatalf("k = %d: coefficient %d of symbol %d is %d, the library's is %d", k, c, r, got, want[r][c])
				}
			}
		}
	}
}

// TestParityDoesNotDependOnM holds what the protocol rests on: a parity symbol is
// the same however many there are.
func TestParityDoesNotDependOnM(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, k := range []int{1, 22, 67, 128, 255} {
		source := randomBytes(r, k*33)
		code := mustNew(t, k)
		for _, m := range []int{1, 16, Symbols - k} {
			if k+m > Symbols {
				continue
			}
			want := library(t, k, m, 33, source)
			got := make([]byte, 33)
			for i := k; i < k+m; i++ {
				code.Encode(got, i, source)
				if !bytes.Equal(got, want[i]) {
					t.Fatalf("k = %d, m = %d: symbol %d differs from the library's", k, m, i)
				}
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, k := range []int{-1, 0, 256, 1 << 30} {
		if _, err := New(k); err == nil {
			t.Errorf("New(%d) succeeded", k)
		}
	}
}

func TestEncodePanics(t *testing.T) {
	code := mustNew(t, 3)
	for name, call := range map[string]func(){
		"source index": func() { code.Encode(make([]byte, 4), 2, make([]byte, 12)) },
		"index 256":    func() { code.Encode(make([]byte, 4), 256, make([]byte, 12)) },
		"short source": func() { code.Encode(make([]byte, 4), 3, make([]byte, 11)) },
		"long source":  func() { code.Encode(make([]byte, 4), 3, make([]byte, 13)) },
		"no bytes":     func() { code.Encode(nil, 3, nil) },
		"short decode": func() { _ = NewDecoder().Decode(code, make([]byte, 11), 4, Bitmap{}, nil) },
		"no symbol":    func() { _ = NewDecoder().Decode(code, nil, 0, Bitmap{}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	const k, size = 128, 1408
	source := randomBytes(rand.New(rand.NewPCG(1, 1)), k*size)
	for _, m := range []int{1, 6, 32} {
		b.Run(fmt.Sprintf("parity=%d", m), func(b *testing.B) {
			code := mustNew(b, k)
			dst := make([]byte, size)
			b.SetBytes(k * size)
			b.ReportAllocs()
			for b.Loop() {
				for i := range m {
					code.Encode(dst, k+i, source)
				}
			}
		})
		b.Run(fmt.Sprintf("library/parity=%d", m), func(b *testing.B) {
			enc, err := reedsolomon.New(k, m, reedsolomon.WithMaxGoroutines(1))
			if err != nil {
				b.Fatal(err)
			}
			shards := library(b, k, m, size, source)
			b.SetBytes(k * size)
			b.ReportAllocs()
			for b.Loop() {
				if err := enc.Encode(shards); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			mustNew(b, k)
		}
	})
}
