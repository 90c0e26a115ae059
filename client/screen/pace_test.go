package screen

import (
	"math"
	"testing"
	"time"
)

// TestPace holds the smoothed rate and the time left against what happened.
func TestPace(t *testing.T) {
	const mb = 1e6
	steady := func(rate float64) func(float64) float64 { return func(s float64) float64 { return rate * s } }
	for _, tc := range []struct {
		name  string
		bytes func(seconds float64) float64
		every time.Duration
		after time.Duration
		rate  float64 // bytes/s,
		off   float64 // share that it may be off
		left  time.Duration
		known bool
	}{
		{"nothing yet", steady(0), 250 * time.Millisecond, 10 * time.Second, 0, 0, 0, false},
		{"too early to tell", steady(100 * mb), 250 * time.Millisecond, time.Second, 100 * mb, 0.01, 0, false},
		{"steady", steady(100 * mb), 250 * time.Millisecond, 10 * time.Second, 100 * mb, 0.01, 10 * time.Second, true},
		{"steady, seen seldom", steady(100 * mb), 2 * time.Second, 10 * time.Second, 100 * mb, 0.01, 10 * time.Second, true},
		{"steady, seen often", steady(100 * mb), 10 * time.Millisecond, 10 * time.Second, 100 * mb, 0.01, 10 * time.Second, true},
		{"in bursts of a second", func(s float64) float64 { return 100 * mb * math.Floor(s) }, 250 * time.Millisecond, 20 * time.Second, 100 * mb, 0.15, 10 * time.Second, true},
		{"after a wait", func(s float64) float64 { return 100 * mb * max(s-30, 0) }, 250 * time.Millisecond, 40 * time.Second, 100 * mb, 0.02, 10 * time.Second, true},
		{"half as fast for 15 s", func(s float64) float64 { return 100*mb*min(s, 20) + 50*mb*max(s-20, 0) }, 250 * time.Millisecond, 35 * time.Second, 50 * mb, 0.06, 20 * time.Second, true},
		{"stalled for 3 s", func(s float64) float64 { return 100 * mb * min(s, 20) }, 250 * time.Millisecond, 23 * time.Second, 55 * mb, 0.05, 18 * time.Second, true},
		{"stalled for 8 s", func(s float64) float64 { return 100 * mb * min(s, 20) }, 250 * time.Millisecond, 28 * time.Second, 20 * mb, 0.05, 0, false},
		{"a trickle", steady(100), 250 * time.Millisecond, 20 * time.Second, 100, 0.05, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			begin := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
			var p pace
			for d := time.Duration(0); d <= tc.after; d += tc.every {
				p.add(begin.Add(d), int64(tc.bytes(d.Seconds())))
			}
			if math.Abs(p.rate-tc.rate) > tc.off*tc.rate {
				t.Errorf("%.1f MB/s, want %.1f", p.rate/mb, tc.rate/mb)
			}
			left, known := p.left(1000 * mb)
			if known != tc.known || known && (left-tc.left).Abs() > tc.left/6 {
				t.Errorf("left %v, %v; want %v, %v", left, known, tc.left, tc.known)
			}
		})
	}
}

// TestPaceAgain: fewer bytes than before, or the same moment twice, is no reason to say nonsense.
func TestPaceAgain(t *testing.T) {
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	var p pace
	for i := range 40 {
		p.add(now, int64(i)*25e6)
		p.add(now, int64(i)*25e6)
		now = now.Add(250 * time.Millisecond)
	}
	if p.rate < 95e6 || p.rate > 105e6 {
		t.Errorf("%.0f bytes/s", p.rate)
	}
	p.add(now, 0)
	if _, known := p.left(1e9); p.rate != 0 || known {
		t.Errorf("after a new start %.0f bytes/s", p.rate)
	}
	p.add(now.Add(-time.Hour), 1e9)
	if p.rate != 0 || math.IsNaN(p.rate) {
		t.Errorf("when time goes back %.0f bytes/s", p.rate)
	}
}
