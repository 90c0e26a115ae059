package multicast

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Implementation constants of receiving.
const (
	// runBuffers is how many runs one system call can bring: 2 MiB of buffers.
	runBuffers = 32
	// runSize holds the longest run that UDP_GRO makes.
	runSize = 64 << 10
	// littleFound is how many bytes found are so few that a nap pays.
	littleFound = 48 << 10
	// soonAfter is what separates packets of a cast from those that come now and then.
	soonAfter = 3 * time.Millisecond
	// napTime is asked for; the runtime's timers make it about 1 ms. A receive buffer of 4 MiB
	// takes that long at 4 GB/s.
	napTime = 500 * time.Microsecond
)

// bindAddr is the group itself: a socket bound to any address would hear the port's
// other groups too.
func bindAddr(group netip.AddrPort) netip.AddrPort { return group }

// receiverOptions sets what must be set before the socket is bound. Without
// IP_MULTICAST_ALL = 0 a group that somebody joined on another interface is heard too.
func receiverOptions(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = errors.Join(
			os.NewSyscallError("setsockopt SO_REUSEADDR", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)),
			os.NewSyscallError("setsockopt IP_MULTICAST_ALL", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)),
		)
		// Linux before 5.0 has no UDP_GRO; then every run is one datagram.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	return errors.Join(err, failed)
}

// growReadBuffer asks for a receive buffer, beyond net.core.rmem_max where that is
// allowed, and returns what it got. The kernel doubles what is asked for, to have
// room for its own; the half is returned.
func growReadBuffer(conn *net.UDPConn, want int) (got int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) != nil {
			failed = os.NewSyscallError("setsockopt SO_RCVBUF", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, want))
		}
		if failed == nil {
			got, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
	})
	return got / 2, errors.Join(err, failed)
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// batchReader reads runs with recvmmsg. The standard library's and x/net's ways to
// read allocate an address for each datagram. A reader that finds little, soon after it
// last looked, naps before it looks again: packets that come one by one, as from a slow
// link, then cost a wake-up for many and not for each. Where packets come together, or more
// are waiting than one read takes, it never naps.
type batchReader struct {
	raw     syscall.RawConn
	call    func(fd uintptr) bool // receive, made once
	found   int                   // bytes, by the latest read
	full    bool                  // it took as many runs as it could: more may be waiting
	since   time.Duration         // between the latest two reads
	looked  time.Time             // when the latest read returned
	limit   int                   // runs wanted by the read under way
	n       int                   // and got
	errno   syscall.Errno
	buffers []byte
	headers [runBuffers]mmsghdr
	vectors [runBuffers]unix.Iovec
	names   [runBuffers]unix.RawSockaddrInet4
	control [runBuffers][controlSize]byte
	drops   *Drops
}

// controlSize holds the one control message that is asked for: UDP_GRO, an int.
const controlSize = 24

func (b *batchReader) init(conn *net.UDPConn, _ int) (err error) {
	if b.raw, err = conn.SyscallConn(); err != nil {
		return err
	}
	if b.drops, err = NewDrops(conn); err != nil {
		return err
	}
	b.call = b.receive
	b.buffers = make([]byte, runBuffers*runSize)
	for i := range b.headers {
		v := &b.vectors[i]
		v.Base = &b.buffers[i*runSize]
		v.SetLen(runSize)
		h := &b.headers[i].hdr
		h.Iov, h.Name, h.Control = v, (*byte)(unsafe.Pointer(&b.names[i])), &b.control[i][0]
		h.SetIovlen(1)
	}
	return nil
}

func (b *batchReader) read(runs []Run) (int, error) {
	b.limit = min(len(runs), runBuffers)
	if b.naps() {
		time.Sleep(napTime)
	}
	if err := b.raw.Read(b.call); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", b.errno)
	}
	now := time.Now()
	b.since, b.looked, b.found, b.full = now.Sub(b.looked), now, 0, b.n == b.limit
	n := 0
	for i := range b.n {
		b.found += int(b.headers[i].len)
		data := b.buffers[i*runSize:][:b.headers[i].len]
		if len(data) == 0 {
			continue
		}
		runs[n] = Run{Data: data, Segment: b.segment(i, len(data)), Source: b.source(i)}
		n++
	}
	return n, nil
}

// naps reports whether to nap before the next read.
func (b *batchReader) naps() bool { return b.found < littleFound && !b.full && b.since < soonAfter }

// receive is one recvmmsg; false means wait until the socket is readable.
func (b *batchReader) receive(fd uintptr) bool {
	for i := range b.limit {
		h := &b.headers[i].hdr
		h.Namelen, h.Flags = unix.SizeofSockaddrInet4, 0
		h.SetControllen(controlSize)
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), uintptr(b.limit), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		b.n, b.errno = int(n), errno
		return true
	}
}

// segment returns the length of the datagrams of run i.
func (b *batchReader) segment(i, length int) int {
	if int(b.headers[i].hdr.Controllen) < unix.CmsgLen(4) {
		return length
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b.control[i][0]))
	if h.Level != unix.IPPROTO_UDP || h.Type != unix.UDP_GRO {
		return length
	}
	size := int(binary.NativeEndian.Uint32(b.control[i][unix.CmsgLen(0):]))
	if size < 1 || size > length {
		return length
	}
	return size
}

func (b *batchReader) source(i int) netip.AddrPort {
	name := &b.names[i]
	port := (*[2]byte)(unsafe.Pointer(&name.Port))
	return netip.AddrPortFrom(netip.AddrFrom4(name.Addr), binary.BigEndian.Uint16(port[:]))
}

func (b *batchReader) dropped() uint64 { return b.drops.Count() }
