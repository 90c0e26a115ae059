package session

import (
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// TestStartWaitsForWord: the start doubles on its own, but never runs further ahead than twice what
// the slowest client confirmed.
func TestStartWaitsForWord(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newRateLaw(1e9)
	if got := l.at(now); got != rateStart {
		t.Fatalf("first rate %.0f, want %d", got, rateStart)
	}
	hear := func(client uint32, delivery, loss float64) {
		l.hear(now, rateSample{client: client, delivery: delivery, loss: loss, packets: 1000})
	}
	now = now.Add(2 * doubleEvery)
	hear(1, 60e6, 0)
	hear(2, 20e6, 0)
	now = now.Add(4 * doubleEvery)
	if got := l.at(now); got != 40e6 {
		t.Errorf("rate %.0f after 20 MB/s were confirmed, want 40 MB/s", got)
	}
	hear(2, 47.5e6, 0.05) // 50 MB/s were sent to it
	now = now.Add(doubleEvery)
	if got := l.at(now); got != 80e6 {
		t.Errorf("rate %.0f, want doubled to 80 MB/s", got)
	}
	now = now.Add(doubleEvery)
	if got := l.at(now); got != 100e6 {
		t.Errorf("rate %.0f, want 100 MB/s: twice what the slowest confirmed", got)
	}
	l.forget(2)
	now = now.Add(doubleEvery)
	if got := l.at(now); got != 120e6 {
		t.Errorf("rate %.0f after the slowest left, want 120 MB/s", got)
	}
	if !l.starting {
		t.Error("the start is over")
	}
	now = now.Add((startHeld + 1) * doubleEvery)
	if l.at(now); l.starting {
		t.Error("still starting, though nobody confirms more")
	}
}

// TestGather: machines started together with the first one miss nothing.
func TestGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 21, 40*crypto.BlockSize)
		defer r.stop()
		for _, name := range []string{"a", "b", "c", "d"} {
			r.client(name).start()
			time.Sleep(gatherFor * 3 / 4)
		}
		r.wait()
		if sent, source := r.sent().SourcePackets, r.sourcePackets(); sent != source {
			t.Errorf("%d source packets sent, want each of %d once", sent, source)
		}
	})
}

// TestOutagesDontStarve: outages that take ten packets of every period, on a path whose jitter
// looks like a queue. The slower the cast, the larger the share: the rate must not follow it down.
func TestOutagesDontStarve(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newRateLaw(40e6)
	sum, periods := 0.0, 0
	for i := range 600 {
		rate := l.at(now)
		packets := max(1, int(rate*reportPeriod.Seconds()/1440))
		loss := min(1, 10/float64(packets))
		l.hear(now, rateSample{client: 1, delivery: rate * (1 - loss), loss: loss, packets: packets, delay: 2 * time.Millisecond})
		if i >= 300 {
			sum += rate
			periods++
		}
		now = now.Add(reportPeriod)
	}
	if mean := sum / float64(periods); mean < 2e6 {
		t.Errorf("the rate is %.2f MB/s on average", mean/1e6)
	}
}
