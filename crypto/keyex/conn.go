package keyex

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v2"
)

// MaxMessage is the largest control message, in bytes (docs/protocol.md, section 1).
const MaxMessage = 1100

// Conn is one authenticated association of the control channel. Messages may be
// lost, repeated or reordered, never altered. It is safe for concurrent use.
type Conn struct {
	dtls          *dtls.Conn
	peer          Identity
	remote, local netip.AddrPort
	certificates  [][]byte // the peer's
	born          time.Time
	heard         atomic.Int64 // when the last message came, in nanoseconds from born on: a clock that is set doesn't change it

	once  sync.Once
	cause atomic.Pointer[error] // why this side closed it
	below lower
}

// lower is what an association stands on.
type lower interface {
	// leave makes reads wait for Close, whatever deadline is set. The library
	// cancels its reader before it says farewell, and the reader closes what lies
	// below on its way out: without leave about one farewell in a thousand is lost.
	leave()
	Close() error // idempotent
}

var (
	_ lower = (*transport)(nil)
	_ lower = (*wire)(nil)
)

func newConn(d *dtls.Conn, peer Identity, remote, local netip.AddrPort, below lower) *Conn {
	c := &Conn{dtls: d, peer: peer, remote: remote, local: local, below: below, born: time.Now()}
	return c
}

// silent returns for how long nothing has come.
func (c *Conn) silent(now time.Time) time.Duration {
	return now.Sub(c.born) - time.Duration(c.heard.Load())
}

// Send sends one message of 1 to MaxMessage bytes. msg stays the caller's. That
// it returns nil doesn't mean that the message arrives.
func (c *Conn) Send(msg []byte) error {
	if len(msg) == 0 || len(msg) > MaxMessage {
		return fmt.Errorf("send control message: %d bytes, want 1 to %d", len(msg), MaxMessage)
	}
	if _, err := c.dtls.Write(msg); err != nil {
		if errors.Is(err, dtls.ErrConnClosed) || c.cause.Load() != nil {
			return c.why()
		}
		return fmt.Errorf("send control message: %s: %w", c.remote, err)
	}
	return nil
}

// Receive waits for the next message, copies it into buf, which must have room
// for MaxMessage bytes, and returns its length. It returns io.EOF when the peer
// closed the association, and an error with ErrClosed in its chain when this side
// did; both are final. Several goroutines may call it; each message goes to one.
func (c *Conn) Receive(buf []byte) (int, error) {
	if len(buf) < MaxMessage {
		return 0, fmt.Errorf("receive control message: buffer of %d bytes, want %d", len(buf), MaxMessage)
	}
	for {
		n, err := c.dtls.Read(buf)
		switch {
		case errors.Is(err, io.EOF):
			return 0, c.why()
		case err != nil, n > MaxMessage, n == 0:
			// A warning alert, or a message that no peer of ours sends. The library
			// hands such errors out once each and goes on.
			continue
		}
		c.heard.Store(int64(time.Since(c.born)))
		return n, nil
	}
}

// why returns the final error.
func (c *Conn) why() error {
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	return io.EOF
}

// Close ends the association, tells the peer, and wakes every Receive. It is
// idempotent, and may take up to 250 ms while a flight is being repeated.
func (c *Conn) Close() error {
	c.closeFor(ErrClosed)
	return nil
}

func (c *Conn) closeFor(cause error) {
	c.once.Do(func() {
		c.cause.CompareAndSwap(nil, &cause)
		c.below.leave()
		_ = c.dtls.Close() // what it can't tell the peer, time will
		_ = c.below.Close()
	})
}

// Peer returns who the other side proved to be.
func (c *Conn) Peer() Identity { return c.peer }

// RemoteAddr returns the other side's address.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// LocalAddr returns this side's address. On a server that listens on every
// address it is the one that the client uses, where the system tells it.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }
