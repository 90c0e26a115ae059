package session

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// keyRing keeps every key that a client was ever given, and counts what it opens of what goes out.
type keyRing struct {
	mu     sync.Mutex
	of     map[uint32]*wire.Welcome // by the number of the client in its session
	keys   []*crypto.Keys
	sealed int // packets of groups that were looked at
	opened int // of them, under one of the keys
}

// keep has a client's keys kept, from its start on.
func (c *roomClient) keep() *keyRing {
	k := &keyRing{of: map[uint32]*wire.Welcome{}}
	c.tap = func(message []byte) {
		k.mu.Lock()
		defer k.mu.Unlock()
		switch m, _ := wire.Parse(message); m := m.(type) {
		case *wire.Welcome:
			k.of[m.Client] = m
			k.add(m, m.Secret, m.Position)
		case *wire.Epoch:
			if w := k.of[m.Client]; w != nil {
				k.add(w, m.Secret, m.Position)
			}
		}
	}
	return k
}

func (k *keyRing) add(w *wire.Welcome, secret crypto.Secret, at uint64) {
	k.keys = append(k.keys, crypto.NewKeys(crypto.Mode(w.Mode), w.Session, w.Digest, secret, at))
}

// watch tries the keys on all that the room's sessions seal from now on.
func (k *keyRing) watch(r *room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.groups {
		g.mu.Lock()
		g.taps = append(g.taps, k.try)
		g.mu.Unlock()
	}
}

func (k *keyRing) try(packet []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed++
	header, _ := wire.ParseHeader(packet)
	for _, keys := range k.keys {
		if _, err := keys.Open(bytes.Clone(packet), wire.HeaderLen, header.Number); err == nil {
			k.opened++
			return
		}
	}
}

// nothing holds that packets went out, in so many sessions that the client knew, and that none of them opened.
func (k *keyRing) nothing(t *testing.T, sessions int) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.of) < sessions {
		t.Errorf("it was welcomed by %d sessions, the test wants %d", len(k.of), sessions)
	}
	if k.sealed < 1000 || k.opened > 0 {
		t.Errorf("%d of %d packets sealed since the eviction open under one of its %d keys", k.opened, k.sealed, len(k.keys))
	}
}

// demoteByHand moves a client to the slower session, as if it were slow.
func (r *room) demoteByHand(name string) {
	r.t.Helper()
	main, _ := r.session(0)
	session, err := r.server.find(main.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	number := main.of(name).Number
	session.ask(func(s *sender) { s.demote(time.Now(), s.roster.members[number], "a test") })
}

// TestEvict: once Evict has returned, nothing is sealed under any key that the client was ever given: not in its session, nor in
// the other one of the cast that it came from, nor where it had left before. It doesn't get in again; those who stay go on under a new epoch.
func TestEvict(t *testing.T) {
	longUnderRace(t)
	for _, tc := range []struct {
		name     string
		sessions int                      // that it knew
		prepare  func(*room, *roomClient) // once all receive
		lane     int                      // that it is evicted from
		state    ClientState              // that is shown of it there, afterwards
		ended    bool                     // the program had ended before
	}{
		{"receiving", 1, func(*room, *roomClient) {}, 0, ClientEvicted, false},
		{"twice given a key", 1, func(r *room, _ *roomClient) {
			main, _ := r.session(0)
			if err := r.server.Evict(main.ID, main.of("other").Number); err != nil {
				r.t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
		}, 0, ClientEvicted, false},
		{"demoted", 2, func(r *room, _ *roomClient) { r.demoteByHand("goes"); time.Sleep(time.Second) }, slowLane, ClientEvicted, false},
		{"demoted, by the session that it came from", 2, func(r *room, _ *roomClient) { r.demoteByHand("goes"); time.Sleep(time.Second) }, 0, ClientDemoted, false},
		{"on its way to the slower session", 1, func(r *room, _ *roomClient) { r.demoteByHand("goes") }, 0, ClientDemoted, false},
		{"moved up", 2, func(r *room, _ *roomClient) {
			r.demoteByHand("goes")
			time.Sleep(time.Second)
			lane, _ := r.session(slowLane)
			session, err := r.server.find(lane.ID)
			if err != nil {
				r.t.Fatal(err)
			}
			number := lane.of("goes").Number
			session.ask(func(s *sender) {
				m := s.roster.members[number]
				r.server.place(s.key, machineKey(m.info.Peer, m.info.Machine), false)
				s.move(time.Now(), m, ClientLeft, "moved up", "moved up")
			})
			time.Sleep(time.Second)
		}, 0, ClientEvicted, false},
		{"left", 1, func(_ *room, c *roomClient) { c.stop(); time.Sleep(100 * time.Millisecond) }, 0, ClientLeft, true},
		{"lost", 1, func(_ *room, c *roomClient) {
			c.link.mu.Lock()
			c.link.control, c.link.deaf = 1, true
			c.link.mu.Unlock()
			c.stop()
			time.Sleep(unheardLost + 5*time.Second)
		}, 0, ClientLost, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 10, 300*crypto.BlockSize)
				defer r.stop()
				r.server.cfg.Ceiling, r.ceiling = 5e5, 5e5 // 108 s
				stays, slow, other, goes := r.client("stays").start(), r.client("slow").start(), r.client("other").start(), r.client("goes")
				ring := goes.keep()
				goes.start()
				time.Sleep(3 * time.Second)
				r.demoteByHand("slow") // the slower session goes on without the one that is evicted
				time.Sleep(time.Second)
				tc.prepare(r, goes)
				from, ok := r.session(tc.lane)
				if !ok {
					t.Fatal("no such session")
				}
				if err := r.server.Evict(from.ID, from.of("goes").Number); err != nil {
					t.Fatal(err)
				}
				ring.watch(r)
				if !tc.ended {
					<-goes.done
					if !errors.Is(goes.err, ErrEvicted) {
						t.Errorf("the evicted client ended with %v", goes.err)
					}
				}
				goes.link.mu.Lock()
				goes.link.control, goes.link.deaf = 0, false
				goes.link.mu.Unlock()
				again := r.client("goes").start()
				<-again.done
				if !errors.Is(again.err, ErrEvicted) {
					t.Errorf("it comes back: %v", again.err)
				}
				if from, _ = r.session(tc.lane); from.of("goes").State != tc.state {
					t.Errorf("it is shown as %s, want %s", from.of("goes").State, tc.state)
				}
				if err := r.server.Evict(from.ID, from.of("goes").Number); err == nil {
					t.Error("it was evicted twice")
				}
				for lane := range 2 {
					if s, _ := r.session(lane); s.of("goes").State != "" && !s.of("goes").State.ended() {
						t.Errorf("in lane %d it is %s", lane, s.of("goes").State)
					}
				}
				r.server.Adjust(Conditions{Ceiling: 40e6, Rules: func(string, string) (Rules, bool) { return Rules{}, true }})
				<-stays.done
				<-slow.done
				<-other.done
				for _, c := range []*roomClient{stays, slow} {
					if c.err != nil {
						t.Fatalf("%s: %v", c.name, c.err)
					}
					r.check(c)
					if !c.event(EventNewEpoch) && tc.name != "twice given a key" && (c == stays || tc.sessions > 1) {
						t.Errorf("%s was given no new epoch", c.name)
					}
				}
				ring.nothing(t, tc.sessions)
			})
		})
	}
}

// TestEvictedChannel: an evicted client doesn't get in again over its control channel as another machine, nor by a join that had
// been let in before. Another machine that shares its number isn't thrown out with it.
func TestEvictedChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 11, 100*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 5e6, 5e6
		twin := r.client("twin")
		twin.machine = 7
		twin.start()
		goes := r.client("goes")
		r.clients = r.clients[:1]
		control, err := goes.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l := &liar{channel: newChannel(control)}
		defer l.close()
		join := &wire.Join{Request: 1, Nonce: [16]byte{1}, MaxPayload: 1472, Machine: wire.Machine{Host: "goes", UUID: [16]byte{15: 7}}, Package: "w11"}
		answer := func(request uint32, nonce byte) string {
			join.Request, join.Nonce[0] = request, nonce
			l.send(join)
			for m := range l.messages {
				switch m := m.(type) {
				case *wire.Welcome:
					if m.Request == request {
						return "welcome"
					}
				case *wire.Refused:
					if m.Request == request {
						return fmt.Sprint("refused ", m.Code)
					}
				}
			}
			return "closed"
		}
		if got := answer(1, 1); got != "welcome" {
			t.Fatal(got)
		}
		main, _ := r.session(0)
		number := main.of("goes").Number
		session, err := r.server.find(main.ID)
		if err != nil {
			t.Fatal(err)
		}
		var channel *link
		session.ask(func(s *sender) { channel = s.roster.members[number].link })
		if err := r.server.Evict(main.ID, number); err != nil {
			t.Fatal(err)
		}
		refused := fmt.Sprint("refused ", wire.Evicted)
		join.Machine = wire.Machine{Host: "somebody", UUID: [16]byte{15: 9}}
		if got := answer(2, 2); got != refused {
			t.Errorf("as another machine: %s", got)
		}
		session.ask(func(s *sender) { s.join(channel, join, 99, "", Apply{}) })
		if main, _ = r.session(0); main.of("somebody").State != "" || main.of("twin").State != ClientReceiving {
			t.Errorf("somebody is %q, the twin %q", main.of("somebody").State, main.of("twin").State)
		}
		r.wait()
	})
}

// TestEvictAll: who is asked for goes from every session that it has, or had, a part in; each is named once, and only where it was.
func TestEvictAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 12, 300*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 1e6, 1e6
		rings := map[string]*keyRing{}
		for _, name := range []string{"stays", "room-demoted", "room-here", "room-left", "slow"} {
			c := r.client(name)
			rings[name] = c.keep()
			c.start()
		}
		time.Sleep(2 * time.Second)
		r.demoteByHand("room-demoted")
		r.demoteByHand("slow")
		r.clients[3].stop()
		time.Sleep(time.Second)
		got := fmt.Sprint(r.server.EvictAll(func(c *ClientInfo) bool { return strings.HasPrefix(c.Name, "room-") }))
		for _, ring := range rings {
			ring.watch(r)
		}
		if got != "[{s1 room-here} {s2 room-demoted}]" {
			t.Errorf("evicted %s", got)
		}
		r.clients = []*roomClient{r.clients[0], r.clients[4]}
		r.server.Adjust(Conditions{Ceiling: 40e6, Rules: func(string, string) (Rules, bool) { return Rules{}, true }})
		r.wait()
		for _, name := range []string{"room-demoted", "room-here", "room-left"} {
			rings[name].nothing(t, 1)
		}
	})
}
