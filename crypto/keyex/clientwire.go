package keyex

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxResends bounds how often a client repeats its hello for a cookie.
	maxResends = 32
	// maxAbsent is how many times in a row the host must say that nothing listens
	// before a client believes it: a daemon may be starting. One comes for each
	// repeated flight.
	maxAbsent = 4
	// maxReadErrors bounds how many other errors in a row a socket may return.
	maxReadErrors = 64
)

// wire is a client's connected socket below the DTLS library: it puts first
// hellos into the envelope, answers cookies, and holds plaintext to what the
// handshake needs.
type wire struct {
	net.Conn
	gate gate
	verdict
	heard  atomic.Bool // the server sent something of ours
	absent atomic.Bool // its host says that nothing listens

	leaving atomic.Bool // a farewell is under way

	mu      sync.Mutex
	cookie  cookie
	hello   []byte // the latest, to repeat with a cookie
	resends int
	refused int // in a row
}

func newWire(conn *net.UDPConn) *wire { return &wire{Conn: conn} }

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	out := p
	if !w.gate.open.Load() {
		if _, ok := parseHello(p); ok {
			w.mu.Lock()
			w.hello = append(w.hello[:0], p...)
			out = sealEnvelope(w.cookie, p)
			w.mu.Unlock()
		} else if alert := w.outgoing(p); alert != nil {
			out = alert
			_, _ = w.Conn.Write(out) // nobody repeats an alert when it is lost
		}
	}
	_, err := w.Conn.Write(out)
	if isRefused(err) {
		// The error belongs to an earlier datagram; this one wasn't sent.
		if w.believeAbsent() {
			return 0, err
		}
		if _, err = w.Conn.Write(out); isRefused(err) {
			err = nil
		}
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	for faults := 0; ; {
		n, err := w.Conn.Read(p)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		case isRefused(err):
			// ICMP isn't authenticated: it may end an attempt, not an association.
			if w.believeAbsent() {
				return 0, err
			}
			continue
		case err != nil:
			if faults++; faults > maxReadErrors {
				return 0, err
			}
			continue
		}
		faults = 0
		open := w.gate.open.Load()
		if c, ok := parseCookieReply(p[:n]); ok {
			if !open {
				w.heard.Store(true)
				w.resend(c)
			}
			continue
		}
		if !w.gate.admits(p[:n]) {
			continue
		}
		if !open {
			w.heard.Store(true)
			w.incoming(p[:n])
		}
		w.mu.Lock()
		w.refused = 0
		w.mu.Unlock()
		return n, nil
	}
}

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(at time.Time) error {
	if w.leaving.Load() {
		return nil
	}
	return w.Conn.SetReadDeadline(at)
}

func (w *wire) leave() { w.leaving.Store(true) }

// resend answers a cookie.
func (w *wire) resend(c cookie) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = 0
	if w.hello == nil || w.cookie == c || w.resends >= maxResends {
		return
	}
	w.cookie = c
	w.resends++
	_, _ = w.Conn.Write(sealEnvelope(c, w.hello)) // the library repeats what is lost
}

// believeAbsent counts one refusal by the server's host and reports whether to
// give up: only before the handshake's end.
func (w *wire) believeAbsent() bool {
	if w.gate.open.Load() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused++
	if w.refused < maxAbsent {
		return false
	}
	w.absent.Store(true)
	return true
}

// isRefused reports whether err is an ICMP port unreachable.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaConnectionReset)
}

// wsaConnectionReset is how Windows says it (WSAECONNRESET); no other system
// uses the number.
const wsaConnectionReset = syscall.Errno(10054)
