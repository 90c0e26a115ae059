package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// slowRoom is three clients and a slow one, whose cable takes 1 MB/s of the session's 10.
func slowRoom(t *testing.T, blocks int, rules Rules) (r *room, slow *roomClient) {
	r = newRoom(t, 31, blocks*crypto.BlockSize)
	r.rules = rules
	r.server.cfg.Ceiling, r.ceiling = 10e6, 10e6
	for i := range 3 {
		r.client(fmt.Sprintf("pc%02d", i)).start()
	}
	slow = r.client("slow")
	slow.link.rate, slow.link.queue = 1e6, 20*time.Millisecond
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
	for i := len(s.Clients) - 1; i >= 0; i-- {
		if s.Clients[i].Name == name {
			return s.Clients[i]
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
	for _, tc := range []struct {
		name  string
		rules Rules
	}{
		{"floor", Rules{Slow: SlowDemote, Floor: 5e6, Grace: time.Second}},
		{"no floor", Rules{Slow: SlowDemote, Grace: time.Second}},
	} {
		t.Run(tc.name, func(t *testing.T) {
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
					t.Errorf("slow client: %+v, events %v", slow.result.Totals, slow.events)
				}
			})
		})
	}
}

// TestSlowWait: the rate follows a slow client, but not below the floor.
func TestSlowWait(t *testing.T) {
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
