package live

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// maxViewers is how many may watch at a time, over all sessions.
const maxViewers = 32

// Errors of Open.
var (
	// ErrUnknown: there is no such session, and there was none lately.
	ErrUnknown = errors.New("no such session")
	// ErrFull: too many watch already.
	ErrFull = errors.New("too many watch already")
)

// Config is what a Book needs. All fields are required.
type Config struct {
	Sessions *session.Server
	// Describe turns a session, clients included, into what the API says of it.
	Describe func(*session.SessionInfo) api.Session
}

// Book keeps the course of each session, and has those who watch one. Safe for concurrent use.
type Book struct {
	cfg Config

	mu      sync.Mutex
	courses map[string]*series // by session
	feeds   map[string]*feed   // likewise, of those that are watched
	viewers int
}

// New returns a Book. It starts nothing.
func New(cfg Config) *Book {
	return &Book{cfg: cfg, courses: map[string]*series{}, feeds: map[string]*feed{}}
}

// Run samples the sessions each second until ctx ends.
func (b *Book) Run(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			b.look(time.Now())
		}
	}
}

// look samples all sessions, and looks at those that are watched.
func (b *Book) look(now time.Time) {
	pulses := b.cfg.Sessions.Pulses()
	b.mu.Lock()
	running := make(map[string]bool, len(pulses))
	for i := range pulses {
		p := &pulses[i]
		running[p.ID] = true
		s := b.courses[p.ID]
		if s == nil {
			s = &series{}
			b.courses[p.ID] = s
		}
		s.add(now, *p)
	}
	for id := range b.courses {
		if !running[id] {
			if _, lately := b.cfg.Sessions.Ended(id); !lately {
				delete(b.courses, id)
			}
		}
	}
	feeds := make([]*feed, 0, len(b.feeds))
	for _, f := range b.feeds {
		feeds = append(feeds, f)
	}
	b.mu.Unlock()
	for _, f := range feeds {
		b.refresh(f)
	}
}

// Viewers returns how many watch.
func (b *Book) Viewers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.viewers
}

// Open begins to watch a session, or looks once more at one that ended lately. The caller closes what it returns. The errors wrap
// ErrUnknown or ErrFull, and say what to do.
func (b *Book) Open(id string) (*Viewer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.viewers >= maxViewers {
		return nil, fmt.Errorf("%d watch sessions already: %w; close one, or poll GET /v1/sessions", maxViewers, ErrFull)
	}
	f := b.feeds[id]
	if f == nil {
		f = &feed{id: id, wake: make(chan struct{})}
		watch, err := b.cfg.Sessions.Watch(id)
		if err != nil {
			if _, lately := b.cfg.Sessions.Ended(id); !lately {
				return nil, fmt.Errorf("%s: %w; list them: wimcast session list", id, ErrUnknown)
			}
		} else {
			f.watch = watch
		}
		b.feeds[id] = f
	}
	f.viewers++
	b.viewers++
	return &Viewer{book: b, feed: f}, nil
}

// leave closes a viewer; with the last of a session nobody watches it any more.
func (b *Book) leave(f *feed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.viewers--
	if f.viewers--; f.viewers == 0 {
		delete(b.feeds, f.id)
		if f.watch != nil {
			f.watch.Close()
		}
	}
}

// course returns a copy of a session's samples, and the newest of them.
func (b *Book) course(id string) (all, latest []api.LiveSample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.courses[id]
	if s == nil {
		s = &series{}
	}
	return s.all(), s.latest()
}
