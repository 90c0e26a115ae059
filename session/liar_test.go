package session

import (
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// liar is a client that holds good credentials and says what it likes.
type liar struct {
	*channel
	welcome *wire.Welcome
}

// lie joins the room and returns once welcomed. It hears nothing of the group.
func (r *room) lie(name string) *liar {
	r.t.Helper()
	c := r.client(name)
	r.clients = r.clients[:len(r.clients)-1] // it is never done
	control, err := c.dial(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	l := &liar{channel: newChannel(control)}
	l.send(&wire.Join{Request: 1, Nonce: [16]byte{7}, MaxPayload: 1472, Machine: wire.Machine{Host: name}, Package: "w11", HeldBlocks: 1 << 31})
	for {
		if w, ok := (<-l.messages).(*wire.Welcome); ok {
			l.welcome = w
			return l
		}
	}
}

// every says something again and again until the test is over.
func (l *liar) every(d time.Duration, done <-chan struct{}, say func()) {
	go func() {
		defer l.close()
		for {
			select {
			case <-done:
				return
			case <-l.messages:
			case <-time.After(d):
				say()
			}
		}
	}()
}

// TestLiars: who NACKs without end, needs everything again and again, or tells nonsense of itself harms nobody else, is
// shown, and isn't evicted.
func TestLiars(t *testing.T) {
	longUnderRace(t)
	const blocks = 200
	geo := newGeometry(blocks*crypto.BlockSize, defaultSymbol)
	alone := time.Duration(0)
	for _, tc := range []struct {
		name  string
		every time.Duration
		muted bool
		say   func(l *liar, n uint32) wire.Message
	}{
		{"none", 0, false, nil},
		{"NACKs", 500 * time.Microsecond, true, func(l *liar, n uint32) wire.Message {
			nack := &wire.NACK{Client: l.welcome.Client, Highest: 0}
			for i := range uint32(wire.MaxNACKBlocks) {
				nack.Lacks = append(nack.Lacks, wire.Lack{Block: uint32(geo.m) + (n*wire.MaxNACKBlocks+i)%blocks, Symbols: 60})
			}
			return nack
		}},
		{"needs all", 5 * time.Millisecond, true, func(l *liar, n uint32) wire.Message {
			return &wire.Need{Client: l.welcome.Client, Pass: 1, Highest: 1 << 62, Part: uint16(n), Parts: 1000, Runs: []wire.Run{{First: 0, Count: uint32(geo.blocks())}}}
		}},
		{"has all", 5 * time.Millisecond, false, func(l *liar, n uint32) wire.Message {
			return &wire.Report{Client: l.welcome.Client, Sequence: n + 1, Proven: 1 << 31, Opened: uint64(n) * 1000, Delivery: 1 << 62, Highest: 1 << 62}
		}},
		{"loses all", 5 * time.Millisecond, false, func(l *liar, n uint32) wire.Message {
			return &wire.Report{Client: l.welcome.Client, Sequence: n + 1, Opened: uint64(n), Lost: uint64(n) * 1000, Delivery: 1, Loss: 1 << 31, Delay: time.Hour, KernelDrops: uint64(n) * 5000, DiskDrops: 1 << 60}
		}},
		{"nonsense", 5 * time.Millisecond, false, func(l *liar, n uint32) wire.Message {
			return &wire.Report{Client: l.welcome.Client, Sequence: n + 1, Opened: ^uint64(0) - uint64(n), Lost: ^uint64(0) / uint64(n+1), Delivery: ^uint64(0), Loss: ^uint32(0), Delay: -1, KernelDrops: ^uint64(0), DiskDrops: ^uint64(0)}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { // in order: the first is what the others are held against
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 51, blocks*crypto.BlockSize)
				defer r.stop()
				r.rules = Rules{Slow: SlowWait}
				r.unicast = false // no other way for anybody
				r.server.cfg.Ceiling, r.ceiling = 10e6, 10e6
				for _, name := range []string{"pc01", "pc02", "pc03"} {
					c := r.client(name)
					c.link.loss = 0.02
					c.start()
				}
				done := make(chan struct{})
				if tc.say != nil {
					l, n := r.lie("liar"), uint32(0)
					l.every(tc.every, done, func() { l.send(tc.say(l, n)); n++ })
				}
				took := r.waitFor(nil)
				s, _ := r.session(0)
				close(done)
				if tc.say == nil {
					alone = took
				} else if c := s.of("liar"); c.State != ClientReceiving || c.Muted != tc.muted || c.Proven > s.Blocks {
					t.Errorf("liar: %+v, want muted %v", c, tc.muted)
				}
				t.Logf("the others took %v", took)
				if took > alone*13/10+500*time.Millisecond {
					t.Errorf("the others took %v, and %v without the liar", took, alone)
				}
				r.wait()
			})
		})
	}
}
