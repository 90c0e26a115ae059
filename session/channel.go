package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wimcast/multicast/wire"
)

// channel reads a control channel into a mailbox.
type channel struct {
	control  Control
	messages chan wire.Message // overload drops the newest: requests are repeated
	failed   chan struct{}     // closed when reading failed
	err      error             // why; read after failed is closed
	heard    time.Time         // latest sign of life; owned by the receiver
}

func newChannel(control Control) *channel {
	c := &channel{control: control, messages: make(chan wire.Message, 256), failed: make(chan struct{}), heard: time.Now()}
	go func() {
		defer close(c.failed)
		buf := make([]byte, wire.MaxControl+1)
		for {
			n, err := control.Receive(buf)
			if err != nil {
				c.err = err
				return
			}
			message, err := wire.Parse(buf[:n])
			if err != nil {
				continue // from an authenticated server: a version we don't know
			}
			select {
			case c.messages <- message:
			default:
			}
		}
	}()
	return c
}

// left returns a message that came before the channel failed and wasn't taken yet; nil: there is none.
func (c *channel) left() wire.Message {
	select {
	case m := <-c.messages:
		return m
	default:
		return nil
	}
}

// send sends a message; an error is like loss, and shows as silence.
func (c *channel) send(m wire.Message) { _ = c.control.Send(m.Append(nil)) }

func (c *channel) close() {
	_ = c.control.Close()
	<-c.failed
}

// errNoAnswer ends ask.
var errNoAnswer = errors.New("the distribution point doesn't answer")

// ask sends a request again and again until a message is taken as its answer, for most at the longest. Its errors are ctx's cause, errNoAnswer,
// or why the channel closed.
func (c *channel) ask(ctx context.Context, request wire.Message, most time.Duration, takes func(wire.Message) bool) error {
	deadline := time.Now().Add(most)
	for attempt := 0; time.Now().Before(deadline); attempt++ {
		c.send(request)
		timer := time.NewTimer(retry(attempt))
		for waiting := true; waiting; {
			var message wire.Message
			select {
			case <-ctx.Done():
				timer.Stop()
				return context.Cause(ctx)
			case <-c.failed:
				if message = c.left(); message == nil {
					timer.Stop()
					return fmt.Errorf("control channel closed: %w", c.err)
				}
			case <-timer.C:
				waiting = false
			case message = <-c.messages:
			}
			if message != nil && takes(message) {
				timer.Stop()
				return nil
			}
		}
	}
	return errNoAnswer
}
