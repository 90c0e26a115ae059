package test

import (
	"strings"
	"testing"

	"wimcast/test/lab"
	"wimcast/test/rig"
)

// beside builds a second room on the server's second interface.
func (s *stage) beside(clients int) *lab.Room {
	s.t.Helper()
	room, err := lab.New(s.ctx, lab.Config{Clients: clients, Beside: s.room})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = room.Close() })
	return room
}

// inTwoRooms starts a daemon with an interface in each of two rooms of two clients.
func inTwoRooms(t *testing.T, config rig.Config) (s *stage, second *lab.Room) {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	s = prepare(t)
	room, err := lab.New(s.ctx, lab.Config{Clients: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	s.room = room
	second = s.beside(2)
	s.start(bothLinks{room.Server()}, config)
	return s, second
}

// bothLinks is a server whose interfaces the configuration names itself.
type bothLinks struct{ *lab.Host }

func (bothLinks) Interface() string { return "" }

// TestSessionsNetworks: one session over two interfaces. What is sent is read, sealed and counted once, and goes out on both; a client
// with a bad cable behind the one costs those behind the other no more than its repair.
//
//	         ┌─ eth0 ── switch ──┬─ pc01
//	server ──┤                   └─ pc02
//	         └─ eth1 ── switch ──┬─ pc101
//	                             └─ 5 % lost ── pc102
func TestSessionsNetworks(t *testing.T) {
	s, second := inTwoRooms(t, rig.Config{Multicast: "interfaces = [\"eth0\", \"eth1\"]\nceiling = \"8 MB/s\"", Top: together(4)})
	if err := second.Client(1).SetLoss(s.ctx, 5); err != nil {
		t.Fatal(err)
	}
	var places []rig.Place
	for i := range 2 {
		places = append(places, s.room.Client(i), second.Client(i))
	}
	var gets []*rig.Get
	for _, place := range places {
		gets = append(gets, s.getAt(place)) // the bundle has both addresses; each finds its own
	}
	for _, g := range gets {
		_, totals := s.proven(g)
		if totals.Unicast > 0 || totals.Multicast != s.size {
			t.Errorf("%s: %+v", g.Place.Name(), totals)
		}
	}
	if list := s.sessions(); len(list) != 1 || len(list[0].Clients) != 4 {
		t.Errorf("%+v", list)
	}
	if ratio := s.packetsOverSource(); ratio > 1.12 {
		t.Errorf("%.3f packets for each of the source", ratio)
	} else {
		t.Logf("%.3f packets for each of the source, one of four clients losing 5 %%", ratio)
	}
	sent := float64(s.sessions()[0].Sent.Bytes)
	for i, room := range []*lab.Room{s.room, second} {
		stats, err := room.Client(0).Stats(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(stats.RxBytes); got < sent || got > 1.1*sent {
			t.Errorf("room %d: %.0f bytes reached a client, the session sent %.0f", i+1, got, sent)
		}
	}
}

// TestSessionsNetworkDown: an interface whose cable is pulled in mid-cast holds up nobody behind the other, is told, and is used again when it
// is back; those behind it end with the image too.
func TestSessionsNetworkDown(t *testing.T) {
	t.Parallel()
	s, second := inTwoRooms(t, rig.Config{Multicast: "interfaces = [\"eth0\", \"eth1\"]\nceiling = \"3 MB/s\""})
	stays, cut := s.getAt(s.room.Client(0), "--no-unicast"), s.getAt(second.Client(0), "--no-unicast")
	for _, g := range []*rig.Get{stays, cut} {
		if err := g.AwaitProven(s.ctx, 0.1); err != nil {
			t.Fatal(err)
		}
	}
	if err := second.Server().SetLink(s.ctx, false); err != nil {
		t.Fatal(err)
	}
	s.await("word that the interface is down", func() bool { return strings.Contains(s.daemon.Log(), `"msg":"interface down","interface":"eth1"`) })
	if _, totals := s.proven(stays); totals.Rejoins > 0 || totals.Unicast > 0 { // while the other one is down
		t.Errorf("the other network: %+v", totals)
	}
	if err := second.Server().SetLink(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	s.await("word that the interface is up", func() bool { return strings.Contains(s.daemon.Log(), "interface is up again") })
	if _, totals := s.proven(cut); totals.Unicast > 0 {
		t.Errorf("%+v", totals)
	}
}

// TestSessionsJumbo: what a packet may carry goes by the interfaces' MTU, at the server and at the clients.
func TestSessionsJumbo(t *testing.T) {
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	s := prepare(t)
	room, err := lab.New(s.ctx, lab.Config{Clients: 1, MTU: 9000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	s.room = room
	s.start(room.Server(), rig.Config{Multicast: "mtu = 9000\nceiling = \"20 MB/s\""})
	if _, totals := s.proven(s.get(0)); totals.Unicast > 0 {
		t.Errorf("%+v", totals)
	}
	if packets := s.packetsOverSource(); packets > 0.25 {
		t.Errorf("packets are small: %.2f of those of 1,408 bytes", packets)
	}
}
