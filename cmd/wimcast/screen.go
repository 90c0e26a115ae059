package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"wimcast/session"
)

// screen shows a person, or a program, how it goes.
type screen struct {
	c       *console
	tty     bool
	journal *journal // of every event

	mu   sync.Mutex
	bar  *progressbar.ProgressBar
	last time.Time
}

func newScreen(c *console) *screen {
	s := &screen{c: c, journal: new(journal)}
	if f, ok := c.err.(*os.File); ok && !c.json {
		s.tty = term.IsTerminal(int(f.Fd()))
	}
	return s
}

func (s *screen) line(e getEvent) {
	e.Time = time.Now().UTC()
	b, err := json.Marshal(e)
	if err != nil {
		panic("wimcast: " + err.Error())
	}
	_, _ = fmt.Fprintf(s.c.out, "%s\n", b)
}

func (s *screen) event(kind, text string) {
	s.journal.add(getEvent{Event: kind, Text: text})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.c.json:
		s.line(getEvent{Event: kind, Text: text})
	case s.bar != nil:
		_ = s.bar.Clear()
		_, _ = fmt.Fprintf(s.c.err, "%s\n", text)
	default:
		_, _ = fmt.Fprintf(s.c.err, "%s %s\n", time.Now().Format(time.TimeOnly), text)
	}
}

// follow shows progress until the returned function is called.
func (s *screen) follow(r *session.Receiver) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				s.progress(r.Progress())
			}
		}
	})
	return func() { close(done); running.Wait() }
}

func (s *screen) progress(p session.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := "multicast"
	if p.OnUnicast {
		path = "unicast"
	}
	waits := waitsFor(&p.Waiting)
	switch {
	case waits != "" && !s.c.json && !s.tty && time.Since(s.last) >= 30*time.Second:
		s.last = time.Now()
		_, _ = fmt.Fprintf(s.c.err, "%s %s\n", s.last.Format(time.TimeOnly), waits)
	case p.Size == 0:
	case s.c.json:
		s.line(getEvent{Event: eventProgress, Proven: p.Proven, Size: p.Size, Rate: p.Rate, Path: path, Totals: &p.Totals})
	case s.tty:
		if s.bar == nil {
			s.bar = progressbar.NewOptions64(p.Size, progressbar.OptionSetWriter(s.c.err), progressbar.OptionShowBytes(true),
				progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
		}
		if waits == "" {
			waits = fmt.Sprintf("%s, %s, %d clients", p.Package, path, p.Clients)
		}
		s.bar.Describe(waits)
		_ = s.bar.Set64(p.Proven)
	case waits == "" && time.Since(s.last) >= 5*time.Second:
		s.last = time.Now()
		_, _ = fmt.Fprintf(s.c.err, "%s %s: %d %% proven, %s/s by %s\n", s.last.Format(time.TimeOnly), p.Package, p.Proven*100/p.Size, bytesText(p.Rate), path)
	}
}

// waitsFor says what a client waits for; "" for nothing.
func waitsFor(w *session.Waiting) string {
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

func (s *screen) result(result outcome, file string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Clear()
	}
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

// bytesText writes a number of bytes as people read it.
func bytesText(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
