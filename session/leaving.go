package session

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// errStops ends the sessions of a server that stops.
var errStops = errors.New("the distribution point stops; going on with what is there, here or elsewhere, as soon as one answers")

// Drain refuses new clients, ends the sessions in which nobody receives or that wait for their start, and waits for the others
// to end, as long as the context allows.
func (s *Server) Drain(ctx context.Context) error {
	s.leave()
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave lets nobody new in, and has sessions look whether they are still needed.
func (s *Server) leave() {
	s.mu.Lock()
	s.closing = true
	s.leaving.Store(true)
	senders := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	for _, one := range senders {
		one.post(func(*sender) {})
	}
}

// Close ends all sessions at once and waits for them. Their clients are told that the server stops: they join again with what they have,
// here or elsewhere, as soon as one answers. It may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.stop(errStops)
	s.running.Wait()
}

// lingers is how long the session stays after its last client.
func (s *sender) lingers() time.Duration {
	if s.server.leaving.Load() {
		return 0
	}
	return lingerFor
}

// tendLeaving ends a session of a server that stops, when its clients only wait for the start.
func (s *sender) tendLeaving() {
	if s.server.leaving.Load() && s.waiting() {
		s.ending, s.stops = errStops.Error(), true
	}
}
