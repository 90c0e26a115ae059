package session

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
)

// ServerConfig plugs the outer world into a Server.
type ServerConfig struct {
	// Open opens a package for a client that wants it by name. A *RefusedError
	// reaches the client as it is.
	Open func(ctx context.Context, ref string, peer Peer) (*Package, error)
	// Deployments lists what a client may have, each once, for those who ask before they join. An error is one of Open's. nil: none.
	Deployments func(ctx context.Context, peer Peer) ([]Deployed, error)
	// OpenGroup opens a group that no other session uses. Closing its caster gives it back. When there is none, clients
	// wait for one: ErrNoGroup.
	OpenGroup func() (*Group, error)
	Limits    Limits
	// Ceiling is the most that all sessions together send, in bytes/s of UDP payload.
	Ceiling float64
	// MaxPayload is the largest UDP payload that the network takes, in bytes (0: 1,472).
	MaxPayload int
	// HTTPSPort is where clients reach unicast.
	HTTPSPort uint16
	// Prober opens the way for probe bursts; nil forbids them.
	Prober Prober
	// Lock holds clients back that must show a PIN before anything else; may be nil.
	Lock     lock
	Observer Observer // may be nil
	Watcher  Watcher  // may be nil
	// Number returns the number of the next session, its id without the s, each once; nil counts from 1. It is called in the
	// middle of joins, one at a time, and mustn't wait for the server.
	Number func() int
	// Revoked hears of each unicast token that is good no more; may be nil.
	Revoked func(token [32]byte)
	Log     *zap.Logger
}

// Server is the multicast side of a distribution point. Its methods are safe for
// concurrent use.
type Server struct {
	cfg     ServerConfig
	ctx     context.Context
	stop    context.CancelCauseFunc
	running sync.WaitGroup
	leaving atomic.Bool // sessions end as soon as nobody receives
	clients atomic.Uint32
	dropped dropCounter
	shares  *shares

	mu       sync.Mutex
	sessions map[sessionKey]*sender   // running, by what they cast and how
	casts    map[sessionKey]*castBook // by what they have in common: lane 0
	queue    []*queuedClient
	stopped  map[[16]byte]time.Time // resume tokens of clients of stopped sessions, until when
	probed   map[string]time.Time   // networks that lately had a probe burst
	count    int                    // sessions ever
	closing  bool                   // nobody new may join
	grants   map[tokenHash]Grant
	packages map[string]*PackageTotals
	ended    []SessionInfo // the latest, for those who ask what became of one

	applying   map[[16]byte]*applies // by resume token: who has proven an image
	applyOrder [][16]byte            // the oldest first
}

// sessionKey tells running sessions apart. Packages of one content with the same flags, by the same deployment,
// share a session; a package whose flags change gets another one, while the clients of the old one go on.
type sessionKey struct {
	deployment       string
	digest           crypto.Hash
	encrypt, unicast bool
	lane             int // 0; slowLane for the slower session of the same cast
}

// tokenHash is SHA-256 of a unicast token: looking one up tells nothing of the others.
type tokenHash [sha256.Size]byte

// Grant is what a unicast token is good for.
type Grant struct {
	Digest  crypto.Hash
	Package string
	Client  string
}

// PackageTotals counts, over all sessions of a package since the daemon's start.
type PackageTotals struct {
	Sent                                     SentTotals // of ended sessions; running ones have their own
	NACKs                                    NACKTotals // likewise
	ProvenMulticast, ProvenUnicast           uint64     // bytes
	ProvenSeed                               uint64     // likewise
	LostNetwork, LostReceiveBuffer, LostDisk uint64     // packets
	Rejected, Rejoins                        uint64
	SilentAlarms                             uint64               // of groups that many clients can't hear
	Results                                  map[[2]string]uint64 // by result and path
	Fallbacks                                map[string]uint64    // by reason
}

// link is a control channel as the sessions know it.
type link struct {
	peer    Peer
	control Control
	client  atomic.Uint32 // the client number joined under, 0 before
	server  *Server
	listing listing // owned by Serve
	burst   *burst  // latest probe burst; of the goroutine that reads the channel

	// Owned by Serve.
	unlocked bool           // a PIN was shown
	answered *wire.Unlocked // the latest answer to one
}

// send sends a message; errors are like loss.
func (l *link) send(m wire.Message) {
	if err := l.control.Send(m.Append(nil)); err != nil {
		l.server.dropped.add(dropControlSend)
	}
}

// NewServer returns a server that takes clients through Serve.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.MaxPayload == 0 {
		cfg.MaxPayload = 1472
	}
	ctx, stop := context.WithCancelCause(context.Background())
	return &Server{
		shares: newShares(cfg.Ceiling, cfg.MaxPayload),
		cfg:    cfg, ctx: ctx, stop: stop, sessions: map[sessionKey]*sender{}, casts: map[sessionKey]*castBook{}, grants: map[tokenHash]Grant{}, packages: map[string]*PackageTotals{}, stopped: map[[16]byte]time.Time{}, probed: map[string]time.Time{}, applying: map[[16]byte]*applies{},
	}
}

// Serve reads the control channel of one authenticated client until it closes or
// fails. The caller closes the channel.
func (s *Server) Serve(ctx context.Context, peer Peer, control Control) error {
	l := &link{peer: peer, control: control, server: s}
	var current *sender
	buf := make([]byte, wire.MaxControl+1)
	for {
		n, err := control.Receive(buf)
		if err != nil {
			return err
		}
		message, err := wire.Parse(buf[:n])
		if err != nil {
			s.dropped.add(dropMalformed)
			continue
		}
		switch message := message.(type) {
		case *wire.Unlock:
			s.unlock(ctx, l, message)
		case *wire.Join:
			if joined := s.join(ctx, l, message); joined != nil {
				current = joined
			}
		case *wire.DeploymentsWanted:
			s.tellDeployments(ctx, l, message)
		case *wire.ProbeWanted:
			s.probe(l, message)
		case *wire.Applied:
			s.hearApplied(l, message)
		case wire.Addressed:
			if current == nil {
				s.dropped.add(dropStranger)
				continue
			}
			current.post(func(sender *sender) { sender.hear(l, message) })
		default:
			s.dropped.add(dropMalformed) // a message that only servers send
		}
	}
}

// join finds or starts the session that a client wants, and hands the join to it.
func (s *Server) join(ctx context.Context, l *link, join *wire.Join) *sender {
	refuse := func(err error) {
		refused := s.refusal(l, join.Package, err)
		l.send(&wire.Refused{Request: join.Request, Code: refused.Code, Text: refused.Text})
	}
	if held := l.held(); held != nil {
		refuse(held)
		return nil
	}
	if err := l.peer.claims(&join.Machine); err != nil {
		refuse(err)
		return nil
	}
	pkg, err := s.cfg.Open(ctx, join.Package, l.peer)
	if err != nil {
		refuse(err)
		return nil
	}
	key := sessionKey{deployment: pkg.Deployment, digest: pkg.Content.Digest(), encrypt: pkg.Encrypt, unicast: pkg.Unicast}
	decided := s.admit(l, key, pkg, join)
	var session *sender
	if decided.admitted() {
		key.lane = decided.lane
		if session, err = s.sessionFor(key, pkg); errors.Is(err, ErrNoGroup) {
			decided, err = s.withoutGroup(l, key, pkg, join), nil
			if decided.admitted() {
				key.lane = decided.lane
				session, err = s.sessionFor(key, pkg)
			}
		}
	}
	if !decided.admitted() {
		_ = pkg.Content.Close()
	}
	switch {
	case decided.refused != nil:
		refuse(decided.refused)
		return nil
	case decided.queued != nil:
		l.send(decided.queued)
		return nil
	case err != nil:
		refuse(err)
		return nil
	}
	number := s.clients.Add(1)
	why, apply := pkg.UnicastOnly, pkg.Apply
	session.post(func(sender *sender) { sender.join(l, join, number, why, apply) })
	return session
}

// refusal is what a client is told of an error, and logs it.
func (s *Server) refusal(l *link, pkg string, err error) *RefusedError {
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok {
		s.cfg.Log.Error("join failed", zap.String("package", pkg), zap.Stringer("from", l.peer.Addr), zap.Error(err))
		return &RefusedError{Code: wire.OutOfService, Text: "the distribution point can't cast the package now; its log says why"}
	}
	s.cfg.Log.Info("join refused", zap.String("package", pkg), zap.Stringer("from", l.peer.Addr), zap.String("reason", refused.Text))
	return refused
}

// sessionFor returns the running session of a package in a lane, or starts one. It takes
// over pkg, unless it returns ErrNoGroup.
func (s *Server) sessionFor(key sessionKey, pkg *Package) (*sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		_ = pkg.Content.Close()
		return nil, &RefusedError{Code: wire.ServerStops, Text: "the distribution point is stopping; try again in a minute"}
	}
	if running := s.sessions[key]; running != nil {
		_ = pkg.Content.Close()
		return running, nil
	}
	group, err := noGroup(), error(nil)
	if key.lane != unicastLane {
		group, err = s.cfg.OpenGroup()
	}
	if err != nil {
		if !errors.Is(err, ErrNoGroup) {
			_ = pkg.Content.Close()
		}
		return nil, fmt.Errorf("start session of %s: %w", pkg.Name, err)
	}
	session := s.newSender(key, pkg, group)
	s.sessions[key] = session
	s.shares.setTotal(time.Now(), s.cfg.Ceiling)
	s.running.Go(func() { session.run(s.ctx) })
	session.log.Info("session started", zap.Stringer("group", group.Addr), zap.Stringer("mode", session.mode),
		zap.Int64("bytes", session.geo.image), zap.Int("symbol", session.geo.symbol))
	return session, nil
}

func (s *Server) newSender(key sessionKey, pkg *Package, group *Group) *sender {
	now := time.Now()
	s.count++
	number := s.count
	if s.cfg.Number != nil {
		number = s.cfg.Number()
	}
	id := fmt.Sprintf("s%d", number)
	geo := newGeometry(pkg.Content.Size(), s.symbolSize())
	manifest := pkg.Content.Manifest().Marshal()
	_, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic("session: " + err.Error()) // crypto/rand never fails
	}
	session := &sender{
		id: id, key: key, lane: key.lane, rules: s.rulesFor(key, pkg), session: crypto.NewSessionID(), pkg: pkg, group: group, geo: geo, server: s,
		log:  s.cfg.Log.With(zap.String("session", id), zap.String("package", pkg.Name), zap.String("deployment", pkg.Deployment)),
		mail: make(chan func(*sender), mailboxLength), stopped: make(chan struct{}),
		mode: crypto.Clear, epoch: 1, secret: crypto.NewSecret(), signer: signer, number: 1,
		manifest: manifest, roots: crypto.Roots(manifest), need: newBitset(geo.blocks()), debts: newDebtBook(),
		next: make([]uint8, geo.blocks()), turnAt: make([]uint64, geo.blocks()), codes: codes{}, law: newRateLaw(s.cfg.Ceiling), pacer: multicast.NewPacer(rateStart, geo.packet(), 0), roster: newRoster(),
		random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), sentSince: now, aloneAt: now,
		arena: make([]byte, 0, max(runLimit, geo.packet())+geo.packet()),
	}
	if pkg.Encrypt {
		session.mode = crypto.Encrypted
	}
	session.arena = session.arena[:cap(session.arena)]
	session.turn.source = make([]byte, 0, (crypto.BlockSize/geo.symbol+1)*geo.symbol)
	session.keys = crypto.NewKeys(session.mode, session.session, pkg.Content.Digest(), session.secret, session.number)
	if key.lane != 0 {
		session.schedule.open(now, "") // its clients have waited, or don't wait for each other
	}
	session.info = SessionInfo{
		ID: id, Session: session.session, Package: pkg.Name, Deployment: pkg.Deployment, Digest: pkg.Content.Digest(), Mode: session.mode, Unicast: pkg.Unicast, Lane: key.lane,
		Group: group.Addr, Started: now, ImageSize: geo.image, Blocks: geo.b, Symbol: geo.symbol, Progress: now,
	}
	return session
}

// symbolSize returns the largest symbol whose packets the network takes.
func (s *Server) symbolSize() int {
	for _, size := range symbolSizes {
		if packetOverhead+size <= s.cfg.MaxPayload {
			return size
		}
	}
	return symbolSizes[len(symbolSizes)-1]
}

// sessionEnded takes a session out of the books.
func (s *Server) sessionEnded(session *sender, info SessionInfo) {
	s.mu.Lock()
	delete(s.sessions, session.key)
	s.forgetCast(session.key)
	totals := s.totalsLocked(info.Package)
	totals.Sent.add(info.Sent)
	totals.NACKs.add(info.NACKs)
	s.ended = append(s.ended, info)
	s.ended = s.ended[max(0, len(s.ended)-endedKept):]
	s.mu.Unlock()
	s.shares.leave(session)
	if s.cfg.Observer != nil {
		s.cfg.Observer.SessionEnded(info)
	}
}

// endedKept is how many ended sessions are remembered in memory.
const endedKept = 32

func (t *SentTotals) add(o SentTotals) {
	t.SourcePackets += o.SourcePackets
	t.ParityPackets += o.ParityPackets
	t.ManifestPackets += o.ManifestPackets
	t.ControlPackets += o.ControlPackets
	t.SourceBytes += o.SourceBytes
	t.ParityBytes += o.ParityBytes
	t.ManifestBytes += o.ManifestBytes
	t.ControlBytes += o.ControlBytes
	t.Errors += o.Errors
}

func (t *NACKTotals) add(o NACKTotals) {
	t.Served += o.Served
	t.Merged += o.Merged
	t.Limited += o.Limited
}

func (s *Server) totals(name string, change func(*PackageTotals)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.totalsLocked(name))
}

func (s *Server) totalsLocked(name string) *PackageTotals {
	t := s.packages[name]
	if t == nil {
		t = &PackageTotals{Results: map[[2]string]uint64{}, Fallbacks: map[string]uint64{}}
		s.packages[name] = t
	}
	return t
}

func (s *Server) grant(token [32]byte, g Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants[sha256.Sum256(token[:])] = g
}

func (s *Server) revoke(token [32]byte) {
	if token == [32]byte{} {
		return
	}
	s.mu.Lock()
	delete(s.grants, sha256.Sum256(token[:]))
	s.mu.Unlock()
	if s.cfg.Revoked != nil {
		s.cfg.Revoked(token)
	}
}

// Grant returns what a unicast token is good for; false for a token that isn't, or
// is no longer, valid. Tokens die with eviction, with the client's end and with the session.
func (s *Server) Grant(token [32]byte) (Grant, bool) {
	if token == [32]byte{} {
		return Grant{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.grants[sha256.Sum256(token[:])]
	return g, ok
}

// Sessions returns the running sessions, oldest first, then those ended lately.
func (s *Server) Sessions() (running, ended []SessionInfo) {
	s.mu.Lock()
	senders := slices.Collect(maps.Values(s.sessions))
	ended = slices.Clone(s.ended)
	s.mu.Unlock()
	for _, session := range senders {
		var info SessionInfo
		if session.ask(func(sender *sender) { info = sender.snapshot() }) {
			running = append(running, info)
		}
	}
	slices.SortFunc(running, func(a, b SessionInfo) int { return a.Started.Compare(b.Started) })
	return running, ended
}

// Totals returns the counters of each package, running sessions included, and the
// packets dropped by reason.
func (s *Server) Totals() (packages map[string]PackageTotals, dropped map[string]uint64) {
	running, _ := s.Sessions()
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := map[string]bool{}
	for _, session := range s.sessions {
		ids[session.id] = true
	}
	packages = map[string]PackageTotals{}
	for name, t := range s.packages {
		c := *t
		c.Results, c.Fallbacks = maps.Clone(t.Results), maps.Clone(t.Fallbacks)
		packages[name] = c
	}
	for _, info := range running {
		if !ids[info.ID] {
			continue // it ended meanwhile, and is in the totals already
		}
		t := packages[info.Package]
		t.Sent.add(info.Sent)
		t.NACKs.add(info.NACKs)
		packages[info.Package] = t
	}
	return packages, s.dropped.snapshot()
}

// find returns a running session by its short id.
func (s *Server) find(id string) (*sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		if session.id == id {
			return session, nil
		}
	}
	for _, info := range s.ended {
		if info.ID == id {
			return nil, fmt.Errorf("session %s has ended (%s); nothing changed", id, info.Reason)
		}
	}
	return nil, fmt.Errorf("no session %s; list them: wimcast session list", id)
}

// Stop ends a session. Its clients are told the reason, and don't come back by themselves.
func (s *Server) Stop(id, reason string) error {
	session, err := s.find(id)
	if err != nil {
		return err
	}
	if !session.ask(func(sender *sender) { sender.stopAll(reason) }) {
		return fmt.Errorf("session %s has just ended; nothing changed", id)
	}
	<-session.stopped
	return nil
}
