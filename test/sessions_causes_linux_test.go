package test

import (
	"regexp"
	"syscall"
	"testing"
	"time"

	"wimcast/test/rig"
)

// TestSessionsSleeps: a client that sleeps is shown so, the others don't wait for it, and it goes on where it was when it wakes up. (The other
// causes of slowness: TestSessionsSlowClient, and package session's tests of receive buffers and disks.)
func TestSessionsSleeps(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "2 MB/s"`})
	gets := []*rig.Get{s.get(0), s.get(1)}
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.02); err != nil {
			t.Fatal(err)
		}
	}
	if err := gets[1].Cmd().Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	shows := regexp.MustCompile(`(?m)^pc02  sleeping: unheard for \d+s`)
	s.await("the sleeper shown", func() bool { return shows.MatchString(s.cli("session", "show", "s1", "--slow")) })
	s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`})
	s.proven(gets[0])
	if err := gets[1].Cmd().Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, totals := s.proven(gets[1]); totals.Unicast > 0 {
		t.Errorf("%+v", totals)
	}
}

// TestSessionsMovesUp: a client that was demoted for its cable moves up again once that was mended, and both sessions stay under their ceilings.
func TestSessionsMovesUp(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 3, rig.Config{Multicast: `ceiling = "1 MB/s"`, Top: "[session]\nfloor = \"400 kB/s\"\ngrace = \"1s\""})
	cable := s.room.Clients()[2]
	if err := cable.SetRate(s.ctx, 2_000_000, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	gets := []*rig.Get{s.get(0), s.get(1), s.get(2)}
	s.until("demotion", func(list []roomSession) bool {
		return state(list, 0, "pc03") == "demoted" && state(list, 1, "pc03") == "receiving"
	})
	if err := cable.SetRate(s.ctx, 0, 0); err != nil {
		t.Fatal(err)
	}
	// Both last until it has moved up.
	for _, id := range []string{"s1", "s2"} {
		s.cli("session", "set", id, "--ceiling", "500 kB/s")
	}
	s.until("moving up", func(list []roomSession) bool { return state(list, 0, "pc03") == "receiving" })
	for _, now := range s.rooms() {
		if now.Limit != 5e5 {
			t.Errorf("%s may send %.0f B/s", now.ID, now.Limit)
		}
	}
	s.cli("session", "set", "s1", "--ceiling", "auto")
	s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`})
	for _, g := range gets {
		if _, totals := s.proven(g); totals.Unicast > 0 || totals.Multicast != s.size {
			t.Errorf("%s: %+v", g.Place.Name(), totals)
		}
	}
	if got := state(s.rooms(), 0, "pc03"); got != "proven" {
		t.Errorf("in the faster session it is %q", got)
	}
}
