package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// Protocol constants of a client (section 7).
const (
	silentRejoin  = 2 * time.Second
	rejoinEvery   = 5 * time.Second
	silentUnicast = 10 * time.Second
	silentGiveUp  = 30 * time.Second
	serverGone    = 3 * time.Second
	controlGone   = 9 * time.Second
	reportPeriod  = 50 * time.Millisecond
	quickPeriod   = 10 * time.Millisecond // of reports in the first second of hearing, of few clients
	quickFor      = time.Second
	quickClients  = 8
)

// Implementation constants of a client.
const (
	tickEvery       = 10 * time.Millisecond
	tickLeast       = 2 * time.Millisecond   // between two looks at timers while packets come
	publishEvery    = 100 * time.Millisecond // Progress
	checkpointBytes = 64 << 20
	checkpointEvery = 5 * time.Second
	firstContact    = 30 * time.Second // how long an unreachable server is tried before the first welcome
	redialFirst     = 500 * time.Millisecond
	redialMost      = 5 * time.Second
	doneTries       = 10
	patience        = 10 * time.Minute // unless the caller has another
)

// Errors that end a Receiver's Run, for exit codes. Each is wrapped with what
// happened and what to do next.
var (
	// ErrUnreachable: no server answered.
	ErrUnreachable = errors.New("distribution point unreachable")
	// ErrRefused: credentials or rules say no.
	ErrRefused = errors.New("refused")
	// ErrSilent: the group stays silent, and the package is multicast-only or this client
	// was told not to use unicast.
	ErrSilent = errors.New("the group stays silent, and there is no other way")
	// ErrEvicted: the operator evicted this client.
	ErrEvicted = errors.New("evicted")
	// ErrTarget: the image can't be stored.
	ErrTarget = errors.New("target")
	// ErrDamaged: content keeps failing its hash.
	ErrDamaged = errors.New("content damaged")
)

// ReceiverConfig plugs the outer world into a Receiver.
type ReceiverConfig struct {
	Package string // name, name@version or digest
	Machine wire.Machine
	// MaxPayload returns the largest UDP payload that reaches this machine, in bytes. It is asked once there is a control
	// channel. nil: 1,472.
	MaxPayload func() int
	// Dial opens a control channel. An error with Final() true isn't tried again.
	Dial func(ctx context.Context) (Control, error)
	// Elsewhere is told when the server has no place for this client, and says what Dial may bring; it is what Dial goes by. all is what
	// each server said, for the end. nil: there is no other.
	Elsewhere func(why Leave, text string) (other Other, all string)
	// Taken is told of each welcome: the server has a place for this client. May be nil.
	Taken func()
	// Hear joins a group.
	Hear func(group netip.AddrPort, source netip.Addr) (Hearer, error)
	// Fetch makes a fetcher for what a welcome offers; nil where there is no unicast.
	Fetch  func(offer UnicastOffer) (Fetcher, error)
	Target Target
	// Offered hears what each welcome offers, before Target's Begin; an error of it ends Run as it is, and the server is told. May be nil.
	Offered func(offer Offer) error
	// Key is shown where the distribution point wants a PIN; Run alone uses it meanwhile. nil: there is none.
	Key *Key
	// Seed is what there is of the image already; Run closes it, before Target's Finish. nil: nothing.
	Seed Seed
	// Notify hears of events, one after the other but from several goroutines; it must not block. May be nil.
	Notify func(Event)
	Log    *zap.Logger // may be nil
	// Patience is how long a server that was there once may stay away, and a room may stay closed (0: 10 minutes).
	Patience time.Duration
}

// UnicastOffer is what a fetcher needs to know.
type UnicastOffer struct {
	Port    uint16
	Token   [32]byte
	Digest  crypto.Hash
	Size    int64
	Package string
}

// Offer is what a welcome says of the content.
type Offer struct {
	Package string // name@version
	Digest  crypto.Hash
	Size    int64 // bytes
	Apply   Apply
}

// EventKind is what an event is about; a closed set.
type EventKind string

// The events of a client's life.
const (
	EventDialing   EventKind = "dialing"
	EventJoined    EventKind = "joined"
	EventResumed   EventKind = "resumed" // blocks of an earlier try are being proven again
	EventManifest  EventKind = "manifest"
	EventRejoined  EventKind = "group_rejoined"
	EventUnicast   EventKind = "unicast"
	EventQueued    EventKind = "queued"
	EventGone      EventKind = "server_gone"
	EventRejected  EventKind = "block_rejected"
	EventNewEpoch  EventKind = "epoch"
	EventNotice    EventKind = "notice"
	EventProven    EventKind = "proven"
	EventMulticast EventKind = "multicast" // first packet of the group heard
	EventMoved     EventKind = "moved"     // to another session of the package, with what is there
	EventWaiting   EventKind = "waiting"   // for the session to start
	EventSeed      EventKind = "seed"      // what came of the seed
	EventLocked    EventKind = "locked"    // nobody has opened the room yet, or too many try
)

// Event is something that a person at the client may want to know.
type Event struct {
	Kind EventKind
	Text string
}

// Progress is a client's state at one moment.
type Progress struct {
	Package      string // name@version, once welcomed
	Size         int64  // bytes
	Proven       int64  // bytes whose hash was checked
	Unproven     int64  // bytes stored, waiting for the manifest
	Rate         float64
	Loss         float64 // share of the last period
	SessionState wire.State
	SessionRate  float64
	Clients      int
	Room         int   // clients of the whole cast, those that are done included; 0 where the group doesn't tell
	RoomProven   int   // of them: have it all, this one included once it has
	Claimed      int64 // bytes of an earlier try, to be proven again
	OnUnicast    bool
	Group        netip.AddrPort
	Silent       time.Duration // since the group's last packet
	Waiting      Waiting
	Totals       ReceiverTotals
}

// Waiting is what a client waits for before it receives. The zero value is nothing.
type Waiting struct {
	Start   bool          // for the session to start
	Minimum int           // clients that start it; 0: not their number
	Clients int           // that wait, this one included
	StartIn time.Duration // until it starts at the latest

	Place  int    // in the queue for a place, from 1 on; 0: it has one
	Reason string // why there is none yet
}

// ReceiverTotals counts over the whole Run.
type ReceiverTotals struct {
	Multicast, Unicast, Held, Seed int64 // bytes proven, by where they came from
	Packets                        uint64
	Lost                           uint64 // packets
	KernelDrops, DiskDrops         uint64
	Repaired                       uint64 // source symbols restored from parity
	Duplicate                      uint64 // symbols of no use: held already
	Rejected                       uint64 // blocks
	Rejoins, Reconnects            int
	NACKs                          uint64
	UnicastReason                  string
	Drops                          map[string]uint64
}

// Result is what a Run ended with.
type Result struct {
	Package string
	Digest  crypto.Hash
	Size    int64
	SHA256  [32]byte // from the manifest that proved the content
	Elapsed time.Duration
	Totals  ReceiverTotals
	Ticket  Ticket // for TellApplied
}

// Receiver gets one image. Use New…, then Run once.
type Receiver struct {
	cfg      ReceiverConfig
	log      *zap.Logger
	progress atomic.Pointer[Progress]
	dropped  dropCounter
	random   *rand.Rand
	nonce    [16]byte

	// Owned by the goroutine that runs Run; guarded by the hearing's lock while there is one.
	started time.Time
	resume  [16]byte  // token of the latest welcome,
	client  uint32    // and the number in it
	begun   bool      // a session of the package has cast: there is nothing more to wait for
	waited  string    // latest EventWaiting or EventQueued,
	waitAt  time.Time // when,
	startAt time.Time // and the latest start that it named
	image   *imageState
	totals  ReceiverTotals
	prover  *prover
	request uint32
}

// NewReceiver returns a receiver. It starts nothing.
func NewReceiver(cfg ReceiverConfig) *Receiver {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.MaxPayload == nil {
		cfg.MaxPayload = func() int { return 1472 }
	}
	if cfg.Key == nil {
		cfg.Key = NewKey(nil)
	}
	if cfg.Patience == 0 {
		cfg.Patience = patience
	}
	r := &Receiver{cfg: cfg, log: cfg.Log, nonce: randomToken[[16]byte](), random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	r.progress.Store(&Progress{})
	return r
}

// Progress returns the latest state; safe from any goroutine.
func (r *Receiver) Progress() Progress { return *r.progress.Load() }

func (r *Receiver) notify(kind EventKind, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.log.Info("event", zap.String("kind", string(kind)), zap.String("text", text))
	if r.cfg.Notify != nil {
		r.cfg.Notify(Event{Kind: kind, Text: text})
	}
}

// Run gets the image: it returns nil only after every block was proven and the target
// finished. Losing the server is not an error until patience runs out.
func (r *Receiver) Run(ctx context.Context) (result Result, failed error) {
	r.started = time.Now()
	r.prover = newProver(r.cfg.Target)
	defer func() {
		if failed != nil && !errors.Is(failed, ErrTarget) {
			r.keep()
		}
	}()
	defer r.prover.close()
	defer r.endSeed()
	lastSeen, seenOnce := r.started, false
	wait := redialFirst
	for attempt := 0; ; attempt++ {
		err := r.connect(ctx, attempt, &lastSeen, &seenOnce)
		if err == nil {
			return r.result(), nil
		}
		if ctx.Err() != nil {
			return r.result(), context.Cause(ctx)
		}
		again, ok := errors.AsType[*againError](err)
		switch {
		case !ok:
			return r.result(), err
		case again.now:
			continue
		}
		patience := firstContact
		if seenOnce {
			patience = r.cfg.Patience
		}
		away := time.Since(lastSeen)
		if away > patience {
			return r.result(), fmt.Errorf("%w for %v: %w", ErrUnreachable, away.Round(time.Second), again.cause)
		}
		if away < 2*serverGone {
			wait = redialFirst
		}
		r.notify(EventGone, "%v; trying again in %v", again.cause, wait)
		select {
		case <-ctx.Done():
			return r.result(), context.Cause(ctx)
		case <-time.After(wait):
		}
		wait = min(2*wait, redialMost)
	}
}

// againError ends one connection but not the receiving. now: there is another server to ask, at once.
type againError struct {
	cause error
	now   bool
}

func (e *againError) Error() string { return e.cause.Error() }
func (e *againError) Unwrap() error { return e.cause }

func again(format string, args ...any) error { return &againError{cause: fmt.Errorf(format, args...)} }

// connect dials, joins and receives, until done or the connection is of no more use.
func (r *Receiver) connect(ctx context.Context, attempt int, lastSeen *time.Time, seenOnce *bool) error {
	if attempt > 0 {
		r.totals.Reconnects++
	}
	r.notify(EventDialing, "looking for the distribution point")
	control, err := r.cfg.Dial(ctx)
	if err != nil {
		if isFinal(err) {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return &againError{cause: err}
	}
	channel := newChannel(control)
	defer channel.close()
	for {
		welcome, err := r.join(ctx, channel, lastSeen, seenOnce)
		if held, ok := errors.AsType[*heldError](err); ok {
			waits := func(reason string) { r.waits(time.Now(), EventLocked, reason) }
			err = r.cfg.Key.open(ctx, keyhole{channel, r.cfg.Patience, waits}, held)
			*lastSeen, *seenOnce = time.Now(), true
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		r.cfg.Key.used()
		if r.cfg.Taken != nil {
			r.cfg.Taken()
		}
		*lastSeen, *seenOnce = time.Now(), true
		r.resume, r.client = welcome.Resume, welcome.Client
		if err := r.begin(welcome); err != nil {
			channel.send(&wire.Done{Client: welcome.Client, Result: wire.Failed, Reason: err.Error()})
			return err
		}
		err = r.hearSession(ctx, channel, welcome)
		*lastSeen = channel.heard
		if !errors.Is(err, errMoved) {
			return err
		}
	}
}

// errMoved ends a client's part in a session, as it is to join another one.
var errMoved = errors.New("moved to another session of the package")

// join asks for a place until there is an answer.
func (r *Receiver) join(ctx context.Context, channel *channel, lastSeen *time.Time, seenOnce *bool) (*wire.Welcome, error) {
	r.request++
	join := &wire.Join{
		Request: r.request, Nonce: r.nonce, Resume: r.resume, MaxPayload: uint16(min(r.cfg.MaxPayload(), math.MaxUint16)), NoUnicast: r.cfg.Fetch == nil, Begun: r.begun,
		Machine: r.cfg.Machine, Package: r.cfg.Package,
	}
	if r.image != nil {
		join.Held, join.HeldBlocks = r.image.digest, uint32(r.image.have.count)
	}
	deadline := time.Now().Add(serverGone)
	for attempt := 0; ; attempt++ {
		channel.send(join)
		timer := time.NewTimer(retry(attempt))
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return nil, context.Cause(ctx)
			case <-channel.failed:
				timer.Stop()
				return nil, again("control channel closed: %w", channel.err)
			case <-timer.C:
				waiting = false
			case message := <-channel.messages:
				switch m := message.(type) {
				case *wire.Queued:
					if m.Request != join.Request {
						continue
					}
					*lastSeen, *seenOnce = time.Now(), true
					if other, _ := r.elsewhere(LeaveFull, m.Text); other == OtherNow {
						return nil, &againError{cause: errors.New(m.Text), now: true}
					}
					r.queued(m)
					timer.Reset(max(m.Again, retry(0)))
					attempt, deadline = -1, time.Now().Add(m.Again+serverGone)
				case *wire.Welcome:
					if m.Request == join.Request {
						timer.Stop()
						return m, r.checkWelcome(m)
					}
				case *wire.Refused:
					if m.Request != join.Request {
						continue
					}
					timer.Stop()
					if m.Code == wire.ServerStops {
						*lastSeen, *seenOnce = time.Now(), true
					}
					return nil, r.refusal(m.Code, m.Text)
				}
			}
		}
		if time.Now().After(deadline) {
			return nil, again("the distribution point doesn't answer the join")
		}
	}
}

// queued notes that there is no place yet.
func (r *Receiver) queued(m *wire.Queued) {
	p := *r.progress.Load()
	p.Waiting = Waiting{Place: int(m.Place), Reason: m.Text}
	r.progress.Store(&p)
	r.waits(time.Now(), EventQueued, fmt.Sprintf("place %d in the queue: %s", m.Place, m.Text))
}

// waits tells what the client waits for, when that is new, and not all the time.
func (r *Receiver) waits(now time.Time, kind EventKind, text string) {
	if text != r.waited && now.Sub(r.waitAt) >= waitNews {
		r.waited, r.waitAt = text, now
		r.notify(kind, "%s", text)
	}
}

// checkWelcome refuses a welcome that makes no sense.
func (r *Receiver) checkWelcome(w *wire.Welcome) error {
	mode := crypto.Mode(w.Mode)
	if !validSymbol(int(w.SymbolSize)) || w.ImageSize > crypto.MaxImageSize || (mode != crypto.Encrypted && mode != crypto.Clear) || !w.Group.IsValid() && !w.Alone() {
		return fmt.Errorf("%w: the distribution point's welcome makes no sense to this version (symbol %d, mode %d); update the client", ErrRefused, w.SymbolSize, w.Mode)
	}
	return nil
}

func (r *Receiver) result() Result {
	res := Result{Elapsed: time.Since(r.started), Totals: r.totals, Ticket: Ticket{Client: r.client, Resume: r.resume}}
	res.Totals.Drops = r.dropped.snapshot()
	res.Package = r.Progress().Package
	if r.image != nil {
		res.Digest, res.Size = r.image.digest, r.image.geo.image
		if r.image.manifest != nil {
			res.SHA256 = r.image.manifest.SHA256
		}
	}
	return res
}
