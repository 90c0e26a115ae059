package lab_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"wimcast/test/lab"
)

// The room of these tests, unless a test says otherwise:
//
//	server ── switch ──┬── pc01
//	                   └── pc02
var group = netip.MustParseAddrPort("239.195.17.5:63000")

const payload = 1408 // bytes of one test packet

func newRoom(t *testing.T, config lab.Config) *lab.Room {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skip(err)
	}
	room, err := lab.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := room.Close(); err != nil {
			t.Error(err)
		}
	})
	return room
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receiver counts the packets of a group at one host. They carry a sequence
// number; the packet with endSequence ends the count.
type receiver struct {
	conn  net.PacketConn
	count chan received
}

type received struct {
	packets, duplicates int // distinct sequence numbers, and those seen again
	longestGap          int
	dropped             uint32 // by the socket, for lack of room
}

// came is how many distinct packets got as far as the socket.
func (r received) came() int { return r.packets + int(r.dropped) }

const endSequence = 1<<32 - 1

// lateAfter is how long packets are still waited for after the end of a count.
const lateAfter = 100 * time.Millisecond

// listen opens a socket in the group, or a plain one when join is false (a
// machine that merely has the port open).
func listen(t *testing.T, h *lab.Host, join bool) *receiver {
	t.Helper()
	var conn net.PacketConn
	must(t, h.Do(func() error {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			controlErr := raw.Control(func(fd uintptr) {
				err = errors.Join(
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 128<<20),
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1))
			})
			return errors.Join(controlErr, err)
		}}
		var err error
		if conn, err = config.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", group.Port())); err != nil {
			return err
		}
		if !join {
			return nil
		}
		device, err := net.InterfaceByName(h.Interface())
		if err != nil {
			return err
		}
		return ipv4.NewPacketConn(conn).JoinGroup(device, net.UDPAddrFromAddrPort(group))
	}))
	r := &receiver{conn: conn, count: make(chan received, 1)}
	go r.run()
	t.Cleanup(func() { _ = conn.Close() })
	return r
}

func (r *receiver) run() {
	var result received
	ended := false
	seen := map[int]bool{} // on a busy machine packets overtake each other
	buffer, oob := make([]byte, 2048), make([]byte, 64)
	for {
		n, oobn, _, _, err := r.conn.(*net.UDPConn).ReadMsgUDP(buffer, oob)
		if err != nil || n < 4 {
			break
		}
		if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) > 0 {
			result.dropped = binary.NativeEndian.Uint32(messages[0].Data)
		}
		sequence := binary.BigEndian.Uint32(buffer)
		if sequence == endSequence { // on a busy machine it overtakes what came by a cable
			if !ended { // a sender that repeats it must not put the end off
				ended = true
				_ = r.conn.SetReadDeadline(time.Now().Add(lateAfter))
			}
			continue
		}
		if seen[int(sequence)] {
			result.duplicates++
		}
		seen[int(sequence)] = true
	}
	result.packets = len(seen)
	last := -1
	for _, sequence := range slices.Sorted(maps.Keys(seen)) {
		result.longestGap = max(result.longestGap, sequence-last-1)
		last = sequence
	}
	r.count <- result
}

// result ends the count with a packet of the receiver's own host, which no
// cable can lose, waits for what it has overtaken, and returns it. The socket is closed.
func (r *receiver) result(t *testing.T, h *lab.Host) received {
	t.Helper()
	castEnd(t, h, netip.AddrPortFrom(h.Addr(), group.Port()))
	result := <-r.count
	must(t, r.conn.Close())
	return result
}

// castEnd sends the packet that ends a count.
func castEnd(t *testing.T, from *lab.Host, target netip.AddrPort) {
	t.Helper()
	must(t, from.Do(func() error {
		conn, err := net.Dial("udp4", target.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(binary.BigEndian.AppendUint32(nil, endSequence))
		return err
	}))
}

// cast sends packets numbered packets to target in UDP_SEGMENT sends of 44.
func cast(t *testing.T, from *lab.Host, target netip.AddrPort, packets int) {
	t.Helper()
	const segments = 44
	var conn *net.UDPConn
	must(t, from.Do(func() (err error) {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(target))
		return err
	}))
	defer conn.Close()
	raw, err := conn.SyscallConn()
	must(t, err)
	var optionErr error
	must(t, raw.Control(func(fd uintptr) {
		optionErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, payload)
	}))
	must(t, optionErr)
	buffer := make([]byte, segments*payload)
	for sent := 0; sent < packets; {
		n := min(segments, packets-sent)
		for i := range n {
			binary.BigEndian.PutUint32(buffer[i*payload:], uint32(sent+i))
		}
		if _, err := conn.Write(buffer[:n*payload]); err != nil {
			t.Fatal(err)
		}
		sent += n
	}
}

func stats(t *testing.T, h *lab.Host) lab.Stats {
	t.Helper()
	s, err := h.Stats(t.Context())
	must(t, err)
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestSwitchDeliversToMembersOnly(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 3})
	const packets = 5000
	member := listen(t, room.Client(0), true)
	stranger := listen(t, room.Client(1), false)
	must(t, room.Client(0).WaitMember(within(t, time.Minute), group.Addr()))
	members, err := room.Members(t.Context(), group.Addr())
	must(t, err)
	if len(members) != 1 || members[0] != room.Client(0) {
		t.Fatalf("members are %v, want pc01", members)
	}
	before := stats(t, room.Client(1)).RxPackets
	cast(t, room.Server(), group, packets)
	if got := member.result(t, room.Client(0)); got.packets != packets || got.duplicates != 0 {
		t.Errorf("member got %+v, want %d packets", got, packets)
	}
	if got := stranger.result(t, room.Client(1)).packets; got != 0 {
		t.Errorf("a client outside the group got %d packets", got)
	}
	if got := stats(t, room.Client(1)).RxPackets - before; got > 20 {
		t.Errorf("the cable of a client outside the group carried %d frames", got)
	}
}

func TestLossIsPerPacket(t *testing.T) {
	for _, frames := range []struct {
		name string
		mode lab.Frames
	}{{"NIC-like", lab.NICLike}, {"frames whole", lab.FramesWhole}} {
		t.Run(frames.name, func(t *testing.T) {
			room := newRoom(t, lab.Config{Clients: 2, Frames: frames.mode})
			const packets, percent = 40_000, 5.0
			lossy, clean := room.Client(0), room.Client(1)
			must(t, lossy.SetLoss(t.Context(), percent))
			receivers := []*receiver{listen(t, lossy, true), listen(t, clean, true)}
			for _, h := range room.Clients() {
				must(t, h.WaitMember(within(t, time.Minute), group.Addr()))
			}
			cast(t, room.Server(), group, packets)

			got := receivers[0].result(t, lossy)
			s := stats(t, lossy)
			if got.dropped != 0 {
				t.Fatalf("the socket dropped %d: its buffer is too small for this test", got.dropped)
			}
			if got.packets+int(s.Lost) != packets {
				t.Errorf("%d received and %d lost make %d, want %d: a drop isn't a packet", got.packets, s.Lost, got.packets+int(s.Lost), packets)
			}
			// 40,000 throws at 5 % have σ = 44; seven σ is once in 10¹¹ runs.
			if s.Lost < 2000-7*44 || s.Lost > 2000+7*44 {
				t.Errorf("%d of %d lost, want about 2000", s.Lost, packets)
			}
			// Independent losses in a row: 0.05¹² · 40,000 is once in 10¹¹ runs.
			if got.longestGap > 12 {
				t.Errorf("%d packets lost in a row: one drop takes several", got.longestGap)
			}
			if got := receivers[1].result(t, clean); got.packets != packets {
				t.Errorf("the client without loss got %+v, want %d packets", got, packets)
			}

			must(t, lossy.SetLoss(t.Context(), 0))
			again := listen(t, lossy, true)
			must(t, lossy.WaitMember(within(t, time.Minute), group.Addr()))
			cast(t, room.Server(), group, 1000)
			if got := again.result(t, lossy); got.packets != 1000 {
				t.Errorf("after the end of loss %d packets came, want 1000", got.packets)
			}
			if now := stats(t, lossy).Lost; now != s.Lost {
				t.Errorf("loss was ended, yet %d more were lost", now-s.Lost)
			}
		})
	}
}
