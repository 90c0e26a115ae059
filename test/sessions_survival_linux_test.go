package test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wimcast/test/rig"
)

// groupPackets is how many packets of its groups a client counted, over all its sessions.
func groupPackets(totals rig.Totals) float64 { return float64(totals.Packets + totals.Lost) }

// told waits until a client has told of an event.
func (s *stage) told(g *rig.Get, event, text string) {
	s.t.Helper()
	if err := g.Await(s.ctx, event+" "+text, func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == event && strings.Contains(e.Text, text) })
	}); err != nil {
		s.t.Fatal(err)
	}
}

// TestSessionsKilled: a daemon that is killed in mid-cast and started again costs the room at most a tenth more packets than
// the same cast left alone, as each client counts them.
func TestSessionsKilled(t *testing.T) {
	const clients = 3
	config := rig.Config{Multicast: `ceiling = "6 MB/s"`}
	s := inRoom(t, clients, rig.Config{Multicast: config.Multicast, Top: together(clients)})
	if err := s.room.Clients()[1].SetLoss(s.ctx, 1); err != nil {
		t.Fatal(err)
	}
	room := func() (gets []*rig.Get) {
		for i := range clients {
			gets = append(gets, s.get(i))
		}
		return gets
	}
	var alone float64
	for _, g := range room() {
		_, totals := s.proven(g)
		alone = max(alone, groupPackets(totals))
	}
	s.cli("session", "stop", "s1") // it would linger for late ones
	s.again()

	gets := room()
	if err := gets[0].AwaitProven(s.ctx, 0.5); err != nil {
		t.Fatal(err)
	}
	s.daemon.Kill()
	s.told(gets[0], "server_gone", "")
	if err := s.daemon.Configure(config); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	for _, g := range gets {
		_, totals := s.proven(g)
		if totals.Reconnects == 0 {
			t.Errorf("%s never came back", g.Place.Name())
		}
		if totals.Unicast > 0 {
			t.Errorf("%s: %d bytes by unicast", g.Place.Name(), totals.Unicast)
		}
		ratio := groupPackets(totals) / alone
		t.Logf("%s: %.3f of the packets of a cast left alone", g.Place.Name(), ratio)
		if ratio > 1.1 {
			t.Errorf("%s: %.0f packets, %.0f in a cast left alone", g.Place.Name(), groupPackets(totals), alone)
		}
	}
}

// TestSessionsDrain: a daemon that is stopped lets running sessions end and nobody new in; who comes meanwhile goes on at
// the next daemon by itself.
func TestSessionsDrain(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "2 MB/s"`, Top: `drain = "2m"`})
	first := s.get(0)
	if err := first.AwaitProven(s.ctx, 0.05); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await("word of the stop in the log", func() bool { return strings.Contains(s.daemon.Log(), `"msg":"stopping"`) })
	late := s.get(1)
	s.told(late, "server_gone", "is stopping")
	s.proven(first)
	if err := s.daemon.Stop(); err != nil { // it has ended, or a second signal ends it
		t.Errorf("exit: %v", err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.proven(late)
}

// TestSessionsHandOver: with on_stop = "handover" a daemon ends at once; its clients go on at the next one with what they have.
func TestSessionsHandOver(t *testing.T) {
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "3 MB/s"`, Top: `on_stop = "handover"`})
	gets := []*rig.Get{s.get(0), s.get(1)}
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.4); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.daemon.Stop(); err != nil {
		t.Errorf("exit: %v", err)
	}
	for _, g := range gets {
		s.told(g, "notice", "the distribution point stops")
	}
	if err := s.daemon.Configure(rig.Config{Multicast: `ceiling = "6 MB/s"`, Top: `on_stop = "handover"`}); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	for _, g := range gets {
		s.proven(g)
	}
	if ratio := s.packetsOverSource(); ratio > 0.75 {
		t.Errorf("the next daemon sent %.3f of the image though clients had 0.4 of it", ratio)
	}
}

// TestSessionsReload: a changed configuration reaches running sessions; what needs a restart is told by name; a bad one
// changes nothing.
func TestSessionsReload(t *testing.T) {
	t.Parallel()
	config := rig.Config{Multicast: `ceiling = "3 MB/s"`}
	s := inRoom(t, 1, config)
	g := s.get(0)
	if err := g.AwaitProven(s.ctx, 0.02); err != nil {
		t.Fatal(err)
	}
	reload := func(c rig.Config, word string) {
		t.Helper()
		if err := s.daemon.Configure(c); err != nil {
			t.Fatal(err)
		}
		if err := s.daemon.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.await(word, func() bool { return strings.Contains(s.daemon.Log(), word) })
	}
	reload(rig.Config{Multicast: "ceiling = \"1 MB/s\"\nttl = 3", Top: "[session]\nslow = \"drop\"\nfloor = \"100 kB/s\""},
		`"applied":["multicast.ceiling","session.slow","session.floor"],"sessions_adjusted":["s1"]`)
	if !strings.Contains(s.daemon.Log(), `need a restart: systemctl restart wimcastd","keys":["multicast.ttl"]`) {
		t.Errorf("the log doesn't name what needs a restart:\n%s", s.daemon.Log())
	}
	if now := s.rooms()[0]; now.Policy != "drop" || now.Floor != 1e5 {
		t.Errorf("%+v", now)
	}
	sent := func() float64 { return float64(s.sessions()[0].Sent.Bytes) }
	began := time.Now() // before the first look: what a look takes may only make the rate smaller
	before := sent()
	if err := g.Await(s.ctx, "some more of the image", func(_ rig.Event, events []rig.Event) bool { return time.Since(began) > 3*time.Second }); err != nil {
		t.Fatal(err)
	}
	after, took := sent(), time.Since(began)
	if rate := (after - before) / took.Seconds(); rate > 1.1e6 {
		t.Errorf("%.2f MB/s under the new ceiling of 1", rate/1e6)
	}
	reload(rig.Config{Multicast: "ceiling = \"20 MB/s\"\nceilling = 1"}, "the configuration is bad; nothing changed")
	if now := s.rooms()[0]; now.Policy != "drop" {
		t.Errorf("%+v after a bad configuration", now)
	}
	reload(rig.Config{Multicast: `ceiling = "20 MB/s"`}, `"applied":["multicast.ceiling","session.slow","session.floor"],"sessions_adjusted":["s1"]}`+"\n")
	s.proven(g)
}
