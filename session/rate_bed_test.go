package session

import (
	"math"
	"math/rand/v2"
	"time"

	"wimcast/multicast"
)

// This file is a bed to try the rate law on: the real law, pacer and meter, packet by packet, over links with
// queues that overflow, beside others that use the link. Nothing of it takes real time.

const (
	bedStep   = 100 * time.Microsecond
	bedPacket = 1448 // bytes of UDP payload
	bedWire   = 66   // bytes more on the cable: UDP, IP, Ethernet with preamble and gap
)

// bedLink is a cable of so many bytes/s with a queue before it, in time at that speed. Others' packets go through the
// same queue.
type bedLink struct {
	speed float64
	queue time.Duration
	busy  time.Time
	lost  int
}

// carry returns when a packet of n bytes has come through, false when the queue was full.
func (l *bedLink) carry(now time.Time, n int) (time.Time, bool) {
	l.busy = later(l.busy, now)
	if l.busy.Sub(now) > l.queue {
		l.lost++
		return now, false
	}
	l.busy = l.busy.Add(time.Duration(float64(n) / l.speed * float64(time.Second)))
	return l.busy, true
}

// bedPart is a packet on its way.
type bedPart struct {
	at     time.Time
	number uint64
	sent   uint32
}

// bedClient is a client of a cast: its own cable, its loss, its meter.
type bedClient struct {
	cable    *bedLink                                  // nil for none
	loss     func(r *rand.Rand, now time.Time) float64 // nil for none
	deaf     int                                       // packets still to be lost in a row
	delay    time.Duration
	meter    meter
	ahead    []bedPart
	report   time.Time
	heard    time.Time
	highest  uint64 // at the report before
	opened   uint64
	lost     uint64
	received float64 // bytes
}

// bedReport is a report on its way.
type bedReport struct {
	at     time.Time
	sample rateSample
}

// bedCast is a session: a sender that always has something to send, and its clients.
type bedCast struct {
	law     *rateLaw
	pacer   *multicast.Pacer
	from    time.Time // begins to send
	number  uint64
	clients []*bedClient
	mail    []bedReport
	window  time.Time
	bytes   float64 // sent in this window
	sent    float64
	wait    time.Time
	random  *rand.Rand
	trace   func(now time.Time, c *bedCast)
}

// bedTCP is a flow that always has something to send, with CUBIC (RFC 9438) and selective acknowledgements.
type bedTCP struct {
	from     time.Time
	delay    time.Duration // there and back, without queues
	window   float64       // packets
	slow     float64       // slow start ends here
	most     float64       // window before the latest cut
	friendly float64       // what Reno would have
	cutAt    time.Time
	next     uint64
	recover  uint64 // a loss before this number is of an earlier event
	ahead    []bedAck
	flying   int
	received float64 // bytes
}

type bedAck struct {
	at     time.Time
	number uint64
	lost   bool
}

const tcpPacket = 1448

// step sends what the window allows and takes acknowledgements.
func (f *bedTCP) step(now time.Time, link *bedLink) {
	if now.Before(f.from) {
		return
	}
	for len(f.ahead) > 0 && !f.ahead[0].at.After(now) {
		ack := f.ahead[0]
		f.ahead = f.ahead[1:]
		f.flying--
		if ack.lost {
			if ack.number >= f.recover {
				f.cut(now)
			}
			continue
		}
		f.received += tcpPacket
		f.grow(now)
	}
	for float64(f.flying) < f.window {
		at, ok := link.carry(now, tcpPacket+20+bedWire)
		// What gets lost is noticed with the acknowledgements of what came next.
		at = at.Add(f.delay)
		if !ok {
			at = link.busy.Add(f.delay)
		}
		f.ahead = append(f.ahead, bedAck{at, f.next, !ok})
		f.next++
		f.flying++
	}
}

func (f *bedTCP) cut(now time.Time) {
	const beta = 0.7
	most := f.window
	if f.window < f.most {
		most *= (1 + beta) / 2
	}
	f.most = most
	f.window = max(2, f.window*beta)
	f.slow, f.friendly = f.window, f.window
	f.cutAt, f.recover = now, f.next
}

func (f *bedTCP) grow(now time.Time) {
	if f.window < f.slow {
		f.window++
		return
	}
	const beta, c = 0.7, 0.4
	f.friendly += 3 * (1 - beta) / (1 + beta) / f.friendly
	k := math.Cbrt(f.most * (1 - beta) / c)
	t := now.Sub(f.cutAt).Seconds() + f.delay.Seconds() - k
	target := min(f.most+c*t*t*t, 1.5*f.window)
	if target > f.window {
		f.window += (target - f.window) / f.window
	}
	f.window = max(f.window, f.friendly)
}

// bed is a link that all share, and all who do.
type bed struct {
	now    time.Time
	shared *bedLink
	casts  []*bedCast
	tcp    []*bedTCP
	random *rand.Rand
	at     []func(b *bed) // called at each step
}

func newBed(speed float64, queue time.Duration) *bed {
	return &bed{now: instant(0), shared: &bedLink{speed: speed, queue: queue}, random: rand.New(rand.NewPCG(1, 2))}
}

// cast adds a session with some clients.
func (b *bed) cast(ceiling float64, clients int) *bedCast {
	c := &bedCast{law: newRateLaw(ceiling), pacer: multicast.NewPacer(rateStart, bedPacket, 0), from: b.now, number: 1, random: b.random}
	for range clients {
		c.clients = append(c.clients, &bedClient{delay: 300 * time.Microsecond})
	}
	b.casts = append(b.casts, c)
	return c
}

// add adds a TCP flow.
func (b *bed) flow() *bedTCP {
	f := &bedTCP{from: b.now, delay: 600 * time.Microsecond, window: 10, slow: math.Inf(1)}
	b.tcp = append(b.tcp, f)
	return f
}

// run lets time pass.
func (b *bed) run(d time.Duration) {
	for end := b.now.Add(d); b.now.Before(end); b.now = b.now.Add(bedStep) {
		for _, f := range b.at {
			f(b)
		}
		// Nobody is always first.
		for i := range b.casts {
			b.casts[(i+int(b.now.UnixMicro()/100))%len(b.casts)].step(b.now, b.shared)
		}
		for _, f := range b.tcp {
			f.step(b.now, b.shared)
		}
	}
}

func (c *bedCast) step(now time.Time, shared *bedLink) {
	if now.Before(c.from) {
		return
	}
	if c.window.IsZero() {
		c.window = now
	}
	for i := 0; i < len(c.mail); i++ {
		if m := c.mail[i]; !m.at.After(now) {
			m.sample.next = c.number
			c.law.hear(now, m.sample)
			c.mail = append(c.mail[:i], c.mail[i+1:]...)
			i--
		}
	}
	window := 100 * time.Millisecond
	if c.law.starting {
		window = doubleEvery
	}
	if d := now.Sub(c.window); d >= window {
		c.law.sent(c.bytes / d.Seconds())
		c.bytes, c.window = 0, now
	}
	for !now.Before(c.wait) {
		c.pacer.SetRate(now, c.law.at(now))
		packets, wait := c.pacer.Allow(now, bedPacket, runPackets)
		if packets == 0 {
			c.wait = now.Add(min(wait, 10*time.Millisecond))
			break
		}
		c.pacer.Spend(now, packets*bedPacket)
		for range packets {
			c.send(now, shared)
		}
	}
	for i, client := range c.clients {
		client.step(now, c, uint32(i+1))
	}
	if c.trace != nil {
		c.trace(now, c)
	}
}

func (c *bedCast) send(now time.Time, shared *bedLink) {
	part := bedPart{number: c.number, sent: uint32(now.UnixMicro())}
	c.number++
	c.bytes += bedPacket
	c.sent += bedPacket
	at, ok := shared.carry(now, bedPacket+bedWire)
	if !ok {
		return
	}
	for _, client := range c.clients {
		if client.deaf > 0 {
			client.deaf--
			continue
		}
		if client.loss != nil && c.random.Float64() < client.loss(c.random, now) {
			continue
		}
		part.at = at
		if client.cable != nil {
			if part.at, ok = client.cable.carry(at, bedPacket+bedWire); !ok {
				continue
			}
		}
		part.at = part.at.Add(client.delay)
		client.ahead = append(client.ahead, part)
	}
}

func (c *bedClient) step(now time.Time, cast *bedCast, number uint32) {
	n := 0
	for ; n < len(c.ahead) && !c.ahead[n].at.After(now); n++ {
		p := c.ahead[n]
		if c.heard.IsZero() {
			c.heard, c.report = now, now.Add(quickPeriod)
		}
		c.meter.packet(p.at, p.number, bedPacket, p.sent)
		c.received += bedPacket
	}
	c.ahead = c.ahead[n:]
	if c.heard.IsZero() || now.Before(c.report) {
		return
	}
	every := reportPeriod
	if now.Sub(c.heard) < quickFor && len(cast.clients) <= quickClients {
		every = quickPeriod
	}
	c.report = now.Add(every)
	p := c.meter.period(now)
	opened, lost := c.meter.opened, c.meter.lost()
	cast.mail = append(cast.mail, bedReport{now.Add(c.delay), rateSample{
		client: number, delivery: p.delivery, loss: p.loss, delay: p.delay,
		packets: int(grown(c.opened, opened) + grown(c.lost, lost)), from: c.highest,
	}})
	c.opened, c.lost, c.highest = opened, lost, c.meter.highest
}
