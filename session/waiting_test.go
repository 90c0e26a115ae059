package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// TestSchedule holds each start rule against a clock.
func TestSchedule(t *testing.T) {
	begin := time.Date(2026, 11, 24, 21, 50, 0, 0, time.UTC)
	clock, err := ParseWallClock("22:00")
	if err != nil {
		t.Fatal(err)
	}
	scheduled := func(r Rules) Rules { r.Start = StartScheduled; return r }
	for _, tc := range []struct {
		name   string
		rules  Rules
		joins  []time.Duration // from begin
		starts time.Duration   // from begin
	}{
		{"auto", Rules{}, []time.Duration{0, time.Second}, 0},
		{"alone", scheduled(Rules{}), []time.Duration{0}, defaultDelay},
		{"number", scheduled(Rules{MinClients: 3}), []time.Duration{0, time.Minute, 2 * time.Minute, 3 * time.Minute}, 2 * time.Minute},
		{"number never comes", scheduled(Rules{MinClients: 3, Delay: 5 * time.Minute}), []time.Duration{0, time.Minute}, 5 * time.Minute},
		{"number of one", scheduled(Rules{MinClients: 1}), []time.Duration{time.Minute}, time.Minute},
		{"delay from first", scheduled(Rules{Delay: 5 * time.Minute, DelayFrom: FromFirst}), []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute}, 6 * time.Minute},
		{"delay from last", scheduled(Rules{Delay: 5 * time.Minute, DelayFrom: FromLast}), []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute}, 9 * time.Minute},
		{"delay from last, number", scheduled(Rules{MinClients: 2, Delay: 5 * time.Minute, DelayFrom: FromLast}), []time.Duration{0, 4 * time.Minute}, 4 * time.Minute},
		{"clock", scheduled(Rules{At: clock}), []time.Duration{0, time.Minute}, 10 * time.Minute},
		{"clock, number", scheduled(Rules{At: clock, MinClients: 2}), []time.Duration{0, time.Minute}, time.Minute},
		{"clock, after it", scheduled(Rules{At: clock}), []time.Duration{11 * time.Minute}, 24*time.Hour + 10*time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var c schedule
			waiting, joins := 0, tc.joins
			for now := begin; ; now = now.Add(time.Second) {
				for len(joins) > 0 && now.Sub(begin) >= joins[0] {
					waiting, joins = waiting+1, joins[1:]
					c.joined(now, false)
				}
				if c.may(now, &tc.rules, waiting) {
					if got := now.Sub(begin); got != tc.starts {
						t.Errorf("starts after %v, want %v", got, tc.starts)
					}
					return
				}
				if now.Sub(begin) > 48*time.Hour {
					t.Fatal("never starts")
				}
			}
		})
	}
}

// TestScheduleForgets: once nobody waits any more, the next client is the first.
func TestScheduleForgets(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	rules := Rules{Start: StartScheduled, Delay: 5 * time.Minute}
	var c schedule
	c.joined(now, false)
	if err := c.prolong(time.Hour); err != nil {
		t.Fatal(err)
	}
	c.left()
	if !c.deadline(&rules).IsZero() || c.may(now.Add(10*time.Hour), &rules, 0) {
		t.Error("starts for nobody")
	}
	if err := c.prolong(time.Hour); err == nil {
		t.Error("prolongs for nobody")
	}
	again := now.Add(time.Hour)
	c.joined(again, false)
	if got := c.deadline(&rules).Sub(again); got != 5*time.Minute {
		t.Errorf("%v after the new first client, want 5 min", got)
	}
}

// waitingRoom is a room whose session is scheduled.
func waitingRoom(t *testing.T, rules Rules) *room {
	r := newRoom(t, 51, 40*crypto.BlockSize)
	rules.Start = StartScheduled
	r.rules = rules
	return r
}

// waits reports whether the room's session waits for its start, and that nothing of the image has been sent.
func (r *room) waits() bool {
	r.t.Helper()
	s, ok := r.session(0)
	if ok && s.State == wire.Waiting && s.Sent.SourcePackets+s.Sent.ManifestPackets+s.Sent.ParityPackets > 0 {
		r.t.Error("something was sent before the start")
	}
	return ok && s.State == wire.Waiting && !s.Deadline.IsZero()
}

// TestScheduledStart: who waits is told what for, nothing goes out before, and late join stays possible.
func TestScheduledStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waitingRoom(t, Rules{MinClients: 3, Delay: 10 * time.Minute})
		defer r.stop()
		first := r.client("pc01").start()
		time.Sleep(time.Minute)
		second := r.client("pc02").start()
		time.Sleep(time.Minute)
		if !r.waits() {
			t.Fatal("doesn't wait")
		}
		for _, c := range []*roomClient{first, second} {
			w := c.receiver.Progress().Waiting
			if !w.Start || w.Minimum != 3 || w.Clients != 2 || (w.StartIn-8*time.Minute).Abs() > 2*time.Second {
				t.Errorf("%s is told %+v", c.name, w)
			}
		}
		s, _ := r.session(0)
		if s.Minimum != 3 || s.Waiting != 2 || s.of("pc01").State != ClientWaiting || time.Until(s.Deadline).Round(time.Second) != 8*time.Minute {
			t.Errorf("the operator is told: minimum %d, waiting %d, %s, deadline in %v", s.Minimum, s.Waiting, s.of("pc01").State, time.Until(s.Deadline))
		}
		began := time.Now()
		r.client("pc03").start()
		for r.waits() {
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("starts %v after the third client", d)
		}
		time.Sleep(100 * time.Millisecond)
		r.client("late").start()
		r.wait()
		if !first.event(EventWaiting) || first.receiver.Progress().Waiting.Start {
			t.Errorf("events %v, progress %+v", first.events(), first.receiver.Progress().Waiting)
		}
	})
}

// TestScheduledDelay: the delay alone starts the session, and at that time exactly; one who left isn't waited with.
func TestScheduledDelay(t *testing.T) {
	for _, tc := range []struct {
		from  DelayFrom
		after time.Duration // the first client's join
	}{{FromFirst, 5 * time.Minute}, {FromLast, 8 * time.Minute}} {
		t.Run(string(tc.from), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := waitingRoom(t, Rules{MinClients: 30, Delay: 5 * time.Minute, DelayFrom: tc.from})
				defer r.stop()
				began := time.Now()
				r.client("pc01").start()
				time.Sleep(3 * time.Minute)
				r.client("pc02").start()
				for r.waits() || time.Since(began) < time.Second {
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(50 * time.Millisecond)
				if d := time.Since(began); (d - tc.after).Abs() > time.Second {
					t.Errorf("starts %v after the first client, want %v", d, tc.after)
				}
				r.wait()
			})
		})
	}
}

// TestScheduledAt: a time of day starts the session.
func TestScheduledAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(12 * time.Minute).Truncate(time.Minute)
		clock, err := ParseWallClock(at.Format("15:04"))
		if err != nil {
			t.Fatal(err)
		}
		r := waitingRoom(t, Rules{At: clock})
		defer r.stop()
		r.client("pc01").start()
		time.Sleep(time.Minute)
		for r.waits() {
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Until(at); d.Abs() > time.Second {
			t.Errorf("started %v before its time", d)
		}
		r.wait()
	})
}

// TestStartNow: the operator starts a session for those who are there.
func TestStartNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waitingRoom(t, Rules{MinClients: 3})
		defer r.stop()
		r.client("pc01").start()
		r.client("pc02").start()
		time.Sleep(time.Minute)
		began := time.Now()
		if s, err := r.server.StartNow("s1"); err != nil || !s.Deadline.IsZero() || s.of("pc01").State != ClientReceiving {
			t.Errorf("%+v, %v", s, err)
		}
		r.wait()
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("done %v after the start", d)
		}
		for what, err := range map[string]error{
			"start": second(r.server.StartNow("s1")), "wait": second(r.server.WaitLonger("s1", time.Minute)), "cancel": r.server.Cancel("s1", "no"),
		} {
			if err == nil || !strings.Contains(err.Error(), "nothing changed") {
				t.Errorf("%s after the start: %v", what, err)
			}
		}
		time.Sleep(lingerFor + time.Second)
		for what, err := range map[string]error{
			"start": second(r.server.StartNow("s1")), "wait": second(r.server.WaitLonger("s1", time.Minute)), "cancel": r.server.Cancel("s1", "no"),
		} {
			if err == nil || !strings.Contains(err.Error(), "has ended") || !strings.Contains(err.Error(), "nothing changed") {
				t.Errorf("%s after the end: %v", what, err)
			}
		}
	})
}

// TestWaitLonger: the operator puts off the start; the minimum still starts it.
func TestWaitLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waitingRoom(t, Rules{MinClients: 2, Delay: 5 * time.Minute})
		defer r.stop()
		c := r.client("pc01").start()
		time.Sleep(4 * time.Minute)
		s, err := r.server.WaitLonger("s1", 10*time.Minute)
		if err != nil || time.Until(s.Deadline).Round(time.Second) != 11*time.Minute {
			t.Errorf("deadline in %v, %v", time.Until(s.Deadline), err)
		}
		for _, bad := range []time.Duration{0, -time.Second, maxDelay} {
			if _, err := r.server.WaitLonger("s1", bad); err == nil {
				t.Errorf("%v more: accepted", bad)
			} else if _, ok := errors.AsType[*RuleError](err); !ok {
				t.Errorf("%v more: %v isn't a RuleError", bad, err)
			}
		}
		time.Sleep(8 * time.Minute)
		if w := c.receiver.Progress().Waiting; !r.waits() || w.StartIn.Round(time.Minute) != 3*time.Minute {
			t.Errorf("told %+v", w)
		}
		r.client("pc02").start()
		r.wait()
	})
}

// TestCancel: a session that is cancelled, or stopped, ends for its clients too; one that is started anew joins another.
func TestCancel(t *testing.T) {
	for _, how := range []string{"cancel", "stop"} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, told %v", how, !lost), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := waitingRoom(t, Rules{MinClients: 3})
					defer r.stop()
					c := r.client("pc01").start()
					time.Sleep(time.Minute)
					if lost {
						c.link.mu.Lock()
						c.link.control, c.link.deaf = 1, true
						c.link.mu.Unlock()
					}
					var err error
					if how == "cancel" {
						err = r.server.Cancel("s1", "the exam begins")
					} else {
						err = r.server.Stop("s1", "the exam begins")
					}
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					c.link.mu.Lock()
					c.link.control, c.link.deaf = 0, false
					c.link.mu.Unlock()
					select {
					case <-c.done:
					case <-time.After(time.Minute):
						t.Fatalf("the client goes on: %v", c.events())
					}
					if !errors.Is(c.err, ErrRefused) || !lost && !strings.Contains(c.err.Error(), "the exam begins") {
						t.Errorf("%v", c.err)
					}
					if running, _ := r.server.Sessions(); len(running) > 0 {
						t.Errorf("%d sessions run", len(running))
					}
					again := r.client("pc01").start()
					time.Sleep(time.Second)
					if !r.waits() {
						t.Errorf("no new session for one that was started anew: %v", again.events())
					}
					again.stop()
				})
			})
		}
	}
}

// TestScheduledCrash: a server that starts anew while its clients receive doesn't have them wait again; one whose clients were still
// waiting does.
func TestScheduledCrash(t *testing.T) {
	for _, begun := range []bool{true, false} {
		t.Run(fmt.Sprintf("begun %v", begun), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := waitingRoom(t, Rules{MinClients: 2, Delay: 10 * time.Minute})
				defer r.stop()
				r.ceiling, r.server.cfg.Ceiling = 5e6, 5e6
				r.client("pc01").start()
				if begun {
					r.client("pc02").start()
				}
				time.Sleep(time.Second)
				r.kill()
				if begun { // the number isn't reached again
					r.clients[1].stop()
					r.clients = r.clients[:1]
				}
				time.Sleep(time.Second)
				r.start()
				time.Sleep(20 * time.Second)
				if r.waits() == begun {
					t.Errorf("waits: %v", !begun)
				}
				if !begun {
					r.client("pc02").start()
				}
				r.wait()
			})
		})
	}
}

// TestScheduledSilent: who can't hear the group of a session that waits isn't let fetch before it starts.
func TestScheduledSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waitingRoom(t, Rules{Delay: 5 * time.Minute})
		defer r.stop()
		deaf := r.client("deaf")
		deaf.link.deaf = true
		deaf.start()
		time.Sleep(4 * time.Minute)
		if deaf.event(EventUnicast) || !deaf.event(EventWaiting) || !r.waits() {
			t.Errorf("events %v", deaf.events())
		}
		r.wait()
		if !deaf.event(EventUnicast) {
			t.Errorf("events %v", deaf.events())
		}
	})
}
