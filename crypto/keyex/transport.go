package keyex

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v2/packetio"
)

// An association's queue towards the DTLS library. When full the newest goes.
const (
	queueDatagrams = 64
	queueBytes     = 64 << 10
)

// transport is one association's way through the listener's socket, below the
// DTLS library.
type transport struct {
	listener *Listener
	remote   netip.AddrPort
	local    netip.Addr // the address that the client uses
	source   []byte     // makes answers leave from it
	random   [32]byte   // of its ClientHello: tells a repeated hello from a new one
	proven   bool       // the address answered a cookie of ours before this was made
	gate     gate
	queue    *packetio.Buffer
	verdict
	answered atomic.Bool
	muted    atomic.Bool // replaced: nothing more goes to the address
	leaving  atomic.Bool // a farewell is under way

	cancel context.CancelCauseFunc // ends the handshake
	timer  *time.Timer             // calls cancel
	once   sync.Once
	place  *place // in the table of half-open handshakes; the listener's lock guards it
}

var _ net.Conn = (*transport)(nil)

// Read implements net.Conn; one datagram a call.
func (t *transport) Read(p []byte) (int, error) { return t.queue.Read(p) }

// Write implements net.Conn; one datagram a call.
func (t *transport) Write(p []byte) (int, error) {
	if t.muted.Load() {
		return len(p), nil
	}
	if !t.gate.open.Load() {
		if alert := t.outgoing(p); alert != nil {
			// Nobody repeats an alert when it is lost.
			_ = t.listener.socket.write(alert, t.source, t.remote)
			p = alert
		}
		if len(p) > recordHeader && p[0] == typeHandshake && p[recordHeader] == handshakeServerHello && t.answered.CompareAndSwap(false, true) {
			if !t.listener.promote(t) {
				return 0, io.ErrClosedPipe
			}
		}
	}
	if err := t.listener.socket.write(p, t.source, t.remote); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn.
func (t *transport) Close() error {
	t.once.Do(func() {
		t.listener.forget(t)
		_ = t.queue.Close()
	})
	return nil
}

// LocalAddr implements net.Conn.
func (t *transport) LocalAddr() net.Addr { return t.listener.socket.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *transport) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(t.remote) }

// SetDeadline implements net.Conn.
func (t *transport) SetDeadline(at time.Time) error { return t.SetReadDeadline(at) }

// SetReadDeadline implements net.Conn.
func (t *transport) SetReadDeadline(at time.Time) error {
	if t.leaving.Load() {
		return nil
	}
	return t.queue.SetReadDeadline(at)
}

func (t *transport) leave() { t.leaving.Store(true) }

// SetWriteDeadline implements net.Conn; writes to UDP don't wait.
func (t *transport) SetWriteDeadline(time.Time) error { return nil }

// verdict is what is learnt about a handshake below and beside the library,
// whose errors don't tell: our own refusal, and alerts either way.
type verdict struct {
	refused  atomic.Pointer[RefusedError]
	identity atomic.Pointer[judged]
	sent     atomic.Int32 // alert description + 1
	received atomic.Int32 // the same
}

type judged struct {
	Identity
	raw [][]byte
}

// judge calls the verifier for the library and remembers what it said.
func (v *verdict) judge(verifier *verifier, raw [][]byte) error {
	id, err := verifier.verify(raw)
	if err != nil {
		refused, ok := errors.AsType[*RefusedError](err)
		if !ok {
			refused = &RefusedError{Reason: Failed, Err: err}
		}
		v.refused.Store(refused)
		return err
	}
	v.identity.Store(&judged{Identity: id, raw: raw})
	return nil
}

// outgoing looks at a datagram of a handshake on its way out. When it is the
// alert after a refusal of ours it returns the same with a description that
// says why: the library knows bad_certificate only. That is its word for a
// signature that doesn't fit, too, where no certificate was refused.
func (v *verdict) outgoing(datagram []byte) []byte {
	description, ok := plainAlert(datagram)
	if !ok {
		return nil
	}
	v.sent.Store(int32(description) + 1)
	refused := v.refused.Load()
	switch {
	case refused != nil:
		description = refused.Reason.alert()
	case description == alertBadCertificate:
		description = alertDecryptError
	default:
		return nil
	}
	out := append([]byte(nil), datagram...)
	out[len(out)-1] = description
	return out
}

func (v *verdict) incoming(datagram []byte) {
	if description, ok := plainAlert(datagram); ok {
		v.received.CompareAndSwap(0, int32(description)+1)
	}
}

// result turns a failed handshake's error into ours.
func (v *verdict) result(err error) *RefusedError {
	if refused := v.refused.Load(); refused != nil {
		return refused
	}
	if d := v.received.Load(); d > 0 {
		if d-1 == alertDecryptError {
			return &RefusedError{Reason: Failed, Err: tls.AlertError(alertDecryptError)}
		}
		return &RefusedError{Reason: reasonOfAlert(byte(d - 1)), ByPeer: true, Err: tls.AlertError(d - 1)}
	}
	switch d := v.sent.Load() - 1; d {
	case alertNoCertificate:
		return &RefusedError{Reason: NoCertificate}
	case alertHandshakeFailure, alertProtocolVersion, alertInsufficientSecurity:
		return &RefusedError{Reason: Incompatible, Err: err}
	}
	return &RefusedError{Reason: Failed, Err: err}
}
