package test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"wimcast/test/rig"
)

// waitingSession is a session as `wimcast --json session list` shows it, with what concerns its start.
type waitingSession struct {
	ID       string    `json:"id"`
	State    string    `json:"state"`
	Group    string    `json:"group"`
	Deadline time.Time `json:"start_deadline"`
	Minimum  int       `json:"min_clients"`
	Waiting  int       `json:"waiting_clients"`
	Reason   string    `json:"reason"`
	Clients  []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	} `json:"clients"`
	Sent struct {
		Source int `json:"source_packets"`
	} `json:"sent"`
}

// waits waits until so many clients wait for a session's start, and returns it.
func (s *stage) waits(clients int) waitingSession {
	s.t.Helper()
	var found waitingSession
	s.await("clients that wait", func() bool {
		var list []waitingSession
		if err := s.daemon.Ask(s.ctx, &list, "session", "list"); err != nil {
			s.t.Fatal(err)
		}
		for _, found = range list {
			if found.State == "waiting" && found.Waiting == clients {
				return true
			}
		}
		return false
	})
	return found
}

// await looks until something is so.
func (s *stage) await(what string, is func() bool) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("waiting for %s: %v", what, context.Cause(s.ctx))
		}
	}
}

// again forgets what the room has received.
func (s *stage) again() {
	for _, c := range s.room.Clients() {
		_ = os.Remove(s.file(c.Name()))
	}
}

// TestSessionsEngine runs package session's tests of what sessions do for a room, in virtual time: each start rule, limit, slow-client
// policy and operator's action, liars, and what becomes of clients whose server stops or dies.
func TestSessionsEngine(t *testing.T) {
	t.Parallel()
	engine(t, "^Test(Schedule|StartNow|WaitLonger|Cancel|Limit|Overflow|Queue|JoinTogether|TenSessions|Slow|NobodySlow|AllSlow|Steer|SendUnicast|Evict|GroupSilent|Liars|Drain|Adjust|Server|Weights|Costly|Seed|UnicastOnly|Deploy)", 46)
}

// TestSessionsScheduled: a room waits for its number, for the clock, and for the operator's word; is told what it waits for; and
// receives nothing before. A session that is cancelled ends for its clients.
func TestSessionsScheduled(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 3, rig.Config{Top: "[package.\"w11\"]\nstart = \"scheduled\"\nmin_clients = 3\ndelay = \"30m\""})

	// By number: two wait, the third starts it.
	gets := []*rig.Get{s.get(0), s.get(1)}
	now := s.waits(2)
	if left := time.Until(now.Deadline); now.Minimum != 3 || now.Sent.Source != 0 || left < 28*time.Minute || left > 30*time.Minute {
		t.Errorf("%+v, %v left", now, left)
	}
	if out := s.cli("session", "list"); !strings.Contains(out, "waiting (2 of 3, until ") {
		t.Errorf("list:\n%s", out)
	}
	for _, g := range gets {
		s.await("word of what it waits for", func() bool { _, ok := g.Happened("waiting"); return ok })
	}
	gets = append(gets, s.get(2))
	for _, g := range gets {
		if _, totals := s.proven(g); totals.Multicast != s.size {
			t.Errorf("%+v", totals)
		}
	}

	// By the operator: put off, then started with the one who is there.
	s.cli("session", "stop", now.ID) // it would linger for late ones
	s.again()
	g := s.get(0)
	id := s.waits(1).ID
	if out := s.cli("session", "wait", id, "--by", "2h"); !strings.Contains(out, id+": waiting (1 of 3, until ") {
		t.Errorf("wait: %s", out)
	}
	if left := time.Until(s.waits(1).Deadline); left < 140*time.Minute {
		t.Errorf("%v left after 2 h more", left)
	}
	if out := s.cli("session", "start", id); !strings.Contains(out, id+" starts with 1 clients") {
		t.Errorf("start: %s", out)
	}
	s.proven(g)
	for _, args := range [][]string{{"session", "start", id}, {"session", "wait", id, "--by", "1m"}, {"session", "cancel", id}} {
		if out, err := s.daemon.CLI(s.ctx, args...); err == nil || !strings.Contains(err.Error(), "nothing changed") {
			t.Errorf("%v too late: %s, %v", args, out, err)
		}
	}
	s.cli("session", "stop", id)

	// Cancelled: the client ends, and one that is started anew waits in another session.
	s.again()
	g = s.get(0)
	id = s.waits(1).ID
	if out := s.cli("session", "cancel", id); !strings.Contains(out, "cancelled "+id) {
		t.Errorf("cancel: %s", out)
	}
	if r, _ := s.ended(g, 4); !strings.Contains(r.Error, "cancelled by the operator") {
		t.Errorf("%+v", r)
	}
	g = s.get(0)
	if again := s.waits(1); again.ID == id {
		t.Errorf("in the same session: %+v", again)
	}
	g.Kill()

	var did []struct {
		Action string `json:"action"`
		Error  string `json:"error"`
	}
	if err := s.daemon.Ask(s.ctx, &did, "history", "actions"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"wait", "start", "cancel", "stop"} {
		found := false
		for _, a := range did {
			found = found || a.Action == want && a.Error == ""
		}
		if !found {
			t.Errorf("the history has no %q: %+v", want, did)
		}
	}
}

// TestSessionsAt: a time of day starts a session.
func TestSessionsAt(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 1, rig.Config{})
	var at time.Time
	var g *rig.Get
	for ahead := 8 * time.Second; ; ahead *= 2 { // until the client waits before the time has come
		at = time.Now().Add(ahead)
		s.hurry(rig.Config{Top: "[session]\nstart = \"scheduled\"\nat = \"" + at.Format(time.RFC3339) + "\""})
		g = s.get(0)
		s.waits(1)
		if time.Now().Before(at.Truncate(time.Second)) {
			break
		}
		g.Kill()
	}
	s.proven(g)
	if time.Now().Before(at.Truncate(time.Second)) {
		t.Errorf("done %v before the time", time.Until(at))
	}
}

// TestSessionsLimits: who is over a limit waits, is told, and gets in when there is room; or goes unicast by policy.
func TestSessionsLimits(t *testing.T) {
	t.Parallel()
	const limits = "[limits]\nmax_clients = 2\n[session]\nmax_clients = 2"
	s := inRoom(t, 4, rig.Config{Multicast: `ceiling = "1 MB/s"`, Top: limits})
	gets := []*rig.Get{s.get(0), s.get(1)}
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.02); err != nil {
			t.Fatal(err)
		}
	}
	third := s.get(2)
	s.await("the third in the queue", func() bool { _, ok := third.Happened("queued"); return ok })
	if out := s.cli("queue"); !strings.Contains(out, "pc03") || !strings.Contains(out, "limits.max_clients") {
		t.Errorf("queue:\n%s", out)
	}
	// One who is sent to unicast leaves room for another.
	s.cli("client", "unicast", "pc02")
	if err := third.AwaitProven(s.ctx, 0.02); err != nil {
		t.Fatal(err)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "6 MB/s"`, Top: limits})
	for _, g := range append(gets, third) {
		s.proven(g)
	}
	if out := s.cli("queue"); !strings.Contains(out, "nobody waits") {
		t.Errorf("queue:\n%s", out)
	}
}

// TestSessionsOverflow: with overflow = "unicast" the second client of a session for one fetches at once, seen and counted.
func TestSessionsOverflow(t *testing.T) {
	t.Parallel()
	const one = "[session]\nmax_clients = 1\noverflow = \"unicast\""
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "1 MB/s"`, Top: one})
	first := s.get(0)
	if err := first.AwaitProven(s.ctx, 0.02); err != nil {
		t.Fatal(err)
	}
	over := s.get(1)
	if _, totals := s.proven(over); totals.Unicast != s.size || totals.UnicastReason != "overflow" {
		t.Errorf("%+v", totals)
	}
	if out := s.cli("session", "list"); !strings.Contains(out, "unicast only") {
		t.Errorf("list:\n%s", out)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "8 MB/s"`, Top: one})
	if _, totals := s.proven(first); totals.Unicast != 0 {
		t.Errorf("%+v", totals)
	}
}
