package session

import (
	"math"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// simProber opens groups for bursts; all clients are on one network unless told otherwise.
type simProber struct {
	mu      sync.Mutex
	forbids bool
	network string
	most    int
	opened  []*simGroup
	sent    [][]byte
	at      []time.Time
}

func (p *simProber) Allowed() bool { p.mu.Lock(); defer p.mu.Unlock(); return !p.forbids }

func (p *simProber) Network(netip.Addr) string { p.mu.Lock(); defer p.mu.Unlock(); return p.network }

func (p *simProber) Open(netip.Addr) (*ProbeWay, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := &simGroup{hearers: map[*simHearer]bool{}}
	g.taps = append(g.taps, func(packet []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.sent, p.at = append(p.sent, slices.Clone(packet)), append(p.at, time.Now())
	})
	p.opened = append(p.opened, g)
	return &ProbeWay{
		Group:      Group{Addr: netip.MustParseAddrPort("239.195.16.200:63000"), Caster: g, Way: func(netip.Addr) (netip.Addr, bool) { return netip.MustParseAddr("10.77.0.1"), true }},
		MaxPayload: p.most, Querier: wire.QuerierNone, QuerierFor: 130 * time.Second,
	}, nil
}

func (p *simProber) set(network string, forbids bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network, p.forbids = network, forbids
}

func (p *simProber) packets() [][]byte { p.mu.Lock(); defer p.mu.Unlock(); return slices.Clone(p.sent) }

// probeRoom is a room with a prober, and a control channel.
func probeRoom(t *testing.T) (*room, *simProber, Control) {
	r := newRoom(t, 7, 4*crypto.BlockSize)
	p := &simProber{network: "10.77.0.0/24", most: 1472}
	r.server.cfg.Prober = p
	control, err := r.client("pc01").dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r, p, control
}

func ask(t *testing.T, c Control, request uint32) wire.Message {
	t.Helper()
	if err := c.Send((&wire.ProbeWanted{Request: request, MaxPayload: 1472}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, wire.MaxControl)
	for {
		n, err := c.Receive(buf)
		if err != nil {
			t.Fatal(err)
		}
		m, err := wire.Parse(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if _, over := m.(*wire.ProbeSent); !over { // an earlier one's end
			return m
		}
	}
}

// TestProbeBurst: the burst is what was granted: packets, sizes, seal, share of the ceiling, time; and its group is closed.
func TestProbeBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p, control := probeRoom(t)
		defer r.stop()
		g, ok := ask(t, control, 1).(*wire.ProbeGranted)
		if !ok || g.Request != 1 || g.Querier != wire.QuerierNone || g.QuerierFor != 130*time.Second || g.OutOfReach || g.Source != netip.MustParseAddr("10.77.0.1") || g.Ceiling != 40e6 || g.SessionSize != packetOverhead+defaultSymbol {
			t.Fatalf("%+v", g)
		}
		time.Sleep(100 * time.Millisecond)
		again, ok := ask(t, control, 1).(*wire.ProbeGranted) // as if the answer had got lost
		if !ok || again.Session != g.Session || again.Start >= g.Start {
			t.Fatalf("asked again: %+v, %v", again, ok)
		}
		started := time.Now()
		time.Sleep(5 * time.Second)
		sent := p.packets()
		if len(sent) != int(g.Packets) {
			t.Fatalf("%d packets, granted %d", len(sent), g.Packets)
		}
		keys := crypto.NewKeys(crypto.Encrypted, g.Session, crypto.Hash{}, g.Secret, 1)
		bytes := 0
		for i, packet := range sent {
			h, err := wire.ParseHeader(packet)
			if err != nil || h.Kind != wire.KindProbe || h.Number != uint64(i)+1 || len(packet) != int(g.Sizes[i%len(g.Sizes)]) {
				t.Fatalf("packet %d: %+v, %d bytes, %v", i, h, len(packet), err)
			}
			if _, err := keys.Open(packet, wire.HeaderLen, h.Number); err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
			bytes += len(packet)
		}
		first, last := p.at[0].Sub(started), p.at[len(p.at)-1].Sub(p.at[0])
		if first < 600*time.Millisecond || last < 900*time.Millisecond || last > 1100*time.Millisecond {
			t.Errorf("first packet after %v, last %v later", first, last)
		}
		if share := float64(bytes) / last.Seconds() / 40e6; share > 0.102 || share < 0.08 {
			t.Errorf("%.3f of the ceiling", share)
		}
		buf := make([]byte, wire.MaxControl)
		for range probeTold {
			n, err := control.Receive(buf)
			if err != nil {
				t.Fatal(err)
			}
			if m, err := wire.Parse(buf[:n]); err != nil || *m.(*wire.ProbeSent) != (wire.ProbeSent{Request: 1, Packets: g.Packets}) {
				t.Fatalf("at its end: %+v, %v", m, err)
			}
		}
		for _, g := range p.opened {
			if !g.closed {
				t.Error("the group is still open")
			}
		}
	})
}

// TestProbeLimits: one a minute for a network, none when forbidden, none by a server that stops.
func TestProbeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p, control := probeRoom(t)
		defer r.stop()
		granted := func(request uint32) *wire.ProbeRefused {
			refused, _ := ask(t, control, request).(*wire.ProbeRefused)
			return refused
		}
		if refused := granted(1); refused != nil {
			t.Fatalf("%+v", refused)
		}
		time.Sleep(30 * time.Second)
		if refused := granted(2); refused == nil || refused.Code != wire.ProbeTooSoon || refused.Request != 2 || math.Abs(refused.Again.Seconds()-30) > 1 {
			t.Fatalf("after 30 s: %+v", refused)
		}
		p.set("10.77.1.0/24", false) // a client elsewhere
		if refused := granted(3); refused != nil {
			t.Fatalf("another network: %+v", refused)
		}
		p.set("10.77.0.0/24", false)
		time.Sleep(30 * time.Second)
		if refused := granted(4); refused != nil {
			t.Fatalf("after a minute: %+v", refused)
		}
		time.Sleep(time.Minute)
		p.set("10.77.0.0/24", true)
		if refused := granted(5); refused == nil || refused.Code != wire.ProbeForbidden || refused.Again != 0 {
			t.Fatalf("forbidden: %+v", refused)
		}
		p.set("10.77.0.0/24", false)
		r.server.leave()
		if refused := granted(6); refused == nil || refused.Code != wire.ProbeStops {
			t.Fatalf("stopping: %+v", refused)
		}
		if len(p.opened) != 3 {
			t.Errorf("%d groups opened", len(p.opened))
		}
	})
}

// TestProbeSizes: a burst's packets fit the smaller of both ends, whatever a client says.
func TestProbeSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := probeRoom(t)
		defer r.stop()
		for _, tc := range []struct {
			server, client int
			want           []uint16
		}{
			{1472, 1472, []uint16{548, 1252, 1372, 1448, 1472}},
			{1472, 0, []uint16{548, 1252, 1372, 1448, 1472}},
			{8972, 1472, []uint16{548, 1252, 1372, 1448, 1472}},
			{8972, 8972, []uint16{548, 1252, 1372, 1448, 1472, 3972, 8972}},
			{1472, 1300, []uint16{548, 1252}},
			{1472, 1, []uint16{wire.MinProbeSize}},
		} {
			b := r.server.newBurst(time.Now(), netip.MustParseAddr("10.77.0.2"), &ProbeWay{MaxPayload: tc.server}, &wire.ProbeWanted{MaxPayload: uint16(tc.client)})
			if !slices.Equal(b.grant.Sizes, tc.want) {
				t.Errorf("server %d, client %d: %v, want %v", tc.server, tc.client, b.grant.Sizes, tc.want)
			}
			if b.grant.Packets > wire.MaxProbePackets {
				t.Errorf("server %d, client %d: %d packets", tc.server, tc.client, b.grant.Packets)
			}
		}
	})
}
