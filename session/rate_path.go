package session

import (
	"math"
	"time"
)

// path is what the rate law knows of the way to one client: above all how much of its loss
// the rate causes, and how much would happen at any rate.
type path struct {
	p0 float64 // share of packets lost at any rate

	// The look that is being taken.
	taken look

	looks  int                  // in all
	latest [lastingLoss]float64 // shares lost in the latest looks
	lossy  int                  // looks in a row, since the latest cut, with loss beyond p0
	clean  int                  // looks in a row without
	since  int                  // looks since the latest cut
	// Before the first cut of the trial: the share lost, and p0.
	before, p0Before float64
}

// recent is the share lost in the latest looks, n at most.
func (p *path) recent(n int) float64 {
	sum := 0.0
	n = min(n, p.looks, len(p.latest))
	for i := range n {
		sum += p.latest[(p.looks-1-i)%len(p.latest)]
	}
	return sum / float64(max(n, 1))
}

// still is the share lost from which on the trial's cuts didn't help.
func (p *path) still() float64 { return p.p0Before + 0.6*(p.before-p.p0Before) }

// look is what some samples say together, enough of them to judge by.
type look struct {
	packets     int
	lost        float64
	bytes       float64
	time        float64 // s
	delay       time.Duration
	kernelDrops uint64
	delivery    float64 // bytes/s
	loss        float64 // share
}

// look adds a sample, and returns true when there is enough to judge by. A sample that began before
// the latest cut says nothing about the rate as it is now: it doesn't count.
func (p *path) look(s rateSample, cutNext uint64) (look, bool) {
	if s.from+1 < cutNext {
		p.taken, p.lossy = look{}, 0
		return look{}, false
	}
	t := &p.taken
	if t.packets == 0 || s.delay < t.delay {
		t.delay = s.delay
	}
	t.packets += s.packets
	t.lost += s.loss * float64(s.packets)
	t.kernelDrops += s.kernelDrops
	if s.delivery > 0 {
		// The packet's size doesn't matter: it only weighs one sample against the others.
		bytes := (1 - s.loss) * float64(s.packets)
		t.bytes += bytes
		t.time += bytes / s.delivery
	}
	const packet = 1400 // bytes, nearly enough
	if t.packets < lookPackets && t.time*packet < lookTime.Seconds() && s.loss < 1 {
		return look{}, false
	}
	seen := *t
	seen.loss = seen.lost / float64(seen.packets)
	if seen.time > 0 {
		seen.delivery = seen.bytes / seen.time
	}
	p.taken = look{}
	return seen, true
}

// judge returns what a look at the client is a reason to cut for, "" for nothing. known says that the rate
// isn't higher than it has been without harm: only then, or without a queue, does p0 rise. (If it only fell while
// the rate grows, as it does on a machine that sends as fast as it can, p0 would end too low.)
func (p *path) judge(seen look, starting, known bool) RateReason {
	excess := seen.loss - p.p0
	sigma := math.Sqrt(seen.loss * (1 - seen.loss) / float64(seen.packets))
	p.latest[p.looks%len(p.latest)] = seen.loss
	p.looks++
	p.since++
	switch {
	case seen.kernelDrops > 0:
	case p.looks <= firstLooks && seen.loss <= firstLoss && seen.delay < delayLow:
		p.p0 += excess / float64(p.looks)
		excess = min(excess, 0)
	case excess < -max(lossLeast, 3*sigma):
		p.p0 += excess / 2 // a queue only adds to it
	case excess < 0, excess <= max(lossLeast, 3*sigma) && (known || seen.delay < delayLow):
		p.p0 += excess / lossMemory
	}
	if excess > max(lossLeast, 2*sigma) {
		p.lossy++
		p.clean = 0
	} else {
		p.lossy = 0
		p.clean++
	}
	switch {
	case seen.kernelDrops > 0 && excess > 0:
		return RateReceiveBuffer
	case starting && seen.delay > delayHigh:
		return RateDelay
	case excess > max(lossLeast, 3*sigma) && seen.delay >= delayLow, p.lossy >= lastingLoss:
		return RateLoss
	}
	return ""
}

// random judges a client's loss after so many cuts: when it is hardly less than before them it isn't the rate's, and
// p0 takes its value. Loss of a queue that overflows ends when less is sent than the client got before. Where there
// seems to be a queue it takes more cuts, to a sixth of the rate, and no less loss at all.
func (p *path) random(queue bool, cuts int) bool {
	if p.since == 0 {
		return false
	}
	loss, enough, still := p.recent(p.since), randomCuts, p.still()
	if queue {
		enough, still = queueCuts, p.before
	}
	if cuts < enough || loss <= still {
		return false
	}
	p.p0, p.lossy = loss, 0
	return true
}
