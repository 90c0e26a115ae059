package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/multicast/fault"
	"wimcast/session"
	"wimcast/unicast"
)

// reacher opens the ways to a distribution point: control channel, group, unicast.
type reacher struct {
	servers     []string
	credentials *keyex.Credentials
	which       string // interface
	lose        float64
	buffer      int
	screen      *screen

	mu     sync.Mutex
	server netip.AddrPort // that answered
	local  netip.Addr     // our address towards it
	next   int            // of the bundle's servers
}

// dial tries the bundle's servers in order, beginning with the one that answered last.
func (r *reacher) dial(ctx context.Context) (session.Control, error) {
	var errs []error
	refused := 0
	for range r.servers {
		r.mu.Lock()
		name := r.servers[r.next%len(r.servers)]
		r.mu.Unlock()
		conn, err := r.dialOne(ctx, name)
		if err == nil {
			return conn, nil
		}
		if _, is := errors.AsType[*keyex.RefusedError](err); is {
			refused++
		}
		errs = append(errs, err)
		r.mu.Lock()
		r.next++
		r.mu.Unlock()
	}
	if refused == len(r.servers) {
		return nil, &refusedError{errors.Join(errs...)}
	}
	return nil, errors.Join(errs...)
}

// nearestFirst puts servers on this machine's own networks before others.
func nearestFirst(servers []string) []string {
	interfaces, err := multicast.Interfaces()
	if err != nil {
		return servers
	}
	far := func(name string) int {
		addr, err := netip.ParseAddrPort(name)
		if err == nil && slices.ContainsFunc(interfaces, func(i *multicast.Interface) bool { return i.Reaches(addr.Addr()) }) {
			return 0
		}
		return 1
	}
	out := slices.Clone(servers)
	slices.SortStableFunc(out, func(a, b string) int { return far(a) - far(b) })
	return out
}

// elsewhere has the next dial begin with another of the bundle's servers.
func (r *reacher) elsewhere() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
}

// refusedError says that every distribution point refused: trying again is no use.
type refusedError struct{ error }

// Unwrap returns what they said.
func (e *refusedError) Unwrap() error { return e.error }

// Final tells the session engine so.
func (*refusedError) Final() bool { return true }

func (r *reacher) dialOne(ctx context.Context, name string) (session.Control, error) {
	udp, err := net.ResolveUDPAddr("udp", name)
	if err != nil {
		return nil, fmt.Errorf("find distribution point %s: %w", name, err)
	}
	addr := netip.AddrPortFrom(udp.AddrPort().Addr().Unmap(), uint16(udp.Port))
	conn, err := keyex.Dial(ctx, addr, r.credentials)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.server, r.local = addr, conn.LocalAddr().Addr().Unmap()
	r.mu.Unlock()
	r.screen.server(serverName(name, addr))
	return conn, nil
}

// serverName is a distribution point's name as a person knows it, with its address where that isn't the name.
func serverName(name string, addr netip.AddrPort) string {
	if name == addr.String() {
		return name
	}
	return fmt.Sprintf("%s (%v)", name, addr.Addr())
}

// interfaceFor finds the interface to hear a group on: the one named, else the one that leads to the server.
func (r *reacher) interfaceFor(group netip.Addr) (*multicast.Interface, error) {
	r.mu.Lock()
	which := r.which
	if which == "" && r.local.IsValid() && !r.local.IsUnspecified() {
		which = r.local.String()
	}
	r.mu.Unlock()
	return multicast.FindInterface(which, group)
}

// Sizes of packets, in bytes.
const (
	ipUDP      = 20 + 8 // headers of IPv4 and UDP
	defaultMTU = 1500   // Ethernet's
)

// maxPayload is what a packet may carry on the interface: its MTU less the headers.
func (r *reacher) maxPayload() int {
	ifc, err := r.interfaceFor(netip.AddrFrom4([4]byte{239, 195, 16, 1}))
	if err != nil {
		return defaultMTU - ipUDP // joining the group will say why
	}
	return ifc.MTU - ipUDP
}

func (r *reacher) hear(group netip.AddrPort, source netip.Addr) (session.Hearer, error) {
	ifc, err := r.interfaceFor(group.Addr())
	if err != nil {
		return nil, err
	}
	receiver, err := multicast.NewReceiver(multicast.ReceiverConfig{Interface: ifc, Group: group, Source: source, ReadBuffer: r.buffer})
	if err != nil {
		return nil, err
	}
	if asked, got := receiver.ReadBufferAsked(), receiver.ReadBufferGot(); got < asked {
		r.screen.event("notice", fault.ReceiveBuffer(asked, got).String())
	}
	if r.lose > 0 {
		return newLossy(receiver, r.lose), nil
	}
	return receiver, nil
}

func (r *reacher) fetch(offer session.UnicastOffer) (session.Fetcher, error) {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	return unicast.NewClient(unicast.ClientConfig{
		Address: netip.AddrPortFrom(server.Addr(), offer.Port).String(), TLS: keyex.ClientTLS(r.credentials), Token: offer.Token, Digest: offer.Digest, Size: offer.Size,
	})
}
