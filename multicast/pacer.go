package multicast

import "time"

// Implementation constants of pacing.
const (
	// burstTime is how much of the rate may go at once, and how much of it a caller
	// that comes too late may still have: together 2 ms, 2 % of 100 ms.
	burstTime = time.Millisecond
	// burstPackets is how many packets may go together at any rate, both counted.
	burstPackets = 4
	// peak is how many times the rate may go while lateness is made up for.
	peak = 8
	// shortestWait keeps rounding from turning a wait into a spin.
	shortestWait = time.Microsecond
)

// Pacer says when the next packets may go: a token bucket, filled at the rate and
// 2 ms of it deep, at least 4 packets. A caller should send at most Burst bytes at
// once, half of that; the other half is there for timers that fire late, so that
// lateness up to 1 ms costs no rate and more than that is never caught up. What was late
// doesn't go in one burst either: a second bucket, of one Burst or 4 packets and filled at eight times the rate,
// keeps bursts an eighth of their own time apart.
//
// Over any span of time no more goes than the rate's worth plus one bucket: in any
// 100 ms at most max(2 %, 4 packets) too much, however it is called, changing rates
// included. The one exception is what a caller takes by Spend without asking, or a
// single Take of more than a full bucket: the bucket then owes it, and nothing goes
// until that is paid.
//
// Pacer is pure: time comes in with each call, and going back counts as standing
// still. It isn't safe for concurrent use.
type Pacer struct {
	packet int     // bytes
	limit  int     // burst limit in bytes, 0 for none
	rate   float64 // bytes/s
	tokens float64 // bytes
	ready  float64 // bytes of the second bucket
	last   time.Time
}

// NewPacer returns a pacer for packets of up to packet bytes at rate bytes/s, with
// a full bucket. limit caps Burst, in bytes, down to 2 packets; 0 means no cap. What
// counts as a packet's bytes (payload, or with headers) is the caller's choice, the
// same everywhere. packet must be positive.
func NewPacer(rate float64, packet, limit int) *Pacer {
	if packet < 1 {
		panic("multicast: NewPacer: packets without bytes")
	}
	p := &Pacer{packet: packet, limit: limit, rate: max(rate, 0)}
	p.tokens, p.ready = p.depth(), p.together()
	return p
}

// SetRate changes the rate, in bytes/s, from now on. At 0 nothing goes.
func (p *Pacer) SetRate(now time.Time, rate float64) {
	p.fill(now)
	p.rate = max(rate, 0)
	p.tokens, p.ready = min(p.tokens, p.depth()), min(p.ready, p.together())
}

// Rate returns the rate, in bytes/s.
func (p *Pacer) Rate() float64 { return p.rate }

// Burst returns how many bytes it's best to send at once at this rate: 1 ms of it,
// at least 2 packets, at most the limit.
func (p *Pacer) Burst() int {
	burst := int(p.rate * burstTime.Seconds())
	if p.limit > 0 {
		burst = min(burst, p.limit)
	}
	return max(burst, burstPackets/2*p.packet)
}

// depth is the bucket's size in bytes.
func (p *Pacer) depth() float64 {
	late := max(p.rate*burstTime.Seconds(), float64(burstPackets/2*p.packet))
	return float64(p.Burst()) + late
}

// together is the most that may go at one moment, in bytes.
func (p *Pacer) together() float64 { return float64(max(p.Burst(), burstPackets*p.packet)) }

// fill adds the tokens of the time that passed.
func (p *Pacer) fill(now time.Time) {
	if p.last.IsZero() {
		p.last = now
	}
	if gone := now.Sub(p.last); gone > 0 {
		p.tokens = min(p.tokens+gone.Seconds()*p.rate, p.depth())
		p.ready = min(p.ready+gone.Seconds()*p.rate*peak, p.together())
		p.last = now
	}
}

// Take takes bytes if they may go now and returns 0; otherwise it takes nothing and
// returns how long to wait before asking again.
func (p *Pacer) Take(now time.Time, bytes int) time.Duration {
	p.fill(now)
	if wait := p.wait(float64(bytes)); wait > 0 {
		return wait
	}
	p.tokens -= float64(bytes)
	p.ready -= float64(bytes)
	return 0
}

// Allow returns how many packets of size bytes to send now, without taking them:
// atMost, or a Burst if that is less. When so many may not go yet it returns 0 and
// how long to wait: fewer would only make more wake-ups. Spend takes what then went.
func (p *Pacer) Allow(now time.Time, size, atMost int) (packets int, wait time.Duration) {
	p.fill(now)
	whole := min(atMost, max(p.Burst()/size, 1))
	if wait := p.wait(float64(whole * size)); wait > 0 {
		return 0, wait
	}
	return whole, 0
}

// Spend takes bytes that went.
func (p *Pacer) Spend(now time.Time, bytes int) {
	p.fill(now)
	p.tokens -= float64(bytes)
	p.ready -= float64(bytes)
}

// wait returns how long it takes until so many bytes may go, 0 for now.
func (p *Pacer) wait(bytes float64) time.Duration {
	const never = time.Hour // or until the rate changes
	if p.rate == 0 {
		return never
	}
	lacking := max(min(bytes, p.depth())-p.tokens, (min(bytes, p.together())-p.ready)/peak)
	if lacking <= 0 {
		return 0
	}
	wait := lacking / p.rate * float64(time.Second)
	return max(shortestWait, time.Duration(min(wait, float64(never)))+1)
}
