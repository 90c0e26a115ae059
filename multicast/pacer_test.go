package multicast

import (
	"math/rand/v2"
	"testing"
	"time"
)

// sent is one take in virtual time.
type sent struct {
	at    time.Time
	bytes int
}

// worst returns the most bytes beyond the rate's worth in any span of at most
// window that starts at a take and ends with one.
func worst(log []sent, window time.Duration, rate float64) float64 {
	var most float64
	for i := range log {
		sum := 0
		for j := i; j < len(log) && log[j].at.Sub(log[i].at) <= window; j++ {
			sum += log[j].bytes
			most = max(most, float64(sum)-rate*log[j].at.Sub(log[i].at).Seconds())
		}
	}
	return most
}

// TestPacerNeverExceeds drives the pacer in every way a caller may: greedy, late,
// polling, in odd sizes.
func TestPacerNeverExceeds(t *testing.T) {
	const window = 100 * time.Millisecond
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		packet := 200 + r.IntN(9000)
		rate := []float64{50e3, 1e6, 10e6, 100e6, 1e9}[r.IntN(5)]
		limit := []int{0, 1, 64 << 10}[r.IntN(3)]
		p := NewPacer(rate, packet, limit)
		now := time.Unix(1000, 0)
		var log []sent
		for len(log) < 1500 {
			bytes, wait := 0, time.Duration(0)
			switch r.IntN(3) {
			case 0:
				bytes = 1 + r.IntN(max(p.Burst(), 2*packet))
				if wait = p.Take(now, bytes); wait > 0 {
					bytes = 0
				}
			case 1:
				size := 1 + r.IntN(packet)
				var n int
				if n, wait = p.Allow(now, size, 1+r.IntN(64)); n > 0 {
					bytes = n * size
					p.Spend(now, bytes)
				}
			case 2:
				p.SetRate(now, rate)
			}
			if bytes > 0 {
				log = append(log, sent{now, bytes})
			}
			switch r.IntN(4) {
			case 0: // asks again too early
				now = now.Add(wait / 3)
			case 1: // late
				now = now.Add(wait + time.Duration(r.Int64N(int64(5*time.Millisecond))))
			case 2: // time went back
				if wait > 0 && p.Take(now.Add(-time.Second), packet) == 0 {
					log = append(log, sent{now, packet})
				}
				now = now.Add(wait)
			default:
				now = now.Add(wait)
			}
		}
		// Nothing that was asked for goes in bursts longer than 1 ms of the rate, or 4 packets, however late.
		for i := 0; i < len(log); {
			sum, from := 0, log[i].at
			for ; i < len(log) && log[i].at.Equal(from); i++ {
				sum += log[i].bytes
			}
			if most := max(rate*burstTime.Seconds(), float64(burstPackets*packet)); float64(sum) > most+1 {
				t.Errorf("seed %d: rate %.0f, packet %d: %d bytes at one moment, %.0f allowed", seed, rate, packet, sum, most)
			}
		}
		allowed := max(0.02*rate*window.Seconds(), float64(burstPackets*packet))
		if got := worst(log, window, rate); got > allowed+1 {
			t.Errorf("seed %d: rate %.0f, packet %d: %.0f bytes too much, %.0f allowed", seed, rate, packet, got, allowed)
		}
	}
}

// TestPacerKeepsRate holds that timers which fire up to 1 ms late cost no rate.
func TestPacerKeepsRate(t *testing.T) {
	for _, rate := range []float64{100e3, 1e6, 6e6, 25e6, 112e6, 1.2e9} {
		r := rand.New(rand.NewPCG(7, uint64(rate)))
		p := NewPacer(rate, 1476, 0)
		start := time.Unix(1000, 0)
		now, total := start, 0
		for now.Sub(start) < 5*time.Second {
			n, wait := p.Allow(now, 1476, 1000)
			p.Spend(now, n*1476)
			total += n * 1476
			if n == 0 {
				if wait <= 0 {
					t.Fatalf("rate %.0f: neither packets nor a wait", rate)
				}
				now = now.Add(wait + time.Duration(r.Int64N(int64(time.Millisecond))))
			}
		}
		if got := float64(total) / now.Sub(start).Seconds(); got < 0.999*rate || got > 1.01*rate {
			t.Errorf("rate %.0f: sent %.0f bytes/s", rate, got)
		}
	}
}

func TestPacerChangesRate(t *testing.T) {
	now := time.Unix(1000, 0)
	p := NewPacer(100e6, 1000, 0)
	p.SetRate(now, 1e6) // a bucket filled at the old rate doesn't stay
	n := 0
	for p.Take(now, 1000) == 0 {
		n++
	}
	if n != burstPackets {
		t.Errorf("%d packets at once at the new rate, want %d", n, burstPackets)
	}
	if wait := p.Take(now, 1000); wait < 999*time.Microsecond || wait > 1001*time.Microsecond {
		t.Errorf("wait %v for one packet, want 1 ms", wait)
	}
	p.SetRate(now, 0)
	if n, wait := p.Allow(now.Add(time.Hour), 1000, 1); n != 0 || wait <= 0 {
		t.Errorf("at rate 0: %d packets, wait %v", n, wait)
	}
	p.SetRate(now.Add(time.Hour), 2e6)
	if wait := p.Take(now.Add(time.Hour+500*time.Microsecond), 1000); wait != 0 {
		t.Errorf("wait %v after the time for one packet at the newest rate", wait)
	}
	p = NewPacer(1e6, 1000, 0)
	if wait := p.Take(now, 50_000); wait != 0 {
		t.Errorf("a take longer than a full bucket waits %v for ever", wait)
	}
	if wait := p.Take(now, 1000); wait < 46*time.Millisecond {
		t.Errorf("the debt of it costs %v", wait)
	}
}

func TestPacerBurst(t *testing.T) {
	for _, c := range []struct {
		rate  float64
		limit int
		want  int
	}{{0, 0, 2952}, {1e6, 0, 2952}, {100e6, 0, 100_000}, {100e6, 65_000, 65_000}, {100e6, 1, 2952}} {
		if got := NewPacer(c.rate, 1476, c.limit).Burst(); got != c.want {
			t.Errorf("rate %.0f, limit %d: burst %d, want %d", c.rate, c.limit, got, c.want)
		}
	}
}

func BenchmarkPacer(b *testing.B) {
	p, now := NewPacer(1e9, 1476, 0), time.Unix(1000, 0)
	for b.Loop() {
		now = now.Add(64 * time.Microsecond)
		if n, _ := p.Allow(now, 1476, 43); n > 0 {
			p.Spend(now, n*1476)
		}
	}
}
