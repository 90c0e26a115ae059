package keyex

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/dtls/v2"
)

// dialBuffer is asked for as a client's receive buffer, in bytes.
const dialBuffer = 1 << 20

// Dial makes an association with the server at addr. Without a deadline in ctx it
// takes at most 10 s. Its errors:
//
//   - ErrUnreachable in the chain: nothing answered, or not to the end;
//   - *RefusedError in the chain: one side refused the other;
//   - ctx's cause, when ctx was cancelled.
func Dial(ctx context.Context, addr netip.AddrPort, credentials *Credentials) (*Conn, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, handshakeTime)
		defer cancel()
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w: %w; check the address and the network", addr, ErrUnreachable, err)
	}
	growReceiveBuffer(conn, dialBuffer)
	w := newWire(conn)
	cfg := dtlsConfig(credentials.certificate, func(raw [][]byte) error { return w.judge(credentials.verifier, raw) })
	cfg.ServerName = credentials.verifier.serverName
	d, err := dtls.ClientWithContext(ctx, w, cfg)
	if err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, w.explain(ctx, addr, err))
	}
	id := w.identity.Load()
	if id == nil || !sameCertificate(id.raw, d.ConnectionState().PeerCertificates) {
		_ = d.Close()
		_ = w.Close()
		return nil, fmt.Errorf("dial %s: %w", addr, &RefusedError{Reason: Failed, Err: errors.New("the server wasn't verified")})
	}
	w.gate.finish(0)
	c := newConn(d, id.Identity, addr, plainAddr(conn.LocalAddr().(*net.UDPAddr).AddrPort()), w)
	c.certificates = id.raw
	return c, nil
}

// explain tells nothing-answers from refused.
func (w *wire) explain(ctx context.Context, addr netip.AddrPort, err error) error {
	refused := w.result(err)
	switch {
	case refused.Reason != Failed:
		return refused
	case w.absent.Load():
		return fmt.Errorf("%w: %w on UDP port %d there; start wimcastd, or check the address", ErrUnreachable, ErrNothingListens, addr.Port())
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case ctx.Err() != nil && !w.heard.Load():
		return fmt.Errorf("%w: nothing answers; check the address, that wimcastd runs, and that firewalls pass UDP port %d", ErrUnreachable, addr.Port())
	case ctx.Err() != nil:
		return fmt.Errorf("%w: it answers, but the handshake doesn't end; check for packet loss and that packets of 1,228 bytes pass", ErrUnreachable)
	}
	// The socket's own trouble, such as a route that went away or an ICMP error that reads otherwise on
	// other systems, is no word of anybody: trying again may help.
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%w: %w; check the address and the network", ErrUnreachable, failed)
	}
	// Nobody was refused: messages were broken, forged, or of another handshake, as where a server that lags behind still answers who had
	// this port before.
	return fmt.Errorf("%w: the handshake broke: %w; try again; if it persists, capture the UDP port of the control channel", ErrUnreachable, refused.Err)
}
