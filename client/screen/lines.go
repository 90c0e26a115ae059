package screen

import (
	"fmt"
	"io"
	"sync"
	"time"

	"wimcast/session"
)

// Implementation constants of plain lines: a log, not a display.
const (
	progressEvery = 5 * time.Second
	waitingEvery  = 30 * time.Second
)

// Lines shows a Board as lines of text, where there is no terminal that can do more. Its methods may be called from any goroutine.
type Lines struct {
	w io.Writer

	mu   sync.Mutex
	last time.Time // of the latest line on progress
}

// NewLines returns lines that go to w.
func NewLines(w io.Writer) *Lines { return &Lines{w: w} }

// Event writes something that happened.
func (l *Lines) Event(now time.Time, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.w, "%s %s\n", now.Format(time.TimeOnly), text)
}

// Tick writes a line on how it goes, when it is time for one.
func (l *Lines) Tick(now time.Time, s State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text, every := "", progressEvery
	waits := WaitsFor(&s.Waiting)
	switch {
	case waits != "":
		text, every = waits, waitingEvery
	case s.Phase == Receiving && s.Size > 0:
		text = fmt.Sprintf("%s: %d %% proven, %s/s by %s", s.Package, s.Proven*100/s.Size, amount(s.Rate), s.Path)
		if s.LeftKnown {
			text += ", about " + roughly(s.Left) + " left"
		}
		if s.Room > 0 {
			text += fmt.Sprintf(", %d of %d done", s.RoomProven, s.Room)
		}
	case s.Phase == Proving:
		text = fmt.Sprintf("%s: %d %% proven, proving what an earlier try left", s.Package, s.Proven*100/s.Size)
	case s.Phase == Applying:
		text = fmt.Sprintf("%s: %d %% applied", s.Package, percent(s.Applied))
	}
	if text != "" && now.Sub(l.last) >= every {
		l.last = now
		_, _ = fmt.Fprintf(l.w, "%s %s\n", now.Format(time.TimeOnly), text)
	}
}

// WaitsFor says what a client waits for; "" for nothing.
func WaitsFor(w *session.Waiting) string {
	switch {
	case w.Start && w.Minimum > 0:
		return fmt.Sprintf("waiting for the start: %d of %d clients, %v at most", w.Clients, w.Minimum, w.StartIn.Round(time.Second))
	case w.Start:
		return fmt.Sprintf("waiting for the start: %d clients, %v at most", w.Clients, w.StartIn.Round(time.Second))
	case w.Place > 0:
		return fmt.Sprintf("place %d in the queue: %s", w.Place, w.Reason)
	}
	return ""
}
