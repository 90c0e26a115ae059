package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"wimcast/multicast/wire"
)

// seeded is a random source that gives the same in every run.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 195)) }

// instant is a moment of the pure parts' tests, by how long after their start it is.
func instant(d time.Duration) time.Time { return time.Unix(1_800_000_000, 0).Add(d) }

// TestBitset holds the set against a map: lengths around the words' edges, then
// single changes, then what is read from it.
func TestBitset(t *testing.T) {
	for _, n := range []int{1, 2, 63, 64, 65, 127, 128, 129, 1000} {
		r := seeded(uint64(n))
		set, twin := newBitset(n), map[int]bool{}
		for step := range 3 * n {
			i := r.IntN(n)
			switch {
			case r.IntN(3) > 0:
				if got := set.set(i); got == twin[i] {
					t.Fatalf("length %d, step %d: set(%d) = %v with it there: %v", n, step, i, got, twin[i])
				}
				twin[i] = true
			default:
				if got := set.clear(i); got != twin[i] {
					t.Fatalf("length %d, step %d: clear(%d) = %v with it there: %v", n, step, i, got, twin[i])
				}
				delete(twin, i)
			}
			if set.has(i) != twin[i] || set.count != len(twin) {
				t.Fatalf("length %d, step %d: has(%d) = %v, count %d, want %v, %d", n, step, i, set.has(i), set.count, twin[i], len(twin))
			}
		}
		checkBitset(t, set, twin)
	}
	empty := newBitset(0)
	if empty.next(0) != -1 || empty.runs() != nil {
		t.Error("the set of length 0 has members")
	}
}

// TestBitsetPatterns reads sets whose runs begin and end at the words' edges.
func TestBitsetPatterns(t *testing.T) {
	for _, members := range [][]int{
		nil, {0}, {63}, {64}, {199}, {63, 64}, {0, 199}, {62, 63, 64, 65}, {127, 128, 129}, {0, 1, 2, 64, 66, 198, 199},
	} {
		set, twin := newBitset(200), map[int]bool{}
		for _, i := range members {
			set.set(i)
			twin[i] = true
		}
		checkBitset(t, set, twin)
	}
	full, twin := newBitset(200), map[int]bool{}
	for i := range 200 {
		full.set(i)
		twin[i] = true
	}
	checkBitset(t, full, twin)
	if runs := full.runs(); len(runs) != 1 || runs[0] != (wire.Run{First: 0, Count: 200}) {
		t.Errorf("a full set has the runs %v", runs)
	}
}

func checkBitset(t *testing.T, set *bitset, twin map[int]bool) {
	t.Helper()
	var want []int
	for i := range set.n {
		if twin[i] {
			want = append(want, i)
		}
	}
	if got := slices.Collect(set.all()); !slices.Equal(got, want) {
		t.Errorf("all of %d: %v, want %v", set.n, got, want)
	}
	for i := range set.n + 2 {
		next := -1
		if at, _ := slices.BinarySearch(want, i); at < len(want) {
			next = want[at]
		}
		if got := set.next(i); got != next {
			t.Errorf("next(%d) of %d = %d, want %d", i, set.n, got, next)
		}
	}
	var unrolled []int
	after := -2 // runs must not touch
	for _, run := range set.runs() {
		if run.Count == 0 || int(run.First) <= after {
			t.Errorf("runs of %d: %v after %d", set.n, run, after)
		}
		for i := range run.Count {
			unrolled = append(unrolled, int(run.First+i))
		}
		after = int(run.First + run.Count)
	}
	if !slices.Equal(unrolled, want) {
		t.Errorf("runs of %d: %v, want %v", set.n, unrolled, want)
	}
	n := 0
	for range set.all() {
		if n++; n == 2 {
			break // a caller that stops early
		}
	}
}
