package multicast

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hasOffload says that UDP_SEGMENT is worth a try (Linux 4.18).
const hasOffload = true

// senderOptions sets what must be set before the socket is bound. IP_PMTUDISC_PROBE
// sets DF and doesn't let ICMP messages of strangers shrink the path MTU. Without
// IP_RECVERR Linux keeps it to itself when the device's queue drops a packet.
func senderOptions(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = errors.Join(
			os.NewSyscallError("setsockopt IP_MTU_DISCOVER", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)),
			os.NewSyscallError("setsockopt IP_RECVERR", unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)),
		)
	})
	return errors.Join(err, failed)
}

// segmentControl is the control message that cuts a write into datagrams.
type segmentControl struct{ buf []byte }

func (c *segmentControl) init() {
	c.buf = make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.buf[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
}

func (c *segmentControl) segments(size int) []byte {
	binary.NativeEndian.PutUint16(c.buf[unix.CmsgLen(0):], uint16(size))
	return c.buf
}

// offloadRefused reports an error that a kernel, driver or filter without UDP_SEGMENT gives.
func offloadRefused(err error) bool {
	return isAny(err, unix.EIO, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOPROTOOPT, unix.EMSGSIZE)
}

func noBuffer(err error) bool { return isAny(err, unix.ENOBUFS) }
func tooLarge(err error) bool { return isAny(err, unix.EMSGSIZE) }

// pendingError reports an error that may be about an earlier packet: with IP_RECVERR
// the next call returns what an ICMP message said.
func pendingError(err error) bool {
	return isAny(err, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET, unix.EPROTO, unix.ENOPROTOOPT, unix.EMSGSIZE, unix.EACCES, unix.EOPNOTSUPP)
}

func isAny(err error, numbers ...syscall.Errno) bool {
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains(numbers, errno)
}
