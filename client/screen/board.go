package screen

import (
	"slices"
	"sync"
	"time"

	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// eventsKept is how many events a Board remembers: more than the highest screen has lines.
const eventsKept = 100

// Board collects what there is to show. Its methods may be called from any goroutine, and don't block.
type Board struct {
	mu      sync.Mutex
	begun   time.Time
	state   State
	follow  func() session.Progress // nil: nothing is being received
	last    session.Progress
	pace    pace
	path    pathWatch
	trouble troubles
	phase   Phase // as was set, when follow is nil
}

// NewBoard returns a board for a client that was asked for something: a deployment or a package.
func NewBoard(asked string, now time.Time) *Board {
	return &Board{begun: now, state: State{Asked: asked}}
}

// Asked sets what is received, when that turns out later.
func (b *Board) Asked(asked string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Asked = asked
}

// Server sets the distribution point that answered.
func (b *Board) Server(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Server = name
}

// Event notes something that happened: session's event kinds, or "notice".
func (b *Board) Event(now time.Time, kind, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Events = append(b.state.Events, Line{At: now, Text: text})
	if n := len(b.state.Events); n > eventsKept {
		b.state.Events = slices.Clone(b.state.Events[n-eventsKept:])
	}
	b.trouble.event(now, kind, text)
}

// Fault sets the trouble that there is, before all that events tell; nil: it is over.
func (b *Board) Fault(f *fault.Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble.set = f
}

// Follow shows the progress of a receiver from now on; nil: there is none any more, and its last state stays.
func (b *Board) Follow(progress func() session.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if progress == nil && b.follow != nil {
		b.last = b.follow()
	}
	b.follow, b.pace = progress, pace{}
}

// Phase sets what the client does while it receives nothing, and a few words on it.
func (b *Board) Phase(p Phase, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.phase, b.state.Detail = p, detail
}

// Applied sets how far the applying is, 0…1.
func (b *Board) Applied(share float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Applied = share
}

// End sets how it ended: with which exit code and, unless that is 0, why.
func (b *Board) End(p Phase, code int, why *fault.Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.phase, b.follow, b.state.Detail, b.state.Code = p, nil, "", code
	b.trouble = troubles{set: why}
}

// State returns what there is to show at a moment. Time may not go back from one call to the next.
func (b *Board) State(now time.Time) State {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.follow != nil {
		b.last = b.follow()
	}
	s, p := b.state, b.last
	s.Events = slices.Clone(s.Events)
	s.Elapsed = now.Sub(b.begun)
	s.Package, s.Size, s.Proven, s.Waiting = p.Package, p.Size, p.Proven, p.Waiting
	s.Room, s.RoomProven = p.Room, p.RoomProven
	s.Phase = b.phase
	if b.follow != nil {
		s.Phase = phaseOf(&p)
		t := &p.Totals
		b.pace.add(now, t.Multicast+t.Unicast+t.Seed)
		s.Rate = b.pace.rate
		s.Left, s.LeftKnown = b.pace.left(p.Size - p.Proven - p.Claimed)
		s.Path = b.path.of(now, &p)
	}
	s.Trouble = b.trouble.now(now, &p, s.Phase)
	return s
}

// phaseOf tells what a receiver does.
func phaseOf(p *session.Progress) Phase {
	switch {
	case p.Waiting.Place > 0, p.Waiting.Start:
		return Waiting
	case p.Size == 0:
		return Looking
	case p.Proven >= p.Size:
		return Writing
	case p.Claimed > 0:
		return Proving
	case p.SessionState == wire.Waiting && p.Proven+p.Unproven == 0 && !p.OnUnicast:
		return Waiting // nothing has been heard, or nothing is cast yet
	}
	return Receiving
}

// pathWatch tells by which path the image comes at the moment.
type pathWatch struct {
	at   time.Time
	seed int64
	path Path
}

// pathEvery is how often the path is looked at: less often than blocks of one path come.
const pathEvery = time.Second

func (w *pathWatch) of(now time.Time, p *session.Progress) Path {
	if w.path != "" && now.Sub(w.at) < pathEvery && w.path != Unicast == !p.OnUnicast {
		return w.path
	}
	seed := p.Totals.Seed
	switch {
	case seed > w.seed && !p.OnUnicast:
		w.path = FromSeed
	case p.OnUnicast:
		w.path = Unicast
	default:
		w.path = Multicast
	}
	w.at, w.seed = now, seed
	return w.path
}
