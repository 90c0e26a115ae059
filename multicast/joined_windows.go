package multicast

import (
	"encoding/binary"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Windows 10 2004 and later join datagrams of one sender on request (UDP receive offload, ipproto-udp-socket-options of
// Microsoft's documentation); Windows before, and Wine, refuse the option, and every run is one datagram.
const (
	// joinedSize bounds a run, in bytes: all that a datagram's length can say.
	joinedSize = 1<<16 - 1
	// ipUDP is the length of the headers of IPv4 and UDP, in bytes.
	ipUDP = 20 + 8
)

// A control message is struct WSACMSGHDR, a SIZE_T with the length of all and two INTs, and its data. Each
// begins where a pointer may stand.
const (
	wordSize      = int(unsafe.Sizeof(uintptr(0)))
	controlHeader = wordSize + 4 + 4
	controlSize   = 64 // of all that is taken: the one message that is asked for, and room to spare
)

// joined reads what the system joined. Some drivers are known to join datagrams and not to say where they end
// (quinn-rs/quinn#2041, microsoft/msquic#4955). Nothing that is sent to a group is longer than the interface takes in one packet, so a
// longer datagram gives such a driver away: it is dropped, which repair makes good, and nothing is joined any more.
type joined struct {
	on      bool
	longest int // datagram that the interface takes, in bytes
	control [controlSize]byte
}

func (j *joined) init(conn *net.UDPConn, mtu int) {
	j.longest = mtu - ipUDP
	if mtu <= ipUDP { // the loopback interface has none
		j.longest = joinedSize
	}
	j.on = join(conn, joinedSize) == nil
}

// join asks for runs of at most so many bytes; 0 ends it.
func join(conn *net.UDPConn, size int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_UDP, windows.UDP_RECV_MAX_COALESCED_SIZE, size)
	}); err != nil {
		return err
	}
	return failed
}

// read returns the length of a run, and of its datagrams but the last; 0 of one that can't be told apart.
func (j *joined) read(conn *net.UDPConn, buffer []byte) (n, segment int, from netip.AddrPort, err error) {
	if !j.on {
		n, from, err = conn.ReadFromUDPAddrPort(buffer)
		return n, n, from, err
	}
	n, told, _, from, err := conn.ReadMsgUDPAddrPort(buffer, j.control[:])
	if err != nil {
		return 0, 0, from, err
	}
	segment, ok := j.split(n, j.control[:min(told, len(j.control))])
	if !ok {
		j.on = join(conn, 0) != nil
		return 0, 0, from, nil
	}
	return n, segment, from, nil
}

// split tells the length of the datagrams of a run of n bytes by its control messages; false where it can't be right.
func (j *joined) split(n int, control []byte) (segment int, ok bool) {
	segment = n
	if told, ok := joinedSegment(control); ok && told > 0 {
		segment = min(told, n)
	}
	return segment, segment <= j.longest
}

// joinedSegment finds UDP_COALESCED_INFO among control messages: a DWORD, the length of each datagram but the last.
func joinedSegment(control []byte) (segment int, ok bool) {
	for len(control) >= controlHeader {
		length := int(min(word(control), uint64(len(control))))
		if length < controlHeader {
			break
		}
		level, kind := int32(binary.LittleEndian.Uint32(control[wordSize:])), int32(binary.LittleEndian.Uint32(control[wordSize+4:]))
		if level == windows.IPPROTO_UDP && kind == windows.UDP_COALESCED_INFO && length >= controlHeader+4 {
			return int(min(binary.LittleEndian.Uint32(control[controlHeader:]), joinedSize)), true
		}
		next := (length + wordSize - 1) &^ (wordSize - 1)
		control = control[min(next, len(control)):]
	}
	return 0, false
}

// word reads a SIZE_T.
func word(b []byte) uint64 {
	if wordSize == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return uint64(binary.LittleEndian.Uint32(b))
}
