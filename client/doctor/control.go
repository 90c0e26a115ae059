package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"wimcast/client/route"
	"wimcast/crypto/keyex"
	"wimcast/multicast/fault"
)

// Constants of reaching a server.
const (
	dialTime  = 5 * time.Second // for the handshake: 20 flights
	tcpTime   = 3 * time.Second // a SYN and two repetitions
	httpsTime = 5 * time.Second // a handshake and an answer
	clockOff  = 5 * time.Minute // that a clock may be wrong by: Kerberos' own limit
	endsSoon  = 30 * 24 * time.Hour
)

// reach dials the servers in order until one answers, and says of each how it went. conn is nil when none did.
func (e *examination) reach(ctx context.Context) (server netip.AddrPort, conn *keyex.Conn) {
	var failed []Finding
	for i, way := range e.Ways {
		name := way.Server
		addr, err := resolve(ctx, name)
		if err != nil {
			failed = append(failed, Finding{Fail, "control", fault.UnknownName([]string{name}, netip.Addr{})})
			continue
		}
		start := time.Now()
		dialing, cancel := context.WithTimeout(ctx, dialTime)
		conn, err = keyex.Dial(dialing, addr, e.Credentials)
		cancel()
		if err == nil {
			server = addr
			took := time.Since(start)
			for _, f := range failed { // others that the bundle names
				f.State = Warn
				e.tell(f)
			}
			e.say(OK, "control", "%v answers on UDP in %v; this machine is %v there", addr, took.Round(time.Millisecond), conn.LocalAddr().Addr().Unmap())
			id := conn.Peer()
			e.point(i, id)
			e.say(OK, "certificate", "the server is %s as the bundle says, and takes this bundle (%s, role %s)", e.Credentials.ServerName(), e.Credentials.Identity().Name, e.Credentials.Identity().Role)
			if left := id.NotAfter.Sub(e.Now()); left > 0 && left < endsSoon {
				e.fault(Warn, "certificate", fault.Expires("the server's certificate", id.NotAfter, left))
			}
			return server, conn
		}
		if ctx.Err() != nil {
			return server, nil
		}
		failed = append(failed, Finding{Fail, "control", e.whyNot(ctx, addr, err)})
	}
	for _, f := range failed {
		if f.Kind == fault.KindRefused || f.Kind == fault.KindExpired {
			f.Check = "certificate"
		}
		e.tell(f)
	}
	return server, nil
}

// point says which of several distribution points this machine takes, and why. It asks none whether it is full, or has a package.
func (e *examination) point(taken int, id keyex.Identity) {
	if len(e.Ways) == 1 && !id.Marks.Point {
		return
	}
	name := "the site"
	if id.Marks.Point {
		name = "point " + id.Name
	}
	var others []string
	for i, way := range e.Ways {
		switch {
		case i < taken:
			others = append(others, way.Server+" goes before, and doesn't take it now ("+way.Why+")")
		case i > taken:
			others = append(others, way.Server+" is next ("+way.Why+")")
		}
	}
	text := fmt.Sprintf("this machine takes %s: %s", route.Title(name, e.Ways[taken].Server), e.Ways[taken].Why)
	if len(others) > 0 {
		text += "; " + strings.Join(others, "; ")
	}
	e.say(OK, "point", "%s", text)
}

func resolve(ctx context.Context, name string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), nil
}

// whyNot says why a server couldn't be dialled, by what its TCP port does.
func (e *examination) whyNot(ctx context.Context, addr netip.AddrPort, err error) fault.Fault {
	if refused, is := errors.AsType[*keyex.RefusedError](err); is {
		// What is wrong is the bundle's end or one of the clocks; who is told both can see which.
		id := e.Credentials.Identity()
		if now := e.Now(); refused.ByPeer && refused.Reason == keyex.Expired && now.After(id.NotAfter) {
			return fault.Expired("bundle "+id.Name, id.NotAfter, now.Sub(id.NotAfter))
		}
		return fault.Refused(refused)
	}
	if unreachable(err) {
		return fault.NoRoute([]string{addr.String()}, netip.Addr{})
	}
	tcp := tryTCP(ctx, addr)
	return judgeUnreached(addr, errors.Is(err, keyex.ErrNothingListens), tcp)
}

// judgeUnreached says why a server's control channel can't be reached. udpRefused: the host says that nothing has the port. tcp is what connecting to
// the same TCP port ended in.
func judgeUnreached(addr netip.AddrPort, udpRefused bool, tcp error) fault.Fault {
	switch {
	case tcp == nil && !udpRefused:
		return fault.UDPBlocked(addr)
	case tcp == nil, udpRefused, connectionRefused(tcp):
		return fault.NotRunning(addr)
	case unreachable(tcp):
		return fault.NoRoute([]string{addr.String()}, netip.Addr{})
	}
	return fault.HostSilent(addr)
}

func tryTCP(ctx context.Context, addr netip.AddrPort) error {
	dialer := net.Dialer{Timeout: tcpTime}
	conn, err := dialer.DialContext(ctx, "tcp", addr.String())
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// https looks at the port that unicast takes, and by its clock at ours.
func (e *examination) https(outer context.Context, server netip.AddrPort) {
	ctx, cancel := context.WithTimeout(outer, httpsTime)
	defer cancel()
	date, err := serverDate(ctx, server, e.Credentials)
	if err != nil {
		switch tcp := tryTCP(outer, server); {
		case outer.Err() != nil:
			return
		case tcp != nil:
			e.fault(Warn, "unicast", fault.TCPBlocked(server))
		case ctx.Err() != nil:
			e.fault(Warn, "unicast", fault.TCPStalls(server))
		default:
			e.say(Warn, "unicast", "TCP port %d of %v answers, but not as a distribution point's: %v", server.Port(), server.Addr(), err)
		}
		e.say(Skip, "clock", "the server's is told by unicast only")
		e.bundle(e.Now())
		return
	}
	e.say(OK, "unicast", "%v answers on TCP", server)
	off := e.Now().Sub(date)
	if off.Abs() > clockOff {
		e.fault(Warn, "clock", fault.ClockWrong(off))
	} else {
		e.say(OK, "clock", "as the server's, within %v", max(off.Abs().Round(time.Second), time.Second))
	}
	e.bundle(date)
}

// serverDate asks the server's HTTPS port for anything, for the date in the answer. The server's certificate is judged as on the control channel.
func serverDate(ctx context.Context, server netip.AddrPort, credentials *keyex.Credentials) (time.Time, error) {
	transport := &http.Transport{TLSClientConfig: keyex.ClientTLS(credentials), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s/v1/", server), nil)
	if err != nil {
		return time.Time{}, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, 1<<16)
	return http.ParseTime(answer.Header.Get("Date"))
}

// bundle says when the bundle ends, by the better clock.
func (e *examination) bundle(now time.Time) {
	id := e.Credentials.Identity()
	what := "bundle " + id.Name
	switch left := id.NotAfter.Sub(now); {
	case left <= 0:
		e.fault(Fail, "bundle", fault.Expired(what, id.NotAfter, -left))
	case left < endsSoon:
		e.fault(Warn, "bundle", fault.Expires(what, id.NotAfter, left))
	default:
		e.say(OK, "bundle", "%s is good until %s", what, id.NotAfter.UTC().Format(time.DateOnly))
	}
}
