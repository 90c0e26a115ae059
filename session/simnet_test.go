package session

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
)

// This file is a small network in memory: a group that carries runs of packets to
// its members, and control channels between clients and server. Each client has a
// link that loses, repeats, delays, reorders and damages. With testing/synctest all of it runs in virtual time.

// simLink is a client's way to the network.
type simLink struct {
	mu      sync.Mutex
	random  *rand.Rand
	delay   time.Duration
	jitter  time.Duration // added at random, reorders
	loss    float64       // of group packets
	control float64       // loss of control messages
	repeat  float64
	damage  float64
	burst   int           // packets lost in a row
	every   time.Duration // time between bursts
	burstAt time.Time
	left    int
	deaf    bool    // no group packets at all
	rate    float64 // bytes/s of the link, 0 for no limit
	queue   time.Duration
	busy    time.Time // until when the link is sending
	reads   float64   // bytes/s that the machine takes out of its receive buffer, 0 for no limit
	buffer  int       // its size, 0 for 4 MiB
	forge   func(packet []byte) []byte
	rejoins []time.Time
	forgets time.Duration // how long the switch sends after a join, 0 for ever
	joined  time.Time
}

// carries decides what becomes of a group packet: how many copies arrive, and when.
func (l *simLink) carries(now time.Time, n int) (copies int, at time.Time, damaged bool) {
	if l.joined.IsZero() {
		l.joined = now
	}
	if l.deaf || l.forgets > 0 && now.Sub(l.joined) > l.forgets {
		return 0, now, false
	}
	at = now.Add(l.delay)
	if l.rate > 0 {
		l.busy = later(l.busy, now)
		if l.busy.Sub(now) > l.queue {
			return 0, now, false
		}
		l.busy = l.busy.Add(time.Duration(float64(n+42) / l.rate * float64(time.Second)))
		at = l.busy.Add(l.delay)
	}
	if l.burst > 0 {
		if l.burstAt.IsZero() {
			l.burstAt = now.Add(time.Duration(l.random.Int64N(int64(l.every))))
		}
		if !now.Before(l.burstAt) {
			l.burstAt, l.left = now.Add(l.every), l.burst
		}
		if l.left > 0 {
			l.left--
			return 0, now, false
		}
	}
	if l.random.Float64() < l.loss {
		return 0, now, false
	}
	if l.jitter > 0 {
		at = at.Add(time.Duration(l.random.Int64N(int64(l.jitter))))
	}
	copies = 1
	if l.random.Float64() < l.repeat {
		copies = 2
	}
	return copies, at, l.random.Float64() < l.damage
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// simQueue delivers datagrams at their times.
type simQueue struct {
	mu     sync.Mutex
	items  []simItem
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once
	bytes  int
	limit  int
	lost   uint64
}

type simItem struct {
	at      time.Time
	data    []byte
	segment int
}

func newSimQueue(limit int) *simQueue {
	return &simQueue{wake: make(chan struct{}, 1), closed: make(chan struct{}), limit: limit}
}

func (q *simQueue) put(item simItem) {
	q.mu.Lock()
	if q.limit > 0 && q.bytes+len(item.data) > q.limit {
		if q.lost++; item.segment > 0 { // packets, as a kernel counts that joins none
			q.lost += uint64((len(item.data) - 1) / item.segment)
		}
		q.mu.Unlock()
		return
	}
	q.bytes += len(item.data)
	i := len(q.items)
	for i > 0 && q.items[i-1].at.After(item.at) {
		i--
	}
	q.items = slices.Insert(q.items, i, item)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

var errSimClosed = errors.New("closed")

func (q *simQueue) get() (simItem, error) {
	for {
		q.mu.Lock()
		var wait <-chan time.Time
		if len(q.items) > 0 {
			item := q.items[0]
			if d := time.Until(item.at); d > 0 {
				wait = time.After(d)
			} else {
				q.items = q.items[1:]
				q.bytes -= len(item.data)
				q.mu.Unlock()
				return item, nil
			}
		}
		q.mu.Unlock()
		select {
		case <-q.closed:
			return simItem{}, errSimClosed
		case <-q.wake:
		case <-wait:
		}
	}
}

func (q *simQueue) close() { q.once.Do(func() { close(q.closed) }) }

// simGroup is a group of one session: the server's caster, and its hearers.
type simGroup struct {
	mu      sync.Mutex
	hearers map[*simHearer]bool
	taps    []func(packet []byte) // see each packet as sent
	packets uint64
	bytes   uint64
	closed  bool
}

func (g *simGroup) Send(buf []byte, segment int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if segment <= 0 || len(buf) > 65_507 {
		panic(fmt.Sprintf("send of %d bytes in segments of %d", len(buf), segment))
	}
	now := time.Now()
	for rest := buf; len(rest) > 0; {
		n := min(segment, len(rest))
		g.packets++
		g.bytes += uint64(n)
		for _, tap := range g.taps {
			tap(rest[:n])
		}
		rest = rest[n:]
	}
	for h := range g.hearers {
		h.deliver(now, buf, segment)
	}
	return nil
}

func (g *simGroup) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	return nil
}

type simHearer struct {
	group *simGroup
	link  *simLink
	queue *simQueue
}

// deliver carries a run to one member; neighbours that arrive together stay one run, as with GRO.
func (h *simHearer) deliver(now time.Time, buf []byte, segment int) {
	l := h.link
	l.mu.Lock()
	defer l.mu.Unlock()
	var run simItem
	flush := func() {
		if len(run.data) > 0 {
			h.queue.put(run)
		}
		run = simItem{}
	}
	for rest := buf; len(rest) > 0; {
		packet := rest[:min(segment, len(rest))]
		rest = rest[len(packet):]
		copies, at, damaged := l.carries(now, len(packet))
		for range copies {
			if len(run.data) > 0 && (!run.at.Equal(at) || damaged) {
				flush()
			}
			run.at, run.segment = at, segment
			run.data = append(run.data, packet...)
			if damaged {
				run.data[l.random.IntN(len(run.data))] ^= 1 << l.random.IntN(8)
				flush()
			}
		}
		if l.forge != nil {
			if forged := l.forge(bytes.Clone(packet)); forged != nil {
				flush()
				h.queue.put(simItem{at: at, data: forged, segment: len(forged)})
			}
		}
	}
	flush()
}

func (h *simHearer) Receive(runs []multicast.Run) (int, error) {
	item, err := h.queue.get()
	if err != nil {
		return 0, err
	}
	if reads := h.link.reads; reads > 0 {
		time.Sleep(time.Duration(float64(len(item.data)) / reads * float64(time.Second)))
	}
	runs[0] = multicast.Run{Data: item.data, Segment: item.segment}
	return 1, nil
}

func (h *simHearer) Dropped() uint64 {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	return h.queue.lost
}

func (h *simHearer) Rejoin() error {
	h.link.mu.Lock()
	defer h.link.mu.Unlock()
	h.link.joined = time.Now()
	h.link.rejoins = append(h.link.rejoins, h.link.joined)
	return nil
}

func (h *simHearer) Close() error {
	h.group.mu.Lock()
	delete(h.group.hearers, h)
	h.group.mu.Unlock()
	h.queue.close()
	return nil
}

// simControl is one end of a control channel.
type simControl struct {
	link    *simLink
	in, out *simQueue
	dead    atomic.Bool // its process was killed: nothing goes out any more
	tap     func(message []byte)
}

func (c *simControl) Send(message []byte) error {
	c.link.mu.Lock()
	lost := c.link.random.Float64() < c.link.control
	at := time.Now().Add(c.link.delay)
	if c.link.jitter > 0 {
		at = at.Add(time.Duration(c.link.random.Int64N(int64(c.link.jitter))))
	}
	c.link.mu.Unlock()
	if !lost && !c.dead.Load() {
		if c.tap != nil {
			c.tap(message)
		}
		c.out.put(simItem{at: at, data: bytes.Clone(message)})
	}
	return nil
}

func (c *simControl) Receive(buf []byte) (int, error) {
	item, err := c.in.get()
	if err != nil {
		return 0, err
	}
	return copy(buf, item.data), nil
}

// Close closes this end only, as with datagrams: the other end hears nothing of it.
func (c *simControl) Close() error { c.in.close(); return nil }

// simContent is a package in memory.
type simContent struct {
	data     []byte
	manifest *crypto.Manifest
	damaged  int // block that turns out damaged, -1 for none
}

func newSimContent(random *rand.Rand, size int) *simContent {
	c := &simContent{data: make([]byte, size), damaged: -1}
	for i := range c.data {
		c.data[i] = byte(random.Uint32())
	}
	b := crypto.NewManifestBuilder()
	_, _ = b.Write(c.data)
	c.manifest = b.Manifest()
	return c
}

func (c *simContent) Size() int64                { return int64(len(c.data)) }
func (c *simContent) Digest() crypto.Hash        { return c.manifest.Digest() }
func (c *simContent) Manifest() *crypto.Manifest { return c.manifest }
func (c *simContent) Close() error               { return nil }
func (c *simContent) ReadBlock(i int, dst []byte) (int, error) {
	if i == c.damaged {
		return 0, errors.New("block is damaged")
	}
	return copy(dst, c.data[i*crypto.BlockSize:][:crypto.BlockLen(c.Size(), i)]), nil
}

// simTarget is a file in memory that survives its client.
type simTarget struct {
	dead     atomic.Bool // nothing gets to the disk any more
	data     []byte
	have     []int
	manifest []byte
	finished bool
	digest   crypto.Hash
	full     bool          // disk full
	slow     time.Duration // per write
	writes   int
	verified int // blocks read back

	mu     sync.Mutex
	stored map[int]bool // blocks that were written; for tests that look on
}

func (f *simTarget) Begin(digest crypto.Hash, size int64) (iter.Seq[int], []byte, error) {
	if f.data == nil || f.digest != digest {
		f.data, f.digest, f.have, f.manifest = make([]byte, size), digest, nil, nil
	}
	return slices.Values(f.have), f.manifest, nil
}

func (f *simTarget) WriteBlock(i int, data []byte) error {
	if f.slow > 0 {
		time.Sleep(f.slow)
	}
	if f.full {
		return errors.New("no space left on device")
	}
	f.writes++
	copy(f.data[i*crypto.BlockSize:], data)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stored == nil {
		f.stored = map[int]bool{}
	}
	f.stored[i] = true
	return nil
}

func (f *simTarget) ReadBlock(i int, dst []byte) (int, error) {
	f.verified++
	return copy(dst, f.data[i*crypto.BlockSize:][:crypto.BlockLen(int64(len(f.data)), i)]), nil
}
func (f *simTarget) WriteAt(p []byte, off int64) (int, error) { return copy(f.data[off:], p), nil }
func (f *simTarget) ReadAt(p []byte, off int64) (int, error)  { return copy(p, f.data[off:]), nil }
func (f *simTarget) Finish() error                            { f.finished = true; return nil }
func (f *simTarget) Checkpoint(have iter.Seq[int], manifest []byte) error {
	if f.dead.Load() {
		return errors.New("the machine is off")
	}
	f.have, f.manifest = collect(have), bytes.Clone(manifest)
	return nil
}

// simFetcher fetches from the content itself.
type simFetcher struct {
	room *room
	lies bool
	slow time.Duration // per block; 0: 1 ms
}

func (f *simFetcher) Manifest(context.Context) ([]byte, error) {
	return f.room.content.manifest.Marshal(), nil
}

func (f *simFetcher) Fetch(ctx context.Context, first, count int, deliver func(int, []byte) error) error {
	buf := make([]byte, crypto.BlockSize)
	for i := first; i < first+count; i++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(cmp.Or(f.slow, time.Millisecond)):
		}
		n, err := f.room.content.ReadBlock(i, buf)
		if err != nil {
			return err
		}
		if f.lies {
			buf[0] ^= 1
		}
		if err := deliver(i, buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// room is a server and its clients.
type room struct {
	t       *testing.T
	random  *rand.Rand
	content *simContent
	encrypt bool
	unicast bool
	ceiling float64
	rules   Rules
	limits  Limits
	others  map[string]*simContent // packages beside w11
	pool    int                    // groups; 0: any number
	lock    lock                   // what holds clients back; nil: nothing
	deploy  func(*Package, Peer)   // changes a package that is opened; nil: nothing

	said func(client string, message []byte) // sees what clients tell the server; nil: nobody

	deployed func(Peer) ([]Deployed, error) // what is listed; nil: nothing

	mu       sync.Mutex
	server   *Server
	groups   []*simGroup
	controls []*simControl
	serving  sync.WaitGroup
	clients  []*roomClient
	ended    []SessionInfo
	applied  []Applied
}

type roomClient struct {
	room     *room
	name     string
	link     *simLink
	target   *simTarget
	receiver *Receiver
	noted    notes
	result   Result
	err      error
	done     chan struct{}
	cancel   context.CancelCauseFunc
	fetcher  *simFetcher
	seed     *simSeed // nil for none

	pkg        string // w11 unless set
	role       string // client unless set
	machine    byte   // of its UUID; 0: none
	bound      byte   // of the UUID in its certificate; 0: none
	askPIN     func(ctx context.Context, reason string) (string, error)
	noUnicast  bool
	maxPayload int
	offered    func(Offer) error    // nil: takes what it gets
	tap        func(message []byte) // sees what the server tells it
	control    *simControl          // the server's end of the latest channel; under the room's mu
}

// notes is what a client's program is told while it runs.
type notes struct {
	mu        sync.Mutex
	events    []Event
	offers    []UnicastOffer
	elsewhere int // times it was sent to another server
}

func (c *roomClient) events() []Event {
	c.noted.mu.Lock()
	defer c.noted.mu.Unlock()
	return slices.Clone(c.noted.events)
}

func (c *roomClient) offers() []UnicastOffer {
	c.noted.mu.Lock()
	defer c.noted.mu.Unlock()
	return slices.Clone(c.noted.offers)
}

func (c *roomClient) elsewhere() int {
	c.noted.mu.Lock()
	defer c.noted.mu.Unlock()
	return c.noted.elsewhere
}

func newRoom(t *testing.T, seed uint64, size int) *room {
	random := rand.New(rand.NewPCG(seed, 1))
	r := &room{t: t, random: random, content: newSimContent(random, size), encrypt: true, unicast: true, ceiling: 40e6}
	r.start()
	return r
}

// start starts a server, as after a crash: it knows nothing.
func (r *room) start() {
	s := NewServer(ServerConfig{
		Open: func(_ context.Context, ref string, peer Peer) (*Package, error) {
			content := r.content
			if ref != "w11" {
				if content = r.others[ref]; content == nil {
					return nil, &RefusedError{Code: 1, Text: "no package " + ref}
				}
			}
			p := &Package{Name: ref + "@1", Encrypt: r.encrypt, Unicast: r.unicast, Content: content, Rules: r.rules}
			if r.deploy != nil {
				r.deploy(p, peer)
			}
			return p, nil
		},
		Deployments: func(_ context.Context, peer Peer) ([]Deployed, error) {
			if r.deployed == nil {
				return nil, nil
			}
			return r.deployed(peer)
		},
		OpenGroup: func() (*Group, error) {
			g := &simGroup{hearers: map[*simHearer]bool{}}
			r.mu.Lock()
			if r.pool > 0 && r.openGroups() >= r.pool {
				r.mu.Unlock()
				return nil, ErrNoGroup
			}
			r.groups = append(r.groups, g)
			n := len(r.groups)
			r.mu.Unlock()
			return &Group{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 195, 16, byte(n)}), 63000), Caster: g}, nil
		},
		Ceiling: r.ceiling, Observer: r, Limits: r.limits, Lock: r.lock,
	})
	r.mu.Lock()
	r.server = s
	r.mu.Unlock()
}

// openGroups counts the groups in use. The caller holds mu.
func (r *room) openGroups() int {
	n := 0
	for _, g := range r.groups {
		g.mu.Lock()
		if !g.closed {
			n++
		}
		g.mu.Unlock()
	}
	return n
}

func (r *room) ClientEnded(SessionInfo, ClientInfo) {}
func (r *room) ClientApplied(a Applied) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.applied = append(r.applied, a)
}

func (r *room) SessionEnded(info SessionInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = append(r.ended, info)
}

// endedSessions returns the sessions that have ended.
func (r *room) endedSessions() []SessionInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ended)
}

// kill ends the server as kill -9 does: nobody is told anything.
func (r *room) kill() {
	r.mu.Lock()
	s, groups, controls := r.server, r.groups, r.controls
	r.controls = nil
	r.server = nil
	r.mu.Unlock()
	for _, g := range groups {
		g.mu.Lock()
		for h := range g.hearers {
			delete(g.hearers, h)
		}
		g.mu.Unlock()
	}
	for _, c := range controls {
		c.dead.Store(true) // the last words get lost
		c.in.close()
	}
	s.Close()
	r.serving.Wait()
}

// stop ends everything that is left.
func (r *room) stop() {
	r.mu.Lock()
	s, controls := r.server, r.controls
	r.mu.Unlock()
	if s != nil {
		s.Close()
	}
	for _, c := range controls {
		c.in.close()
	}
	r.serving.Wait()
}

func (r *room) client(name string) *roomClient {
	c := &roomClient{
		room: r, name: name, target: &simTarget{},
		link: &simLink{random: rand.New(rand.NewPCG(r.random.Uint64(), 2)), delay: 500 * time.Microsecond},
	}
	c.fetcher = &simFetcher{room: r}
	r.clients = append(r.clients, c)
	return c
}

func (c *roomClient) dial(context.Context) (Control, error) {
	r := c.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server == nil {
		return nil, errors.New("nothing answers")
	}
	up, down := newSimQueue(0), newSimQueue(0)
	server := &simControl{link: c.link, in: up, out: down, tap: c.tap}
	r.controls = append(r.controls, server)
	c.control = server
	s := r.server
	r.serving.Go(func() {
		peer := Peer{Name: c.name, Role: cmp.Or(c.role, "client"), Serial: "1", Addr: netip.MustParseAddrPort("10.77.0.2:1000")}
		peer.Machine[15] = c.bound
		_ = s.Serve(context.Background(), peer, server)
	})
	said := &simControl{link: c.link, in: down, out: up}
	if r.said != nil {
		said.tap = func(message []byte) { r.said(c.name, message) }
	}
	return said, nil
}

func (c *roomClient) hear(group netip.AddrPort, _ netip.Addr) (Hearer, error) {
	r := c.room
	r.mu.Lock()
	g := r.groups[group.Addr().As4()[3]-1]
	r.mu.Unlock()
	h := &simHearer{group: g, link: c.link, queue: newSimQueue(cmp.Or(c.link.buffer, 4<<20))}
	g.mu.Lock()
	g.hearers[h] = true
	g.mu.Unlock()
	return h, nil
}

// start begins to receive.
func (c *roomClient) start() *roomClient {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	cfg := ReceiverConfig{
		Package: cmp.Or(c.pkg, "w11"), Dial: c.dial, Elsewhere: func(_ Leave, text string) (Other, string) {
			c.noted.mu.Lock()
			defer c.noted.mu.Unlock()
			c.noted.elsewhere++
			return OtherNone, text
		}, Hear: c.hear, Target: c.target,
		Fetch: func(offer UnicastOffer) (Fetcher, error) {
			c.noted.mu.Lock()
			defer c.noted.mu.Unlock()
			c.noted.offers = append(c.noted.offers, offer)
			return c.fetcher, nil
		},
		Notify: func(e Event) {
			c.noted.mu.Lock()
			defer c.noted.mu.Unlock()
			c.noted.events = append(c.noted.events, e)
		},
	}
	if c.noUnicast {
		cfg.Fetch = nil
	}
	if c.maxPayload > 0 {
		cfg.MaxPayload = func() int { return c.maxPayload }
	}
	if c.seed != nil {
		cfg.Seed = c.seed
	}
	cfg.Offered, cfg.Key = c.offered, NewKey(c.askPIN)
	cfg.Machine.Host, cfg.Machine.UUID[15] = c.name, c.machine
	c.receiver = NewReceiver(cfg)
	seed := c.link.random.Uint64()
	c.receiver.random = rand.New(rand.NewPCG(seed, 3))
	go func() {
		defer close(c.done)
		c.result, c.err = c.receiver.Run(ctx)
	}()
	return c
}

// stop ends the client as kill -9 does, as far as the program can.
func (c *roomClient) stop() {
	c.target.dead.Store(true)
	c.cancel(errors.New("killed"))
	<-c.done
}

func (c *roomClient) event(kind EventKind) bool {
	return slices.ContainsFunc(c.events(), func(e Event) bool { return e.Kind == kind })
}

// wait waits for every client and holds what each received against the image.
func (r *room) wait() {
	r.t.Helper()
	for _, c := range r.clients {
		select {
		case <-c.done:
		case <-time.After(5 * time.Minute):
			var running []SessionInfo
			if r.server != nil {
				running, _ = r.server.Sessions()
			}
			for _, s := range running {
				for _, c := range s.Clients {
					r.t.Logf("%+v", c)
				}
				s.Clients = nil
				r.t.Logf("%+v", s)
			}
			c.cancel(errors.New("never done"))
			<-c.done
			r.t.Errorf("%s: stuck at %+v", c.name, c.receiver.Progress())
		}
		if c.err != nil {
			r.t.Errorf("%s: %v (events %v)", c.name, c.err, c.events())
			continue
		}
		r.check(c)
	}
}

func (r *room) check(c *roomClient) {
	r.t.Helper()
	if !c.target.finished {
		r.t.Errorf("%s: not finished", c.name)
	}
	content := r.content
	if c.pkg != "" {
		content = r.others[c.pkg]
	}
	if !bytes.Equal(c.target.data, content.data) {
		r.t.Errorf("%s: content differs", c.name)
	}
	t := c.result.Totals
	if sum := t.Multicast + t.Unicast + t.Held + t.Seed; sum != content.Size() {
		r.t.Errorf("%s: %d bytes proven (multicast %d, unicast %d, held %d, seed %d), want %d", c.name, sum, t.Multicast, t.Unicast, t.Held, t.Seed, content.Size())
	}
}

// sent adds up what all sessions sent.
func (r *room) sent() (total SentTotals) {
	packages, _ := r.server.Totals()
	return packages["w11@1"].Sent
}

// sourcePackets is how many packets the image takes without loss.
func (r *room) sourcePackets() uint64 {
	geo := newGeometry(r.content.Size(), defaultSymbol)
	n := 0
	for b := geo.m; b < geo.blocks(); b++ {
		n += geo.k(b)
	}
	return uint64(n)
}

// longUnderRace skips a test that takes minutes under the race detector, and whose code other tests go through there.
func longUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("it takes long under the race detector; go test ./test -run Engine runs it without")
	}
}
