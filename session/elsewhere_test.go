package session

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/client/route"
	"wimcast/crypto"
)

// traveller is a client that may go to several servers, each with a network of its own.
type traveller struct {
	t      *testing.T
	rooms  []*room
	homes  []*roomClient // its place in each room
	target *simTarget
	recv   *Receiver
	err    error
	done   chan struct{}

	mu     sync.Mutex
	route  *route.Route
	at     int
	took   []int
	events []Event
}

// travel starts a client whose servers are these, the best first.
func travel(t *testing.T, rooms ...*room) *traveller {
	v := &traveller{t: t, rooms: rooms, target: &simTarget{}, done: make(chan struct{})}
	ways := make([]route.Way, len(rooms))
	for i, r := range rooms {
		ways[i].Server = string(rune('a' + i))
		home := r.client("pc")
		home.machine = 200
		v.homes = append(v.homes, home)
	}
	v.route = route.New(ways)
	cfg := ReceiverConfig{
		Package: "w11", Target: v.target, Dial: v.dial, Elsewhere: v.elsewhere, Taken: v.taken,
		Hear: func(group netip.AddrPort, source netip.Addr) (Hearer, error) {
			return v.homes[v.at].hear(group, source)
		},
		Notify: func(e Event) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.events = append(v.events, e)
		},
	}
	cfg.Machine.Host, cfg.Machine.UUID[15] = "pc", 200
	v.recv = NewReceiver(cfg)
	v.recv.random = rand.New(rand.NewPCG(9, 9))
	go func() {
		defer close(v.done)
		_, v.err = v.recv.Run(t.Context())
	}()
	return v
}

func (v *traveller) dial(ctx context.Context) (Control, error) {
	for {
		v.mu.Lock()
		i, ok := v.route.Next()
		v.mu.Unlock()
		if !ok {
			return nil, errors.New("nothing answers")
		}
		control, err := v.homes[i].dial(ctx)
		v.mu.Lock()
		if err == nil {
			v.at = i
			v.mu.Unlock()
			return control, nil
		}
		v.route.Unanswered(i, err.Error(), false)
		v.mu.Unlock()
	}
}

func (v *traveller) elsewhere(why Leave, text string) (Other, string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	left := route.Stay
	switch why {
	case LeaveStops:
		v.route.Stops(v.at, text)
		return OtherLater, text
	case LeaveFull:
		left = v.route.Full(v.at, text)
	case LeaveRefused:
		left = v.route.Refused(v.at, text)
	}
	return map[route.Left]Other{route.Stay: OtherNone, route.Later: OtherLater, route.Now: OtherNow}[left], v.route.Passed()
}

func (v *traveller) taken() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.route.Taken(v.at)
	v.took = append(v.took, v.at)
}

// went is the way that it took.
func (v *traveller) went() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	for _, i := range v.took {
		b.WriteByte(byte('a' + i))
	}
	return b.String()
}

// whole waits for the end, and holds that the image is there.
func (v *traveller) whole(content *simContent) {
	v.t.Helper()
	<-v.done
	if v.err != nil || !v.target.finished || !bytes.Equal(v.target.data, content.data) {
		v.t.Errorf("%v, finished %v; %v", v.err, v.target.finished, v.events)
	}
}

// twoRooms are two servers with the same image, slow enough that something can happen.
func twoRooms(t *testing.T) (a, b *room) {
	a, b = newRoom(t, 71, 60*crypto.BlockSize), newRoom(t, 71, 60*crypto.BlockSize)
	for _, r := range []*room{a, b} {
		r.ceiling, r.server.cfg.Ceiling = 2e6, 2e6
	}
	return a, b
}

// TestElsewhere: a client that a server has no place for gets the image from the next, at once.
func TestElsewhere(t *testing.T) {
	for name, tc := range map[string]struct {
		first func(t *testing.T, a *room)
		want  string
	}{
		"down": {func(_ *testing.T, a *room) { a.kill() }, "b"},
		"lacks the package": {func(_ *testing.T, a *room) {
			a.deploy = func(*Package, Peer) { panic("not asked") }
			a.server.cfg.Open = func(context.Context, string, Peer) (*Package, error) {
				return nil, &RefusedError{Code: 1, Text: "no package w11"}
			}
		}, "b"},
		"full": {func(t *testing.T, a *room) {
			a.limits = Limits{MaxClients: 1}
			a.server.cfg.Limits = a.limits
			other := a.client("other")
			other.machine = 1
			other.start()
			time.Sleep(100 * time.Millisecond)
		}, "b"},
		"has room": {func(*testing.T, *room) {}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := twoRooms(t)
				defer a.stop()
				defer b.stop()
				tc.first(t, a)
				from := time.Now()
				v := travel(t, a, b)
				time.Sleep(2 * time.Second)
				if went := v.went(); went != tc.want {
					t.Errorf("after %v it went %q, want %q; %v", time.Since(from), went, tc.want, v.events)
				}
				v.whole(b.content)
			})
		})
	}
}

// TestElsewhereInMidCast: a server dies in mid-cast; the client goes on at the next with what it has, and nothing is sent twice.
func TestElsewhereInMidCast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := twoRooms(t)
		defer b.stop()
		v := travel(t, a, b)
		for v.recv.Progress().Proven < 30*crypto.BlockSize {
			time.Sleep(50 * time.Millisecond)
		}
		held := v.recv.Progress().Proven
		a.kill()
		v.whole(b.content)
		if went := v.went(); went != "ab" {
			t.Errorf("it went %q", went)
		}
		if v.target.writes > 61 {
			t.Errorf("%d blocks were written for 60", v.target.writes)
		}
		sent := b.endedSessions()
		b.server.Close()
		sent = append(sent, b.endedSessions()...)
		if most := uint64(a.content.Size()-held) * 3 / 2; len(sent) == 0 || sent[0].Sent.SourceBytes > most {
			t.Errorf("the second server sent %+v, want at most %d bytes", sent, most)
		}
	})
}

// TestElsewhereLacksWhatIsThere: the next server has another version, or nothing. Who has a part of the image waits for the first, for as
// long as it waits for any server that went away, and goes on there.
func TestElsewhereLacksWhatIsThere(t *testing.T) {
	for name, change := range map[string]func(b *room){
		"another version": func(b *room) { b.content = newSimContent(rand.New(rand.NewPCG(5, 5)), 50*crypto.BlockSize) },
		"nothing": func(b *room) {
			b.server.cfg.Open = func(context.Context, string, Peer) (*Package, error) {
				return nil, &RefusedError{Code: 1, Text: "no package w11"}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := twoRooms(t)
				defer a.stop()
				defer b.stop()
				change(b)
				v := travel(t, a, b)
				for v.recv.Progress().Proven < 30*crypto.BlockSize {
					time.Sleep(50 * time.Millisecond)
				}
				a.kill()
				time.Sleep(2 * time.Minute)
				select {
				case <-v.done:
					t.Fatalf("it gave up: %v", v.err)
				default:
				}
				a.start()
				v.whole(a.content)
				if v.target.writes > 61 {
					t.Errorf("%d blocks were written for 60", v.target.writes)
				}
			})
		})
	}
}

// TestElsewhereNobody: no server takes the client: the end names what each said.
func TestElsewhereNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := twoRooms(t)
		defer a.stop()
		defer b.stop()
		for i, r := range []*room{a, b} {
			r.server.cfg.Open = func(context.Context, string, Peer) (*Package, error) {
				return nil, &RefusedError{Code: 1, Text: "no package at " + string(rune('a'+i))}
			}
		}
		from := time.Now()
		v := travel(t, a, b)
		<-v.done
		if !errors.Is(v.err, ErrRefused) || !strings.Contains(v.err.Error(), "a: no package at a; b: no package at b") {
			t.Errorf("%v", v.err)
		}
		if took := time.Since(from); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestElsewhereAllFull: where all are full the client waits at the first, and gets in there.
func TestElsewhereAllFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := twoRooms(t)
		defer a.stop()
		defer b.stop()
		for i, r := range []*room{a, b} {
			r.limits = Limits{MaxClients: 1}
			r.server.cfg.Limits = r.limits
			other := r.client("other")
			other.machine = byte(i + 1)
			other.start()
		}
		time.Sleep(100 * time.Millisecond)
		v := travel(t, a, b)
		time.Sleep(3 * time.Second)
		if w := v.recv.Progress().Waiting; w.Place != 1 || len(a.server.Queue()) != 1 {
			t.Errorf("%+v, queue %+v", w, a.server.Queue())
		}
		v.whole(a.content)
		if went := v.went(); went != "a" {
			t.Errorf("it went %q", went)
		}
		for _, r := range []*room{a, b} {
			<-r.clients[0].done
		}
	})
}
