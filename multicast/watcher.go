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

// watcherBuffer is a Watcher's receive buffer, in bytes: it needs one packet now and then.
const watcherBuffer = 64 << 10

// Watcher hears who else sends to a group that this machine sends to. Our own packets are left out by the membership's source filter:
// the kernel then doesn't loop them back at all, so watching costs the sender nothing. One goroutine calls Next; Close is
// safe from any other.
type Watcher struct {
	conn      *net.UDPConn
	group     netip.AddrPort
	own       netip.Addr
	buf       []byte
	closeOnce sync.Once
	closeErr  error
}

// NewWatcher joins a group on an interface for all sources but own.
func NewWatcher(ifc *Interface, group netip.AddrPort, own netip.Addr) (*Watcher, error) {
	if err := checkGroup(group, ifc); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	listen := net.ListenConfig{Control: receiverOptions}
	c, err := listen.ListenPacket(context.Background(), "udp4", bindAddr(group).String())
	if err != nil {
		return nil, fmt.Errorf("watch group %v: %w", group, err)
	}
	w := &Watcher{conn: c.(*net.UDPConn), group: group, own: own.Unmap(), buf: make([]byte, 64<<10)}
	packets := ipv4.NewPacketConn(w.conn)
	err = errors.Join(w.conn.SetReadBuffer(watcherBuffer), packets.JoinGroup(ifc.system(), udpAddr(group.Addr())))
	if err == nil {
		err = packets.ExcludeSourceSpecificGroup(ifc.system(), udpAddr(group.Addr()), udpAddr(w.own))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch group %v on %s: %w", group, ifc.Name, err), w.conn.Close())
	}
	return w, nil
}

// Next blocks until another machine's packet comes, and returns where it is from. The error wraps net.ErrClosed once the Watcher is closed.
func (w *Watcher) Next() (netip.AddrPort, error) {
	for {
		_, from, err := w.conn.ReadFromUDPAddrPort(w.buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return netip.AddrPort{}, fmt.Errorf("watch group %v: %w", w.group, net.ErrClosed)
		case err != nil:
			return netip.AddrPort{}, fmt.Errorf("watch group %v: %w", w.group, err)
		case from.Addr().Unmap() != w.own:
			return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
		}
	}
}

// Close leaves the group and makes Next return. It is idempotent.
func (w *Watcher) Close() error {
	w.closeOnce.Do(func() {
		if err := w.conn.Close(); err != nil {
			w.closeErr = fmt.Errorf("close watcher of %v: %w", w.group, err)
		}
	})
	return w.closeErr
}
