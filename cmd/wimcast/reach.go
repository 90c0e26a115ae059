package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"wimcast/client/route"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/multicast/fault"
	"wimcast/session"
	"wimcast/unicast"
)

// reacher opens the ways to a distribution point: control channel, group, unicast.
type reacher struct {
	order       func() []route.Way // the servers, the best for where this machine stands now first
	credentials *keyex.Credentials
	which       string // interface
	lose        float64
	buffer      int
	screen      *screen

	mu     sync.Mutex
	route  *route.Route // nil before the first dial
	at     int          // number of the way that was dialled last
	name   string       // of the server there
	told   string       // what was last said of it
	server netip.AddrPort
	local  netip.Addr // our address towards it
}

// quickDial bounds the handshake with one of several servers in a first round: 12 flights. Where all were silent each gets its time.
const quickDial = 3 * time.Second

// eventPoint says which distribution point a client goes to, and why it doesn't go to another.
const eventPoint = "point"

// dial tries the servers until one answers: the one that took this client last, then by the order.
func (r *reacher) dial(ctx context.Context) (session.Control, error) {
	r.begin()
	var errs []error
	for tries := 0; ; {
		r.mu.Lock()
		passed, final, several := r.route.Passed(), r.route.Final(), len(r.route.Ways()) > 1
		i, more := r.route.Next()
		quick := several && r.route.Failed() == 0
		if !more && tries == 0 { // the round was over when the last one said no: this is the next
			i, more = r.route.Next()
		}
		r.mu.Unlock()
		if !more {
			return nil, unreached(passed, final, several, errs)
		}
		tries++
		conn, err := r.try(ctx, i, quick)
		switch {
		case conn != nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			errs = append(errs, err)
		}
	}
}

// begin orders the servers, anew where none has been found and the machine has moved: a network may come up late.
func (r *reacher) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.route != nil && (r.route.Begun() || r.route.Failed() == 0) {
		return
	}
	ways := r.order()
	if r.route == nil || !slices.Equal(ways, r.route.Ways()) {
		r.route = route.New(ways)
	}
}

// try dials one server. Both results are nil where that server has said no under another address.
func (r *reacher) try(ctx context.Context, i int, quick bool) (session.Control, error) {
	r.mu.Lock()
	way := r.route.Way(i)
	r.mu.Unlock()
	dialing, cancel := ctx, context.CancelFunc(func() {})
	if quick {
		dialing, cancel = context.WithTimeout(ctx, quickDial)
	}
	conn, err := r.dialOne(dialing, way.Server)
	cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		_, no := errors.AsType[*keyex.RefusedError](err)
		r.route.Unanswered(i, err.Error(), no)
		return nil, err
	}
	if r.route.Met(i, conn.Peer().Serial, pointOf(conn.Peer())) {
		_ = conn.Close()
		return nil, nil
	}
	r.at, r.name = i, pointOf(conn.Peer())
	return conn, nil
}

// pointOf is the name of a point of a site; "" for the site itself.
func pointOf(server keyex.Identity) string {
	if !server.Marks.Point {
		return ""
	}
	return "point " + server.Name
}

// unreached says why no server was reached.
func unreached(passed string, final, several bool, errs []error) error {
	if len(errs) == 0 { // nobody was dialled: each had said no before
		return errors.New(cmp.Or(passed, "no distribution point has a place for this client now"))
	}
	err := errors.Join(errs...)
	if several {
		err = &passedError{passed, errs}
	}
	if final {
		return &refusedError{err}
	}
	return err
}

// passedError is why each of several servers was passed over.
type passedError struct {
	text string
	errs []error
}

func (e *passedError) Error() string { return e.text }

// Unwrap returns what dialling ended in.
func (e *passedError) Unwrap() []error { return e.errs }

// refusedError says that every distribution point refused: trying again is no use.
type refusedError struct{ error }

// Unwrap returns what they said.
func (e *refusedError) Unwrap() error { return e.error }

// Final tells the session engine so.
func (*refusedError) Final() bool { return true }

// elsewhere is told that the server has no place for this client, and finds another.
func (r *reacher) elsewhere(why session.Leave, text string) (other session.Other, all string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, title := route.Stay, route.Title(r.name, r.route.Way(r.at).Server)
	switch why {
	case session.LeaveStops:
		r.route.Stops(r.at, text)
		return session.OtherLater, text
	case session.LeaveFull:
		left = r.route.Full(r.at, text)
	case session.LeaveRefused:
		left = r.route.Refused(r.at, text)
	}
	switch left {
	case route.Now:
		r.screen.event(eventPoint, fmt.Sprintf("%s has no place for this client: %s; asking another", title, text))
		return session.OtherNow, text
	case route.Later:
		return session.OtherLater, text
	}
	if len(r.route.Ways()) > 1 && why == session.LeaveRefused {
		text = r.route.Passed()
	}
	return session.OtherNone, text
}

// taken is told that the server has a place for this client, and says which one that is, and why no other.
func (r *reacher) taken() {
	r.mu.Lock()
	defer r.mu.Unlock()
	way, passed := r.route.Way(r.at), r.route.Passed()
	r.route.Taken(r.at)
	if len(r.route.Ways()) == 1 && r.name == "" {
		return
	}
	text := fmt.Sprintf("%s: %s", route.Title(cmp.Or(r.name, "distribution point"), way.Server), way.Why)
	if passed != "" {
		text += "; passed over: " + passed
	}
	if text != r.told {
		r.told = text
		r.screen.event(eventPoint, text)
	}
}

func (r *reacher) dialOne(ctx context.Context, name string) (*keyex.Conn, error) {
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
	r.screen.server(serverName(name, pointOf(conn.Peer()), addr))
	return conn, nil
}

// serverName is a distribution point's name as a person knows it, with its address where that isn't the name.
func serverName(name, point string, addr netip.AddrPort) string {
	switch {
	case point != "":
		return fmt.Sprintf("%s (%v)", point, addr.Addr())
	case name == addr.String():
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
