package keyex

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/pion/dtls/v2"
)

// ServerConfig says how a Listener works. Trust is required; every other zero
// value stands for its default.
type ServerConfig struct {
	Trust *Trust
	Roles []Role // admitted; every client role

	MaxAssociations int           // 4,096; further clients are dropped until some leave
	MaxHalfOpen     int           // 4,096 handshakes under way; half of them from one IP address
	MaxUnproven     int           // 256 handshakes of addresses that haven't answered; the oldest goes
	HelloRate       int           // 1,000 hellos without envelope a second that are looked at
	ReceiveBuffer   int           // 8 MiB asked of the kernel; Stats tells what it granted
	Idle            time.Duration // 2 min without a message end an association

	// OnRefused, when not nil, is told of each handshake that failed after its
	// address had answered, for the log. It runs on the handshake's goroutine and
	// must not wait for the Listener.
	OnRefused func(addr netip.AddrPort, err error)
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.MaxAssociations = orDefault(c.MaxAssociations, 4096)
	c.MaxHalfOpen = orDefault(c.MaxHalfOpen, 4096)
	c.MaxUnproven = orDefault(c.MaxUnproven, 256)
	c.HelloRate = orDefault(c.HelloRate, 1000)
	c.ReceiveBuffer = orDefault(c.ReceiveBuffer, 8<<20)
	c.Idle = orDefault(c.Idle, 2*time.Minute)
	return c
}

func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Listener serves the control channel on one UDP socket.
//
// One goroutine reads the socket and never waits. Each handshake has a goroutine
// of its own and is bounded in time; Accept only sees associations whose peer has
// proven itself.
type Listener struct {
	cfg      ServerConfig
	socket   *socket
	verifier *verifier
	buffer   int // receive buffer granted
	accept   chan *Conn
	ctx      context.Context // ends with the Listener
	stop     context.CancelFunc
	wg       sync.WaitGroup
	once     sync.Once
	results  Results
	drops    drops

	baker *baker // the reader's
	mu    sync.Mutex
	table table
}

// Listen opens the UDP socket at addr (port 0 takes a free one) and serves it
// until Close.
func Listen(addr netip.AddrPort, cfg ServerConfig) (*Listener, error) {
	if cfg.Trust == nil {
		return nil, errors.New("listen for control channel: no trust configured")
	}
	cfg = cfg.withDefaults()
	sock, err := listenSocket(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for control channel: %w", err)
	}
	l := &Listener{
		cfg:      cfg,
		socket:   sock,
		verifier: cfg.Trust.verifier(cfg.Roles),
		buffer:   growReceiveBuffer(sock.UDPConn, cfg.ReceiveBuffer),
		accept:   make(chan *Conn),
		baker:    newBaker(),
		table:    newTable(cfg),
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wg.Go(l.read)
	l.wg.Go(l.reap)
	return l, nil
}

// Addr returns the address that the socket is bound to.
func (l *Listener) Addr() netip.AddrPort { return l.socket.bound }

// SyscallConn gives access to the socket, for asking the kernel about it.
func (l *Listener) SyscallConn() (syscall.RawConn, error) { return l.socket.SyscallConn() }

// Accept returns the next association. Its error is ctx's, or has ErrClosed in
// its chain.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.ctx.Done():
		return nil, fmt.Errorf("accept on control channel: %w", ErrClosed)
	}
}

// Close ends every handshake and association, closes the socket and waits for
// all goroutines. It is idempotent.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		l.mu.Lock()
		l.stop()
		conns := l.table.conns()
		l.mu.Unlock()
		// Each may wait for a repeated flight: all at once.
		var closing sync.WaitGroup
		for _, c := range conns {
			closing.Go(func() { c.closeFor(ErrClosed) })
		}
		closing.Wait()
		err = l.socket.Close()
	})
	l.wg.Wait()
	return err
}

// Stats returns a snapshot of the counters.
func (l *Listener) Stats() Stats {
	s := Stats{Handshakes: l.results.Snapshot(), Dropped: l.drops.snapshot(), ReceiveBuffer: l.buffer, ReceiveBufferAsked: l.cfg.ReceiveBuffer}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.HalfOpen, s.Unproven, s.Associations = l.table.answered, l.table.unproven.Len(), l.table.live
	return s
}

// Recheck judges every running association's certificate again, ends those that
// are no longer good (revoked, expired), and returns how many. before, when not
// nil, is told of each, and why, before it ends. Call it after Authority.Revoke, and
// from time to time: nothing else notices that a credential has ended.
func (l *Listener) Recheck(before func(peer Identity, why *RefusedError)) int {
	ended := 0
	var closing sync.WaitGroup // each may wait for a repeated flight: all at once
	for _, c := range l.conns() {
		_, err := l.verifier.verify(c.certificates)
		why, refused := errors.AsType[*RefusedError](err)
		if !refused {
			continue
		}
		if before != nil {
			before(c.Peer(), why)
		}
		ended++
		l.drops.add(DropRecheck)
		closing.Go(func() { c.closeFor(fmt.Errorf("%w: %w", ErrClosed, why)) })
	}
	closing.Wait()
	return ended
}

func (l *Listener) conns() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.table.conns()
}

// reap ends associations that are silent for too long: their clients lost power.
func (l *Listener) reap() {
	tick := time.NewTicker(max(l.cfg.Idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case now := <-tick.C:
			for _, c := range l.conns() {
				if c.silent(now) > l.cfg.Idle {
					l.drops.add(DropIdle)
					c.closeFor(fmt.Errorf("%w: silent for %v", ErrClosed, l.cfg.Idle))
				}
			}
		}
	}
}

// read is the socket's only reader.
func (l *Listener) read() {
	b, oob := make([]byte, maxDatagram+1), make([]byte, 256)
	for {
		n, from, to, err := l.socket.read(b, oob)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Errors of single datagrams (ICMP, too long on some systems). Should
			// they be of the socket itself, don't spin.
			select {
			case <-l.ctx.Done():
				return
			case <-time.After(time.Millisecond):
			}
		case n > maxDatagram:
			l.drops.add(DropTooLong)
		default:
			l.dispatch(b[:n], from, to)
		}
	}
}

// handshake runs one handshake to its end. It owns t until it hands out a Conn.
func (l *Listener) handshake(ctx context.Context, t *transport) {
	cfg := dtlsConfig(l.cfg.Trust.certificate.Load(), func(raw [][]byte) error { return t.judge(l.verifier, raw) })
	cfg.InsecureSkipVerifyHello = t.proven // our own cookie did it
	d, err := dtls.ServerWithContext(ctx, t, cfg)
	t.timer.Stop()
	if err != nil {
		l.failed(ctx, t, err)
		_ = t.Close()
		return
	}
	id := t.identity.Load()
	if id == nil || !sameCertificate(id.raw, d.ConnectionState().PeerCertificates) {
		// Can't be; were the library ever to skip the verifier, nobody gets in.
		l.results.add(Failed)
		t.muted.Store(true)
		_ = d.Close()
		_ = t.Close()
		return
	}
	t.gate.finish(lateBudget)
	c := newConn(d, id.Identity, t.remote, netip.AddrPortFrom(t.local, l.socket.bound.Port()), t)
	c.certificates = id.raw
	replaced, ok := l.admit(t, c)
	if !ok {
		_ = c.Close()
		return
	}
	l.results.add(OK)
	if replaced != nil {
		l.drops.add(DropReplaced)
		replaced.closeFor(fmt.Errorf("%w: the client came again from %s", ErrClosed, t.remote))
	}
	select {
	case l.accept <- c:
	case <-l.ctx.Done():
		_ = c.Close()
	}
}

// Why a handshake is cancelled from outside.
var (
	errEvicted = errors.New("made room for a newer one")
	errLate    = errors.New("took too long")
)

// failed counts and reports a handshake that didn't end in an association.
func (l *Listener) failed(ctx context.Context, t *transport, err error) {
	switch cause := context.Cause(ctx); {
	case l.ctx.Err() != nil:
		return
	case !t.answered.Load() && ctx.Err() != nil:
		l.drops.add(DropUnproven)
		return
	case errors.Is(cause, errEvicted):
		l.drops.add(DropReplaced)
		return
	case errors.Is(cause, errLate):
		l.refused(t, &RefusedError{Reason: TimedOut, Err: fmt.Errorf("no end after %v", handshakeTime)}, TimedOut)
		return
	}
	refused := t.result(err)
	word := refused.Reason
	if refused.ByPeer {
		word = PeerRefused
	}
	l.refused(t, refused, word)
}

func (l *Listener) refused(t *transport, err *RefusedError, word Reason) {
	l.results.add(word)
	if l.cfg.OnRefused != nil {
		l.cfg.OnRefused(t.remote, err)
	}
}
