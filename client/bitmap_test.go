package client

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// twin is the obvious set.
type twin []bool

func (t twin) next(i int, want bool) int {
	for ; i < len(t); i++ {
		if t[i] == want {
			return i
		}
	}
	return -1
}

func (t twin) members() (all []int) {
	for i, in := range t {
		if in {
			all = append(all, i)
		}
	}
	return all
}

func checkTwin(t *testing.T, b *Bitmap, want twin) {
	t.Helper()
	if b.Len() != len(want) || b.Count() != len(want.members()) {
		t.Fatalf("length %d, count %d, want %d, %d", b.Len(), b.Count(), len(want), len(want.members()))
	}
	if got := slices.Collect(b.All()); !slices.Equal(got, want.members()) {
		t.Fatalf("members %v, want %v", got, want.members())
	}
	for i := range len(want) + 1 {
		if i < len(want) && b.Has(i) != want[i] {
			t.Fatalf("has %d: %v", i, b.Has(i))
		}
		if got := b.NextSet(i); got != want.next(i, true) {
			t.Fatalf("next member from %d: %d, want %d", i, got, want.next(i, true))
		}
		if got := b.NextClear(i); got != want.next(i, false) {
			t.Fatalf("next gap from %d: %d, want %d", i, got, want.next(i, false))
		}
	}
	var fromRuns []int
	for first, count := range b.Runs() {
		if n := len(fromRuns); count < 1 || n > 0 && fromRuns[n-1]+1 == first {
			t.Fatalf("run of %d from %d touches the one before", count, first)
		}
		for i := range count {
			fromRuns = append(fromRuns, first+i)
		}
	}
	if !slices.Equal(fromRuns, want.members()) {
		t.Fatalf("runs give %v, want %v", fromRuns, want.members())
	}
	data, err := b.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var back Bitmap
	if err := back.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	again, _ := back.MarshalBinary()
	if back.Count() != b.Count() || !bytes.Equal(again, data) {
		t.Fatalf("round trip: % x became % x", data, again)
	}
}

func TestBitmapAgainstTwin(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200} {
		r := rand.New(rand.NewPCG(uint64(n), 1))
		b, want := NewBitmap(n), make(twin, n)
		checkTwin(t, b, want)
		for range 60 {
			if n == 0 {
				break
			}
			i := r.IntN(n)
			count := r.IntN(n - i + 1)
			switch r.IntN(4) {
			case 0:
				if fresh := b.Set(i); fresh == want[i] {
					t.Fatalf("set %d: new %v", i, fresh)
				}
				want[i] = true
			case 1:
				if was := b.Clear(i); was != want[i] {
					t.Fatalf("clear %d: was %v", i, was)
				}
				want[i] = false
			case 2:
				b.SetRange(i, count)
				for j := range count {
					want[i+j] = true
				}
			case 3:
				b.ClearRange(i, count)
				for j := range count {
					want[i+j] = false
				}
			}
			checkTwin(t, b, want)
		}
		b.SetRange(0, n)
		if b.Count() != n || b.NextClear(0) != -1 {
			t.Fatalf("all of %d set: count %d, gap at %d", n, b.Count(), b.NextClear(0))
		}
		c := b.Clone()
		b.ClearRange(0, n)
		if c.Count() != n || b.Count() != 0 {
			t.Fatalf("clone shares with its origin: %d, %d", c.Count(), b.Count())
		}
	}
}

func TestBitmapGolden(t *testing.T) {
	b := NewBitmap(11)
	b.Set(0)
	b.Set(3)
	b.Set(10)
	got, _ := b.MarshalBinary()
	if want := []byte{0, 0, 0, 0, 0, 0, 0, 11, 0b1001, 0b100}; !bytes.Equal(got, want) {
		t.Fatalf("% x, want % x", got, want)
	}
}

func TestBitmapRefuses(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty":       {},
		"no length":   {0, 0, 0, 0, 0, 0, 0},
		"body short":  {0, 0, 0, 0, 0, 0, 0, 9, 1},
		"body long":   {0, 0, 0, 0, 0, 0, 0, 8, 1, 1},
		"huge":        {255, 255, 255, 255, 255, 255, 255, 255, 1},
		"wraps":       {255, 255, 255, 255, 255, 255, 255, 249},
		"bits beyond": {0, 0, 0, 0, 0, 0, 0, 3, 0b1000},
	} {
		b := NewBitmap(5)
		if err := b.UnmarshalBinary(data); err == nil || b.Len() != 5 {
			t.Errorf("%s: error %v, length %d", name, err, b.Len())
		}
	}
	for name, misuse := range map[string]func(b *Bitmap){
		"has":      func(b *Bitmap) { b.Has(70) },
		"set":      func(b *Bitmap) { b.Set(-1) },
		"next":     func(b *Bitmap) { b.NextSet(71) },
		"range":    func(b *Bitmap) { b.SetRange(69, 2) },
		"negative": func(b *Bitmap) { b.ClearRange(3, -1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s out of range: no panic", name)
				}
			}()
			misuse(NewBitmap(70))
		}()
	}
}
