package session

import (
	"math"
	"time"
)

// Implementation constants of the rate law (docs/design.md, "Rate").
const (
	rateFloor   = 256 << 10              // bytes/s: below this a cast is no use to anybody
	rateStart   = 16 << 20               // bytes/s at first
	rateScale   = 25e6                   // bytes/s: a rate that is back 1 s after a cut; faster ones take longer
	doubleEvery = 15 * time.Millisecond  // while starting
	startHeld   = 10                     // doublings held back by confirmation that end the start
	cutEvery    = 150 * time.Millisecond // at most one cut in this time
	cutTo       = 0.8                    // what a cut leaves
	converge    = 0.9                    // of what a client gets is aimed for when it gets less than at the cut before
	delayHigh   = 5 * time.Millisecond   // a queue this long ends the start
	delayLow    = time.Millisecond       // loss with a queue shorter than this may not be a queue's

	lookPackets = 100                   // a look at a client takes this many packets,
	lookTime    = 40 * time.Millisecond // or this long
	lastingLoss = 3                     // looks in a row with loss that count as much as one with a queue
	lossLeast   = 0.005                 // share: less is noise
	lossMemory  = 8                     // looks that random loss is averaged over
	firstLoss   = 0.1                   // share: as much is taken for random at first sight, without a queue
	firstLooks  = 3                     // looks that are first sight
	randomCuts  = 1                     // cuts that don't help make loss without a queue random
	queueCuts   = 7                     // the same, when delay says that there is a queue
)

// RateReason says what decides a session's rate at the moment. The rate is at its
// ceiling, or is being found at the start, or was cut and has not yet come back to where the
// first of these cuts found it: then the reason is the latest cut's cause. Else nothing holds it back.
type RateReason string

// The reasons: a closed set, used as metric label.
const (
	RateStarting      RateReason = "starting"       // no cut yet: it doubles
	RateProbing       RateReason = "probing"        // nothing holds it back
	RateCeiling       RateReason = "ceiling"        // the operator's ceiling
	RateLoss          RateReason = "loss"           // cut for loss in the network
	RateReceiveBuffer RateReason = "receive_buffer" // cut for a client that drops what it got
	RateDelay         RateReason = "delay"          // cut for a queue on the way, which ended the start
)

// RateReasons lists every reason, for metrics.
var RateReasons = []RateReason{RateStarting, RateProbing, RateCeiling, RateLoss, RateReceiveBuffer, RateDelay}

// rateSample is what one client measured from one report to the next.
type rateSample struct {
	client      uint32
	delivery    float64 // bytes/s opened
	loss        float64 // share lost
	packets     int     // expected in the period
	delay       time.Duration
	kernelDrops uint64 // in the period
	from        uint64 // packet number after which the period began
	next        uint64 // packet number that the sender sends next
}

// rateLaw decides a session's rate. It is pure: time and samples in, rate out.
// After a fast start it follows a cubic in real time (CUBIC, RFC 9438, without
// round trips): cut to 0.8 on congestion, back after about a second, then probing.
type rateLaw struct {
	ceiling float64 // bytes/s
	floor   float64 // bytes/s that the rate doesn't go below, 0 for none
	rate    float64
	reason  RateReason

	started  time.Time // of the current doubling
	starting bool
	held     int     // doublings in a row that confirmation held back
	plateau  float64 // the rate returns here after the latest cut
	reached  float64 // the same of the cut before, as it was before convergence
	cutFrom  float64 // rate before the first of the cuts that it isn't back from; 0 when it is
	cutAt    time.Time
	cutNext  uint64  // packet number from which on the latest cut holds
	limiting uint32  // client that made the latest cut
	used     float64 // what the sender managed, when it had enough to send; 0 before it is known
	// While starting: what each client said last that it got, in bytes/s of what was sent. The
	// start begins with the first word, and is never faster than twice what the slowest confirmed, so that it
	// waits for word from machines that are busy.
	confirmed map[uint32]float64

	paths map[uint32]*path
	trial trial
}

// trial is the cuts made for loss of which it isn't known yet whether they help. A cut tries
// the rate on all clients at once.
type trial struct {
	cuts  int
	first float64 // rate before the first of them
	start bool    // still starting then
}

func newRateLaw(ceiling float64) *rateLaw {
	return &rateLaw{ceiling: ceiling, rate: min(rateStart, ceiling), starting: true, reason: RateStarting, paths: map[uint32]*path{}, confirmed: map[uint32]float64{}}
}

// setCeiling changes the operator's ceiling, in bytes/s.
func (l *rateLaw) setCeiling(now time.Time, ceiling float64) {
	l.ceiling = ceiling
	l.at(now)
}

// growth is the cubic's factor at a plateau, in bytes/s a cubed second. Slow rates grow faster in proportion, so
// that two that share a link come closer to each other.
func growth(plateau float64) float64 { return (1 - cutTo) * math.Sqrt(plateau*rateScale) }

// recovery is how long after a cut the rate is back at its plateau, in s.
func (l *rateLaw) recovery() float64 {
	return math.Cbrt((1 - cutTo) * l.plateau / growth(l.plateau))
}

// level makes the rate start from a plateau, with no cut to recover from.
func (l *rateLaw) level(now time.Time, plateau float64) {
	l.plateau, l.reached = max(plateau, rateFloor), 0
	l.cutAt = now.Add(-time.Duration(l.recovery() * float64(time.Second)))
}

// at returns the rate at a moment, in bytes/s.
func (l *rateLaw) at(now time.Time) float64 {
	if l.starting {
		l.start(now)
	} else {
		t := now.Sub(l.cutAt).Seconds() - l.recovery()
		l.rate = l.plateau + growth(l.plateau)*t*t*t
		if l.rate >= l.cutFrom {
			l.cutFrom = 0
		}
	}
	// A rate that isn't used proves nothing: don't run away from what goes out.
	if most := max(2*l.used, rateStart); l.used > 0 && l.rate > most {
		l.rate, l.cutFrom = most, 0
		l.level(now, most)
	}
	l.rate = max(l.rate, min(max(rateFloor, l.floor), l.ceiling))
	switch {
	case l.rate >= l.ceiling:
		l.rate, l.cutFrom, l.reason = l.ceiling, 0, RateCeiling
	case l.starting:
		l.reason = RateStarting
	case l.cutFrom == 0:
		l.reason = RateProbing
	}
	return l.rate
}

// restart finds the rate anew, as when a client that held it down counts no more.
func (l *rateLaw) restart(now time.Time) {
	l.starting, l.started, l.held, l.cutFrom, l.trial = true, now, 0, 0, trial{}
	clear(l.confirmed)
}

// start doubles.
func (l *rateLaw) start(now time.Time) {
	if l.started.IsZero() || len(l.confirmed) == 0 {
		l.started = now // until there is word from somebody
		return
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
			l.level(now, l.rate)
			return
		}
	}
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
	p := l.paths[s.client]
	if p == nil {
		p = new(path)
		l.paths[s.client] = p
	}
	seen, ok := p.look(s, l.cutNext)
	if !ok {
		return
	}
	reason := p.judge(seen, l.starting, rate <= l.plateau)
	if s.client == l.limiting && p.clean >= lastingLoss && l.trial.cuts > 0 {
		if p.recent(lastingLoss) > p.still() { // as much as before: it was found random meanwhile
			l.restore(now)
			return
		}
		l.trial = trial{} // the cuts helped
	}
	if reason == "" || now.Sub(l.cutAt) < cutEvery && !l.starting {
		return
	}
	if reason == RateLoss {
		if p.random(seen.delay >= delayLow, l.trial.cuts) {
			l.restore(now)
			return
		}
		if l.trial.cuts++; l.trial.cuts == 1 {
			l.trial.first, l.trial.start = rate, l.starting
			for _, p := range l.paths {
				p.before, p.p0Before = p.recent(lastingLoss), p.p0
			}
		}
	}
	l.cut(now, s, seen, p, rate)
	l.reason = reason
}

// restore takes back the cuts that didn't help.
func (l *rateLaw) restore(now time.Time) {
	if l.trial.cuts == 0 {
		return
	}
	for _, p := range l.paths {
		if p.lossy > 0 {
			p.random(false, l.trial.cuts)
		}
	}
	l.level(now, max(l.trial.first, l.rate))
	l.rate, l.starting, l.started = l.plateau, l.trial.start, now
	if l.starting {
		l.cutFrom = 0
	}
	l.trial = trial{}
	l.at(now) // tells the reason
}

// cut leaves 0.8 of what a client gets.
func (l *rateLaw) cut(now time.Time, s rateSample, seen look, p *path, rate float64) {
	l.starting = false
	l.cutFrom = max(l.cutFrom, rate)
	reached := rate
	if seen.delivery > 0 {
		reached = min(rate, seen.delivery/(1-p.p0))
	}
	l.plateau = reached
	if reached < 0.97*l.reached {
		l.plateau *= converge
	}
	l.reached = reached
	l.plateau = max(l.plateau, rateFloor)
	l.cutAt, l.cutNext, l.limiting = now, s.next, s.client
	l.rate = cutTo * l.plateau
	for _, p := range l.paths {
		p.since = 0
	}
}

// forget drops what is known of a client that left.
func (l *rateLaw) forget(client uint32) {
	delete(l.paths, client)
	delete(l.confirmed, client)
}
