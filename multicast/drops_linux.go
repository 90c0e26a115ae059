package multicast

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropsWord is where SO_MEMINFO tells drops (SK_MEMINFO_DROPS).
const dropsWord = 8

// Drops counts the datagrams that the kernel threw away at a socket because its receive buffer was full. It asks
// for the counter that SO_RXQ_OVFL would attach to later datagrams: asking also works when nothing follows, and costs nothing for each datagram.
// Safe for concurrent use.
type Drops struct {
	raw syscall.RawConn

	mu    sync.Mutex // guards what follows
	ask   func(fd uintptr)
	count uint64
	words [dropsWord + 1]uint32 // of SO_MEMINFO
	word  uint32                // the kernel's counter when it was last read
}

// NewDrops counts from the socket's own beginning. Other systems than Linux don't tell; there it fails.
func NewDrops(conn syscall.Conn) (*Drops, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &Drops{raw: raw}
	d.ask = d.read
	return d, nil
}

// Count returns how many were dropped since the socket was opened; once it is closed, the last value that was asked for.
func (d *Drops) Count() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.raw.Control(d.ask) // fails once closed
	return d.count
}

// read adds what the kernel's counter, which wraps, has grown by.
func (d *Drops) read(fd uintptr) {
	size := uint32(unsafe.Sizeof(d.words))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&d.words)), uintptr(unsafe.Pointer(&size)), 0)
	if errno == 0 && size == uint32(unsafe.Sizeof(d.words)) {
		d.count += uint64(d.words[dropsWord] - d.word)
		d.word = d.words[dropsWord]
	}
}
