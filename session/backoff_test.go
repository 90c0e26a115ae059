package session

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// TestBackoffDistribution holds the draw against its distribution: in a window T
// the share below t is (e^(λt/T) − 1) / (e^λ − 1), λ = ln(group size) + 1.
func TestBackoffDistribution(t *testing.T) {
	const draws = 20_000
	for _, clients := range []int{-1, 0, 1, 2, 10, 1000, 1 << 31} {
		for _, grtt := range []time.Duration{grttFloor, 80 * time.Millisecond, grttLimit} {
			t.Run(fmt.Sprintf("%d/%v", clients, grtt), func(t *testing.T) {
				r := seeded(7)
				window := backoffFactor * grtt.Seconds()
				shares := make([]float64, draws)
				for i := range shares {
					d := backoff(r, grtt, clients)
					if d < 0 || d > backoffFactor*grtt {
						t.Fatalf("%v is outside of the window %v", d, backoffFactor*grtt)
					}
					shares[i] = d.Seconds() / window
				}
				slices.Sort(shares)
				lambda := math.Log(float64(max(clients, 1))) + 1
				// Kolmogorov-Smirnov: 1.95/√n is passed once in a thousand times; the seed is fixed.
				worst := 0.0
				for i, x := range shares {
					want := math.Expm1(lambda*x) / math.Expm1(lambda)
					worst = max(worst, math.Abs(want-float64(i)/draws), math.Abs(want-float64(i+1)/draws))
				}
				if limit := 1.95 / math.Sqrt(draws); worst > limit {
					t.Errorf("off the distribution by %.4f, want at most %.4f", worst, limit)
				}
			})
		}
	}
	if d := backoff(seeded(1), 0, 10); d != 0 {
		t.Errorf("a window of nothing gave %v", d)
	}
}

// TestBackoffFewAnswer counts who speaks before the first NACK has come back as
// repair: one GRTT later. That is what the draw is for.
func TestBackoffFewAnswer(t *testing.T) {
	const grtt = 10 * time.Millisecond
	for _, tc := range []struct {
		clients int
		least   float64
		most    float64
		first   time.Duration // mean time until the first speaks, at most
	}{
		{1, 1, 1, 6 * grtt},
		{10, 1, 3, 4 * grtt},
		{1000, 1, 6, 3 * grtt},
	} {
		r := seeded(uint64(tc.clients))
		const rounds = 300
		spoke, waited := 0, time.Duration(0)
		draws := make([]time.Duration, tc.clients)
		for range rounds {
			for i := range draws {
				draws[i] = backoff(r, grtt, tc.clients)
			}
			first := slices.Min(draws)
			waited += first
			for _, d := range draws {
				if d <= first+grtt {
					spoke++
				}
			}
		}
		mean := float64(spoke) / rounds
		t.Logf("%d clients: %.2f answers, the first after %v", tc.clients, mean, waited/rounds)
		if mean < tc.least || mean > tc.most {
			t.Errorf("%d clients: %.2f answers on average, want %v to %v", tc.clients, mean, tc.least, tc.most)
		}
		if waited/rounds > tc.first {
			t.Errorf("%d clients: the first answer comes after %v on average, want at most %v", tc.clients, waited/rounds, tc.first)
		}
	}
}

func TestRetry(t *testing.T) {
	for attempt, want := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, time.Second, time.Second} {
		if got := retry(attempt); got != want {
			t.Errorf("retry(%d) = %v, want %v", attempt, got, want)
		}
	}
}
