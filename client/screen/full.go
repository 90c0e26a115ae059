package screen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Implementation constants of the full screen.
const (
	redrawEvery = 250 * time.Millisecond // a person doesn't read faster, and the cast needs the processor
	redrawLeast = 100 * time.Millisecond // between two after keys, however fast they come
	answerMost  = 200                    // letters of an answer
)

// Full shows a Board on all of a terminal, and hears its keys. Use NewFull, then Run once.
type Full struct {
	board   *Board
	in, out *os.File
	stop    func()
	look    Look
	quit    chan struct{}
	closed  sync.Once
	wake    chan struct{} // something is asked

	mu    sync.Mutex
	asked *question  // nil: nothing is asked
	over  bool       // Run has ended: nobody answers any more
	asks  sync.Mutex // one question at a time
}

// question is something that only the person knows.
type question struct {
	prompt string
	hidden bool
	answer chan string // closed without a value: the person doesn't want to say
}

// ErrNoAnswer says that the person at the screen didn't want to answer, or can't.
var ErrNoAnswer = errors.New("no answer")

// NewFull returns a screen that draws on the terminal out and hears keys from the terminal in; nil for none. stop is called, once,
// when the person wants it to end. It starts nothing.
func NewFull(board *Board, in, out *os.File, look Look, stop func()) *Full {
	return &Full{board: board, in: in, out: out, look: look, stop: sync.OnceFunc(stop), quit: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// Run shows the board until Quit. The terminal is then as it was before, after an error or a panic of the screen too.
func (f *Full) Run() (err error) {
	defer f.end()
	t, err := takeTTY(f.in, f.out)
	if err != nil {
		return fmt.Errorf("show the screen: %w", err)
	}
	defer func() {
		t.giveBack()
		if r := recover(); r != nil {
			err = fmt.Errorf("show the screen: %w: %v", errPanic, r)
		}
	}()
	m := &model{full: f}
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	due := time.NewTimer(0) // the first drawing
	defer due.Stop()
	var drawn time.Time
	soon := func() { due.Reset(max(redrawLeast-time.Since(drawn), 0)) }
	for {
		select {
		case <-f.quit:
			return nil
		case <-tick.C:
		case <-due.C:
		case <-f.wake:
			soon()
			continue
		case sent := <-t.keys:
			for _, k := range keys(sent) {
				m.key(k)
			}
			soon()
			continue
		}
		drawn = time.Now()
		width, height := t.size()
		if err := t.draw(View(m.state(drawn), width, height, f.look)); err != nil {
			return fmt.Errorf("show the screen: %w", err)
		}
	}
}

// end lets nobody wait for an answer any more.
func (f *Full) end() {
	f.mu.Lock()
	q := f.asked
	f.over = true
	f.mu.Unlock()
	if q != nil {
		f.reply(q, "", false)
	}
}

// Quit ends Run, which may not have begun yet. It doesn't wait for it.
func (f *Full) Quit() { f.closed.Do(func() { close(f.quit) }) }

// Ask asks the person something and waits for the answer. What is typed isn't shown if it is hidden. One question is asked at a time.
func (f *Full) Ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	f.asks.Lock()
	defer f.asks.Unlock()
	q := &question{prompt: prompt, hidden: hidden, answer: make(chan string, 1)}
	f.mu.Lock()
	over := f.over
	if !over {
		f.asked = q
	}
	f.mu.Unlock()
	if over {
		return "", ErrNoAnswer
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
	select {
	case answer, ok := <-q.answer:
		if !ok {
			return "", ErrNoAnswer
		}
		return answer, nil
	case <-ctx.Done():
		f.reply(q, "", false)
		return "", context.Cause(ctx)
	}
}

// question returns what is asked at the moment; nil for nothing.
func (f *Full) question() *question {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// reply answers a question, unless it has been answered.
func (f *Full) reply(q *question, answer string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked != q {
		return
	}
	f.asked = nil
	if ok {
		q.answer <- answer
	} else {
		close(q.answer)
	}
}

// model is what keys change. It belongs to Run.
type model struct {
	full     *Full
	stopping bool      // whether to stop is asked
	asked    *question // that typed belongs to
	typed    []rune
}

// state is what there is to show.
func (m *model) state(now time.Time) State {
	s := m.full.board.State(now)
	m.hears()
	s.Stopping = m.stopping
	if m.asked != nil {
		s.Prompt, s.Answer = m.asked.prompt, string(m.typed)
		if m.asked.hidden {
			s.Answer = strings.Repeat("*", len(m.typed))
		}
	}
	return s
}

// hears begins an answer when the question is a new one.
func (m *model) hears() {
	if q := m.full.question(); q != m.asked {
		m.asked, m.typed = q, nil
	}
}

// key takes a key.
func (m *model) key(k key) {
	m.hears()
	wants := k == keyCtrlC || m.asked == nil && (k == 'q' || k == 'Q')
	switch {
	case m.stopping && wants:
		m.full.stop()
	case m.stopping:
		m.stopping = false
	case wants:
		m.stopping = true
	case m.asked != nil:
		m.typing(k)
	}
}

// typing takes a key of an answer.
func (m *model) typing(k key) {
	switch k {
	case keyEnter:
		m.full.reply(m.asked, string(m.typed), true)
	case keyEscape:
		m.full.reply(m.asked, "", false)
	case keyBackspace:
		m.typed = m.typed[:max(len(m.typed)-1, 0)]
	default:
		if k >= ' ' && len(m.typed) < answerMost {
			m.typed = append(m.typed, rune(k))
		}
	}
}
