package session

import (
	"math"
	"time"
)

// Implementation constants of the rate law (docs/design.md, "Rate").
const (
	rateFloor    = 256 << 10              // bytes/s: below this a cast is no use to anybody
	rateStart    = 16 << 20               // bytes/s at first
	doubleEvery  = 25 * time.Millisecond  // while starting
	startHeld    = 10                     // doublings held back by confirmation that end the start
	cutEvery     = 150 * time.Millisecond // at most one cut in this time
	cutTo        = 0.8                    // what a cut leaves
	recoverAfter = 1.0                    // s until the rate is back where the cut was
	delayHigh    = 5 * time.Millisecond   // a queue this long ends the start
	delayLow     = time.Millisecond       // loss with a queue shorter than this isn't a queue's
	heavyLoss    = 0.1                    // more than this is cut for even without a queue, at first
	randomCuts   = 3                      // cuts that don't help make heavy loss random
	queueCuts    = 8                      // the same, when delay says that there is a queue
	lossMemory   = 8                      // samples that random loss is averaged over
)

// RateReason says what decides a session's rate at the moment.
type RateReason string

// The reasons: a closed set, used as metric label.
const (
	RateStarting      RateReason = "starting"
	RateProbing       RateReason = "probing"
	RateCeiling       RateReason = "ceiling"
	RateLoss          RateReason = "loss"
	RateReceiveBuffer RateReason = "receive_buffer"
	RateDelay         RateReason = "delay"
)

// RateReasons lists every reason, for metrics.
var RateReasons = []RateReason{RateStarting, RateProbing, RateCeiling, RateLoss, RateReceiveBuffer, RateDelay}

// rateSample is what one client measured in one period.
type rateSample struct {
	client      uint32
	delivery    float64 // bytes/s opened
	loss        float64 // share lost
	packets     int     // expected in the period
	delay       time.Duration
	kernelDrops uint64 // in the period
	sent        float64
}

// rateLaw decides a session's rate. It is pure: time and samples in, rate out.
// After a fast start it follows a cubic in real time (CUBIC, RFC 9438, without
// round trips): cut to 0.8 on congestion, back after a second, then probing.
type rateLaw struct {
	ceiling float64 // bytes/s
	rate    float64
	reason  RateReason

	started  time.Time // of the current doubling
	starting bool
	held     int     // doublings in a row that confirmation held back
	plateau  float64 // rate before the latest cut
	cutAt    time.Time
	limiting uint32  // client that made the latest cut
	used     float64 // what the sender managed, when it had enough to send; 0 before it is known
	// While starting: what each client said last that it got, in bytes/s of what was sent. The
	// start is never faster than twice what the slowest confirmed, so that it waits for word
	// from machines that are busy.
	confirmed map[uint32]float64

	random map[uint32]*randomLoss
}

// randomLoss is what is known of a client's loss that the rate doesn't cause.
type randomLoss struct {
	p0     float64
	smooth float64 // share lost over the latest samples
	cuts   int
	first  float64 // rate before the first of the cuts
	start  bool    // still starting then
	loss   float64 // smooth at the first of the cuts
}

func newRateLaw(ceiling float64) *rateLaw {
	return &rateLaw{ceiling: ceiling, rate: min(rateStart, ceiling), starting: true, reason: RateStarting, random: map[uint32]*randomLoss{}, confirmed: map[uint32]float64{}}
}

// setCeiling changes the operator's ceiling, in bytes/s.
func (l *rateLaw) setCeiling(now time.Time, ceiling float64) {
	l.ceiling = ceiling
	l.at(now)
}

// at returns the rate at a moment, in bytes/s.
func (l *rateLaw) at(now time.Time) float64 {
	switch {
	case l.starting:
		if l.started.IsZero() {
			l.started = now
		}
		most := l.ceiling
		for _, got := range l.confirmed {
			most = min(most, max(2*got, rateStart))
		}
		for now.Sub(l.started) >= doubleEvery {
			l.started = l.started.Add(doubleEvery)
			if l.held++; 2*l.rate <= most {
				l.held = 0
			}
			l.rate = min(2*l.rate, most)
			// Nothing more to find: the ceiling, or what the machines on the way manage.
			if l.rate >= l.ceiling || l.held >= startHeld {
				l.starting = false
				l.plateau, l.cutAt = l.rate, now.Add(-time.Duration(recoverAfter*float64(time.Second)))
				break
			}
		}
	default:
		t := now.Sub(l.cutAt).Seconds() - recoverAfter
		l.rate = l.plateau * (1 + (1-cutTo)*t*t*t/(recoverAfter*recoverAfter*recoverAfter))
		if t > 0 {
			l.reason = RateProbing
		}
	}
	// A rate that isn't used proves nothing: don't run away from what goes out.
	if most := max(2*l.used, rateStart); l.used > 0 && l.rate > most {
		l.rate = most
		l.plateau, l.cutAt = most, now.Add(-time.Duration(recoverAfter*float64(time.Second)))
	}
	l.rate = max(l.rate, min(rateFloor, l.ceiling))
	if l.rate >= l.ceiling {
		l.rate, l.reason = l.ceiling, RateCeiling
	}
	return l.rate
}

// sent notes what went out in a window that had enough to send, in bytes/s.
func (l *rateLaw) sent(rate float64) { l.used = rate }

// hear takes a client's sample into account.
func (l *rateLaw) hear(now time.Time, s rateSample) {
	rate := l.at(now)
	if s.packets <= 0 {
		return
	}
	if l.starting && s.loss < 1 {
		l.confirmed[s.client] = s.delivery / (1 - s.loss)
	}
	known := l.random[s.client]
	if known == nil {
		known = new(randomLoss)
		l.random[s.client] = known
	}
	excess := s.loss - known.p0
	known.smooth += (s.loss - known.smooth) / lossMemory
	noise := max(0.005, 3*math.Sqrt(s.loss*(1-s.loss)/float64(s.packets)))
	var reason RateReason
	switch {
	case s.kernelDrops > 0 && excess > 0:
		reason = RateReceiveBuffer
	case l.starting && s.delay > delayHigh:
		reason = RateDelay
	case excess > noise && s.delay >= delayLow, known.smooth-known.p0 > heavyLoss:
		reason = RateLoss
	default:
		// No queue: what gets lost is lost at any rate.
		known.p0 += excess / lossMemory
		if now.Sub(l.cutAt) > 2*time.Second {
			known.cuts = 0
		}
		return
	}
	if now.Sub(l.cutAt) < cutEvery && !l.starting {
		return
	}
	// Loss that cuts don't lower isn't ours: stop cutting for it. Where there seems to be a queue it
	// takes more cuts, to a sixth of the rate, and no less loss at all.
	if reason == RateLoss {
		if known.cuts == 0 {
			known.first, known.loss, known.start = rate, known.smooth, l.starting
		}
		known.cuts++
		enough, still := randomCuts, 0.6*known.loss
		if s.delay >= delayLow {
			enough, still = queueCuts, known.loss
		}
		if known.cuts >= enough && known.smooth > still {
			known.p0, known.cuts = known.smooth, 0
			l.plateau, l.cutAt = max(known.first, rate), now.Add(-time.Duration(recoverAfter*float64(time.Second)))
			l.rate, l.starting, l.started = l.plateau, known.start, now
			return
		}
	}
	l.starting = false
	l.plateau = rate
	if s.delivery > 0 {
		l.plateau = min(rate, s.delivery/(1-known.p0))
	}
	l.plateau = max(l.plateau, rateFloor)
	l.cutAt, l.limiting, l.reason = now, s.client, reason
	l.rate = cutTo * l.plateau
}

// forget drops what is known of a client that left.
func (l *rateLaw) forget(client uint32) {
	delete(l.random, client)
	delete(l.confirmed, client)
}
