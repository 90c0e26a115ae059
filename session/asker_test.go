package session

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"wimcast/multicast/wire"
)

// lackingBlock is an open block of k = 128 that lacks n symbols, whose turn ended with packet end.
func lackingBlock(block, n int, end uint64, first, seen time.Time) *openBlock {
	return &openBlock{block: block, k: 128, count: 128 - n, end: end, first: first, seen: seen}
}

// askUntil steps through time until a NACK goes out, and returns it and when.
func askUntil(a *asker, from, until time.Time, open map[int]*openBlock, highest uint64, passEnded bool) ([]wire.Lack, time.Time) {
	r := seeded(5)
	for now := from; !now.After(until); now = now.Add(time.Millisecond) {
		if lacks := a.nack(now, r, open, highest, passEnded); lacks != nil {
			return lacks, now
		}
	}
	return nil, time.Time{}
}

// TestAskerCandidates: a block may be asked for once its turn has ended a hold-off
// ago and nothing holds it back.
func TestAskerCandidates(t *testing.T) {
	const grtt = 10 * time.Millisecond
	now := instant(time.Second)
	for _, tc := range []struct {
		name      string
		n         int
		end       uint64
		highest   uint64
		seen      time.Duration // ago
		held      time.Duration // from now
		passEnded bool
		want      bool
	}{
		{"turn ended, hold-off over", 5, 100, 101, grtt, 0, false, true},
		{"turn not ended", 5, 100, 100, time.Second, 0, false, false},
		{"turn not ended, pass ended", 5, 100, 90, grtt, 0, true, true},
		{"hold-off not over", 5, 100, 200, grtt - 1, 0, false, false},
		{"hold-off not over, pass ended", 5, 100, 200, grtt - 1, 0, true, false},
		{"held back", 5, 100, 200, time.Second, 1, false, false},
		{"held back, pass ended", 5, 100, 200, time.Second, 1, true, false},
		{"no longer held back", 5, 100, 200, time.Second, -1, false, true},
		{"whole", 0, 100, 200, time.Second, 0, false, false},
		{"one symbol", 1, 100, 200, time.Second, 0, false, true},
		{"more than half", 100, 100, 200, time.Second, 0, false, true},
		{"end unknown after a new connection", 5, 0, 1, time.Second, 0, false, true},
	} {
		a := asker{grtt: grtt, clients: 1}
		b := lackingBlock(3, tc.n, tc.end, instant(0), now.Add(-tc.seen))
		b.held = now.Add(tc.held)
		if got := len(a.candidates(now, map[int]*openBlock{3: b}, tc.highest, tc.passEnded)) == 1; got != tc.want {
			t.Errorf("%s: a candidate: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestAskerOldestFirst: 64 blocks at most, the oldest first, whatever the map's order.
func TestAskerOldestFirst(t *testing.T) {
	a := asker{grtt: grttFloor, clients: 1}
	open := map[int]*openBlock{}
	for i := range 100 {
		block := (i * 37) % 100 // oldest by first symbol, not by number; two share a moment
		open[block] = lackingBlock(block, 1+i%64, 10, instant(time.Duration(i/2)*time.Millisecond), instant(0))
	}
	lacks, _ := askUntil(&a, instant(time.Second), instant(2*time.Second), open, 1000, false)
	var want []wire.Lack
	for i := 0; i < wire.MaxNACKBlocks; i += 2 {
		pair := []wire.Lack{{Block: uint32(i * 37 % 100), Symbols: uint8(1 + i%64)}, {Block: uint32((i + 1) * 37 % 100), Symbols: uint8(1 + (i+1)%64)}}
		if pair[0].Block > pair[1].Block {
			pair[0], pair[1] = pair[1], pair[0]
		}
		want = append(want, pair...)
	}
	if !slices.Equal(lacks, want) {
		t.Errorf("NACK %v,\nwant %v", lacks, want)
	}
}

// TestAskerRounds: NACKs come a round apart at least, a block again only after its
// hold, and all within the back-off's window.
func TestAskerRounds(t *testing.T) {
	for _, grtt := range []time.Duration{grttFloor, 10 * time.Millisecond, 100 * time.Millisecond} {
		for seed := range uint64(5) {
			a := asker{grtt: grtt, clients: 50}
			r := seeded(seed)
			open := map[int]*openBlock{}
			asked := map[uint32]time.Time{}
			var last time.Time
			nacks := 0
			// Blocks come for 2 s, more slowly than the slowest asking could name them
			// (64 each 10 GRTT, a quarter of them again); then 3 s for the rest.
			every := max(7, int(grtt/(3*time.Millisecond)))
			for step := range 5000 {
				now := instant(time.Duration(step) * time.Millisecond)
				if step%every == 0 && step < 2000 {
					open[step] = lackingBlock(step, 1+r.IntN(64), uint64(step), now, now)
				}
				lacks := a.nack(now, r, open, math.MaxUint64, false)
				if lacks == nil {
					continue
				}
				nacks++
				if len(lacks) == 0 || len(lacks) > wire.MaxNACKBlocks {
					t.Fatalf("a NACK of %d blocks", len(lacks))
				}
				if d := now.Sub(last); d < max(20*time.Millisecond, 4*grtt) {
					t.Fatalf("grtt %v: NACKs %v apart", grtt, d)
				}
				last = now
				for _, l := range lacks {
					if at, again := asked[l.Block]; again && now.Sub(at) < max(100*time.Millisecond, 4*grtt) {
						t.Fatalf("grtt %v: block %d again after %v", grtt, l.Block, now.Sub(at))
					}
					asked[l.Block] = now
					b := open[int(l.Block)]
					if int(l.Symbols) != b.lacking() || now.Sub(b.seen) < grtt {
						t.Fatalf("grtt %v: %+v of %+v at %v", grtt, l, b, now)
					}
					if r.IntN(4) > 0 {
						delete(open, int(l.Block)) // repaired
					}
				}
			}
			for block := range open {
				if _, ok := asked[uint32(block)]; !ok {
					t.Errorf("grtt %v: block %d was never asked for", grtt, block)
				}
			}
			if limit := int(5*time.Second/max(20*time.Millisecond, 4*grtt)) + 1; nacks > limit {
				t.Errorf("grtt %v: %d NACKs in 5 s, want at most %d", grtt, nacks, limit)
			}
		}
	}
}

// TestAskerSuppressed: a back-off that runs dies with the last reason to ask, and a
// later reason draws anew.
func TestAskerSuppressed(t *testing.T) {
	a := asker{grtt: 100 * time.Millisecond, clients: 1000}
	now := instant(time.Second)
	b := lackingBlock(1, 5, 10, instant(0), instant(0))
	open := map[int]*openBlock{1: b}
	if lacks := a.nack(now, seeded(1), open, 100, false); lacks != nil || a.fireAt.IsZero() {
		t.Fatalf("asked at once: %v, fires at %v", lacks, a.fireAt)
	}
	a.promise(now.Add(time.Millisecond), []wire.Promise{{Block: 1, Symbols: 5}}, open)
	if lacks := a.nack(now.Add(2*time.Millisecond), seeded(1), open, 100, false); lacks != nil || !a.fireAt.IsZero() {
		t.Errorf("asked for what was promised: %v, fires at %v", lacks, a.fireAt)
	}
	lacks, at := askUntil(&a, now.Add(3*time.Millisecond), now.Add(time.Minute), open, 100, false)
	if at.Sub(now) < 201*time.Millisecond || at.Sub(now) > 201*time.Millisecond+backoffFactor*a.grtt+time.Millisecond || len(lacks) != 1 {
		t.Errorf("a promise not kept: asked %v after %v", lacks, at.Sub(now))
	}
}

// TestAskerPromises: a promise holds back for two GRTTs when it is enough, and never shortens another hold.
func TestAskerPromises(t *testing.T) {
	a := asker{grtt: 10 * time.Millisecond}
	now := instant(0)
	open := map[int]*openBlock{}
	for block := range 4 {
		open[block] = lackingBlock(block, 10, 1, now, now)
	}
	longer := now.Add(time.Second)
	open[3].held = longer
	a.promise(now, []wire.Promise{{Block: 0, Symbols: 9}, {Block: 1, Symbols: 10}, {Block: 2, Symbols: 255}, {Block: 3, Symbols: 10}, {Block: 77, Symbols: 10}}, open)
	want := []time.Time{{}, now.Add(20 * time.Millisecond), now.Add(20 * time.Millisecond), longer}
	for block, held := range want {
		if !open[block].held.Equal(held) {
			t.Errorf("block %d is held until %v, want %v", block, open[block].held, held)
		}
	}
}

// TestAskerMissed plays random walks of the cursor: a block is missed once it was
// passed between two statuses, nothing came by the next, and it is still wanted.
func TestAskerMissed(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := seeded(seed)
			const blocks = 200
			var a asker
			there, missed := map[int]bool{}, map[int]bool{}
			var passed []int
			from := 0
			for range 60 {
				// Symbols of some blocks come, whether late or again.
				for range r.IntN(20) {
					there[r.IntN(blocks)] = true
				}
				to := from
				if r.IntN(5) > 0 {
					to = (from + r.IntN(40)) % blocks
				}
				a.cursor(instant(0), from, to, blocks, func(block int) bool { return !there[block] })
				for block := range missed {
					if there[block] {
						delete(missed, block)
					}
				}
				for _, block := range passed {
					if !there[block] {
						missed[block] = true
					}
				}
				passed = nil
				for block := from; block != to; block = (block + 1) % blocks {
					passed = append(passed, block)
				}
				from = to
				if got, want := slices.Sorted(maps.Keys(a.missed)), slices.Sorted(maps.Keys(missed)); !slices.Equal(got, want) {
					t.Fatalf("missed %v, want %v", got, want)
				}
			}
		})
	}
}

// TestAskerAsksForMissed: by a NACK of 255 symbols, the rest of the 64 places, and
// not again for a while.
func TestAskerAsksForMissed(t *testing.T) {
	a := asker{grtt: grttFloor, clients: 1}
	now := instant(time.Second)
	wanted := func(int) bool { return true }
	a.cursor(now, 0, 100, 1000, wanted)
	a.cursor(now, 100, 100, 1000, wanted)
	open := map[int]*openBlock{500: lackingBlock(500, 3, 1, now.Add(-time.Second), now.Add(-time.Second))}
	lacks, at := askUntil(&a, now, now.Add(time.Second), open, 100, false)
	want := []wire.Lack{{Block: 500, Symbols: 3}}
	for block := range uint32(63) {
		want = append(want, wire.Lack{Block: block, Symbols: 255})
	}
	if !slices.Equal(lacks, want) {
		t.Fatalf("first NACK %v", lacks)
	}
	delete(open, 500)
	lacks, at = askUntil(&a, at, at.Add(time.Second), open, 100, false)
	if len(lacks) != 100-63 || lacks[0].Block != 63 {
		t.Fatalf("second NACK %v", lacks)
	}
	if lacks, early := askUntil(&a, at, at.Add(missedAgain-time.Second), open, 100, false); lacks != nil {
		t.Errorf("asked again after %v", early.Sub(at))
	}
	if lacks, _ := askUntil(&a, at, at.Add(missedAgain+time.Second), open, 100, false); len(lacks) != 63 {
		t.Errorf("after %v asked again for %d blocks, want the first 63", missedAgain, len(lacks))
	}
	// A jump of the cursor over a large image costs bounded work and memory.
	var far asker
	far.cursor(now, 1, 0, 1<<30, wanted)
	if len(far.passed) != missedMost {
		t.Errorf("%d blocks passed are kept, want %d", len(far.passed), missedMost)
	}
}

// TestAskerNeed: parts are repeated until each was heard, at 250 ms, 500 ms, then each second.
func TestAskerNeed(t *testing.T) {
	var a asker
	lacks := newBitset(100_000)
	for i := range 100_000 {
		if i%3 == 0 {
			lacks.set(i)
		}
	}
	a.tell(7, 2, 555, lacks)
	all := slices.Clone(a.parts)
	told := newBitset(lacks.n)
	for i, p := range all {
		if p.Client != 7 || p.Pass != 2 || p.Highest != 555 || int(p.Part) != i || int(p.Parts) != len(all) {
			t.Fatalf("part %d is %+v", i, p)
		}
		if n := len(p.Append(nil)); n > wire.MaxControl {
			t.Fatalf("part %d has %d bytes", i, n)
		}
		for _, run := range p.Runs {
			for block := run.First; block < run.First+run.Count; block++ {
				told.set(int(block))
			}
		}
	}
	if !slices.Equal(told.words, lacks.words) || len(all) < 40 {
		t.Fatalf("%d parts tell %d blocks, want %d in many parts", len(all), told.count, lacks.count)
	}
	now := instant(0)
	for _, wait := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, time.Second} {
		if parts := a.due(now); len(parts) != 16 || parts[0] != all[0] {
			t.Fatalf("%d parts due, want the first 16", len(parts))
		}
		if parts := a.due(now.Add(wait - 1)); parts != nil {
			t.Fatalf("parts are due again before %v", wait)
		}
		now = now.Add(wait)
	}
	// What others heard, or this client told before, doesn't count.
	for _, m := range []wire.NeedHeard{{Client: 7, Pass: 1, Highest: 555}, {Client: 7, Pass: 2, Highest: 554}, {Client: 7, Pass: 2, Highest: 555, Part: 60_000}} {
		a.heard(&m)
	}
	if len(a.parts) != len(all) {
		t.Fatalf("%d parts left, want all %d", len(a.parts), len(all))
	}
	for range 2 { // a duplicate changes nothing
		for _, p := range all[:10] {
			a.heard(&wire.NeedHeard{Client: 7, Pass: 2, Highest: 555, Part: p.Part})
		}
	}
	if parts := a.due(now); len(a.parts) != len(all)-10 || parts[0] != all[10] {
		t.Errorf("%d parts left", len(a.parts))
	}
	for _, p := range all {
		a.heard(&wire.NeedHeard{Client: 7, Pass: 2, Highest: 555, Part: p.Part})
	}
	if parts := a.due(now.Add(time.Hour)); parts != nil {
		t.Errorf("all is heard, and %d parts are due", len(parts))
	}
	// Nothing to tell is told at join only: that is how the server knows.
	none := newBitset(10)
	if a.tell(7, 0, 1, none); len(a.due(now)) != 1 || len(a.parts[0].Runs) != 0 {
		t.Errorf("at join with nothing lacking: %v", a.parts)
	}
	if a.tell(7, 3, 1, none); len(a.parts) != 0 {
		t.Errorf("at a pass end with nothing lacking: %v", a.parts)
	}
}
