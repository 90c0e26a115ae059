package lab_test

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"wimcast/test/lab"
)

// TestRoomsBehind: hosts of all rooms reach each other through the routers, groups stay in their room.
//
//	            ┌─ server
//	switch ─────┼─ pc01 ── switch ── pc101
//	            └─ pc02 ── switch ── pc201
func TestRoomsBehind(t *testing.T) {
	middle := newRoom(t, lab.Config{Clients: 2})
	first := newRoom(t, lab.Config{Clients: 1, Behind: middle.Client(0)})
	second := newRoom(t, lab.Config{Clients: 1, Behind: middle.Client(1)})
	for _, h := range []struct {
		host       *lab.Host
		name, addr string
		link       string
	}{
		{first.Server(), "server", "10.77.1.1", "eth1"},
		{second.Server(), "server", "10.77.2.1", "eth2"},
		{first.Client(0), "pc101", "10.77.1.11", "eth0"},
		{second.Client(0), "pc201", "10.77.2.11", "eth0"},
	} {
		if h.host.Name() != h.name || h.host.Addr().String() != h.addr || h.host.Interface() != h.link {
			t.Errorf("%s at %s on %s, want %+v", h.host.Name(), h.host.Addr(), h.host.Interface(), h)
		}
	}
	for _, way := range [][2]*lab.Host{
		{first.Client(0), middle.Server()},
		{middle.Server(), first.Client(0)},
		{first.Client(0), second.Client(0)},
		{second.Client(0), first.Server()},
	} {
		reaches(t, way[0], way[1])
	}
	// A group that the first room's server sends to is heard in its room, and nowhere else.
	inside, outside := listen(t, first.Client(0), true), listen(t, second.Client(0), true)
	must(t, first.Client(0).WaitMember(within(t, 10*time.Second), group.Addr()))
	must(t, second.Client(0).WaitMember(within(t, 10*time.Second), group.Addr()))
	must(t, first.Server().Do(func() error {
		link, err := net.InterfaceByName(first.Server().Interface())
		if err != nil {
			return err
		}
		conn, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := ipv4.NewPacketConn(conn).SetMulticastInterface(link); err != nil {
			return err
		}
		for i := range uint32(100) {
			packet := binary.BigEndian.AppendUint32(make([]byte, 0, payload), i)[:payload]
			if _, err := conn.WriteTo(packet, net.UDPAddrFromAddrPort(group)); err != nil {
				return err
			}
		}
		return nil
	}))
	if got := inside.result(t, first.Client(0)); got.packets != 100 {
		t.Errorf("in the room: %+v", got)
	}
	if got := outside.result(t, second.Client(0)); got.packets != 0 {
		t.Errorf("in another room: %+v", got)
	}
	if _, err := lab.New(t.Context(), lab.Config{Clients: 1, Beside: middle, Behind: middle.Client(0)}); err == nil {
		t.Error("a room both beside and behind was built")
	}
}

// reaches has one host connect to another over TCP.
func reaches(t *testing.T, from, to *lab.Host) {
	t.Helper()
	var listener net.Listener
	must(t, to.Do(func() (err error) {
		listener, err = net.Listen("tcp4", to.Addr().String()+":0")
		return err
	}))
	defer listener.Close()
	err := from.Do(func() error {
		conn, err := net.DialTimeout("tcp4", listener.Addr().String(), 10*time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		t.Errorf("%s to %s: %v", from.Addr(), to.Addr(), err)
	}
}
