package test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
	"wimcast/test/lab"
	"wimcast/test/rig"
)

// spy is a client with good credentials that keeps every key that it is given, and tries them all on whatever reaches it of the group.
type spy struct {
	*member
	mu       sync.Mutex
	keys     []*crypto.Keys
	answered func(text string) // hears what joins are answered with; nil before the first
	since    uint32            // packets sealed from then on, by the session's clock in µs, are counted apart; 0: none yet
	sealed   [2]int            // packets that reached it: before, since
	opened   [2]int            // of them, under one of its keys
}

// spy joins from a host of the room, and listens until the test is over.
func (s *stage) spy(host *lab.Host, name string) *spy {
	s.t.Helper()
	to, credentials := netip.AddrPortFrom(s.room.Server().Addr(), 7600), s.credentials()
	p := &spy{}
	if err := host.Do(func() (err error) {
		p.member, err = s.joins(to, credentials, name)
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	w := p.welcome
	p.keys = append(p.keys, crypto.NewKeys(crypto.Mode(w.Mode), w.Session, w.Digest, w.Secret, w.Position))
	var hears *multicast.Receiver
	if err := host.Do(func() error {
		ifc, err := multicast.FindInterface(host.Interface(), w.Group.Addr())
		if err != nil {
			return err
		}
		hears, err = multicast.NewReceiver(multicast.ReceiverConfig{Interface: ifc, Group: w.Group, Source: w.Source})
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(p.listen)
	running.Go(func() { p.tryAll(hears) })
	s.t.Cleanup(func() {
		_ = p.Close()
		_ = hears.Close()
		running.Wait()
	})
	return p
}

// listen takes in every key that the server sends.
func (p *spy) listen() {
	buf := make([]byte, wire.MaxControl+1)
	for {
		n, err := p.Receive(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		switch m, _ := wire.Parse(buf[:n]); m := m.(type) {
		case *wire.Epoch:
			_ = p.Send((&wire.EpochHeard{Client: p.welcome.Client, Number: m.Number}).Append(nil))
			p.keys = append(p.keys, crypto.NewKeys(crypto.Mode(p.welcome.Mode), p.welcome.Session, p.welcome.Digest, m.Secret, m.Position))
		case *wire.Refused:
			if p.answered != nil {
				p.answered(m.Text)
			}
		case *wire.Welcome:
			if p.answered != nil {
				p.answered("welcome")
			}
		}
		p.mu.Unlock()
	}
}

// tryAll tries the keys on each packet of the group.
func (p *spy) tryAll(hears *multicast.Receiver) {
	runs := make([]multicast.Run, 32)
	for {
		n, err := hears.Receive(runs)
		if err != nil {
			return
		}
		p.mu.Lock()
		for _, run := range runs[:n] {
			for rest := run.Data; len(rest) >= wire.HeaderLen; {
				packet := rest[:min(len(rest), run.Segment)]
				rest = rest[len(packet):]
				p.try(packet)
			}
		}
		p.mu.Unlock()
	}
}

// try tries the keys on a packet. The caller holds mu.
func (p *spy) try(packet []byte) {
	header, err := wire.ParseHeader(packet)
	if err != nil {
		return
	}
	when := 0
	if p.since > 0 && int32(header.Sent-p.since) > 0 {
		when = 1
	}
	p.sealed[when]++
	for _, keys := range p.keys {
		if _, err := keys.Open(bytes.Clone(packet), wire.HeaderLen, header.Number); err == nil {
			p.opened[when]++
			return
		}
	}
}

// counts returns how many packets reached it, and how many it opened: before and since.
func (p *spy) counts() (sealed, opened [2]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sealed, p.opened
}

// TestSessionsEvicted: an evicted client that holds all its old keys and still hears the group opens nothing of what is sealed from the moment on
// when `wimcast client evict` has returned; nor does one that was evicted after it had gone. Neither gets in again.
func TestSessionsEvicted(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone before %v", gone), func(t *testing.T) {
			t.Parallel()
			s := inRoom(t, 3, rig.Config{Multicast: `ceiling = "1.5 MB/s"`})
			stays := s.get(0)
			p := s.spy(s.room.Client(1), "spy")
			s.await("packets that the spy opens", func() bool { _, opened := p.counts(); return opened[0] > 1000 })
			if gone {
				_ = p.Send((&wire.Done{Client: p.welcome.Client, Result: wire.Left}).Append(nil))
				s.until("the spy gone", func(list []roomSession) bool { return state(list, 0, "spy") == "left" })
			}
			if out := s.cli("client", "evict", "spy"); !strings.Contains(out, "spy evicted from s1") {
				t.Errorf("evict: %s", out)
			}
			now := time.Now() // one clock for all of the room
			p.mu.Lock()
			p.since = uint32(now.Sub(s.rooms()[0].Started).Microseconds())
			p.mu.Unlock()
			s.await("packets sealed since", func() bool { sealed, _ := p.counts(); return sealed[1] > 3000 })
			if sealed, opened := p.counts(); opened[1] > 0 {
				t.Errorf("%d of %d packets sealed since the eviction open under an old key", opened[1], sealed[1])
			} else {
				t.Logf("before: %d of %d packets opened, since: none of %d", opened[0], sealed[0], sealed[1])
			}
			for _, name := range []string{"spy", "somebody"} { // on the channel that it has, as itself and as another machine
				if text := p.asks(s, name); !strings.Contains(text, "evicted") {
					t.Errorf("as %s it is told %q", name, text)
				}
			}
			if out, err := s.daemon.CLI(s.ctx, "client", "evict", "spy"); err == nil || !strings.Contains(err.Error(), "nothing changed") {
				t.Errorf("evicted twice: %s, %v", out, err)
			}
			s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`})
			s.proven(stays)
			if epoch, ok := stays.Happened("epoch"); !ok {
				t.Errorf("who stays was given no new key: %q", epoch)
			}
		})
	}
}

// asks joins anew over the spy's channel, under a name, and returns what the answer is.
func (p *spy) asks(s *stage, name string) string {
	s.t.Helper()
	answers := make(chan string, 1)
	p.mu.Lock()
	p.answered = func(text string) {
		select {
		case answers <- text:
		default:
		}
	}
	p.mu.Unlock()
	join := &wire.Join{Request: 7, MaxPayload: 1472, Machine: wire.Machine{Host: name, Serial: name}, Package: "w11"}
	copy(join.Nonce[:], name)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		_ = p.Send(join.Append(nil))
		select {
		case text := <-answers:
			return text
		case <-tick.C: // it may be lost
		case <-s.ctx.Done():
			s.t.Fatal("no answer to a join")
		}
	}
}
