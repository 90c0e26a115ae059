package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
)

// Constants of probe bursts (docs/protocol.md, section 6.8).
const (
	probeEvery  = time.Minute            // one for each network
	probeStart  = 800 * time.Millisecond // from the grant: a switch takes some tenths of a second to let a new member in
	probeLength = time.Second
	// probeTold is how often a client is told of the end, probeToldEvery the time between.
	probeTold      = 3
	probeToldEvery = 100 * time.Millisecond
	// probeShare is how much of the ceiling a burst takes, and probeMost the most, in bytes/s: 100 Mbit/s tell enough, and
	// packets of several sizes go out one by one.
	probeShare = 0.1
	probeMost  = 12.5e6
)

// probeSizes are the sizes of a burst's packets, in bytes of IP; those go that server and client can. That of the session's own packets
// comes to them. 576 every path takes, 1280 every tunnel, 1400 most tunnels, 1500 is Ethernet's, the others are jumbo frames.
var probeSizes = [...]int{576, 1280, 1400, 1500, 4000, 9000}

// ipHeaders is what IPv4 and UDP put before a payload, in bytes.
const ipHeaders = 20 + 8

// Prober opens the way for probe bursts. Its methods are called from several goroutines.
type Prober interface {
	// Allowed reports whether the operator allows bursts.
	Allowed() bool
	// Network names the network that a burst for a client goes to.
	Network(client netip.Addr) string
	// Open opens a group there that no session uses. The caster closes it.
	Open(client netip.Addr) (*ProbeWay, error)
}

// ProbeWay is where a burst goes.
type ProbeWay struct {
	Group
	MaxPayload int // that the interface takes, in bytes
	// Querier is what is known of the IGMP querier there, and for how long: since it was heard, or since listening for it began.
	Querier    wire.Querier
	QuerierFor time.Duration
}

// burst is a probe burst that was granted.
type burst struct {
	grant  wire.ProbeGranted
	starts time.Time
}

// probe answers a client that wants a probe burst.
func (s *Server) probe(l *link, wanted *wire.ProbeWanted) {
	now := time.Now()
	if b := l.burst; b != nil && b.grant.Request == wanted.Request && now.Before(b.starts) {
		again := b.grant // the answer got lost
		again.Start = b.starts.Sub(now)
		l.send(&again)
		return
	}
	var refused *wire.ProbeRefused
	if held := l.held(); held != nil {
		refused = &wire.ProbeRefused{Code: wire.ProbeForbidden, Text: held.Text}
	} else {
		refused = s.openProbe(now, l, wanted)
	}
	if refused != nil {
		refused.Request = wanted.Request
		s.cfg.Log.Info("probe refused", zap.Stringer("from", l.peer.Addr), zap.Stringer("reason", refused.Code))
		l.send(refused)
	}
}

// openProbe grants a burst and starts it, or says why not.
func (s *Server) openProbe(now time.Time, l *link, wanted *wire.ProbeWanted) *wire.ProbeRefused {
	client := l.peer.Addr.Addr().Unmap()
	if s.cfg.Prober == nil || !s.cfg.Prober.Allowed() {
		return &wire.ProbeRefused{Code: wire.ProbeForbidden, Text: "the operator forbids probe bursts: doctor.probe = false"}
	}
	network := s.cfg.Prober.Network(client)
	s.mu.Lock()
	for name, at := range s.probed {
		if now.Sub(at) >= probeEvery {
			delete(s.probed, name)
		}
	}
	at, recent := s.probed[network]
	closing := s.closing
	if !recent && !closing {
		s.probed[network] = now
	}
	s.mu.Unlock()
	switch {
	case closing:
		return &wire.ProbeRefused{Code: wire.ProbeStops, Again: probeEvery, Text: "the distribution point is stopping"}
	case recent:
		again := probeEvery - now.Sub(at)
		return &wire.ProbeRefused{Code: wire.ProbeTooSoon, Again: again, Text: fmt.Sprintf("network %s had a probe burst lately, and gets one a minute; next: try again in %v", network, again.Round(time.Second))}
	}
	way, err := s.cfg.Prober.Open(client)
	if err != nil {
		s.cfg.Log.Warn("probe failed", zap.Stringer("from", l.peer.Addr), zap.Error(err))
		text := "the distribution point has no group for it now; its log says why"
		if errors.Is(err, ErrNoGroup) {
			text = "all groups of the distribution point are taken"
		}
		return &wire.ProbeRefused{Code: wire.ProbeNoGroup, Again: probeEvery, Text: text}
	}
	b := s.newBurst(now, client, way, wanted)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		_ = way.Caster.Close()
		return &wire.ProbeRefused{Code: wire.ProbeStops, Again: probeEvery, Text: "the distribution point is stopping"}
	}
	s.running.Go(func() { s.sendBurst(s.ctx, l, b, way) })
	s.mu.Unlock()
	l.burst = b
	s.cfg.Log.Info("probe burst", zap.Stringer("for", l.peer.Addr), zap.Stringer("group", way.Addr), zap.Uint32("packets", b.grant.Packets))
	l.send(&b.grant)
	return nil
}

// newBurst works out what a burst is.
func (s *Server) newBurst(now time.Time, client netip.Addr, way *ProbeWay, wanted *wire.ProbeWanted) *burst {
	ceiling := s.ceiling()
	most := way.MaxPayload
	if wanted.MaxPayload > 0 {
		most = min(most, int(wanted.MaxPayload))
	}
	own := packetOverhead + s.symbolSize()
	sizes := []uint16{}
	for _, size := range append([]int{own + ipHeaders}, probeSizes[:]...) {
		if size -= ipHeaders; size <= most {
			sizes = append(sizes, uint16(size))
		}
	}
	if len(sizes) == 0 {
		sizes = append(sizes, uint16(min(max(most, wire.MinProbeSize), probeSizes[0]-ipHeaders)))
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	total := 0
	for _, size := range sizes {
		total += int(size)
	}
	rate := min(probeShare*ceiling, probeMost)
	b := &burst{starts: now.Add(probeStart), grant: wire.ProbeGranted{
		Request: wanted.Request, Session: crypto.NewSessionID(), Secret: crypto.NewSecret(), Querier: way.Querier, QuerierFor: way.QuerierFor,
		Group: way.Addr, Packets: uint32(max(rate*probeLength.Seconds()*float64(len(sizes))/float64(total), 1)), Start: probeStart, Length: probeLength,
		SessionSize: uint16(own), Ceiling: uint64(ceiling), Sizes: sizes,
	}}
	if way.Way != nil {
		source, reaches := way.Way(client)
		b.grant.Source, b.grant.OutOfReach = source, !reaches
	}
	return b
}

// sendBurst sends a burst, closes its group, and tells the client how much that was.
func (s *Server) sendBurst(ctx context.Context, l *link, b *burst, way *ProbeWay) {
	sent := s.castBurst(ctx, b, way)
	_ = way.Caster.Close()
	for range probeTold {
		if ctx.Err() != nil {
			return
		}
		l.send(&wire.ProbeSent{Request: b.grant.Request, Packets: sent})
		if !pause(ctx, probeToldEvery) {
			return
		}
	}
}

// pause waits; false when ctx ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// castBurst sends a burst, evenly over its length, and returns how many packets went. They count against the ceiling of all.
func (s *Server) castBurst(ctx context.Context, b *burst, way *ProbeWay) (sent uint32) {
	if !pause(ctx, time.Until(b.starts)) {
		return 0
	}
	g := &b.grant
	largest := int(slices.Max(g.Sizes))
	pacer := multicast.NewPacer(min(probeShare*float64(g.Ceiling), probeMost), largest, 0)
	keys := crypto.NewKeys(crypto.Encrypted, g.Session, crypto.Hash{}, g.Secret, 1)
	packet := make([]byte, largest)
	end := b.starts.Add(2 * g.Length) // a busy machine may be late; then the rest isn't sent
	for i := range g.Packets {
		size := int(g.Sizes[int(i)%len(g.Sizes)])
		now := time.Now()
		for wait := pacer.Take(now, size); wait > 0; wait = pacer.Take(now, size) {
			if !pause(ctx, wait) {
				return i
			}
			now = time.Now()
		}
		if now.After(end) {
			return i
		}
		s.shares.spend(now, size)
		clear(packet[:size])
		wire.Header{Kind: wire.KindProbe, Epoch: 1, Tag: uint16(g.Session[0])<<8 | uint16(g.Session[1]), Sent: uint32(now.Sub(b.starts).Microseconds()), Number: uint64(i) + 1}.Put(packet)
		sealed := keys.Seal(packet[:size-crypto.Overhead], wire.HeaderLen, uint64(i)+1)
		if err := way.Caster.Send(sealed, size); err != nil {
			s.cfg.Log.Warn("probe burst ended early", zap.Stringer("group", g.Group), zap.Uint32("sent", i), zap.Error(err))
			return i
		}
	}
	return g.Packets
}
