package session

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// windowTwin is the window as a set of everything ever marked.
type windowTwin struct {
	newest uint64
	seen   map[uint64]bool
}

func (w *windowTwin) check(number, limit uint64) (dropReason, bool) {
	switch {
	case number == 0 || number > limit, number <= w.newest && w.newest-number >= windowBits:
		return dropWindow, false
	case w.seen[number]:
		return dropDuplicate, false
	}
	return 0, true
}

func (w *windowTwin) mark(number uint64) {
	w.seen[number] = true
	w.newest = max(w.newest, number)
}

// TestWindowTwin plays steps ahead, reordering, duplicates, and jumps up to over
// the whole window and far beyond against a map.
func TestWindowTwin(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := seeded(seed)
			w, twin := new(window), &windowTwin{seen: map[uint64]bool{}}
			jumps := []uint64{1, 63, 64, 65, windowBits - 65, windowBits - 64, windowBits - 1, windowBits, windowBits + 1, 2 * windowBits, 1 << 40}
			for step := range 30_000 {
				var number uint64
				limit := uint64(math.MaxUint64)
				switch n := r.IntN(1000); {
				case n < 600:
					number = twin.newest + 1 + uint64(r.IntN(3))
				case n < 950:
					back := uint64(r.IntN(200))
					if r.IntN(4) == 0 {
						back = uint64(r.IntN(windowBits))
					}
					number = twin.newest - min(back, twin.newest)
				case n < 980: // out of the window, or not yet there
					number = twin.newest - min(windowBits+uint64(r.IntN(200)), twin.newest)
				case n < 990:
					number, limit = twin.newest+1+uint64(r.IntN(5)), twin.newest+3
				default:
					number = twin.newest + jumps[r.IntN(len(jumps))]
				}
				gotReason, got := w.check(number, limit)
				wantReason, want := twin.check(number, limit)
				if got != want || gotReason != wantReason {
					t.Fatalf("step %d: check(%d) with newest %d: %v %v, want %v %v", step, number, twin.newest, gotReason, got, wantReason, want)
				}
				// Refused numbers aren't marked, accepted ones only if they authenticate.
				if got && r.IntN(20) > 0 {
					w.mark(number)
					twin.mark(number)
				}
				if w.newest != twin.newest {
					t.Fatalf("step %d: newest %d, want %d", step, w.newest, twin.newest)
				}
			}
		})
	}
}

// TestWindowEdge: the oldest numbers of the window are as safe from replay as the others.
func TestWindowEdge(t *testing.T) {
	w, twin := new(window), &windowTwin{seen: map[uint64]bool{}}
	for number := uint64(1); number <= 2*windowBits; number++ {
		w.mark(number)
		twin.mark(number)
		for _, back := range []uint64{1, windowBits - 64, windowBits - 63, windowBits - 1, windowBits} {
			if back >= number {
				continue
			}
			gotReason, got := w.check(number-back, number)
			if wantReason, want := twin.check(number-back, number); got != want || gotReason != wantReason {
				t.Fatalf("newest %d, check(%d): %v %v, want %v %v", number, number-back, gotReason, got, wantReason, want)
			}
		}
	}
}

// TestMeterLoss: gaps are loss, whatever the order; what comes before the first
// packet or from before it doesn't count.
func TestMeterLoss(t *testing.T) {
	for seed := range uint64(20) {
		r := seeded(seed)
		var m meter
		now := instant(0)
		m.at = now
		first := uint64(1 + r.IntN(1_000_000))
		var kept []uint64
		for n := first; n < first+2000; n++ {
			if n == first || n == first+1999 || r.IntN(20) > 0 {
				kept = append(kept, n)
			}
		}
		// Reorder near neighbours, but let the first be the first and the last come.
		for i := 1; i+5 < len(kept); i++ {
			j := i + r.IntN(4)
			kept[i], kept[j] = kept[j], kept[i]
		}
		m.packet(now, kept[0], 1000, 0)
		m.packet(now, kept[0]-1, 1000, 0) // older than the first
		for _, n := range kept[1:] {
			m.packet(now, n, 1000, 0)
		}
		lost := 2000 - len(kept)
		if m.lost() != uint64(lost) || m.opened != uint64(len(kept)) || m.highest != first+1999 {
			t.Fatalf("lost %d, opened %d, highest %d, want %d, %d, %d", m.lost(), m.opened, m.highest, lost, len(kept), first+1999)
		}
		p := m.period(now.Add(2 * time.Second))
		if want := float64(lost) / 2000; p.packets != 2000 || math.Abs(p.loss-want) > 1e-9 || p.delivery != float64(len(kept))*500 {
			t.Fatalf("period %+v, want 2000 packets, loss %v, delivery %v", p, want, len(kept)*500)
		}
		if p := m.period(now.Add(3 * time.Second)); p.packets != 0 || p.loss != 0 || p.delivery != 0 || p.delay != 0 {
			t.Fatalf("a period of nothing: %+v", p)
		}
	}
}

// TestMeterPeriods: each period counts what is its own, and late packets of an
// earlier one don't make loss negative.
func TestMeterPeriods(t *testing.T) {
	var m meter
	m.at = instant(0)
	ms := func(n int) time.Time { return instant(time.Duration(n) * time.Millisecond) }
	for n := uint64(1); n <= 100; n++ {
		if n != 50 && n != 51 {
			m.packet(ms(10), n, 500, 0)
		}
	}
	// Time counts from the first packet on.
	if p := m.period(ms(50)); p.packets != 100 || p.loss != 0.02 || p.delivery != 98*500/0.04 {
		t.Errorf("first period %+v", p)
	}
	m.packet(ms(60), 50, 500, 0) // late, not lost
	m.packet(ms(60), 101, 500, 0)
	if p := m.period(ms(100)); p.packets != 1 || p.loss != 0 {
		t.Errorf("second period %+v", p)
	}
	if m.lost() != 1 {
		t.Errorf("lost %d, want 1", m.lost())
	}
	if p := m.period(ms(100)); p.delivery != 0 || math.IsNaN(p.delivery) || math.IsNaN(p.loss) {
		t.Errorf("a period of no time: %+v", p)
	}
}

// TestMeterRestart: at a new epoch the gap isn't loss, and the totals go on.
func TestMeterRestart(t *testing.T) {
	var m meter
	now := instant(0)
	m.at = now
	for _, n := range []uint64{1, 2, 4, 5} { // from packet 1 on, 3 lost
		m.packet(now, n, 100, 0)
	}
	m.restart(now)
	if m.lost() != 0 || m.lostBefore != 1 || m.openedBefore != 4 {
		t.Errorf("after a restart lost %d, before %d, opened before %d", m.lost(), m.lostBefore, m.openedBefore)
	}
	for _, n := range []uint64{5_000, 5_003} {
		m.packet(now, n, 100, 0)
	}
	m.restart(now)
	m.packet(now, 9, 100, 0)
	if m.lost() != 0 || m.lostBefore != 3 || m.openedBefore != 6 || m.opened != 1 {
		t.Errorf("after two restarts %+v", m)
	}
	if p := m.period(now.Add(time.Second)); p.packets != 1 || p.loss != 0 || p.delivery != 100 {
		t.Errorf("the period after a restart: %+v", p)
	}
}

// meterDelay feeds packets each ms with the delays that delay tells, and returns what
// each period of 50 ms measured. skew is how far the clocks differ.
func meterDelay(start time.Time, skew time.Duration, periods int, delay func(at time.Duration) time.Duration) []time.Duration {
	var m meter
	m.at = start
	var out []time.Duration
	number := uint64(0)
	for range periods {
		for range 50 {
			number++
			at := time.Duration(number) * time.Millisecond
			sent := start.Add(at + skew)
			m.packet(start.Add(at+delay(at)), number, 1000, uint32(sent.UnixMicro()))
		}
		out = append(out, m.period(start.Add(time.Duration(number)*time.Millisecond)).delay)
	}
	return out
}

// TestMeterDelay: a queue that stands shows, one that a burst makes doesn't, and what has been there for 10 s is no queue.
// Neither the clocks' difference nor the wrap of their low 32 bits matters.
func TestMeterDelay(t *testing.T) {
	const wrap = 1 << 32 // µs
	nearWrap := time.UnixMicro(1_800_000_000_000_000/wrap*wrap + wrap - 3_000_000)
	nearHalf := nearWrap.Add(-wrap / 2 * time.Microsecond) // where the sign of 32 bits changes
	for _, start := range []time.Time{instant(0), nearWrap, nearHalf} {
		for _, skew := range []time.Duration{0, -time.Hour, time.Hour, 17 * time.Minute, -400 * time.Hour, 2_999_999 * time.Microsecond} {
			delays := meterDelay(start, skew, 600, func(at time.Duration) time.Duration {
				switch {
				case at <= 2*time.Second:
					return 3 * time.Millisecond
				case at <= 4*time.Second: // every tenth packet waits
					if at/time.Millisecond%10 == 0 {
						return 30 * time.Millisecond
					}
					return 3 * time.Millisecond
				case at <= 6*time.Second:
					return 12 * time.Millisecond // a queue
				case at <= 7*time.Second:
					return time.Millisecond // another path
				}
				return 5 * time.Millisecond
			})
			for i, got := range delays {
				at := time.Duration(i) * 50 * time.Millisecond
				var want time.Duration
				switch {
				case at >= 4*time.Second && at < 6*time.Second:
					want = 9 * time.Millisecond
				case at >= 7*time.Second && at < 12*time.Second:
					want = 4 * time.Millisecond
				case at >= 12*time.Second && at < 18*time.Second:
					continue // when exactly the old path is forgotten isn't promised
				}
				if got != want {
					t.Fatalf("start %v, skew %v, at %v: delay %v, want %v", start.UnixMicro(), skew, at, got, want)
				}
			}
		}
	}
}

// TestMeterDelayHalfWrap: the clocks may as well differ by half of what 32 bits count.
func TestMeterDelayHalfWrap(t *testing.T) {
	const half = (1 << 31) * time.Microsecond
	for _, skew := range []time.Duration{half + 5*time.Millisecond, -half + 5*time.Millisecond, half, half + 3500*time.Microsecond} {
		delays := meterDelay(instant(0), skew, 40, func(at time.Duration) time.Duration {
			if at <= time.Second {
				return 3 * time.Millisecond
			}
			return 7 * time.Millisecond
		})
		for i, got := range delays {
			if want := time.Duration(i/20) * 4 * time.Millisecond; got != want {
				t.Fatalf("skew %v, period %d: delay %v, want %v", skew, i, got, want)
			}
		}
	}
}
