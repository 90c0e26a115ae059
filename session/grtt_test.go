package session

import (
	"testing"
	"time"
)

func TestGRTTRisesAtOnceFallsSlowly(t *testing.T) {
	var g grtt
	if g.value() != grttFloor {
		t.Errorf("knows %v before anything was heard, want the floor", g.value())
	}
	number := uint64(100)
	hear := func(rtt time.Duration) time.Duration {
		number++
		sent := instant(time.Duration(number) * time.Second)
		g.sent(number, sent)
		got, ok := g.heard(sent.Add(rtt+30*time.Millisecond), number, 30*time.Millisecond)
		if !ok || got != min(max(rtt, 0), grttLimit) {
			t.Fatalf("a round trip of %v was heard as %v, %v", rtt, got, ok)
		}
		return g.value()
	}
	if got := hear(80 * time.Millisecond); got != 80*time.Millisecond {
		t.Errorf("80 ms heard, knows %v", got)
	}
	if got := hear(20 * time.Millisecond); got != 74*time.Millisecond {
		t.Errorf("80 ms then 20 ms heard, knows %v, want 0.9·80 + 0.1·20 ms", got)
	}
	for last := g.value(); last > 21*time.Millisecond; {
		got := hear(20 * time.Millisecond)
		if got >= last || got < 20*time.Millisecond {
			t.Fatalf("fell from %v to %v", last, got)
		}
		last = got
	}
	for range 100 {
		hear(0)
	}
	if g.value() != grttFloor {
		t.Errorf("knows %v after many of nothing, want the floor", g.value())
	}
	if got := hear(time.Minute); got != grttLimit {
		t.Errorf("a minute heard, knows %v, want the limit %v", got, grttLimit)
	}
}

// TestGRTTBelievesNobody takes echoes that can't be.
func TestGRTTBelievesNobody(t *testing.T) {
	var g grtt
	for n := range uint64(200) {
		g.sent(n+1, instant(time.Duration(n)*time.Millisecond))
	}
	now := instant(250 * time.Millisecond)
	for _, number := range []uint64{0, 1, 136, 201, 1 << 63} {
		if _, ok := g.heard(now, number, 0); ok {
			t.Errorf("took an echo of packet %d, of which nothing is known", number)
		}
	}
	if rtt, ok := g.heard(now, 137, 0); !ok || rtt != 250*time.Millisecond-136*time.Millisecond {
		t.Errorf("the oldest known status: %v, %v", rtt, ok)
	}
	before := g.value()
	if rtt, ok := g.heard(now, 200, time.Hour); !ok || rtt != 0 {
		t.Errorf("held for longer than it existed: %v, %v, want 0", rtt, ok)
	}
	if rtt, _ := g.heard(now, 200, -time.Hour); rtt > grttLimit {
		t.Errorf("held for less than nothing: %v", rtt)
	}
	if g.value() > grttLimit || before > grttLimit {
		t.Errorf("knows %v", g.value())
	}
}
