package session

import (
	"math"
	"testing"
	"time"
)

// lawPlay is a rate law, and the time that passes for it.
type lawPlay struct {
	*rateLaw
	now time.Time
}

// playLaw is a law that has had word from a client which gets whatever is sent.
func playLaw(ceiling float64) *lawPlay {
	p := &lawPlay{rateLaw: newRateLaw(ceiling), now: instant(0)}
	p.confirmed[0] = math.Inf(1)
	return p
}

// pass lets time go by, as a sender that is busy sees it.
func (p *lawPlay) pass(d time.Duration) {
	for end := p.now.Add(d); p.now.Before(end); p.now = p.now.Add(5 * time.Millisecond) {
		p.at(p.now)
	}
	p.at(p.now)
}

// lose tells that a client lost a share of the last period, with a queue on the way.
func (p *lawPlay) lose(client uint32, share float64) {
	rate := p.at(p.now)
	p.hear(p.now, rateSample{client: client, delivery: rate * (1 - share), loss: share, packets: 1000, delay: 3 * time.Millisecond})
}

// steady is a law that has found its ceiling, of 100 MB/s.
func steady(t *testing.T) *lawPlay {
	t.Helper()
	p := playLaw(100e6)
	if p.at(p.now); p.reason != RateStarting {
		t.Fatalf("reason %q at first, want %q", p.reason, RateStarting)
	}
	p.pass(time.Second)
	p.want(t, "after the start", RateCeiling)
	return p
}

func (p *lawPlay) want(t *testing.T, when string, want RateReason) {
	t.Helper()
	if p.reason != want {
		t.Fatalf("%s: reason %q at %.1f MB/s, want %q", when, p.reason, p.rate/1e6, want)
	}
}

// wantUntilBack plays on without another cut: the cause is told exactly until the rate is back at from.
func (p *lawPlay) wantUntilBack(t *testing.T, from float64, cause, then RateReason) {
	t.Helper()
	for range 10_000 {
		if rate := p.at(p.now); rate >= from {
			p.want(t, "back", then)
			return
		}
		p.want(t, "not back yet", cause)
		p.now = p.now.Add(time.Millisecond)
	}
	t.Fatalf("after 10 s the rate is %.1f MB/s, and not back at %.1f MB/s", p.rate/1e6, from/1e6)
}

// TestRateReasonCuts: after one cut or many the reason is the latest cut's cause, until the rate is
// back where the first of them found it.
func TestRateReasonCuts(t *testing.T) {
	drops := func(p *lawPlay) {
		p.hear(p.now, rateSample{client: 7, delivery: p.rate * 0.9, loss: 0.1, packets: 1000, kernelDrops: 100})
	}
	loss := func(p *lawPlay) { p.lose(7, 0.05) }
	for name, tc := range map[string]struct {
		cuts []func(*lawPlay)
		want RateReason
	}{
		"loss":            {[]func(*lawPlay){loss}, RateLoss},
		"receive buffer":  {[]func(*lawPlay){drops}, RateReceiveBuffer},
		"five times loss": {[]func(*lawPlay){loss, loss, loss, loss, loss}, RateLoss},
		"loss, then drops": {
			[]func(*lawPlay){loss, loss, drops}, RateReceiveBuffer,
		},
		"drops, then loss": {[]func(*lawPlay){drops, drops, loss}, RateLoss},
	} {
		t.Run(name, func(t *testing.T) {
			p := steady(t)
			p.setCeiling(p.now, 200e6)
			p.pass(10 * time.Millisecond)
			p.setCeiling(p.now, 300e6) // above what is cut from
			from := p.at(p.now)
			for i, cut := range tc.cuts {
				if i > 0 {
					p.pass(cutEvery)
				}
				cut(p)
				if p.cutAt != p.now || p.limiting != 7 {
					t.Fatalf("cut %d didn't happen", i)
				}
			}
			p.want(t, "just cut", tc.want)
			p.wantUntilBack(t, from, tc.want, RateProbing)
			p.pass(5 * time.Second)
			p.want(t, "5 s later", RateCeiling)
		})
	}
}

// TestRateReasonCeiling: a rate that was cut at the ceiling is back when it is there again, and a
// ceiling lowered onto the rate is what limits it from then on.
func TestRateReasonCeiling(t *testing.T) {
	p := steady(t)
	p.lose(1, 0.05)
	p.wantUntilBack(t, 100e6, RateLoss, RateCeiling)

	p.lose(1, 0.05)
	p.setCeiling(p.now, 50e6)
	p.want(t, "lowered below the rate", RateCeiling)
	p.setCeiling(p.now, 200e6)
	p.want(t, "raised again", RateProbing)
}

// TestRateReasonDelay: a queue ends the start.
func TestRateReasonDelay(t *testing.T) {
	p := playLaw(1e9)
	p.pass(2 * doubleEvery)
	p.want(t, "doubling", RateStarting)
	from := p.at(p.now)
	p.hear(p.now, rateSample{client: 1, delivery: from / 2, packets: 1000, delay: 2 * delayHigh})
	p.want(t, "a queue", RateDelay)
	p.wantUntilBack(t, from, RateDelay, RateProbing)
}

// TestRateReasonHeld: a start that ends because nobody confirms more leaves nothing that holds the rate back.
func TestRateReasonHeld(t *testing.T) {
	p := playLaw(1e9)
	p.hear(p.now, rateSample{client: 1, delivery: 20e6, packets: 1000})
	p.pass((startHeld + 3) * doubleEvery)
	if p.starting {
		t.Fatal("still starting")
	}
	p.want(t, "held", RateProbing)
}

// TestRateReasonRandom: heavy loss that proves to be random is no reason any more, and a start that it
// broke off goes on.
func TestRateReasonRandom(t *testing.T) {
	p := playLaw(1e9)
	heavy := func() {
		rate := p.at(p.now)
		p.hear(p.now, rateSample{client: 1, delivery: rate * 0.7, loss: 0.3, packets: 1000})
	}
	seen := map[RateReason]bool{}
	for range 40 {
		heavy()
		seen[p.reason] = true
		if seen[RateLoss] && p.starting {
			break
		}
		p.pass(cutEvery / 10)
	}
	if !seen[RateLoss] || !p.starting {
		t.Fatalf("reasons seen %v, starting %v: the loss wasn't cut for and then found random", seen, p.starting)
	}
	p.want(t, "starting again", RateStarting)
	p.pass(doubleEvery)
	p.want(t, "starting again", RateStarting)

	p = steady(t)
	p.setCeiling(p.now, 300e6)
	p.plateau, p.cutAt = 100e6, p.now.Add(-time.Second) // probing upwards from 100 MB/s
	cut := false
	for range 400 {
		heavy()
		if p.reason == RateLoss {
			cut = true
		} else if cut {
			break
		}
		p.pass(cutEvery / 10)
	}
	if !cut {
		t.Fatal("the loss wasn't cut for")
	}
	p.want(t, "the rate of before the cuts is back", RateProbing)
}

// TestRateReasonUnused: what the sender doesn't manage to send isn't held back by an earlier cut.
func TestRateReasonUnused(t *testing.T) {
	p := steady(t)
	p.lose(1, 0.05)
	p.pass(100 * time.Millisecond)
	p.sent(20e6)
	p.pass(10 * time.Millisecond)
	p.want(t, "twice of what is sent", RateProbing)
}

// TestStartNeedsWord: without a word from anybody the start doesn't double, however long that takes.
func TestStartNeedsWord(t *testing.T) {
	p := playLaw(1e9)
	clear(p.confirmed)
	p.pass(time.Second)
	if p.rate != rateStart || p.reason != RateStarting {
		t.Fatalf("%.1f MB/s (%s) after a second of silence, want the start's %.1f", p.rate/1e6, p.reason, rateStart/1e6)
	}
	p.hear(p.now, rateSample{client: 1, delivery: rateStart, packets: 100})
	p.pass(doubleEvery)
	if p.rate != 2*rateStart {
		t.Errorf("%.1f MB/s once somebody got the start's rate, want twice that", p.rate/1e6)
	}
}

// bottleneck is a link of so many bytes/s behind a queue of so many bytes, in steps of 1 ms.
type bottleneck struct {
	speed, room, queue float64
}

// step lets 1 ms of a rate in, and returns what came out and what was dropped, in bytes.
func (b *bottleneck) step(rate float64) (out, lost float64) {
	b.queue += rate / 1000
	out = min(b.queue, b.speed/1000)
	b.queue -= out
	lost = max(0, b.queue-b.room)
	b.queue -= lost
	return out, lost
}

// TestRateReasonBottleneck: behind a link much slower than the ceiling the rate swings about the link's speed,
// and whoever looks sees that loss holds it there.
func TestRateReasonBottleneck(t *testing.T) {
	for _, speed := range []float64{5e6, 20e6, 50e6} {
		p := playLaw(117e6)
		link := &bottleneck{speed: speed, room: speed * 0.008}
		seen, steps, sum := map[RateReason]int{}, 0, 0.0
		const total = 60_000
		var out, lost float64
		least := math.Inf(1)
		for i := range total {
			rate := p.at(p.now)
			got, gone := link.step(rate)
			out, lost = out+got, lost+gone
			least = min(least, link.queue/speed)
			p.now = p.now.Add(time.Millisecond)
			if (i+1)%int(reportPeriod/time.Millisecond) == 0 {
				p.hear(p.now, rateSample{
					client: 1, delivery: out / reportPeriod.Seconds(), loss: lost / (out + lost), packets: int((out + lost) / 1440),
					delay: time.Duration(least * float64(time.Second)),
				})
				p.sent(rate)
				out, lost, least = 0, 0, math.Inf(1)
			}
			if i >= total/4 {
				seen[p.reason]++
				steps++
				sum += rate
			}
		}
		t.Logf("%.0f MB/s: mean rate %.1f MB/s, reasons %v", speed/1e6, sum/float64(steps)/1e6, seen)
		if mean := sum / float64(steps); mean < 0.7*speed || mean > 1.2*speed {
			t.Errorf("link of %.0f MB/s: the rate is %.1f MB/s on average", speed/1e6, mean/1e6)
		}
		if seen[RateLoss] < steps*9/10 {
			t.Errorf("link of %.0f MB/s: reasons %v, want loss nearly always", speed/1e6, seen)
		}
	}
}

// TestTrialFirstSight: a busy machine's delay beside random loss makes the start cut. When the loss goes on without a
// queue, it is found random, and the cut is taken back; when it ends, the cut stands.
func TestTrialFirstSight(t *testing.T) {
	for name, after := range map[string]float64{"random": 0.05, "a queue's": 0} {
		t.Run(name, func(t *testing.T) {
			p := playLaw(1e9)
			p.pass(4 * doubleEvery)
			from, number := p.at(p.now), uint64(1000)
			sample := func(loss float64, delay time.Duration) {
				p.hear(p.now, rateSample{client: 1, delivery: p.rate * (1 - loss), loss: loss, packets: 400, delay: delay, from: number, next: number + 400})
				number += 400
			}
			sample(0.05, 1500*time.Microsecond)
			p.want(t, "cut", RateLoss)
			for range 2 * lastingLoss {
				p.pass(20 * time.Millisecond)
				sample(after, 0)
			}
			if restored := p.at(p.now) >= from; restored != (after > 0) {
				t.Errorf("cut from %.1f MB/s, and %.1f MB/s soon after; first %v", from/1e6, p.rate/1e6, p.reason)
			}
		})
	}
}

// TestRandomLossWhileRising: random loss is known as well while the rate rises as while it stands.
func TestRandomLossWhileRising(t *testing.T) {
	r := seeded(1)
	for _, known := range []bool{true, false} {
		p := new(path)
		sum := 0.0
		const looks, packets = 4000, 1000
		for i := range looks {
			lost := 0
			for range packets {
				if r.Float64() < 0.05 {
					lost++
				}
			}
			p.judge(look{packets: packets, loss: float64(lost) / packets}, false, known)
			if i >= looks/2 {
				sum += p.p0 / (looks / 2)
			}
		}
		if math.Abs(sum-0.05) > 0.002 {
			t.Errorf("known %v: p0 is %.4f on average where 0.05 is lost", known, sum)
		}
	}
}
