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

// TestSteer changes ceiling and policy of a running session, and the same of one that has ended.
func TestSteer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 41, 400*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 10e6, 10e6
		r.client("pc").start()
		time.Sleep(time.Second)
		sent := func(d time.Duration) float64 {
			before := r.sent().SourceBytes
			time.Sleep(d)
			return float64(r.sent().SourceBytes-before) / d.Seconds()
		}
		if got := sent(time.Second); got < 9e6 || got > 10.2e6 {
			t.Errorf("%.1f MB/s before", got/1e6)
		}
		info, err := r.server.Steer("s1", Steering{Ceiling: new(4e6), Floor: new(1e6), Grace: new(3 * time.Second), Slow: new(SlowDrop)})
		if err != nil || info.Limit != 4e6 || info.Floor != 1e6 || info.Slow != SlowDrop || info.Grace != 3*time.Second {
			t.Errorf("%+v, %v", info, err)
		}
		time.Sleep(200 * time.Millisecond)
		if got := sent(time.Second); got < 3.4e6 || got > 4.1e6 {
			t.Errorf("%.1f MB/s under a ceiling of 4", got/1e6)
		}
		for _, bad := range []Steering{
			{}, {Ceiling: new(1.0)}, {Floor: new(-1.0)}, {Slow: new(SlowPolicy("shout"))}, {Grace: new(time.Millisecond)}, {Floor: new(5e6)}, {Floor: new(20e6), Ceiling: new(0.0)},
		} {
			if _, err := r.server.Steer("s1", bad); err == nil || !strings.Contains(err.Error(), "nothing changed") {
				t.Errorf("%+v: %v", bad, err)
			} else if _, ok := errors.AsType[*RuleError](err); !ok {
				t.Errorf("%+v: %v isn't a RuleError", bad, err)
			}
		}
		if _, err := r.server.Steer("s1", Steering{Ceiling: new(0.0)}); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if got := sent(500 * time.Millisecond); got < 8e6 {
			t.Errorf("%.1f MB/s after the ceiling was taken away", got/1e6)
		}
		r.wait()
		time.Sleep(lingerFor + time.Second)
		for what, err := range map[string]error{
			"steer":   second(r.server.Steer("s1", Steering{Floor: new(0.0)})),
			"unicast": r.server.SendUnicast("s1", 1),
			"evict":   r.server.Evict("s1", 1),
			"stop":    r.server.Stop("s1", "too late"),
		} {
			if err == nil || !strings.Contains(err.Error(), "ended") || !strings.Contains(err.Error(), "nothing changed") {
				t.Errorf("%s after the end: %v", what, err)
			}
		}
	})
}

func second[A any](_ A, err error) error { return err }

// TestSendUnicast sends a client to unicast by hand, and is refused where that can't be.
func TestSendUnicast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 42, 200*crypto.BlockSize)
		defer r.stop()
		r.server.cfg.Ceiling, r.ceiling = 4e6, 4e6
		goes, never := r.client("goes").start(), r.client("never")
		never.noUnicast = true
		never.start()
		time.Sleep(time.Second)
		s, _ := r.session(0)
		if err := r.server.SendUnicast("s1", s.of("goes").Number); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"goes": "on unicast already", "never": "--no-unicast"} {
			if err := r.server.SendUnicast("s1", s.of(name).Number); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
		r.wait()
		if got := goes.result.Totals; got.Unicast == 0 || got.UnicastReason != "operator" {
			t.Errorf("%+v", got)
		}
		if got := never.result.Totals; got.Unicast != 0 {
			t.Errorf("%+v", got)
		}
		totals, _ := r.server.Totals()
		if f := totals["w11@1"].Fallbacks; f["operator"] != 1 || len(f) != 1 {
			t.Errorf("fallbacks: %v", f)
		}
	})
}

// TestMulticastOnlyNoUnicast: no hand and no policy sends a client of a multicast-only package to unicast.
func TestMulticastOnlyNoUnicast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 43, 60*crypto.BlockSize)
		defer r.stop()
		r.unicast = false
		r.rules = Rules{Slow: SlowUnicast, Overflow: OverflowUnicast}
		r.server.cfg.Ceiling, r.ceiling = 4e6, 4e6
		r.client("pc").start()
		time.Sleep(time.Second)
		s, _ := r.session(0)
		if err := r.server.SendUnicast("s1", s.of("pc").Number); !errors.Is(err, ErrMulticastOnly) {
			t.Errorf("by hand: %v", err)
		}
		if _, err := r.server.Steer("s1", Steering{Slow: new(SlowUnicast)}); !errors.Is(err, ErrMulticastOnly) {
			t.Errorf("policy: %v", err)
		}
		// What holds for all packages doesn't hold for this one, now or after a reload, and is in nobody's way.
		for range 2 {
			if info, err := r.server.Steer("s1", Steering{Ceiling: new(0.0)}); err != nil || info.Slow != SlowDemote {
				t.Errorf("slow clients: %s, %v", info.Slow, err)
			}
			r.server.Adjust(Conditions{Ceiling: 4e6, Rules: func(string, string) (Rules, bool) {
				return Rules{Slow: SlowUnicast, Overflow: OverflowUnicast, Floor: 1}, true
			}})
		}
		r.wait()
		if got := r.clients[0].result.Totals; got.Unicast != 0 || len(r.clients[0].offers()) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestGroupSilentAlarm: more than three clients that hear nothing raise one alarm.
func TestGroupSilentAlarm(t *testing.T) {
	longUnderRace(t)
	for _, tc := range []struct {
		deaf   int
		alarms int
		after  time.Duration // heard the group for so long
		says   string
	}{
		{3, 0, 0, ""}, {12, 1, 0, "firewall of these machines"}, {12, 1, time.Second, "without an IGMP querier"},
	} {
		t.Run(fmt.Sprint(tc.deaf, tc.after), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 44, 300*crypto.BlockSize)
				defer r.stop()
				d := &diary{}
				r.server.cfg.Watcher = d
				r.server.cfg.Ceiling, r.ceiling = 2e6, 2e6
				r.client("hears").start()
				for i := range tc.deaf {
					c := r.client(fmt.Sprintf("deaf%02d", i))
					c.link.deaf = tc.after == 0
					c.start()
				}
				time.Sleep(tc.after)
				for _, c := range r.clients[1:] {
					c.link.mu.Lock()
					c.link.deaf = true
					c.link.mu.Unlock()
				}
				time.Sleep(silentUnicast + 5*time.Second)
				s, _ := r.session(0)
				alarms := d.of("alarm s1:")
				totals, _ := r.server.Totals()
				if len(alarms) != tc.alarms || totals["w11@1"].SilentAlarms != uint64(tc.alarms) || (s.Alarm != "") != (tc.alarms > 0) {
					t.Errorf("alarms %q, counted %d, session says %q", alarms, totals["w11@1"].SilentAlarms, s.Alarm)
				}
				if tc.alarms > 0 && !strings.Contains(s.Alarm, tc.says) {
					t.Errorf("alarm %q doesn't name %q", s.Alarm, tc.says)
				}
				r.wait()
			})
		})
	}
}
