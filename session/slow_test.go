package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// slowRoom is three clients and a slow one, whose cable takes 1 MB/s of the session's 10.
func slowRoom(t *testing.T, blocks int, rules Rules) (r *room, slow *roomClient) {
	return slowRoomAt(t, 10e6, blocks, rules)
}

// slowRoomAt is the same under another ceiling; the slow client takes a tenth of it, 500 kB/s at least.
func slowRoomAt(t *testing.T, ceiling float64, blocks int, rules Rules) (r *room, slow *roomClient) {
	r = newRoom(t, 31, blocks*crypto.BlockSize)
	r.rules = rules
	r.server.cfg.Ceiling, r.ceiling = ceiling, ceiling
	for i := range 3 {
		r.client(fmt.Sprintf("pc%02d", i)).start()
	}
	slow = r.client("slow")
	slow.link.rate, slow.link.queue = max(ceiling/10, 5e5), 20*time.Millisecond
	slow.start()
	return r, slow
}

// session returns the room's running session of a lane.
func (r *room) session(lane int) (SessionInfo, bool) {
	running, _ := r.server.Sessions()
	for _, s := range running {
		if s.Lane == lane {
			return s, true
		}
	}
	return SessionInfo{}, false
}

// of returns what a session knows of a client.
func (s *SessionInfo) of(name string) ClientInfo {
	for _, c := range slices.Backward(s.Clients) {
		if c.Name == name {
			return c
		}
	}
	return ClientInfo{}
}

// waitFor waits for the clients but one, and returns how long that took.
func (r *room) waitFor(but *roomClient) time.Duration {
	began := time.Now()
	for _, c := range r.clients {
		if c != but {
			<-c.done
			if c.err != nil {
				r.t.Errorf("%s: %v", c.name, c.err)
			}
		}
	}
	return time.Since(began)
}

// TestSlowDemote: a slow client goes on in a slower session with what it has; the others finish at full speed.
func TestSlowDemote(t *testing.T) {
	longUnderRace(t)
	for _, tc := range []struct {
		name  string
		rules Rules
	}{
		{"floor", Rules{Slow: SlowDemote, Floor: 5e6, Grace: time.Second}},
		{"no floor", Rules{Slow: SlowDemote, Grace: time.Second}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, slow := slowRoom(t, 400, tc.rules)
				defer r.stop()
				took := r.waitFor(slow)
				ideal := time.Duration(float64(r.content.Size()) / 10e6 * float64(time.Second))
				main, _ := r.session(0)
				t.Logf("the others took %v, at least %v; slow: %+v", took, ideal, main.of("slow").Slow)
				if took > ideal*14/10 {
					t.Errorf("the others took %v, want about %v", took, ideal)
				}
				if c := main.of("slow"); c.State != ClientDemoted || c.Slow.Cause != SlowNetwork || !strings.Contains(c.Reason, "MB/s") {
					t.Errorf("slow client: %+v", c)
				}
				if lane, ok := r.session(1); !ok || lane.of("slow").State != ClientReceiving {
					t.Errorf("the slower session: %+v", lane)
				}
				r.wait()
				if !slow.event(EventMoved) || slow.result.Totals.Reconnects > 0 || slow.result.Totals.Unicast > 0 {
					t.Errorf("slow client: %+v, events %v", slow.result.Totals, slow.events())
				}
			})
		})
	}
}

// TestSlowWait: the rate follows a slow client, but not below the floor.
func TestSlowWait(t *testing.T) {
	longUnderRace(t)
	for _, tc := range []struct {
		floor       float64
		least, most float64 // bytes/s that the others get
	}{
		{0, 0.6e6, 1.3e6},
		{4e6, 3.5e6, 11e6},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, slow := slowRoom(t, 200, Rules{Slow: SlowWait, Floor: tc.floor, Grace: time.Second})
			defer r.stop()
			took := r.waitFor(slow)
			rate := float64(r.content.Size()) / took.Seconds()
			main, _ := r.session(0)
			t.Logf("floor %.0f: %.2f MB/s, slow %+v", tc.floor, rate/1e6, main.of("slow").Slow)
			if rate < tc.least || rate > tc.most {
				t.Errorf("floor %.0f: the others got %.2f MB/s, want %.1f to %.1f", tc.floor, rate/1e6, tc.least/1e6, tc.most/1e6)
			}
			if c := main.of("slow"); c.State == ClientDemoted || c.State == ClientUnicast {
				t.Errorf("slow client: %+v", c)
			}
			r.wait()
		})
	}
}

func TestSlowUnicast(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, slow := slowRoom(t, 400, Rules{Slow: SlowUnicast, Floor: 5e6, Grace: time.Second})
		defer r.stop()
		r.waitFor(nil)
		if got := slow.result.Totals; got.Unicast == 0 || got.UnicastReason != "operator" && got.UnicastReason != "too_slow" {
			t.Errorf("slow client: %+v", got)
		}
		totals, _ := r.server.Totals()
		if n := totals["w11@1"].Fallbacks["too_slow"]; n != 1 {
			t.Errorf("fallbacks: %v", totals["w11@1"].Fallbacks)
		}
		r.wait()
	})
}

func TestSlowDrop(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, slow := slowRoom(t, 400, Rules{Slow: SlowDrop, Floor: 5e6, Grace: time.Second})
		defer r.stop()
		<-slow.done
		if !errors.Is(slow.err, ErrRefused) || !strings.Contains(slow.err.Error(), "too slow") {
			t.Errorf("slow client: %v", slow.err)
		}
		main, _ := r.session(0)
		if c := main.of("slow"); c.State != ClientDropped {
			t.Errorf("slow client: %+v", c)
		}
		again := r.client("slow").start()
		<-again.done
		if !errors.Is(again.err, ErrRefused) || !strings.Contains(again.err.Error(), "too slow") {
			t.Errorf("it comes back: %v", again.err)
		}
		r.clients = r.clients[:3]
		r.wait()
	})
}

// TestSlowMovesUp: a demoted client whose cable was mended moves up again.
func TestSlowMovesUp(t *testing.T) {
	longUnderRace(t)
	synctest.Test(t, func(t *testing.T) {
		r, slow := slowRoomAt(t, 3e6, 900, Rules{Slow: SlowDemote, Floor: 1e6, Grace: time.Second})
		defer r.stop()
		time.Sleep(8 * time.Second)
		if main, _ := r.session(0); main.of("slow").State != ClientDemoted {
			t.Fatalf("%+v", main.of("slow"))
		}
		time.Sleep(10 * time.Second)
		if main, _ := r.session(0); main.of("slow").State != ClientDemoted {
			t.Fatalf("it moved up while it was slow: %+v", main.of("slow"))
		}
		slow.link.mu.Lock()
		slow.link.rate = 0
		slow.link.mu.Unlock()
		time.Sleep(climbAfter + 10*time.Second)
		main, _ := r.session(0)
		if c := main.of("slow"); c.State != ClientReceiving || !c.Slow.Since.IsZero() {
			t.Errorf("it didn't move up: %+v", c)
		}
		n := 0
		for _, c := range main.Clients {
			if c.Name == "slow" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("it has %d places in the session", n)
		}
		r.wait()
	})
}

// TestNobodySlow: who is late, asleep, loses at random or has a ceiling above it isn't taken for slow.
func TestNobodySlow(t *testing.T) {
	longUnderRace(t)
	for _, tc := range []struct {
		name    string
		rules   Rules
		prepare func(*room, *roomClient)
	}{
		{"late", Rules{Floor: 5e6, Grace: time.Second}, func(_ *room, c *roomClient) { time.Sleep(2 * time.Second) }},
		{"random loss", Rules{Grace: time.Second}, func(_ *room, c *roomClient) { c.link.loss = 0.15 }},
		{"below the ceiling's floor", Rules{Floor: 12e6, Grace: time.Second}, func(_ *room, c *roomClient) { c.link.loss = 0.15 }},
		{"far away", Rules{Floor: 5e6, Grace: time.Second}, func(_ *room, c *roomClient) {
			c.link.delay, c.link.jitter = 50*time.Millisecond, 30*time.Millisecond
		}},
		{"asleep for 4 s", Rules{Floor: 5e6, Grace: time.Second}, func(_ *room, c *roomClient) {
			go func() {
				for _, asleep := range []bool{false, true, false} {
					c.link.mu.Lock()
					c.link.deaf, c.link.control = asleep, 0
					if asleep {
						c.link.control = 1
					}
					c.link.mu.Unlock()
					time.Sleep(4 * time.Second)
				}
			}()
		}},
		{"bursts", Rules{Floor: 5e6, Grace: time.Second}, func(_ *room, c *roomClient) { c.link.burst, c.link.every = 500, 2*time.Second }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 32, 600*crypto.BlockSize)
				defer r.stop()
				r.rules = tc.rules
				r.server.cfg.Ceiling, r.ceiling = 10e6, 10e6
				for i := range 3 {
					r.client(fmt.Sprintf("pc%02d", i)).start()
				}
				odd := r.client("odd")
				tc.prepare(r, odd)
				odd.start()
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					s, ok := r.session(0)
					if c := s.of("odd"); ok && (c.State == ClientDemoted || c.Slow.For > time.Second/2) {
						t.Fatalf("taken for slow: %+v", c)
					}
				}
				r.wait()
				if odd.event(EventMoved) {
					t.Error("it was demoted")
				}
			})
		})
	}
}

// TestAllSlow: where the way from the server is slow for all nobody is slow, and the floor doesn't hold the rate up.
func TestAllSlow(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 33, 100*crypto.BlockSize)
		defer r.stop()
		r.rules = Rules{Floor: 5e6, Grace: time.Second}
		r.server.cfg.Ceiling, r.ceiling = 10e6, 10e6
		for i := range 4 {
			c := r.client(fmt.Sprintf("pc%02d", i))
			c.link.rate, c.link.queue = 1e6, 20*time.Millisecond
			c.start()
		}
		r.wait()
		for _, c := range r.clients {
			if c.event(EventMoved) {
				t.Errorf("%s was demoted", c.name)
			}
		}
		sent := r.sent()
		if ratio := float64(sent.SourcePackets+sent.ParityPackets) / float64(r.sourcePackets()); ratio > 1.5 {
			t.Errorf("packets sent / source %.2f", ratio)
		}
	})
}

// TestSlowHeldDown: a client that takes less than half of the others, but more than the rate at the start, is found
// by trying the rate without it.
func TestSlowHeldDown(t *testing.T) {
	longUnderRace(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 34, 1200*crypto.BlockSize)
		defer r.stop()
		r.rules = Rules{Grace: 2 * time.Second}
		r.server.cfg.Ceiling, r.ceiling = 40e6, 40e6
		for i := range 3 {
			r.client(fmt.Sprintf("pc%02d", i)).start()
		}
		slow := r.client("slow")
		slow.link.rate, slow.link.queue = 14e6, 20*time.Millisecond
		slow.start()
		took := r.waitFor(slow)
		t.Logf("the others took %v", took)
		if main, _ := r.session(0); main.of("slow").State != ClientDemoted {
			t.Errorf("slow client: %+v", main.of("slow"))
		}
		r.wait()
	})
}

// TestSlowReceiveBuffer is a client whose machine doesn't get its packets out of the receive buffer in time: that is told as the cause.
func TestSlowReceiveBuffer(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 36, 300*crypto.BlockSize)
		defer r.stop()
		r.rules = Rules{Floor: 5e6, Grace: time.Second}
		r.server.cfg.Ceiling, r.ceiling = 10e6, 10e6
		for i := range 3 {
			r.client(fmt.Sprintf("pc%02d", i)).start()
		}
		slow := r.client("slow")
		slow.link.reads, slow.link.buffer = 1.5e6, 100_000
		slow.start()
		r.waitFor(slow)
		main, _ := r.session(0)
		if c := main.of("slow"); c.State != ClientDemoted || c.Slow.Cause != SlowReceiveBuffer || c.Slow.Lost < 0.2 {
			t.Errorf("slow client: %+v", c)
		}
		r.wait()
	})
}

// TestSlowDiskDemoted is a client whose disk is too slow: its cause is told, and the slower session goes as the disk goes.
func TestSlowDiskDemoted(t *testing.T) {
	longUnderRace(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 35, 1000*crypto.BlockSize)
		defer r.stop()
		r.rules = Rules{Floor: 5e6, Grace: time.Second}
		r.server.cfg.Ceiling, r.ceiling = 10e6, 10e6
		for i := range 3 {
			r.client(fmt.Sprintf("pc%02d", i)).start()
		}
		slow := r.client("slow")
		slow.target.slow = 100 * time.Millisecond // 1.8 MB/s
		slow.start()
		r.waitFor(slow)
		main, _ := r.session(0)
		if c := main.of("slow"); c.State != ClientDemoted || c.Slow.Cause != SlowDisk {
			t.Errorf("slow client: %+v", c)
		}
		r.wait()
		sent := r.sent()
		ratio := float64(sent.SourcePackets+sent.ParityPackets) / float64(r.sourcePackets())
		t.Logf("packets sent / source %.2f", ratio)
		if ratio > 3.5 {
			t.Errorf("packets sent / source %.2f: the slower session doesn't heed the disk", ratio)
		}
	})
}

// TestCostly: a client that alone caused more than an image of repair is dealt with by the policy for slow ones; where that is to wait, it stays.
func TestCostly(t *testing.T) {
	longUnderRace(t)
	for _, tc := range []struct {
		policy  SlowPolicy
		unicast bool // the package allows it
		state   ClientState
	}{
		{SlowWait, true, ClientReceiving},
		{SlowWait, false, ClientReceiving},
		{SlowDemote, true, ClientDemoted},
		{SlowDemote, false, ClientDemoted},
		{SlowUnicast, true, ClientUnicast},
		{SlowUnicast, false, ClientDemoted},
		{SlowDrop, true, ClientDropped},
		{SlowDrop, false, ClientDropped},
	} {
		t.Run(fmt.Sprint(tc.policy, tc.unicast), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 37, 100*crypto.BlockSize)
				defer r.stop()
				r.rules, r.unicast = Rules{Slow: tc.policy}, tc.unicast
				r.server.cfg.Ceiling, r.ceiling = 5e6, 5e6
				r.client("stays").start()
				costs := r.client("costs").start()
				time.Sleep(time.Second)
				main, _ := r.session(0)
				session, err := r.server.find(main.ID)
				if err != nil {
					t.Fatal(err)
				}
				session.ask(func(s *sender) {
					m := s.roster.members[main.of("costs").Number]
					m.caused = int64(s.geo.blocks()*s.geo.k(0)) + 1
					s.checkCost(m)
				})
				if main, _ = r.session(0); main.of("costs").State != tc.state {
					t.Errorf("it is %s, want %s", main.of("costs").State, tc.state)
				}
				if tc.state == ClientDropped {
					<-costs.done
					r.clients = r.clients[:1]
				}
				r.wait()
			})
		})
	}
}
