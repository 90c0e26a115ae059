package multicast

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// group returns a group of the test range with a port that is free now.
func group(t testing.TB, addr string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return netip.AddrPortFrom(netip.MustParseAddr(addr), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

func newSender(t testing.TB, ifc *Interface, group netip.AddrPort) *Sender {
	t.Helper()
	s, err := NewSender(SenderConfig{Interface: ifc, Group: group, Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newReceiver(t testing.TB, cfg ReceiverConfig) *Receiver {
	t.Helper()
	r, err := NewReceiver(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func send(t testing.TB, s *Sender, buf []byte, segment int) {
	t.Helper()
	if err := s.Send(buf, segment); err != nil {
		t.Fatal(err)
	}
}

// collect receives datagrams until it has n of them, and the longest run's count.
func collect(t testing.TB, r *Receiver, n int) (datagrams [][]byte, longest int) {
	t.Helper()
	runs := make([]Run, 32)
	for len(datagrams) < n {
		k, err := r.Receive(runs)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range runs[:k] {
			data, count := run.Data, 0
			for len(data) > 0 {
				size := min(run.Segment, len(data))
				datagrams = append(datagrams, bytes.Clone(data[:size]))
				data = data[size:]
				count++
			}
			longest = max(longest, count)
		}
	}
	return datagrams, longest
}

// pattern makes a run of datagrams that are all different.
func pattern(n, segment, last int) []byte {
	b := make([]byte, (n-1)*segment+last)
	for i := range b {
		b[i] = byte(i/segment*7 + i%segment)
	}
	return b
}

func TestLoopback(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	s := newSender(t, ifc, g)
	source := s.Source().Addr()
	first := newReceiver(t, ReceiverConfig{Interface: ifc, Group: g, Source: source})
	second := newReceiver(t, ReceiverConfig{Interface: ifc, Group: g}) // shares the port
	for _, c := range []struct{ n, segment, last int }{{1, 1400, 1400}, {1, 1400, 3}, {44, 1476, 1476}, {100, 1476, 900}, {5, 8220, 8220}, {130, 33, 1}, {3, 40_000, 40_000}} {
		run := pattern(c.n, c.segment, c.last)
		send(t, s, run, c.segment)
		for _, r := range []*Receiver{first, second} {
			got, _ := collect(t, r, c.n)
			if len(got) != c.n || !bytes.Equal(bytes.Join(got, nil), run) {
				t.Errorf("%+v: got %d datagrams, equal %t", c, len(got), bytes.Equal(bytes.Join(got, nil), run))
			}
			for i, d := range got {
				if want := c.segment; i < c.n-1 && len(d) != want {
					t.Fatalf("%+v: datagram %d has %d bytes", c, i, len(d))
				}
			}
		}
	}
	c := s.Counters()
	if c.Packets != 1+1+44+100+5+130+3 || c.Calls == 0 || c.Calls > c.Packets || len(c.Errors) != len(sendReasons) {
		t.Errorf("counters: %+v", c)
	}
	for reason, n := range c.Errors {
		if n != 0 && reason != SendOffload {
			t.Errorf("%d errors: %s", n, reason)
		}
	}
	if first.Dropped() != 0 || first.ReadBufferGot() <= 0 {
		t.Errorf("dropped %d, buffer %d", first.Dropped(), first.ReadBufferGot())
	}
}

func TestSourceOfRun(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	s, r := newSender(t, ifc, g), newReceiver(t, ReceiverConfig{Interface: ifc, Group: g})
	send(t, s, []byte("x"), 1)
	runs := make([]Run, 3)
	n, err := r.Receive(runs)
	if err != nil || n != 1 || runs[0].Source != s.Source() {
		t.Errorf("got %d runs, source %v, %v; want %v", n, runs[0].Source, err, s.Source())
	}
}

// TestWithoutOffload sends datagram by datagram, as where the kernel refuses runs.
func TestWithoutOffload(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	s, r := newSender(t, ifc, g), newReceiver(t, ReceiverConfig{Interface: ifc, Group: g})
	s.offload = false
	run := pattern(20, 1000, 10)
	send(t, s, run, 1000)
	if got, _ := collect(t, r, 20); !bytes.Equal(bytes.Join(got, nil), run) {
		t.Error("other bytes than were sent")
	}
	if c := s.Counters(); c.Calls != 20 || c.Packets != 20 || c.Bytes != uint64(len(run)) {
		t.Errorf("counters: %+v", c)
	}
}

func TestOtherGroup(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	other := netip.AddrPortFrom(netip.MustParseAddr("239.195.16.2"), g.Port())
	r := newReceiver(t, ReceiverConfig{Interface: ifc, Group: g})
	_ = newReceiver(t, ReceiverConfig{Interface: ifc, Group: other})
	send(t, newSender(t, ifc, other), []byte("not for us"), 100)
	send(t, newSender(t, ifc, g), []byte("for us"), 100)
	if got, _ := collect(t, r, 1); string(got[0]) != "for us" {
		t.Errorf("got %q", got)
	}
}

func TestFromSource(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1")
	runs := []Run{{Source: b}, {Source: a, Segment: 1}, {Source: b}, {Source: a, Segment: 2}}
	if n := fromSource(runs, a.Addr()); n != 2 || runs[0].Segment != 1 || runs[1].Segment != 2 {
		t.Errorf("kept %d: %v", n, runs)
	}
}

func TestCloseUnblocks(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	r, s := newReceiver(t, ReceiverConfig{Interface: ifc, Group: g}), newSender(t, ifc, g)
	done := make(chan error)
	go func() {
		_, err := r.Receive(make([]Run, 1))
		done <- err
	}()
	for range 2 {
		if err := errors.Join(r.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive: %v", err)
	}
	if err := s.Send([]byte("x"), 1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	_ = r.Dropped()
	if err := r.Rejoin(); err == nil {
		t.Error("Rejoin after Close succeeded")
	}
}

func TestRejoinHears(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	s := newSender(t, ifc, g)
	for _, source := range []netip.Addr{{}, s.Source().Addr()} {
		r := newReceiver(t, ReceiverConfig{Interface: ifc, Group: g, Source: source})
		for range 3 {
			if err := r.Rejoin(); err != nil {
				t.Fatal(err)
			}
		}
		send(t, s, []byte("again"), 5)
		if got, _ := collect(t, r, 1); string(got[0]) != "again" {
			t.Errorf("got %q", got)
		}
	}
}

func TestRefused(t *testing.T) {
	ifc, g := loopback(t), netip.MustParseAddrPort("239.195.16.1:63000")
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		name  string
		ifc   *Interface
		group netip.AddrPort
		ttl   int
		want  string
	}{
		{"no interface", nil, g, 1, "find one with FindInterface"},
		{"unicast", ifc, at("10.0.0.1:63000"), 1, "not a multicast address"},
		{"IPv6", ifc, at("[ff15::1]:63000"), 1, "only IPv4"},
		{"no port", ifc, at("239.195.16.1:0"), 1, "has no port"},
		{"nothing", ifc, netip.AddrPort{}, 1, "not a multicast address"},
		{"TTL", ifc, g, 256, "TTL 256: want 1 to 255"},
		{"negative TTL", ifc, g, -1, "TTL -1: want 1 to 255"},
		{"no address", &Interface{Name: "x0"}, g, 1, "x0 has no IPv4 address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewSender(SenderConfig{Interface: c.ifc, Group: c.group, TTL: c.ttl}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("NewSender: got %v, want %q", err, c.want)
			}
			if _, err := NewReceiver(ReceiverConfig{Interface: c.ifc, Group: c.group}); !strings.Contains(c.want, "TTL") && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("NewReceiver: got %v, want %q", err, c.want)
			}
		})
	}
	for _, source := range []string{"0.0.0.0", "239.1.1.1", "2001:db8::1"} {
		if _, err := NewReceiver(ReceiverConfig{Interface: ifc, Group: g, Source: netip.MustParseAddr(source)}); err == nil {
			t.Errorf("NewReceiver took source %s", source)
		}
	}
	s := newSender(t, ifc, g)
	for _, segment := range []int{0, -1, 65_508} {
		if err := s.Send([]byte("x"), segment); err == nil {
			t.Errorf("Send took segments of %d bytes", segment)
		}
	}
	if err := s.Send(nil, 1400); err != nil {
		t.Errorf("Send of nothing: %v", err)
	}
}

func TestNoAllocations(t *testing.T) {
	ifc, g := loopback(t), group(t, "239.195.16.1")
	s := newSender(t, ifc, g)
	r := newReceiver(t, ReceiverConfig{Interface: ifc, Group: g, Source: s.Source().Addr()})
	run, runs := pattern(40, 1400, 1400), make([]Run, 32)
	if n := testing.AllocsPerRun(100, func() {
		if err := s.Send(run, 1400); err != nil {
			t.Error(err)
		}
		for got := 0; got < len(run); {
			n, err := r.Receive(runs)
			if err != nil {
				t.Error(err)
			}
			for _, run := range runs[:n] {
				got += len(run.Data)
			}
		}
		_ = r.Dropped()
	}); n != 0 {
		t.Errorf("%v allocations for a run sent and received", n)
	}
}
