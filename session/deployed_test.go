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
	"wimcast/multicast/wire"
)

// peOnly lets only winpe have packages by multicast.
func peOnly(p *Package, peer Peer) {
	if peer.Role != "winpe" {
		p.UnicastOnly = "multicast isn't for role " + peer.Role
	}
}

// TestUnicastOnly: who isn't allowed multicast fetches by unicast at once, whatever the limits and the start rule, is told why, and never
// hears the group; the room has its cast.
func TestUnicastOnly(t *testing.T) {
	for _, tc := range []struct {
		name  string
		rules Rules
	}{
		{"auto", Rules{}},
		{"full", Rules{MaxClients: 1}},
		{"waits for its start", Rules{Start: StartScheduled, MinClients: 1, Delay: time.Hour}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := limitedRoom(t, Limits{MaxClients: 1}, tc.rules)
				r.deploy = peOnly
				defer r.stop()
				desk := r.client("desk")
				desk.machine = 7
				desk.start()
				time.Sleep(20 * time.Millisecond)
				if s, ok := r.session(unicastLane); !ok || s.of("desk").State != ClientUnicast || s.of("desk").Reason != "unicast_only" || len(r.groups) > 0 {
					t.Errorf("%v %+v, %d groups", ok, s, len(r.groups))
				}
				pc := r.client("pc01")
				pc.role, pc.machine = "winpe", 1
				pc.start()
				time.Sleep(100 * time.Millisecond)
				if s, ok := r.session(0); !ok || len(s.Clients) != 1 || len(r.server.Queue()) > 0 {
					t.Errorf("%v, clients %+v, queue %+v", ok, s.Clients, r.server.Queue())
				}
				r.wait()
				if desk.result.Totals.Unicast != r.content.Size() || desk.result.Totals.Packets > 0 || desk.result.Totals.UnicastReason != "unicast_only" || pc.result.Totals.Multicast != r.content.Size() {
					t.Errorf("desk: %+v, pc01: %+v", desk.result.Totals, pc.result.Totals)
				}
				if !desk.says("multicast isn't for role client; fetching by unicast") {
					t.Errorf("isn't told why: %+v", desk.events())
				}
				if packages, _ := r.server.Totals(); packages["w11@1"].Fallbacks["unicast_only"] != 1 {
					t.Errorf("%v", packages["w11@1"].Fallbacks)
				}
			})
		})
	}
}

// says reports whether a client was told something.
func (c *roomClient) says(text string) bool {
	return slices.ContainsFunc(c.events(), func(e Event) bool { return strings.Contains(e.Text, text) })
}

// TestUnicastOnlyNever: one that may neither have multicast nor wants unicast is refused with both reasons.
func TestUnicastOnlyNever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 62, 4*crypto.BlockSize)
		r.deploy = peOnly
		defer r.stop()
		c := r.client("desk")
		c.noUnicast = true
		c.start()
		<-c.done
		if !errors.Is(c.err, ErrRefused) || !strings.Contains(c.err.Error(), "multicast isn't for role client, and this client was told never to fetch by unicast") {
			t.Errorf("%v", c.err)
		}
		if running, _ := r.server.Sessions(); len(running) > 0 {
			t.Errorf("%+v", running)
		}
	})
}

// TestUnicastOnlyThenPE: a machine that comes back with the right to multicast isn't kept from the group by what it was, and takes a
// place like all others.
func TestUnicastOnlyThenPE(t *testing.T) {
	for _, heard := range []bool{false, true} { // its last words
		t.Run(fmt.Sprintf("heard %v", heard), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := limitedRoom(t, Limits{MaxClients: 1}, Rules{})
				r.deploy = peOnly
				defer r.stop()
				desk := r.client("pc01")
				desk.machine = 1
				desk.start()
				time.Sleep(20 * time.Millisecond)
				if !heard {
					desk.link.mu.Lock()
					desk.link.control = 1 // the server doesn't know yet
					desk.link.mu.Unlock()
				}
				desk.stop()
				pe := r.client("pc01")
				pe.role, pe.machine = "winpe", 1
				pe.start()
				time.Sleep(100 * time.Millisecond)
				other := r.client("pc02")
				other.role, other.machine = "winpe", 2
				other.start()
				time.Sleep(100 * time.Millisecond)
				if queue := r.server.Queue(); len(queue) != 1 || queue[0].Name != "pc02" {
					t.Errorf("queue %+v", queue)
				}
				<-pe.done
				<-other.done
				if pe.err != nil || pe.result.Totals.Multicast != r.content.Size() {
					t.Errorf("%v, %+v", pe.err, pe.result.Totals)
				}
			})
		})
	}
}

// TestDeploymentsApart: one content by two deployments is two sessions with rules of their own, and what changes of one leaves the other.
func TestDeploymentsApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := limitedRoom(t, Limits{}, Rules{})
		r.deploy = func(p *Package, peer Peer) {
			p.Deployment = peer.Role
			if peer.Role == "lab12" {
				p.Rules = Rules{Start: StartScheduled, MinClients: 2, Delay: time.Hour}
			}
		}
		defer r.stop()
		for i, role := range []string{"lab12", "lab13"} {
			c := r.client(role)
			c.role, c.machine = role, byte(i+1)
			c.start()
		}
		time.Sleep(time.Second)
		of := map[string]SessionInfo{}
		running, _ := r.server.Sessions()
		for _, s := range running {
			of[s.Deployment] = s
		}
		if len(running) != 2 || of["lab12"].State != wire.Waiting || of["lab12"].Waiting != 1 || of["lab13"].State != wire.Casting || len(r.groups) != 2 {
			t.Fatalf("%+v", running)
		}
		got := r.server.Adjust(Conditions{Ceiling: 2e6, Rules: func(deployment, _ string) (Rules, bool) {
			if deployment == "lab12" {
				return Rules{}, false // removed
			}
			return Rules{Slow: SlowWait}, true
		}})
		if len(got) != 1 || got[0] != of["lab13"].ID {
			t.Errorf("adjusted %v, want only %s", got, of["lab13"].ID)
		}
		second := r.client("second")
		second.role, second.machine = "lab12", 3
		second.start()
		r.wait()
		for _, c := range r.clients {
			if c.result.Totals.Multicast != r.content.Size() {
				t.Errorf("%s: %+v", c.name, c.result.Totals)
			}
		}
	})
}
