package live

import (
	"encoding/json"
	"sync"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// feed is a session that is watched: what the latest look at it brought, for all who watch.
type feed struct {
	id    string
	watch *session.Watch // nil of a session that had ended before

	looking sync.Mutex // held while somebody looks
	clients []api.LiveClient
	sampled time.Time // the newest sample that was told

	viewers int // guarded by the book's lock

	mu    sync.Mutex
	state *state        // nil before the first look
	wake  chan struct{} // closed with the next state
}

// state is what one look brought. It doesn't change any more.
type state struct {
	number uint64 // of the look, from 1 on
	ended  bool
	change []byte // from the look before
	whole  api.Live

	once     sync.Once
	snapshot []byte
}

// text returns the whole, encoded once for all who want it.
func (s *state) text() []byte {
	s.once.Do(func() { s.snapshot = encode(&s.whole) })
	return s.snapshot
}

func encode(l *api.Live) []byte {
	b, err := json.Marshal(l)
	if err != nil {
		panic("live: " + err.Error()) // numbers are finite, all else is strings
	}
	return b
}

// refresh looks at a session, and publishes what it brought.
func (b *Book) refresh(f *feed) {
	f.looking.Lock()
	defer f.looking.Unlock()
	last, _ := f.current()
	if last != nil && last.ended {
		return
	}
	var info session.SessionInfo
	running := false
	if f.watch != nil {
		info, running = f.watch.Look()
	}
	if !running {
		over, lately := b.cfg.Sessions.Ended(f.id)
		if !lately {
			return // it is just ending; the next look sees it
		}
		info = over
	}
	next := &state{number: 1, ended: !running}
	if last != nil {
		next.number = last.number + 1
	}
	described := b.cfg.Describe(&info)
	changed, gone, known := change(next.number, f.clients, clientsOf(&described, &info))
	f.clients = known
	described.Clients = []api.Member{}
	all, latest := b.course(f.id)
	if len(latest) > 0 && !latest[0].Time.After(f.sampled) {
		latest = latest[:0]
	}
	for _, s := range latest {
		f.sampled = s.Time
	}
	cells := session.MapCells(info.Blocks)
	next.change = encode(&api.Live{Session: described, Cells: cells, Clients: changed, Gone: gone, Samples: latest})
	next.whole = api.Live{Session: described, Cells: cells, Clients: known, Samples: all}
	if known == nil {
		next.whole.Clients = []api.LiveClient{}
	}
	f.mu.Lock()
	f.state = next
	close(f.wake)
	f.wake = make(chan struct{})
	f.mu.Unlock()
}

// current returns the latest state, and a channel that is closed with the next.
func (f *feed) current() (*state, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.wake
}

// Frame is an event of a stream.
type Frame struct {
	Kind string // api.LiveSnapshot or api.LiveChange
	Data []byte // JSON of api.Live; shared, not to be changed
	Last bool   // the session has ended: nothing comes after it
}

// Viewer is one who watches. Not safe for concurrent use.
type Viewer struct {
	book *Book
	feed *feed
	seen uint64 // number of the state that was handed out last
	gone bool
}

// Next returns what is new to the viewer, the change where it is but one look behind, and else a snapshot. Where nothing is new the frame
// has no data, and more is closed when there is.
func (v *Viewer) Next() (frame Frame, more <-chan struct{}) {
	now, more := v.feed.current()
	if now == nil {
		v.book.refresh(v.feed) // it is the first who watches
		if now, more = v.feed.current(); now == nil {
			return Frame{}, more
		}
	}
	switch v.seen {
	case now.number:
		return Frame{}, more
	case now.number - 1:
		if v.seen > 0 {
			frame = Frame{Kind: api.LiveChange, Data: now.change, Last: now.ended}
			break
		}
		fallthrough
	default:
		frame = Frame{Kind: api.LiveSnapshot, Data: now.text(), Last: now.ended}
	}
	v.seen = now.number
	return frame, more
}

// Close ends the watching. It may be called more than once.
func (v *Viewer) Close() {
	if !v.gone {
		v.gone = true
		v.book.leave(v.feed)
	}
}
