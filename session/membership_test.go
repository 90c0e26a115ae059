package session

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// TestFlagsChangeDuringCast: a package whose flags change is cast anew, and the old session stays in
// the operator's hand.
func TestFlagsChangeDuringCast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 11, 100*crypto.BlockSize)
		defer r.stop()
		before := r.client("before").start()
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		r.encrypt = false
		after := r.client("after").start()
		time.Sleep(100 * time.Millisecond)
		running, _ := r.server.Sessions()
		if len(running) != 2 || running[0].Mode != crypto.Encrypted || running[1].Mode != crypto.Clear {
			t.Fatalf("sessions: %+v", running)
		}
		totals, _ := r.server.Totals()
		if got, want := totals["w11@1"].Sent.SourcePackets, running[0].Sent.SourcePackets+running[1].Sent.SourcePackets; got < want {
			t.Errorf("totals say %d source packets, the sessions %d", got, want)
		}
		if err := r.server.Evict(running[0].ID, running[0].Clients[0].Number); err != nil {
			t.Error(err)
		}
		<-before.done
		if !errors.Is(before.err, ErrEvicted) {
			t.Errorf("evicted client: %v", before.err)
		}
		<-after.done
		if after.err != nil {
			t.Error(after.err)
		}
		r.check(after)
	})
}

func TestNoUnicast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 12, 30*crypto.BlockSize)
		defer r.stop()
		deaf := r.client("deaf")
		deaf.link.deaf, deaf.noUnicast = true, true
		deaf.start()
		<-deaf.done
		if !errors.Is(deaf.err, ErrSilent) {
			t.Errorf("deaf client: %v, want ErrSilent", deaf.err)
		}
		totals, _ := r.server.Totals()
		if n := totals["w11@1"].Fallbacks["group_silent"]; n != 0 {
			t.Errorf("%d fallbacks counted, none was wanted", n)
		}
	})
}

// TestRejoinTimes: a silent group is joined again after 2 s, then every 5 s.
func TestRejoinTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 13, 30*crypto.BlockSize)
		defer r.stop()
		r.unicast = false
		deaf := r.client("deaf")
		deaf.link.deaf = true
		began := time.Now()
		deaf.start()
		<-deaf.done
		deaf.link.mu.Lock()
		defer deaf.link.mu.Unlock()
		for i, at := range deaf.link.rejoins {
			want := silentRejoin + time.Duration(i)*rejoinEvery
			if d := at.Sub(began); d < want || d > want+time.Second {
				t.Errorf("rejoin %d after %v, want about %v", i, d, want)
			}
		}
		if n := len(deaf.link.rejoins); n != 6 {
			t.Errorf("%d rejoins in 30 s, want 6", n)
		}
	})
}

// TestDeadControlChannel: the group goes on, but the server's words don't arrive any more.
func TestDeadControlChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 14, 200*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling = 2e6
		c := r.client("c")
		c.link.loss = 0.3
		c.start()
		time.Sleep(time.Second)
		r.mu.Lock()
		c.control.dead.Store(true)
		r.mu.Unlock()
		r.wait()
		if c.result.Totals.Reconnects == 0 {
			t.Error("the client never dialled again")
		}
	})
}

// TestTokenAfterReturn: a client that was given up and comes back gets a token that is good.
func TestTokenAfterReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 15, 60*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling = 80e3
		r.client("keeps it running").start()
		time.Sleep(100 * time.Millisecond) // so that it is the session's first
		c := r.client("comes back")
		c.link.deaf = true
		c.start()
		time.Sleep(time.Second)
		cut := func(loss float64) {
			c.link.mu.Lock()
			c.link.control = loss
			c.link.mu.Unlock()
		}
		cut(1)
		time.Sleep(unheardLost + 5*time.Second)
		running, _ := r.server.Sessions()
		if state := running[0].Clients[1].State; state != ClientLost {
			t.Fatalf("client is %s, want lost", state)
		}
		cut(0)
		time.Sleep(30 * time.Second)
		if len(c.offers()) != 1 {
			t.Fatalf("%d offers of unicast", len(c.offers()))
		}
		if running, _ = r.server.Sessions(); len(running[0].Clients) != 2 {
			t.Errorf("it didn't come back to its place: %+v", running[0].Clients)
		}
		if grant, ok := r.server.Grant(c.offers()[0].Token); !ok && c.receiver.Progress().Proven < r.content.Size() || ok && grant.Client != "comes back" {
			t.Errorf("the token is good for %+v, %v", grant, ok)
		}
		r.wait()
	})
}

// TestSmallNetwork: a machine whose network doesn't take the session's packets is told so.
func TestSmallNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 16, 10*crypto.BlockSize)
		defer r.stop()
		c := r.client("small")
		c.link.deaf, c.maxPayload = true, 1200
		c.start()
		r.wait()
		if got := c.result.Totals; got.UnicastReason != "out_of_reach" || got.Unicast != r.content.Size() {
			t.Errorf("%+v", got)
		}
		if !c.event(EventNotice) {
			t.Errorf("it wasn't told why: %v", c.events())
		}
	})
}

// TestForgotten: a switch that forgets a machine, which joins again, is told of, and not as a cable that loses packets. A line that is dead
// for as long, and comes back by itself, isn't a switch.
func TestForgotten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		forgets        time.Duration
		dead           bool
		switched, lost int // notices
	}{
		"a switch that forgets": {forgets: 3 * time.Second, switched: 1},
		"a line that is dead":   {dead: true, lost: 1},
		"neither":               {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 15, 120*crypto.BlockSize)
				defer r.stop()
				r.server.cfg.Ceiling = 2e6
				pc := r.client("pc")
				pc.link.forgets = c.forgets
				pc.start()
				deaf := func(is bool) {
					pc.link.mu.Lock()
					defer pc.link.mu.Unlock()
					pc.link.deaf = is
				}
				for range 2 {
					time.Sleep(2 * time.Second)
					deaf(c.dead)
					time.Sleep(silentRejoin + 1500*time.Millisecond)
					deaf(false)
				}
				r.wait()
				switched, lost := 0, 0
				for _, e := range pc.events() {
					switched += strings.Count(e.Text, "the switch stopped sending group")
					lost += strings.Count(e.Text, "get lost on the way")
				}
				if switched != c.switched || lost != c.lost {
					t.Errorf("told of a switch %d times and of loss %d times, want %d and %d: %+v", switched, lost, c.switched, c.lost, pc.events())
				}
			})
		})
	}
}
