package screen

import (
	"math"
	"time"
)

// Implementation constants of the rate and the time left.
const (
	paceMemory = 5 * time.Second // over which the rate is smoothed: steady to the eye, and no half a minute behind
	paceFirst  = 2 * time.Second // before the first time left is told: earlier it is a guess
	paceIdle   = 6 * time.Second // without a byte there is no time left to tell
	paceMost   = 99 * time.Hour  // longer is as good as never
)

// pace smooths a rate: an exponential average over time, so that it doesn't matter how often it is told. It is pure: time comes as
// an argument.
type pace struct {
	at    time.Time // of the latest sample; zero: none
	begun time.Time // when the first byte came
	moved time.Time // when the latest byte came
	bytes int64
	rate  float64 // bytes/s
}

// add takes how many bytes have come so far. Fewer than before is a new start.
func (p *pace) add(now time.Time, bytes int64) {
	if p.at.IsZero() || bytes < p.bytes {
		*p = pace{at: now, moved: now, bytes: bytes}
		return
	}
	d := now.Sub(p.at).Seconds()
	if d <= 0 {
		return
	}
	if bytes > p.bytes {
		p.moved = now
		if p.begun.IsZero() {
			p.begun = p.at
		}
	}
	if !p.begun.IsZero() {
		// The average of what is known: at first of less than the memory, so that it doesn't creep up from zero.
		memory := min(paceMemory, now.Sub(p.begun)).Seconds()
		weight := 1 - math.Exp(-d/memory)
		if now.Sub(p.begun) <= paceMemory {
			weight = d / memory
		}
		p.rate += weight * (float64(bytes-p.bytes)/d - p.rate)
	}
	p.at, p.bytes = now, bytes
}

// left is how long so many bytes still take; false while that can't be said.
func (p *pace) left(bytes int64) (time.Duration, bool) {
	if p.begun.IsZero() || p.at.Sub(p.begun) < paceFirst || p.at.Sub(p.moved) > paceIdle || p.rate < 1 {
		return 0, false
	}
	seconds := float64(max(bytes, 0)) / p.rate
	if seconds > paceMost.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
