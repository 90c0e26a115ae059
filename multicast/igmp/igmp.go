// Package igmp knows who asks for members on a network: it listens for the queries of IGMP queriers (RFC 3376, RFC 2236), without
// which a switch that snoops forgets its members, and tells which version of IGMP this machine speaks. It answers nothing and joins
// nothing, and knows no group of ours.
package igmp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// Protocol constants of RFC 3376.
const (
	typeQuery = 0x11
	// QueryEvery is how often a querier asks unless told otherwise (section 8.2).
	QueryEvery = 125 * time.Second
	// Forgotten is when members of a network without a querier are forgotten: 2 query intervals and a response interval
	// (section 8.4).
	Forgotten = 260 * time.Second
)

// Implementation constants.
const (
	// maxQuery holds any query: one with more sources is cut, and its checksum isn't looked at then.
	maxQuery = 2048
	// errorPause keeps a socket that fails at once from spinning.
	errorPause = time.Second
)

// Query is a query that was heard.
type Query struct {
	At      time.Time
	From    netip.Addr // 0.0.0.0 for a switch that asks without an address
	Version int        // 1 to 3
}

// Listener hears queries on all interfaces of a machine. Safe for concurrent use.
type Listener struct {
	socket *net.IPConn
	conn   *ipv4.PacketConn // the same

	mu    sync.Mutex
	heard map[int]Query // the latest, by interface index
}

// Listen opens the socket, which takes CAP_NET_RAW. Run reads it.
func Listen() (*Listener, error) {
	c, err := net.ListenPacket("ip4:igmp", "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("listen for IGMP queriers: %w", err)
	}
	conn := ipv4.NewPacketConn(c)
	if err := conn.SetControlMessage(ipv4.FlagInterface, true); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for IGMP queriers: %w", err), c.Close())
	}
	return &Listener{socket: c.(*net.IPConn), conn: conn, heard: map[int]Query{}}, nil
}

// SyscallConn gives access to the socket, for asking the kernel about it.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return l.socket.SyscallConn() }

// Run hears queries until ctx ends, and closes the socket.
func (l *Listener) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	defer stop()
	buf := make([]byte, maxQuery)
	for ctx.Err() == nil {
		n, control, from, err := l.conn.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(errorPause):
			}
			continue
		}
		version, ok := parse(buf[:n])
		if !ok || control == nil {
			continue
		}
		q := Query{At: time.Now(), Version: version}
		if ip, is := from.(*net.IPAddr); is {
			if addr, valid := netip.AddrFromSlice(ip.IP); valid {
				q.From = addr.Unmap()
			}
		}
		l.mu.Lock()
		l.heard[control.IfIndex] = q
		l.mu.Unlock()
	}
}

// Heard returns the latest query of an interface, by its index; false when none was heard.
func (l *Listener) Heard(index int) (Query, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, ok := l.heard[index]
	return q, ok
}

// Close closes the socket of a Listener that doesn't run.
func (l *Listener) Close() error { return l.conn.Close() }

// parse tells whether an IGMP message is a query, and of which version (RFC 3376, section 7.1).
func parse(b []byte) (version int, query bool) {
	if len(b) < 8 || b[0] != typeQuery || len(b) < maxQuery && checksum(b) != 0 {
		return 0, false
	}
	switch {
	case len(b) >= 12:
		return 3, true
	case len(b) > 8:
		return 0, false
	case b[1] == 0:
		return 1, true
	}
	return 2, true
}

// checksum is that of RFC 1071; 0 for a message whose own is right.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
