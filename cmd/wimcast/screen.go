package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	display "wimcast/client/screen"
	"wimcast/multicast/fault"
	"wimcast/session"
)

// screen shows a person, or a program, how it goes. It chooses the way: JSON where that was asked for, all of the terminal where
// there is one that can, lines otherwise.
type screen struct {
	c       *console
	journal *journal // of every event
	board   *display.Board
	lines   *display.Lines

	mu        sync.Mutex
	full      *display.Full // nil: not on all of the terminal
	ended     chan struct{} // closed when full has given the terminal back
	look      display.Look
	stop      context.CancelCauseFunc
	halted    func() error // not nil: the command was told to end
	applyTold time.Time    // when progress of applying was last told in JSON
	said      bool         // the last screen told how it ended
}

// tickEvery is how often progress is looked at.
const tickEvery = 250 * time.Millisecond

// errStopped ends a command that the person at the screen stopped.
var errStopped = errors.New("stopped; what is there stays, and is resumed; next: the same command again")

// newScreen returns a screen. It shows nothing before the first event, or open.
func newScreen(c *console) *screen {
	return &screen{c: c, journal: new(journal), board: display.NewBoard("", time.Now()), lines: display.NewLines(c.err)}
}

// open takes all of the terminal, where there is one that can, until close or result. The context that it returns ends when the
// person stops it. Opening it again changes nothing.
func (s *screen) open(ctx context.Context) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, _ := s.c.err.(*os.File)
	look, can := display.Terminal(out, os.Getenv)
	if s.c.json || s.full != nil || !can {
		return ctx
	}
	var in *os.File
	if term.IsTerminal(int(os.Stdin.Fd())) {
		in = os.Stdin
	}
	ctx, s.stop = context.WithCancelCause(ctx)
	s.halted = ctx.Err
	full := display.NewFull(s.board, in, out, look, func() { s.stop(errStopped) })
	s.full, s.look, s.ended = full, look, make(chan struct{})
	go func() {
		defer close(s.ended)
		if err := full.Run(); err != nil {
			s.mu.Lock()
			s.full = nil // lines go on
			s.mu.Unlock()
			s.event("notice", err.Error())
		}
	}()
	return ctx
}

// close gives the terminal back. It returns whether there was a full screen until now.
func (s *screen) close() bool {
	s.mu.Lock()
	full, ended := s.full, s.ended
	s.mu.Unlock()
	if ended == nil {
		return false
	}
	if full != nil {
		full.Quit()
	}
	<-ended
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := s.full != nil
	s.full, s.ended = nil, nil
	return shown
}

// onFull returns the full screen; nil without one.
func (s *screen) onFull() *display.Full {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *screen) line(e getEvent) {
	e.Time = time.Now().UTC()
	b, err := json.Marshal(e)
	if err != nil {
		panic("wimcast: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.c.out, "%s\n", b)
}

// asked says what is received: a deployment or a package.
func (s *screen) asked(name string) { s.board.Asked(name) }

// server says which distribution point answered.
func (s *screen) server(name string) { s.board.Server(name) }

// event says that something happened, in one line.
func (s *screen) event(kind, text string) {
	s.journal.add(getEvent{Event: kind, Text: text})
	now := time.Now()
	s.board.Event(now, kind, text)
	switch {
	case s.c.json:
		s.line(getEvent{Event: kind, Text: text})
	case s.onFull() == nil:
		s.lines.Event(now, text)
	}
}

// phase says what is being done while nothing is received, and a few words on it.
func (s *screen) phase(p display.Phase, detail string) { s.board.Phase(p, detail) }

// applied says how much of an image has been applied, 0…1.
func (s *screen) applied(share float64) {
	s.board.Applied(share)
	if !s.c.json && s.onFull() == nil {
		s.lines.Tick(time.Now(), s.board.State(time.Now()))
	}
}

// fault says what is wrong, until it is something else; nil: nothing is any more. kind is of the event.
func (s *screen) fault(kind string, f *fault.Fault) {
	s.board.Fault(f)
	if f != nil {
		s.event(kind, f.String())
	}
}

// follow shows progress until the returned function is called.
func (s *screen) follow(r *session.Receiver) (stop func()) {
	s.board.Follow(r.Progress)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(tickEvery)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-ticker.C:
				s.tick(now, r)
			}
		}
	})
	return func() { close(done); running.Wait(); s.board.Follow(nil) }
}

func (s *screen) tick(now time.Time, r *session.Receiver) {
	switch {
	case s.c.json:
		if p := r.Progress(); p.Size > 0 {
			s.line(progressEvent(&p))
		}
	case s.onFull() == nil:
		s.lines.Tick(now, s.board.State(now))
	}
}

func progressEvent(p *session.Progress) getEvent {
	path := "multicast"
	if p.OnUnicast {
		path = "unicast"
	}
	return getEvent{
		Event: eventProgress, Proven: p.Proven, Size: p.Size, Rate: p.Rate, Path: path, Totals: &p.Totals, Room: p.Room, RoomProven: p.RoomProven,
	}
}

// result shows how it ended, and gives the terminal back.
func (s *screen) result(result outcome, file string, err error) {
	s.end(err)
	if s.c.json {
		s.line(resultEvent(&result, file, err))
		return
	}
	if err != nil {
		return
	}
	t := result.Totals
	seed := ""
	if t.Seed > 0 {
		seed = ", " + bytesText(float64(t.Seed)) + " seed"
	}
	_, _ = fmt.Fprintf(s.c.out, "%s proven: %s in %s (%s multicast, %s unicast, %s held%s), %d packets lost, %d symbols repaired, SHA-256 %x\n",
		file, bytesText(float64(result.Size)), result.Elapsed.Round(100*time.Millisecond), bytesText(float64(t.Multicast)), bytesText(float64(t.Unicast)),
		bytesText(float64(t.Held)), seed, t.Lost, t.Repaired, result.SHA256)
	if a := result.Applied; a != nil {
		_, _ = fmt.Fprintln(s.c.out, appliedText(a))
	}
}

// end closes the full screen, and leaves what it showed last where the terminal scrolls.
func (s *screen) end(err error) {
	phase, why := display.Done, (*fault.Fault)(nil)
	if err != nil {
		phase = display.Failed
		if s.halted != nil && s.halted() != nil { // by a key or a signal
			phase = display.Stopped
		}
		f := display.Sentence("failed", err.Error())
		why = &f
	}
	s.board.End(phase, exitCode(err), why)
	out, _ := s.c.err.(*os.File)
	if !s.close() {
		return
	}
	width, height := display.Size(out)
	_, _ = fmt.Fprintln(out, display.View(s.board.State(time.Now()), width, height-belowLast, s.look))
	s.said = true
}

// belowLast is what the last screen leaves room for, in lines: the result, and the next prompt.
const belowLast = 4

// told marks an error that the last screen told, so that it isn't said twice.
func (s *screen) told(err error) error {
	if err == nil || !s.said {
		return err
	}
	return &saidError{err}
}

// saidError was told to the person already.
type saidError struct{ error }

func (e *saidError) Unwrap() error { return e.error }
