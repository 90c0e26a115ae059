package keyex

import (
	"container/list"
	"context"
	"net/netip"
	"time"

	"github.com/pion/transport/v2/packetio"
)

// table knows who is at which address. The Listener's lock guards it.
//
// An address has at most one live association and one handshake under way. A
// handshake never touches the live association; only when the newcomer has proven
// itself from the same address does it take the place. So a machine that lost
// power and comes back on its old port gets in at once, and nobody can end an
// association by saying hello in its name.
type table struct {
	cfg      ServerConfig
	peers    map[netip.AddrPort]*peer
	live     int
	answered int                // half-open handshakes whose address has answered
	byIP     map[netip.Addr]int // the same by IP address
	unproven *list.List         // of *transport, the oldest first
	tokens   float64            // hellos without envelope that may be looked at
	refilled time.Time
}

// peer is one address.
type peer struct {
	conn    *Conn      // live, or nil
	below   *transport // conn's
	pending *transport // a handshake under way, or nil
}

// place says where a half-open handshake is counted.
type place struct {
	unproven *list.Element // nil once the address has answered
}

func newTable(cfg ServerConfig) table {
	return table{
		cfg: cfg, peers: map[netip.AddrPort]*peer{}, byIP: map[netip.Addr]int{}, unproven: list.New(),
		tokens: float64(cfg.HelloRate) / 10,
	}
}

func (t *table) conns() []*Conn {
	conns := make([]*Conn, 0, t.live)
	for _, p := range t.peers {
		if p.conn != nil {
			conns = append(conns, p.conn)
		}
	}
	return conns
}

// take takes one token of the rate for hellos without envelope; the bucket holds
// a tenth of a second.
func (t *table) take(now time.Time) bool {
	rate := float64(t.cfg.HelloRate)
	if !t.refilled.IsZero() {
		t.tokens = min(t.tokens+rate*now.Sub(t.refilled).Seconds(), max(rate/10, 1))
	}
	t.refilled = now
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

// roomFor reports whether one more answered handshake from ip fits.
func (t *table) roomFor(ip netip.Addr) bool {
	return t.answered < t.cfg.MaxHalfOpen && t.byIP[ip] < max(t.cfg.MaxHalfOpen/2, 1)
}

func (t *table) countAnswered(ip netip.Addr, n int) {
	t.answered += n
	if t.byIP[ip] += n; t.byIP[ip] == 0 {
		delete(t.byIP, ip)
	}
}

// leave takes a handshake out of the half-open counts; it is idempotent.
func (t *table) leave(h *transport) {
	switch {
	case h.place == nil:
		return
	case h.place.unproven != nil:
		t.unproven.Remove(h.place.unproven)
	default:
		t.countAnswered(h.remote.Addr(), -1)
	}
	h.place = nil
}

// dispatch is told of every datagram, in the order: envelope → hello → known
// address. It never waits.
func (l *Listener) dispatch(datagram []byte, from netip.AddrPort, to netip.Addr) {
	if c, inner, ok := openEnvelope(datagram); ok {
		h, ok := parseHello(inner)
		switch now := time.Now(); {
		case !ok || h.message != 0 || h.cookie:
			l.drops.add(DropUnknown)
		case !l.baker.good(c, from, now):
			l.drops.add(DropCookie)
			_ = l.socket.write(cookieReply(l.baker.bake(from, slotOf(now))), l.socket.source(to), from)
		default:
			l.hello(inner, from, to, h, true)
		}
		return
	}
	if h, ok := parseHello(datagram); ok {
		l.hello(datagram, from, to, h, false)
		return
	}
	l.mu.Lock()
	p := l.table.peers[from]
	var below, pending *transport
	if p != nil {
		below, pending = p.below, p.pending
	}
	l.mu.Unlock()
	if p == nil {
		l.drops.add(DropUnknown)
		return
	}
	// Both may be meant; each gate knows what it can use, and records that belong
	// to the other one don't authenticate.
	taken := below != nil && l.deliver(below, datagram)
	taken = pending != nil && l.deliver(pending, datagram) || taken
	if !taken {
		l.drops.add(DropPlain)
	}
}

// deliver queues a datagram for an association. It returns false when its gate
// refuses it.
func (l *Listener) deliver(t *transport, datagram []byte) bool {
	if !t.gate.admits(datagram) {
		return false
	}
	if !t.gate.open.Load() {
		t.incoming(datagram)
	}
	if _, err := t.queue.Write(datagram); err != nil {
		l.drops.add(DropQueue)
	}
	return true
}

// hello begins a handshake, hands a hello to the one it belongs to, or drops it.
func (l *Listener) hello(datagram []byte, from netip.AddrPort, to netip.Addr, h hello, proven bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return
	}
	p := l.table.peers[from]
	if p != nil && p.below != nil && p.below.random == h.random {
		return // a late repetition of the hello that made the association
	}
	if p != nil && p.pending != nil {
		old := p.pending
		switch same := old.random == h.random; {
		case same && !old.proven && !proven:
			l.deliver(old, datagram) // with the library's cookie, or a repetition
			return
		case same && old.proven:
			return // a repetition; the library repeats its answer by itself
		case !proven:
			l.drops.add(DropBusy)
			return
		}
		// The address has proven itself and says hello anew: the client restarted.
		l.table.leave(old)
		old.muted.Store(true)
		old.cancel(errEvicted)
		p.pending = nil
	}
	switch full := l.table.live >= l.cfg.MaxAssociations && (p == nil || p.conn == nil); {
	case full, proven && !l.table.roomFor(from.Addr()):
		l.drops.add(DropFull)
		return
	case proven:
	case h.message != 0 || h.cookie:
		l.drops.add(DropUnknown)
		return
	case !l.table.take(time.Now()):
		l.drops.add(DropHelloRate)
		return
	case l.table.unproven.Len() >= l.cfg.MaxUnproven:
		oldest := l.table.unproven.Front().Value.(*transport)
		l.table.leave(oldest)
		oldest.muted.Store(true)
		oldest.cancel(errEvicted)
		l.table.vacate(oldest)
	}
	l.begin(datagram, from, to, h, proven)
}

// vacate takes a handshake off its address, where it still stands.
func (t *table) vacate(h *transport) {
	p := t.peers[h.remote]
	if p == nil {
		return
	}
	if p.pending == h {
		p.pending = nil
	}
	if p.below == h {
		p.conn, p.below = nil, nil
		t.live--
	}
	if p.pending == nil && p.below == nil {
		delete(t.peers, h.remote)
	}
}

// begin starts a handshake; the lock is held.
func (l *Listener) begin(datagram []byte, from netip.AddrPort, to netip.Addr, h hello, proven bool) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	t := &transport{
		listener: l, remote: from, local: to, source: l.socket.source(to), random: h.random, proven: proven,
		queue: packetio.NewBuffer(), cancel: cancel, place: &place{},
	}
	t.queue.SetLimitCount(queueDatagrams)
	t.queue.SetLimitSize(queueBytes)
	wait := unprovenTime
	if proven {
		t.answered.Store(true)
		l.table.countAnswered(from.Addr(), 1)
		wait = handshakeTime
	} else {
		t.place.unproven = l.table.unproven.PushBack(t)
	}
	t.timer = time.AfterFunc(wait, func() { cancel(errLate) })
	p := l.table.peers[from]
	if p == nil {
		p = &peer{}
		l.table.peers[from] = p
	}
	p.pending = t
	l.deliver(t, datagram)
	l.wg.Go(func() {
		defer cancel(nil)
		l.handshake(ctx, t)
	})
}

// promote moves a handshake whose address has just answered the library's
// cookie to the long-lived ones. It returns false when there is no room.
func (l *Listener) promote(t *transport) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.place == nil || !l.table.roomFor(t.remote.Addr()) {
		return false
	}
	l.table.leave(t)
	t.place = &place{}
	l.table.countAnswered(t.remote.Addr(), 1)
	t.timer.Reset(handshakeTime)
	return true
}

// admit gives the address to an association that has proven itself and returns
// the one that it replaces.
func (l *Listener) admit(t *transport, c *Conn) (replaced *Conn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.table.peers[t.remote]
	if l.ctx.Err() != nil || p == nil || p.pending != t {
		return nil, false
	}
	if p.conn == nil {
		if l.table.live >= l.cfg.MaxAssociations {
			l.drops.add(DropFull)
			return nil, false
		}
		l.table.live++
	} else {
		replaced = p.conn
		p.below.muted.Store(true) // its farewell would reach the newcomer
	}
	l.table.leave(t)
	p.conn, p.below, p.pending = c, t, nil
	return replaced, true
}

// forget takes a closed transport out of the table.
func (l *Listener) forget(t *transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.leave(t)
	l.table.vacate(t)
}
