package session

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast/wire"
)

// lock holds certificates back whose holders must show a PIN first (section 6.10).
type lock interface {
	// Held says why a peer may have nothing yet: a *RefusedError with PINWanted, or with PINLater where no PIN would help. nil: it may.
	Held(peer Peer) *RefusedError
	// Unlock tries a pass, where there is one, or a PIN, and returns another pass. It may take a while. refused has PINWanted
	// (the pass isn't good), PINWrong, or PINLater, with when to come again.
	Unlock(ctx context.Context, peer Peer, pin string, pass [16]byte) (next [16]byte, refused *RefusedError, again time.Duration)
}

// held says why a control channel may have nothing yet; nil when it may.
func (l *link) held() *RefusedError {
	if l.unlocked || l.server.cfg.Lock == nil {
		return nil
	}
	return l.server.cfg.Lock.Held(l.peer)
}

// unlock answers a client that shows a PIN. A message that is repeated is the same try.
func (s *Server) unlock(ctx context.Context, l *link, m *wire.Unlock) {
	if last := l.answered; last != nil && last.Request == m.Request {
		l.send(last)
		return
	}
	answer := &wire.Unlocked{Request: m.Request}
	if l.held() != nil {
		next, refused, again := s.cfg.Lock.Unlock(ctx, l.peer, m.PIN, m.Pass)
		if refused != nil {
			answer.Code, answer.Text, answer.Again = refused.Code, refused.Text, again
			s.cfg.Log.Info("PIN refused", zap.String("certificate", l.peer.Name), zap.Stringer("from", l.peer.Addr), zap.Stringer("why", refused.Code))
		} else {
			l.unlocked, answer.Pass = true, next
		}
	}
	l.answered = answer
	l.send(answer)
}

// Protocol constants of a client that must show a PIN (section 6.10).
const (
	closedAgain  = 5 * time.Second  // between two joins while nobody has opened the room
	unlockWithin = 20 * time.Second // for an answer: the server looks at one PIN at a time
	mostUnlocks  = 3                // in a row that were good, and still the join is refused
)

// heldError says that a join wants a PIN first, or that no PIN would help yet.
type heldError struct {
	code wire.RefusedCode
	text string
}

func (e *heldError) Error() string { return e.text }

// Key is what a client shows where a PIN is wanted. It asks for the PIN once, and keeps it and the pass that it got for it in memory
// alone. It may serve Deployments and a Receiver one after the other; it is not for concurrent use.
type Key struct {
	ask func(ctx context.Context, reason string) (string, error)

	request uint32
	pin     string
	pass    [16]byte
	times   int       // that it was good since it last opened something
	closed  time.Time // since when the room is closed; zero while it isn't
}

// NewKey returns a Key. ask asks for a PIN when a distribution point wants one, and again when it was wrong; reason says which, in
// one sentence. Its error ends what wants the PIN. nil: there is nobody to ask.
func NewKey(ask func(ctx context.Context, reason string) (string, error)) *Key {
	return &Key{ask: ask}
}

// keyhole is a control channel that is locked.
type keyhole struct {
	channel  *channel
	patience time.Duration // for a room that nobody has opened
	waits    func(reason string)
}

// used notes that something was opened.
func (k *Key) used() { k.times, k.closed = 0, time.Time{} }

// open does what a refusal of that kind wants. nil: try again.
func (k *Key) open(ctx context.Context, hole keyhole, held *heldError) error {
	if held.code != wire.PINLater {
		return k.unlock(ctx, hole, held.text)
	}
	if k.pass != [16]byte{} { // the room is closed to newcomers alone
		answer, err := k.show(ctx, hole.channel)
		switch {
		case err != nil:
			return err
		case answer.Code == 0:
			return k.opened(held.text, answer)
		}
	}
	return k.waitOpened(ctx, hole, held.text, closedAgain)
}

// opened notes that the server is content.
func (k *Key) opened(reason string, answer *wire.Unlocked) error {
	if k.times++; k.times > mostUnlocks {
		return fmt.Errorf("%w: %s; the distribution point took the PIN and wants it again: bring client and server to one version", ErrRefused, reason)
	}
	k.pass, k.closed = answer.Pass, time.Time{}
	return nil
}

// unlock shows the pass or the PIN until the server is content, and asks for the PIN where there is none. An error that isn't
// for another try on another channel is ErrRefused.
func (k *Key) unlock(ctx context.Context, hole keyhole, reason string) error {
	for {
		if k.pass == [16]byte{} && k.pin == "" {
			if k.ask == nil {
				return fmt.Errorf("%w: %s", ErrRefused, reason)
			}
			pin, err := k.ask(ctx, reason)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil:
				return fmt.Errorf("%w: %s: %w", ErrRefused, reason, err)
			}
			k.pin = pin
		}
		answer, err := k.show(ctx, hole.channel)
		switch {
		case err != nil:
			return err
		case answer.Code == 0:
			return k.opened(reason, answer)
		case answer.Code == wire.PINWanted:
			reason, k.pass = answer.Text, [16]byte{}
		case answer.Code == wire.PINWrong:
			reason, k.pin = answer.Text, ""
		default:
			if err := k.waitOpened(ctx, hole, answer.Text, max(answer.Again, time.Second)); err != nil {
				return err
			}
		}
	}
}

// show sends one try until it is answered.
func (k *Key) show(ctx context.Context, channel *channel) (*wire.Unlocked, error) {
	k.request++
	try := &wire.Unlock{Request: k.request, Pass: k.pass}
	if try.Pass == [16]byte{} {
		try.PIN = k.pin
	}
	var answer *wire.Unlocked
	err := channel.ask(ctx, try, unlockWithin, func(message wire.Message) bool {
		m, is := message.(*wire.Unlocked)
		answer = m
		return is && m.Request == try.Request
	})
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, err
	}
	return nil, &againError{cause: err}
}

// waitOpened waits until it is time to try again, with an end to all of it.
func (k *Key) waitOpened(ctx context.Context, hole keyhole, reason string, pause time.Duration) error {
	now := time.Now()
	if k.closed.IsZero() {
		k.closed = now
	}
	if now.Sub(k.closed) > hole.patience {
		return fmt.Errorf("%w: %s (for %v)", ErrRefused, reason, now.Sub(k.closed).Round(time.Second))
	}
	hole.waits(reason)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-hole.channel.failed:
		return again("control channel closed: %w", hole.channel.err)
	case <-time.After(pause):
		return nil
	}
}
