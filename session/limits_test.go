package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// limitedRoom is a room with limits, in which a cast takes a while.
func limitedRoom(t *testing.T, limits Limits, rules Rules) *room {
	r := newRoom(t, 61, 60*crypto.BlockSize)
	r.ceiling, r.server.cfg.Ceiling = 2e6, 2e6
	r.limits, r.server.cfg.Limits = limits, limits
	r.rules = rules
	return r
}

// other adds a package beside w11.
func (r *room) other(name string) {
	if r.others == nil {
		r.others = map[string]*simContent{}
	}
	r.others[name] = newSimContent(rand.New(rand.NewPCG(uint64(len(r.others)), 7)), 40*crypto.BlockSize)
}

// numbered makes clients that start d apart.
func (r *room) numbered(first, n int, d time.Duration) {
	for i := first; i < first+n; i++ {
		c := r.client(fmt.Sprintf("pc%02d", i))
		c.machine = byte(i)
		c.start()
		time.Sleep(d)
	}
}

// TestLimits: who is over a limit waits, in order, visible, and gets in when somebody is done.
func TestLimits(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits Limits
		rules  Rules
		limit  limit
	}{
		{"distribution point", Limits{MaxClients: 2}, Rules{}, limitClients},
		{"session", Limits{}, Rules{MaxClients: 2}, limitCast},
		{"both", Limits{MaxClients: 3}, Rules{MaxClients: 2}, limitCast},
		{"multicast-only would go unicast", Limits{}, Rules{MaxClients: 2, Overflow: OverflowUnicast}, limitCast},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := limitedRoom(t, tc.limits, tc.rules)
				r.unicast = false
				defer r.stop()
				r.numbered(1, 5, 100*time.Millisecond)
				time.Sleep(3500 * time.Millisecond) // asked twice
				queue := r.server.Queue()
				if len(queue) != 3 {
					t.Fatalf("%+v", queue)
				}
				for i, q := range queue {
					if q.Name != fmt.Sprintf("pc%02d", i+3) || q.Place != i+1 || q.Limit != string(tc.limit) || q.Package != "w11@1" || q.Reason == "" {
						t.Errorf("%+v", q)
					}
					w := r.clients[i+2].receiver.Progress().Waiting
					if w.Place != i+1 || w.Reason != q.Reason || !r.clients[i+2].event(EventQueued) {
						t.Errorf("%s is told %+v, %v", q.Name, w, r.clients[i+2].events())
					}
				}
				if s, _ := r.session(0); len(s.Clients) != 2 {
					t.Errorf("%d clients", len(s.Clients))
				}
				// Nobody overtakes: each gets in not after those behind.
				var joined []string
				for len(joined) < 5 {
					s, _ := r.session(0)
					for _, c := range s.Clients[min(len(joined), len(s.Clients)):] {
						joined = append(joined, c.Name)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if got := fmt.Sprint(joined); got != "[pc01 pc02 pc03 pc04 pc05]" {
					t.Errorf("joined in the order %s", got)
				}
				r.wait()
				if queue := r.server.Queue(); len(queue) > 0 {
					t.Errorf("still there: %+v", queue)
				}
			})
		})
	}
}

// TestLimitSessions: more packages than sessions, or than groups, are cast one after the other.
func TestLimitSessions(t *testing.T) {
	for _, groups := range []bool{false, true} {
		t.Run(fmt.Sprintf("groups %v", groups), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := limitedRoom(t, Limits{}, Rules{})
				defer r.stop()
				want := limitGroups
				if r.pool = 2; !groups {
					r.pool, r.server.cfg.Limits.MaxSessions = 0, 2
					want = limitCasts
				}
				names := []string{"p0", "p1", "p2", "p3"}
				for _, name := range names {
					r.other(name)
				}
				for _, name := range names {
					for j := range 2 {
						c := r.client(fmt.Sprintf("%s-%d", name, j))
						c.pkg = name
						c.start()
					}
					time.Sleep(50 * time.Millisecond)
				}
				time.Sleep(3 * time.Second)
				running, _ := r.server.Sessions()
				queue := r.server.Queue()
				if len(running) != 2 || len(queue) != 4 || queue[0].Limit != string(want) || queue[0].Package != "p2@1" {
					t.Errorf("%d sessions run, queue %+v", len(running), queue)
				}
				r.wait()
			})
		})
	}
}

// TestOverflowUnicast: who is over the limit fetches at once, without a group, and is counted apart.
func TestOverflowUnicast(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits Limits
		rules  Rules
	}{
		{"session", Limits{}, Rules{MaxClients: 2}},
		{"clients", Limits{MaxClients: 2}, Rules{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tc.rules.Overflow = OverflowUnicast
				r := limitedRoom(t, tc.limits, tc.rules)
				defer r.stop()
				r.numbered(1, 2, 50*time.Millisecond)
				over := r.client("over")
				over.start()
				stays := r.client("stays")
				stays.noUnicast = true
				stays.start()
				time.Sleep(30 * time.Millisecond)
				s, ok := r.session(unicastLane)
				if !ok || s.of("over").State != ClientUnicast || s.of("over").Reason != "overflow" || s.Group.IsValid() || s.Sent.ControlPackets > 0 {
					t.Errorf("%v %+v", ok, s)
				}
				if s, _ := r.session(0); len(s.Clients) != 2 || len(r.groups) != 1 {
					t.Errorf("%d clients, %d groups", len(s.Clients), len(r.groups))
				}
				if queue := r.server.Queue(); len(queue) != 1 || queue[0].Name != "stays" {
					t.Errorf("queue %+v", queue)
				}
				r.wait()
				if over.result.Totals.Unicast != r.content.Size() || over.result.Totals.UnicastReason != "overflow" || stays.result.Totals.Unicast > 0 {
					t.Errorf("over: %+v, stays: %+v", over.result.Totals, stays.result.Totals)
				}
				if packages, _ := r.server.Totals(); packages["w11@1"].Fallbacks["overflow"] != 1 {
					t.Errorf("%v", packages["w11@1"].Fallbacks)
				}
			})
		})
	}
}

// TestOverflowSessions: with no session, or no group, to be had a package is fetched by unicast; who may not, waits.
func TestOverflowSessions(t *testing.T) {
	for _, groups := range []bool{false, true} {
		t.Run(fmt.Sprintf("groups %v", groups), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limits := Limits{MaxSessions: 1}
				if groups {
					limits = Limits{}
				}
				r := limitedRoom(t, limits, Rules{Overflow: OverflowUnicast})
				defer r.stop()
				if groups {
					r.pool = 1
				}
				r.other("first")
				c := r.client("pc01")
				c.pkg = "first"
				c.start()
				time.Sleep(100 * time.Millisecond)
				stays := r.client("stays")
				stays.noUnicast = true
				stays.start()
				over := []*roomClient{r.client("over1").start(), r.client("over2").start()}
				time.Sleep(100 * time.Millisecond)
				if queue := r.server.Queue(); len(queue) != 1 || queue[0].Name != "stays" {
					t.Errorf("queue %+v", queue)
				}
				r.wait()
				for _, c := range over {
					if c.result.Totals.Unicast != r.content.Size() || c.result.Totals.UnicastReason != "overflow" {
						t.Errorf("%s: %+v", c.name, c.result.Totals)
					}
				}
				if stays.result.Totals.Unicast > 0 || len(r.groups) != 2 {
					t.Errorf("%+v, %d groups", stays.result.Totals, len(r.groups))
				}
			})
		})
	}
}

// TestLimitKept: a client keeps its place while its channel breaks, and while it moves to the slower session; a client that
// went to unicast gives it back.
func TestLimitKept(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := limitedRoom(t, Limits{MaxClients: 2}, Rules{})
		r.content = newSimContent(r.random, 250*crypto.BlockSize)
		defer r.stop()
		r.numbered(1, 3, 50*time.Millisecond)
		time.Sleep(time.Second)
		// A broken channel: the third must not take its place.
		r.mu.Lock()
		r.clients[0].control.in.close()
		r.mu.Unlock()
		time.Sleep(8 * time.Second)
		s, _ := r.session(0)
		if len(s.Clients) != 2 || s.of("pc01").State != ClientReceiving || len(r.server.Queue()) != 1 {
			t.Errorf("%d clients, pc01 %s, queue %+v", len(s.Clients), s.of("pc01").State, r.server.Queue())
		}
		number := s.of("pc02").Number
		session, err := r.server.find(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		_ = session.ask(func(sender *sender) { sender.demote(time.Now(), sender.roster.members[number], "a test") })
		time.Sleep(time.Second)
		if s, _ := r.session(slowLane); s.of("pc02").State != ClientReceiving || len(r.server.Queue()) != 1 {
			t.Errorf("pc02 %q in the slower session, queue %+v", s.of("pc02").State, r.server.Queue())
		}
		if err := r.server.SendUnicast(s.ID, s.of("pc01").Number); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if len(r.server.Queue()) > 0 {
			t.Errorf("queue %+v", r.server.Queue())
		}
		r.wait()
	})
}

// TestQueueManyFaces: one channel that claims to be ever another machine has one place, in session or queue.
func TestQueueManyFaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := limitedRoom(t, Limits{MaxClients: 5}, Rules{})
		defer r.stop()
		liar := r.client("liar") // never started
		r.clients = nil
		control, err := liar.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		join := func(n int) {
			m := &wire.Join{Request: uint32(n), Nonce: [16]byte{byte(n), byte(n >> 8)}, Package: "w11", MaxPayload: 1472, Machine: wire.Machine{Host: fmt.Sprint("face", n), UUID: [16]byte{byte(n), byte(n >> 8), 1}}}
			if err := control.Send(m.Append(nil)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		for n := range 50 {
			join(n)
		}
		r.numbered(1, 4, 10*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		s, _ := r.session(0)
		present := 0
		for _, c := range s.Clients {
			if !c.State.ended() {
				present++
			}
		}
		if present != 5 || len(r.server.Queue()) > 0 {
			t.Errorf("%d clients, queue %+v", present, r.server.Queue())
		}
		r.client("sixth").start()
		time.Sleep(100 * time.Millisecond)
		for n := range 50 {
			join(100 + n)
		}
		if queue := r.server.Queue(); len(queue) > 2 {
			t.Errorf("%d wait", len(queue))
		}
		_ = control.Close()
		r.wait()
	})
}

// TestJoinTogether: 200 clients that join within a second all get the image, and nobody is turned away; with a limit of as many
// too, and the one after that waits.
func TestJoinTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		r := newRoom(t, 62, 20*crypto.BlockSize)
		r.limits, r.server.cfg.Limits = Limits{MaxClients: n}, Limits{MaxClients: n}
		r.rules = Rules{MaxClients: n}
		defer r.stop()
		for i := range n {
			c := r.client(fmt.Sprintf("pc%03d", i))
			c.machine = byte(i + 1)
			c.start()
			time.Sleep(time.Duration(r.random.IntN(5)) * time.Millisecond)
		}
		one := r.client("one more").start()
		time.Sleep(300 * time.Millisecond)
		if queue := r.server.Queue(); len(queue) != 1 || queue[0].Name != "one more" {
			t.Errorf("queue %+v", queue)
		}
		r.wait()
		for _, c := range r.clients {
			if c != one && (c.event(EventQueued) || c.result.Totals.Reconnects > 0) {
				t.Errorf("%s: %v", c.name, c.events())
			}
		}
		if len(r.endedSessions()) > 0 {
			t.Error("more than one session")
		}
	})
}

// TestTenSessions: ten sessions at once share the ceiling, and each client gets its own image.
func TestTenSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 63, 20*crypto.BlockSize)
		r.ceiling, r.server.cfg.Ceiling = 20e6, 20e6
		defer r.stop()
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprintf("p%d", i))
			r.other(names[i])
		}
		for _, name := range names {
			for j := range 3 {
				c := r.client(fmt.Sprintf("%s-%d", name, j))
				c.pkg = name
				c.link.loss = 0.01 * float64(j)
				c.start()
			}
		}
		time.Sleep(1500 * time.Millisecond)
		running, _ := r.server.Sessions()
		seen := map[string]bool{}
		for _, s := range running {
			seen[s.Group.String()] = true
			if s.State == wire.Casting && (s.Ceiling < 1e6 || s.Ceiling > 4e6) {
				t.Errorf("%s may send %.1f MB/s of 20", s.Package, s.Ceiling/1e6)
			}
		}
		if len(running) != 10 || len(seen) != 10 {
			t.Errorf("%d sessions, %d groups", len(running), len(seen))
		}
		r.wait()
	})
}

// TestFirstPlaceCounts: the client that a cast begins with has its place at once, not only when the session runs: others may
// ask meanwhile.
func TestFirstPlaceCounts(t *testing.T) {
	for what, limits := range map[string]struct {
		point Limits
		cast  Rules
	}{"the point's": {Limits{MaxClients: 1}, Rules{}}, "the cast's": {Limits{}, Rules{MaxClients: 1}}} {
		s := NewServer(ServerConfig{Limits: limits.point})
		join := func(machine byte) admission {
			return s.admit(&link{}, sessionKey{}, &Package{Name: "w11@1", Rules: limits.cast}, &wire.Join{Machine: wire.Machine{UUID: [16]byte{machine}}})
		}
		if first := join(1); !first.admitted() {
			t.Errorf("%s limit: the first: %+v", what, first)
		}
		if second := join(2); second.queued == nil {
			t.Errorf("%s limit: the second: %+v", what, second)
		}
	}
}

// TestQueueOrder: a place that gets free is kept for the first in the queue, though the second asks first.
func TestQueueOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := limitedRoom(t, Limits{MaxClients: 2}, Rules{})
		r.content = newSimContent(r.random, 250*crypto.BlockSize)
		defer r.stop()
		began := time.Now()
		r.numbered(1, 4, 100*time.Millisecond)
		leaves, first, second := r.clients[0], r.clients[2], r.clients[3]
		time.Sleep(time.Second)
		first.link.mu.Lock()
		first.link.control = 1
		first.link.mu.Unlock()
		leaves.stop()
		r.clients = r.clients[1:]
		time.Sleep(time.Until(began.Add(2430 * time.Millisecond))) // the first asked at 2.24 s, unheard, the second at 2.36
		if first.event(EventJoined) || second.event(EventJoined) {
			t.Errorf("first %v, second %v", first.events(), second.events())
		}
		first.link.mu.Lock()
		first.link.control = 0
		first.link.mu.Unlock()
		time.Sleep(3 * time.Second)
		if !first.event(EventJoined) || second.event(EventJoined) {
			t.Errorf("first %v, second %v", first.events(), second.events())
		}
		r.wait()
	})
}

// TestQueueLeaves: who stops asking loses its place, and who was refused elsewhere isn't queued.
func TestQueueLeaves(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := limitedRoom(t, Limits{MaxClients: 1}, Rules{})
		r.content = newSimContent(r.random, 250*crypto.BlockSize)
		defer r.stop()
		r.numbered(1, 3, 50*time.Millisecond)
		r.clients[1].stop()
		if len(r.server.Queue()) != 2 {
			t.Errorf("%+v", r.server.Queue())
		}
		time.Sleep(13 * time.Second)
		if queue := r.server.Queue(); len(queue) != 1 || queue[0].Name != "pc03" || queue[0].Place != 1 {
			t.Errorf("%+v", queue)
		}
		r.clients = append(r.clients[:1], r.clients[2:]...)
		r.wait()
	})
}
