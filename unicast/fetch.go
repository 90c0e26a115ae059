package unicast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"wimcast/crypto"
)

// Manifest fetches the marshalled manifest and proves it against the digest. The
// caller owns it. The errors are those of Fetch.
func (c *Client) Manifest(ctx context.Context) ([]byte, error) {
	// The size is the welcome's, but memory is taken only as bytes arrive.
	length := crypto.ManifestLen(c.config.Size)
	var manifest []byte
	err := c.stream(ctx, "manifest", 0, length, length, func(piece []byte) error {
		manifest = append(manifest, piece...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if crypto.Digest(c.config.Size, crypto.Roots(manifest)) != c.config.Digest {
		return nil, c.broken("its manifest doesn't fit the digest")
	}
	return manifest, nil
}

// Fetch gets the image's blocks first to first+count-1 and hands each to deliver,
// whole and in order. data is valid during the call only; it isn't proven. An
// error of deliver ends the fetch and is returned as it is.
//
// Broken connections are resumed where they broke, after a pause. The errors are
// *QueuedError, *RefusedError (matching ErrMulticastOnly, ErrUnknown,
// ErrOutOfService, ErrRefused), *TrustError, *ProtocolError, *UnreachableError,
// and the context's. Blocks delivered before an error count.
//
// The memory taken is one block and the connection's buffers.
func (c *Client) Fetch(ctx context.Context, first, count int, deliver func(block int, data []byte) error) error {
	blocks := crypto.BlockCount(c.config.Size)
	if first < 0 || count < 0 || first > blocks-count {
		return fmt.Errorf("fetch by unicast: %d blocks from %d of an image of %d", count, first, blocks)
	}
	from := int64(first) * crypto.BlockSize
	to := min(int64(first+count)*crypto.BlockSize, c.config.Size)
	block := first
	return c.stream(ctx, "content", from, to, c.config.Size, func(piece []byte) error {
		err := deliver(block, piece)
		block++
		return err
	})
}

// deliverError keeps a consumer's error apart from the network's.
type deliverError struct{ err error }

func (e *deliverError) Error() string { return e.err.Error() }

// stream gets the bytes [from, to) of a thing of total bytes in pieces of a
// block, over as many attempts as it takes.
func (c *Client) stream(ctx context.Context, thing string, from, to, total int64, deliver func([]byte) error) error {
	if from >= to {
		return nil
	}
	s := stream{client: c, thing: thing, at: from, to: to, total: total, deliver: deliver}
	s.piece = make([]byte, 0, min(crypto.BlockSize, to-from))
	failures := 0 // in a row
	for {
		before := s.delivered
		err := s.attempt(ctx)
		if err == nil {
			return nil
		}
		if own, is := errors.AsType[*deliverError](err); is {
			return own.err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("fetch by unicast: %w", context.Cause(ctx))
		}
		if !again(err) {
			return err
		}
		if s.delivered > before {
			failures = 0
		}
		if failures++; failures >= c.config.Attempts {
			return &UnreachableError{Address: c.config.Address, Attempts: failures, Err: err}
		}
		if err := c.pause(ctx, failures); err != nil {
			return err
		}
	}
}

// again reports whether another attempt may mend an error.
func again(err error) bool {
	if _, is := errors.AsType[*QueuedError](err); is {
		return false
	}
	final, is := errors.AsType[interface {
		error
		Final() bool
	}](err)
	return !is || !final.Final()
}

// pause waits before the next attempt, for twice as long each time and not as
// long as anybody else.
func (c *Client) pause(ctx context.Context, failures int) error {
	wait := min(c.config.BackOff<<min(failures-1, 4), 10*c.config.BackOff)
	timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("fetch by unicast: %w", context.Cause(ctx))
	}
}

// stream is what lasts over the attempts of one fetch.
type stream struct {
	client    *Client
	thing     string
	at, to    int64 // the bytes still to come
	total     int64
	piece     []byte // the beginning of the open piece
	deliver   func([]byte) error
	delivered int // pieces
}

// attempt goes on from where the last one stopped, with one request.
func (s *stream) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	guard := time.AfterFunc(s.client.config.Stall, func() { cancel(errStalled) })
	defer guard.Stop()
	response, err := s.client.get(ctx, s.thing, s.at, s.to, s.total)
	if err != nil {
		return cause(ctx, err)
	}
	defer response.Body.Close()
	for s.at < s.to {
		room := s.piece[len(s.piece):min(int64(cap(s.piece)), int64(len(s.piece))+s.to-s.at)]
		n, err := response.Body.Read(room)
		guard.Reset(s.client.config.Stall)
		s.piece = s.piece[:len(s.piece)+n]
		s.at += int64(n)
		if len(s.piece) == cap(s.piece) || s.at == s.to {
			guard.Stop() // a slow disk isn't a slow server
			err := s.deliver(s.piece)
			guard.Reset(s.client.config.Stall)
			if err != nil {
				return &deliverError{err}
			}
			s.piece = s.piece[:0]
			s.delivered++
		}
		switch {
		case err == nil || s.at == s.to:
		case errors.Is(err, io.EOF):
			return errShort
		default:
			return cause(ctx, err)
		}
	}
	if n, _ := response.Body.Read(make([]byte, 1)); n > 0 {
		return s.client.broken("it sends more than was asked for")
	}
	return nil
}

// cause prefers the reason for which an attempt was cancelled to its symptom.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
