package test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/test/rig"
)

// roomSession is a session as `wimcast --json session list` shows it, with what concerns slow clients.
type roomSession struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Started time.Time `json:"started"`
	Lane    int       `json:"lane"`
	Limit   float64   `json:"limit_bytes_per_second"`
	Policy  string    `json:"slow_policy"`
	Floor   float64   `json:"floor_bytes_per_second"`
	Clients []struct {
		Name   string `json:"name"`
		State  string `json:"state"`
		Reason string `json:"reason"`
		Slow   *struct {
			Takes  float64 `json:"takes_bytes_per_second"`
			Cause  string  `json:"cause"`
			Action string  `json:"action"`
		} `json:"slow"`
	} `json:"clients"`
}

func (s *stage) rooms() []roomSession {
	s.t.Helper()
	var list []roomSession
	if err := s.daemon.Ask(s.ctx, &list, "session", "list"); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// until asks for the sessions until they are as wanted.
func (s *stage) until(what string, is func([]roomSession) bool) []roomSession {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		list := s.rooms()
		if is(list) {
			return list
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("%s never came; sessions %+v", what, list)
		}
	}
}

// state returns what a client does in the session of a lane; "" where it isn't.
func state(list []roomSession, lane int, name string) string {
	for _, s := range list {
		if s.Lane != lane {
			continue
		}
		for _, c := range s.Clients {
			if c.Name == name {
				return c.State
			}
		}
	}
	return ""
}

// What a slow client has, what is asked of it, and what the others may have: far apart, so that on a busy machine, where everybody
// gets less, it is still the cable that tells them apart.
const (
	slowCable   = 8_000_000 // bits/s
	slowFloor   = "2 MB/s"
	slowCeiling = `ceiling = "4 MB/s"`
)

// TestSessionsSlowClient: one of four clients sits behind a cable of 8 Mbit/s, and the floor is higher. It is demoted to a
// slower session with what it has, the others don't wait for it, and all end with the image proven.
//
//	server ── switch ──┬─ pc01, pc02, pc03
//	                   └─ 8 Mbit/s, 20 ms ── pc04
func TestSessionsSlowClient(t *testing.T) {
	s := inRoom(t, 4, rig.Config{Multicast: slowCeiling, Top: together(4)})
	slow := s.room.Clients()[3]
	if err := slow.SetRate(s.ctx, slowCable, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var gets []*rig.Get
	for i := range 3 {
		gets = append(gets, s.get(i))
	}
	s.until("the session", func(list []roomSession) bool { return len(list) > 0 })
	if out := s.cli("session", "set", "s1", "--floor", slowFloor, "--grace", "1s", "--slow", "demote"); !strings.Contains(out, "floor 2.0 MB/s") {
		t.Errorf("set: %s", out)
	}
	gets = append(gets, s.get(3)) // which starts the cast
	list := s.until("demotion", func(list []roomSession) bool { return state(list, 0, "pc04") == "demoted" })
	// On a machine so busy that all are below the floor it goes for what it cost, and not for what it takes.
	const floored = "the floor is"
	if show := s.cli("session", "show", list[0].ID, "--slow"); !s.logged("client demoted to a slower session", floored).IsZero() && !regexp.MustCompile(`pc04  \d+\.\d [kM]B/s  (network|receive_buffer) \d+\.\d% → demoted`).MatchString(show) {
		t.Errorf("who is slow:\n%s", show)
	}
	for _, g := range gets[:3] {
		r, totals := s.proven(g)
		if totals.Unicast > 0 {
			t.Errorf("%s: %d bytes by unicast", g.Place.Name(), totals.Unicast)
		}
		t.Logf("%s took %.1f s", g.Place.Name(), r.Seconds)
	}
	s.before("demote", "client demoted to a slower session", "pc04", "pc01", "pc02", "pc03")
	if err := slow.SetRate(s.ctx, 3*slowCable, 20*time.Millisecond); err != nil { // enough was shown; any sooner and it may move up again
		t.Fatal(err)
	}
	r, totals := s.proven(gets[3])
	if totals.Unicast > 0 || totals.Multicast != s.size {
		t.Errorf("the slow one: %+v", totals)
	}
	if _, ok := gets[3].Happened("moved"); !ok {
		t.Errorf("the slow one was never told: %v", gets[3].Events())
	}
	list = s.rooms()
	if got := state(list, 1, "pc04"); got != "proven" {
		t.Errorf("in the slower session it is %q: %+v", got, list)
	}
	t.Logf("the slow one took %.1f s for %.1f MB", r.Seconds, float64(s.size)/1e6)
}

// before holds that something was done about a slow client while the others were still receiving: they didn't wait for it.
func (s *stage) before(policy, message, slow string, others ...string) {
	s.t.Helper()
	if message == "" {
		return // it is waited for
	}
	acted := s.logged(message, `"client":"`+slow+`"`)
	for _, other := range others {
		if ended := s.logged("client ended", `"client":"`+other+`"`); acted.IsZero() || !ended.After(acted) {
			s.t.Errorf("%s: %s was dealt with at %v, %s was done at %v", policy, slow, acted, other, ended)
		}
	}
}

// TestSessionsSlowPolicies: what else may become of a slow client: it is waited for, sent to unicast, or dropped.
func TestSessionsSlowPolicies(t *testing.T) {
	for _, policy := range []string{"wait", "unicast", "drop"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel() // beside each other, and nothing else
			s := inRoom(t, 3, rig.Config{
				Multicast: slowCeiling, Top: together(3) + fmt.Sprintf("\n[session]\nslow = %q\nfloor = %q\ngrace = \"1s\"", policy, slowFloor),
			})
			cable := s.room.Clients()[2]
			if err := cable.SetRate(s.ctx, slowCable, 20*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			gets := []*rig.Get{s.get(0), s.get(1), s.get(2)}
			switch slow := gets[2]; policy {
			case "wait":
				if err := slow.AwaitProven(s.ctx, 0.1); err != nil {
					t.Fatal(err)
				}
			case "unicast":
				s.told(slow, "unicast", "")
			case "drop":
				if r, _ := s.ended(slow, 4); !strings.Contains(r.Error, "too slow") {
					t.Errorf("%+v", r)
				}
			}
			if err := cable.SetRate(s.ctx, 0, 0); err != nil { // enough was shown
				t.Fatal(err)
			}
			for _, g := range gets[:2] {
				r, _ := s.proven(g)
				t.Logf("%s took %.1f s", g.Place.Name(), r.Seconds)
			}
			s.before(policy, map[string]string{"unicast": "client goes unicast", "drop": "client ended"}[policy], "pc03", "pc01", "pc02")
			switch slow := gets[2]; policy {
			case "wait":
				if _, totals := s.proven(slow); totals.Unicast > 0 {
					t.Errorf("%+v", totals)
				}
				if list := s.rooms(); len(list) != 1 || state(list, 0, "pc03") != "proven" {
					t.Errorf("%+v", list)
				}
			case "unicast":
				if _, totals := s.proven(slow); totals.Unicast == 0 || totals.UnicastReason == "" {
					t.Errorf("%+v", totals)
				}
			case "drop":
				if got := state(s.rooms(), 0, "pc03"); got != "dropped" {
					t.Errorf("it is %q", got)
				}
			}
		})
	}
}

// TestSessionsOperator: an operator changes a running session, sends a client to unicast, evicts one, stops the session;
// is refused what can't be; and everything is in the log with who did it.
func TestSessionsOperator(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 3, rig.Config{Multicast: `ceiling = "3 MB/s"`})
	stays, goes, evicted := s.get(0), s.get(1), s.get(2)
	for _, g := range []*rig.Get{stays, goes, evicted} {
		if err := g.AwaitProven(s.ctx, 0.02); err != nil {
			t.Fatal(err)
		}
	}
	if out := s.cli("session", "set", "s1", "--ceiling", "8 Mbit/s", "--slow", "wait"); !strings.Contains(out, "ceiling 1.0 MB/s, slow clients: wait") {
		t.Errorf("set: %s", out)
	}
	if now := s.rooms()[0]; now.Limit != 1e6 || now.Policy != "wait" {
		t.Errorf("after set: %+v", now)
	}
	if out := s.cli("client", "unicast", "pc02"); !strings.Contains(out, "pc02 sent to unicast (s1)") {
		t.Errorf("unicast: %s", out)
	}
	if out := s.cli("client", "evict", "pc03"); !strings.Contains(out, "evicted from s1") {
		t.Errorf("evict: %s", out)
	}
	s.ended(evicted, 8)
	if _, totals := s.proven(goes); totals.Unicast == 0 || totals.UnicastReason != "operator" {
		t.Errorf("sent to unicast: %+v", totals)
	}
	s.cli("session", "set", "s1", "--ceiling", "auto")
	s.proven(stays)

	// A multicast-only package: no hand and no policy sends anybody to unicast.
	s.cli("image", "set", "w11", "--multicast-only")
	for _, name := range []string{"pc01", "pc03"} {
		_ = os.Remove(s.file(name))
	}
	only := s.get(0)
	if err := only.AwaitProven(s.ctx, 0.02); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"client", "unicast", "pc01", "--session", "s2"}, {"session", "set", "s2", "--slow", "unicast"}} {
		if out, err := s.daemon.CLI(s.ctx, args...); err == nil || !strings.Contains(err.Error(), "multicast-only") {
			t.Errorf("%v: %s, %v", args, out, err)
		}
	}
	s.cli("session", "stop", "s2")
	for _, args := range [][]string{
		{"session", "set", "s2", "--ceiling", "auto"},
		{"session", "stop", "s2"},
		{"client", "unicast", "pc01", "--session", "s2"},
		{"client", "evict", "pc01", "--session", "s2"},
		{"client", "evict", "nobody", "--session", "s2"},
		{"session", "start", "s2"},
		{"session", "wait", "s2", "--by", "1m"},
		{"session", "cancel", "s2"},
	} {
		if out, err := s.daemon.CLI(s.ctx, args...); err == nil || !strings.Contains(err.Error(), "has ended") || !strings.Contains(err.Error(), "nothing changed") {
			t.Errorf("%v after the end: %s, %v", args, out, err)
		}
	}
	only.Kill()

	by := fmt.Sprintf("uid %d", os.Getuid())
	for _, event := range []string{"session changed by the operator", "client sent to unicast by the operator", "client evicted by the operator", "session stopped by the operator"} {
		lines := slices.Collect(strings.Lines(s.daemon.Log()))
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, event) && strings.Contains(l, by) }) {
			t.Errorf("the log has no %q by %s", event, by)
		}
	}
	var did []struct {
		Action string `json:"action"`
		Client string `json:"client"`
	}
	if err := s.daemon.Ask(s.ctx, &did, "history", "actions"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"set ", "unicast pc02", "evict pc03", "stop "} {
		found := false
		for _, a := range did {
			found = found || a.Action+" "+a.Client == want
		}
		if !found {
			t.Errorf("the history has no %q: %+v", want, did)
		}
	}
}
