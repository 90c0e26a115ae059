package multicast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

// Implementation constants of sending.
const (
	// maxDatagram is the longest UDP payload of IPv4, and of one UDP_SEGMENT run.
	maxDatagram = 65_507
	// maxSegments is what every kernel with UDP_SEGMENT takes in one run.
	maxSegments = 64
	// bufferTries and bufferWait bound how long a full device queue holds up a send:
	// past 2 ms the packets count as lost, as they would in any other queue.
	bufferTries = 4
	bufferWait  = 500 * time.Microsecond
	// blockedAfter is how long the socket's own buffer may stay full.
	blockedAfter = time.Second
)

// SendReason is why a write failed; a closed set, used as metric label.
type SendReason string

// The reasons.
const (
	SendNoBuffer SendReason = "no_buffer" // the device's queue was full; each try counts
	SendLost     SendReason = "lost"      // packets given up because the queue stayed full
	SendBlocked  SendReason = "blocked"   // the socket's buffer stayed full for 1 s
	SendTooLarge SendReason = "too_large" // longer than the interface's MTU
	SendOffload  SendReason = "offload"   // the kernel refused UDP_SEGMENT: at most once
	SendRetried  SendReason = "retried"   // failed, but not when tried again at once
	SendNetwork  SendReason = "network"   // everything else: link down, forbidden, ...
)

var sendReasons = [...]SendReason{SendNoBuffer, SendLost, SendBlocked, SendTooLarge, SendOffload, SendRetried, SendNetwork}

// SenderConfig says where a Sender sends.
type SenderConfig struct {
	Interface *Interface     // to send through; see FindInterface
	Group     netip.AddrPort // to send to
	// TTL is how many routers less one packets may cross, 1 to 255; 0 means 1.
	TTL int
	// Loopback lets receivers on this machine hear the group too. (On Windows that
	// is up to the receiver's socket.)
	Loopback bool
	// WriteBuffer is the size of the socket's buffer in bytes; 0 leaves the
	// system's own, which is plenty for a paced sender.
	WriteBuffer int
}

// SenderCounters is what a Sender did so far.
type SenderCounters struct {
	Packets uint64 // datagrams handed to the kernel
	Bytes   uint64 // their payload
	Calls   uint64 // system calls that sent something
	Errors  map[SendReason]uint64
}

// Sender sends datagrams to one group. One goroutine may Send at a time; all else
// is safe for concurrent use.
type Sender struct {
	conn    *net.UDPConn
	ifc     *Interface
	group   netip.AddrPort
	source  netip.AddrPort
	control segmentControl
	offload bool // UDP_SEGMENT works, as far as is known; of the sending goroutine

	packets, bytes, calls atomic.Uint64
	errors                [len(sendReasons)]atomic.Uint64
}

// NewSender opens a socket that sends to a group. Its packets carry DF: one that is
// longer than the MTU is an error, never two fragments.
func NewSender(cfg SenderConfig) (*Sender, error) {
	if err := checkGroup(cfg.Group, cfg.Interface); err != nil {
		return nil, fmt.Errorf("open sender: %w", err)
	}
	ttl := cfg.TTL
	if ttl == 0 {
		ttl = 1
	}
	if ttl < 1 || ttl > 255 {
		return nil, fmt.Errorf("open sender: group %v: TTL %d: want 1 to 255", cfg.Group, ttl)
	}
	listen := net.ListenConfig{Control: senderOptions}
	addr := netip.AddrPortFrom(cfg.Interface.Addr(cfg.Group.Addr()), 0)
	c, err := listen.ListenPacket(context.Background(), "udp4", addr.String())
	if err != nil {
		return nil, fmt.Errorf("open sender: group %v: %w", cfg.Group, err)
	}
	conn := c.(*net.UDPConn)
	s := &Sender{conn: conn, ifc: cfg.Interface, group: cfg.Group, source: conn.LocalAddr().(*net.UDPAddr).AddrPort(), offload: hasOffload}
	p := ipv4.NewPacketConn(conn)
	err = errors.Join(p.SetMulticastInterface(cfg.Interface.system()), p.SetMulticastTTL(ttl), p.SetMulticastLoopback(cfg.Loopback))
	if err == nil && cfg.WriteBuffer > 0 {
		err = conn.SetWriteBuffer(cfg.WriteBuffer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open sender: group %v on %s: %w", cfg.Group, cfg.Interface.Name, err), conn.Close())
	}
	s.control.init()
	return s, nil
}

// Source returns the address that the Sender's packets come from: what receivers
// join for.
func (s *Sender) Source() netip.AddrPort {
	return netip.AddrPortFrom(s.source.Addr().Unmap(), s.source.Port())
}

// Offload reports whether runs go to the kernel whole, as far as is known. It
// belongs to the sending goroutine.
func (s *Sender) Offload() bool { return s.offload }

// Send sends buf, a run of datagrams laid end to end: each of segment bytes but the
// last, which may be shorter. It blocks until the kernel has them all, and buf may
// then be used again. A device queue that is full holds it up for at most 2 ms for
// each 64 datagrams; what doesn't fit then is lost and counted, not an error. After
// an error the rest of buf is unsent. It doesn't allocate unless it fails.
func (s *Sender) Send(buf []byte, segment int) error {
	if segment < 1 || segment > maxDatagram {
		return fmt.Errorf("send to %v: datagrams of %d bytes: want 1 to %d", s.group, segment, maxDatagram)
	}
	if len(buf) > 0 {
		if err := s.conn.SetWriteDeadline(time.Now().Add(blockedAfter)); err != nil {
			return fmt.Errorf("send to %v: %w", s.group, err)
		}
	}
	whole := segment * min(maxSegments, maxDatagram/segment)
	for len(buf) > 0 {
		n := min(len(buf), segment)
		if s.offload {
			n = min(len(buf), whole)
		}
		err := s.write(buf[:n], segment)
		if err != nil && n > segment && offloadRefused(err) {
			// One datagram alone tells whether it is the offload that fails.
			n = segment
			if err = s.write(buf[:n], segment); err == nil {
				s.offload = false
				s.fail(SendOffload, 1)
			}
		}
		if err != nil {
			return s.explain(err, segment)
		}
		buf = buf[n:]
	}
	return nil
}

// write sends datagrams with one system call, if need be again.
func (s *Sender) write(buf []byte, segment int) error {
	packets := uint64((len(buf) + segment - 1) / segment)
	var oob []byte
	if packets > 1 {
		oob = s.control.segments(segment)
	}
	retried := false
	for try := 0; ; try++ {
		_, _, err := s.conn.WriteMsgUDPAddrPort(buf, oob, s.group)
		switch {
		case err == nil:
			s.packets.Add(packets)
			s.bytes.Add(uint64(len(buf)))
			s.calls.Add(1)
			return nil
		case noBuffer(err):
			s.fail(SendNoBuffer, 1)
			if try >= bufferTries {
				s.fail(SendLost, packets)
				return nil
			}
			time.Sleep(bufferWait)
		case !retried && pendingError(err):
			// What some router said about an earlier packet.
			retried = true
			s.fail(SendRetried, 1)
		default:
			return err
		}
	}
}

func (s *Sender) explain(err error, segment int) error {
	switch {
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("send to %v: %w", s.group, net.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.fail(SendBlocked, 1)
		return fmt.Errorf("send to %v: %s took nothing for %v: %w", s.group, s.ifc.Name, blockedAfter, err)
	case tooLarge(err):
		s.fail(SendTooLarge, 1)
		return fmt.Errorf("send to %v: datagrams of %d bytes don't fit %s, whose MTU is %d: make the symbols smaller: %w", s.group, segment, s.ifc.Name, s.ifc.MTU, err)
	}
	s.fail(SendNetwork, 1)
	return fmt.Errorf("send to %v on %s: %w", s.group, s.ifc.Name, err)
}

func (s *Sender) fail(reason SendReason, n uint64) {
	for i, r := range sendReasons {
		if r == reason {
			s.errors[i].Add(n)
		}
	}
}

// Counters returns what the Sender did so far. Every reason is among the errors,
// those that never occurred with 0.
func (s *Sender) Counters() SenderCounters {
	c := SenderCounters{Packets: s.packets.Load(), Bytes: s.bytes.Load(), Calls: s.calls.Load(), Errors: map[SendReason]uint64{}}
	for i, r := range sendReasons {
		c.Errors[r] = s.errors[i].Load()
	}
	return c
}

// Close closes the socket; a Send under way returns an error that wraps net.ErrClosed.
func (s *Sender) Close() error {
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close sender to %v: %w", s.group, err)
	}
	return nil
}
