package screen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"
)

// Implementation constants of the full screen.
const (
	redrawEvery = 250 * time.Millisecond // without a key: a person doesn't read faster, and the cast needs the processor
	framesMost  = 10                     // a second
	answerMost  = 200                    // letters of an answer
)

// Full shows a Board on all of a terminal, and hears its keys. Use NewFull, then Run once.
type Full struct {
	board   *Board
	program *tea.Program
	stop    func()
	look    Look

	mu    sync.Mutex
	asked *question // nil: nothing is asked
	over  bool      // Run has ended: nobody answers any more
	asks  sync.Mutex
}

// question is something that only the person knows.
type question struct {
	prompt string
	hidden bool
	answer chan string // closed without a value: the person doesn't want to say
}

// ErrNoAnswer says that the person at the screen didn't want to answer, or can't.
var ErrNoAnswer = errors.New("no answer")

// NewFull returns a screen that draws on out and hears keys from in, which may be nil. stop is called, once, when the person wants
// it to end. It starts nothing.
func NewFull(board *Board, in io.Reader, out io.Writer, look Look, stop func()) *Full {
	f := &Full{board: board, stop: sync.OnceFunc(stop), look: look}
	f.program = tea.NewProgram(&model{full: f}, tea.WithInput(in), tea.WithOutput(out), tea.WithAltScreen(), tea.WithFPS(framesMost),
		tea.WithoutSignalHandler(), tea.WithoutBracketedPaste())
	return f
}

// Run shows the board until Quit. The terminal is then as it was before, after an error or a panic of the screen too.
func (f *Full) Run() error {
	_, err := f.program.Run()
	f.mu.Lock()
	q := f.asked
	f.over = true
	f.mu.Unlock()
	if q != nil {
		f.reply(q, "", false)
	}
	if err != nil {
		return fmt.Errorf("show the screen: %w", err)
	}
	return nil
}

// Quit ends Run, which may not have begun yet. It doesn't wait for it.
func (f *Full) Quit() { f.program.Quit() }

// Ask asks the person something and waits for the answer. What is typed isn't shown if it is hidden. One question is asked at a time.
func (f *Full) Ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	f.asks.Lock()
	defer f.asks.Unlock()
	q := &question{prompt: prompt, hidden: hidden, answer: make(chan string, 1)}
	f.mu.Lock()
	over := f.over
	if !over {
		f.asked = q
		f.board.ask(prompt)
	}
	f.mu.Unlock()
	if over {
		return "", ErrNoAnswer
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
	f.board.ask("")
	if ok {
		q.answer <- answer
	} else {
		close(q.answer)
	}
}

// model is the screen as Bubble Tea knows it: everything in it belongs to the program's own loop.
type model struct {
	full          *Full
	width, height int
	state         State
	stopping      bool      // whether to stop is asked
	asked         *question // that typed belongs to
	typed         []rune
}

type tick time.Time

func nextTick() tea.Cmd {
	return tea.Tick(redrawEvery, func(t time.Time) tea.Msg { return tick(t) })
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd {
	m.look()
	return nextTick()
}

// Update implements tea.Model.
func (m *model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tick:
		m.look()
		return m, nextTick()
	case tea.WindowSizeMsg:
		m.width, m.height = message.Width, message.Height
	case tea.KeyMsg:
		m.key(message)
		m.look()
	}
	return m, nil
}

// look takes the board's state.
func (m *model) look() {
	m.state = m.full.board.State(time.Now())
	q := m.full.question()
	m.hears(q)
	m.state.Stopping, m.state.Answer = m.stopping, string(m.typed)
	if q != nil && q.hidden {
		m.state.Answer = strings.Repeat("*", len(m.typed))
	}
}

// hears begins an answer when the question is a new one.
func (m *model) hears(q *question) {
	if q != m.asked {
		m.asked, m.typed = q, nil
	}
}

// View implements tea.Model.
func (m *model) View() string { return View(m.state, m.width, m.height, m.full.look) }

// key takes a key.
func (m *model) key(k tea.KeyMsg) {
	m.hears(m.full.question())
	wants := k.Type == tea.KeyCtrlC || m.asked == nil && k.Type == tea.KeyRunes && (string(k.Runes) == "q" || string(k.Runes) == "Q")
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
func (m *model) typing(k tea.KeyMsg) {
	switch k.Type {
	case tea.KeyEnter:
		m.full.reply(m.asked, string(m.typed), true)
	case tea.KeyEsc:
		m.full.reply(m.asked, "", false)
	case tea.KeyBackspace:
		m.typed = m.typed[:max(len(m.typed)-1, 0)]
	case tea.KeyRunes, tea.KeySpace:
		for _, r := range k.Runes {
			if r >= ' ' && r != utf8.RuneError && len(m.typed) < answerMost {
				m.typed = append(m.typed, r)
			}
		}
	}
}
