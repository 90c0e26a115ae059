package multicast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"
)

// DefaultReadBuffer is the receive buffer asked for when the config names none: at
// 100 MB/s about 20 ms of packets, with what the kernel adds to each.
const DefaultReadBuffer = 4 << 20

// ReceiverConfig says what a Receiver hears.
type ReceiverConfig struct {
	Interface *Interface     // to join on; see FindInterface
	Group     netip.AddrPort // to join
	// Source is the only address to hear; the zero Addr means any. It is joined for
	// where source-specific joins work, and checked in any case. It keeps noise
	// away and authenticates nobody: addresses can be forged.
	Source netip.Addr
	// ReadBuffer is the socket buffer to ask for, in bytes; 0 means DefaultReadBuffer.
	ReadBuffer int
}

// Run is datagrams of one sender that came together.
type Run struct {
	// Data is the datagrams' payload end to end. It is the Receiver's, valid until
	// the next Receive, and may be changed in place until then.
	Data []byte
	// Segment is the length of each datagram but the last, which may be shorter.
	Segment int
	Source  netip.AddrPort
}

// Receiver hears a group. One goroutine receives; Dropped, Rejoin and Close are
// safe to call from any other.
type Receiver struct {
	conn      *net.UDPConn
	group     netip.AddrPort
	source    netip.Addr
	asked     int
	got       int
	reader    batchReader
	lock      sync.Mutex // guards members
	members   membership
	closeOnce sync.Once
	closeErr  error
}

// NewReceiver opens a socket and joins the group. Several Receivers of one machine
// may share a group and port; each hears everything. A receive buffer smaller than
// asked for is no error: see ReadBufferGot.
func NewReceiver(cfg ReceiverConfig) (*Receiver, error) {
	if err := checkGroup(cfg.Group, cfg.Interface); err != nil {
		return nil, fmt.Errorf("open receiver: %w", err)
	}
	if cfg.Source.IsValid() && (!cfg.Source.Unmap().Is4() || cfg.Source.Unmap().IsMulticast() || cfg.Source.IsUnspecified()) {
		return nil, fmt.Errorf("open receiver: group %v: source %v is not an address that can send to it", cfg.Group, cfg.Source)
	}
	asked := cfg.ReadBuffer
	if asked <= 0 {
		asked = DefaultReadBuffer
	}
	listen := net.ListenConfig{Control: receiverOptions}
	c, err := listen.ListenPacket(context.Background(), "udp4", bindAddr(cfg.Group).String())
	if err != nil {
		return nil, fmt.Errorf("open receiver: group %v: %w", cfg.Group, err)
	}
	conn := c.(*net.UDPConn)
	r := &Receiver{conn: conn, group: cfg.Group, source: cfg.Source.Unmap(), asked: asked}
	if r.got, err = growReadBuffer(conn, asked); err == nil {
		err = r.reader.init(conn, cfg.Interface.MTU)
	}
	if err == nil {
		r.members = membership{conn: conn, packets: ipv4.NewPacketConn(conn), ifc: cfg.Interface, group: cfg.Group.Addr(), source: r.source}
		err = r.members.join()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open receiver: group %v on %s: %w", cfg.Group, cfg.Interface.Name, err), conn.Close())
	}
	return r, nil
}

// Receive blocks until at least one datagram is there and returns up to len(runs)
// runs. Only the first runs of them are filled in, and what earlier calls returned
// is void. The error wraps net.ErrClosed once the Receiver is closed. It doesn't allocate
// unless it fails.
func (r *Receiver) Receive(runs []Run) (int, error) {
	if len(runs) == 0 {
		panic("multicast: Receive: no room for a run")
	}
	for {
		n, err := r.reader.read(runs)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				err = net.ErrClosed
			}
			return 0, fmt.Errorf("receive from %v: %w", r.group, err)
		}
		if r.source.IsValid() {
			n = fromSource(runs[:n], r.source)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// fromSource keeps the runs of one source and returns how many they are.
func fromSource(runs []Run, source netip.Addr) int {
	n := 0
	for _, run := range runs {
		if run.Source.Addr() == source {
			runs[n] = run
			n++
		}
	}
	return n
}

// SourceSpecific reports whether the latest join was for the source alone.
func (r *Receiver) SourceSpecific() bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.members.specific
}

// ReadBufferGot returns the receive buffer that the system granted, in bytes,
// comparable with ReceiverConfig.ReadBuffer.
func (r *Receiver) ReadBufferGot() int { return r.got }

// ReadBufferAsked returns the receive buffer that was asked for, in bytes.
func (r *Receiver) ReadBufferAsked() int { return r.asked }

// Dropped returns how often the kernel threw something away because the receive
// buffer was full, since the Receiver was opened. It counts what the kernel counts:
// a run that was joined before it was dropped is one. On systems that don't tell
// (all but Linux) it is 0, and such losses look like the network's. After Close it
// keeps its last value as far as it was asked for.
func (r *Receiver) Dropped() uint64 { return r.reader.dropped() }

// Rejoin leaves the group and joins it again, so that the network hears of the
// membership anew: a switch that forgot it floods or forwards again. Datagrams in
// between are lost. While another socket of this machine is a member on the same
// interface, the system may keep the change to itself. When joining fails, the
// Receiver stays out of the group until the next Rejoin.
func (r *Receiver) Rejoin() error {
	r.lock.Lock()
	defer r.lock.Unlock()
	left := r.members.leave() // it may have gone with the interface: join in any case
	if err := r.members.join(); err != nil {
		return fmt.Errorf("rejoin: %w", errors.Join(err, left))
	}
	return nil
}

// Close leaves the group and makes Receive return. It is idempotent.
func (r *Receiver) Close() error {
	r.closeOnce.Do(func() {
		if err := r.conn.Close(); err != nil {
			r.closeErr = fmt.Errorf("close receiver of %v: %w", r.group, err)
		}
	})
	return r.closeErr
}
