package screen

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"go.uber.org/goleak"
	"golang.org/x/term"

	"wimcast/session"
)

// person is somebody at a terminal.
type person struct {
	t   *testing.T
	ptm *os.File
	tty *os.File

	mu   sync.Mutex
	seen bytes.Buffer
	news chan struct{}
	gone chan struct{}
}

func newPerson(t *testing.T, width, height int) *person {
	t.Helper()
	ptm, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	if err := pty.Setsize(ptm, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, ptm: ptm, tty: tty, news: make(chan struct{}, 1), gone: make(chan struct{})}
	go func() {
		defer close(p.gone)
		buf := make([]byte, 4096)
		for {
			n, err := ptm.Read(buf)
			p.mu.Lock()
			p.seen.Write(buf[:n])
			p.mu.Unlock()
			select {
			case p.news <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *person) resize(width, height int) {
	p.t.Helper()
	if err := pty.Setsize(p.ptm, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) leave() {
	_ = p.tty.Close()
	_ = p.ptm.Close()
	<-p.gone
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := p.ptm.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits until a text was written, after all that was seen before.
func (p *person) sees(text string) {
	p.t.Helper()
	deadline := time.After(time.Minute)
	for {
		p.mu.Lock()
		all := p.seen.String()
		if i := strings.Index(all, text); i >= 0 {
			p.seen.Next(i + len(text))
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		select {
		case <-p.news:
		case <-deadline:
			p.t.Fatalf("%q was never shown; since the last that was:\n%q", text, all)
		}
	}
}

// TestFull: the screen comes, follows, asks before it stops, and gives the terminal back as it was.
func TestFull(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPerson(t, 80, 25)
	defer p.leave()
	before, err := term.GetState(int(p.tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	b := NewBoard("lab12", time.Now())
	b.Follow(func() session.Progress {
		return session.Progress{Package: "w11@1", Size: 1000, Proven: 470, Room: 24, RoomProven: 12}
	})
	stopped := make(chan struct{})
	f := NewFull(b, p.tty, p.tty, Look{}, func() { close(stopped) })
	ran := make(chan error, 1)
	go func() { ran <- f.Run() }()
	p.sees("\x1b[?1049h")
	p.sees("RECEIVING")
	p.sees("the room: 12 of 24 done")
	b.Event(time.Now(), "notice", "the disk is slow")
	p.sees("the disk is slow")

	p.types("q")
	p.sees("Stop?")
	p.types("x")
	p.sees("can go on later")
	select {
	case <-stopped:
		t.Fatal("stopped, though the answer was no")
	default:
	}
	p.types("\x03")
	p.sees("Stop?")
	p.types("\x03\x03")
	<-stopped

	f.Quit()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	p.sees("\x1b[?1049l")
	if after, err := term.GetState(int(p.tty.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal isn't as it was: %v, %v, %v", before, after, err)
	}
}

// TestFullAsks: what is asked is answered, hidden where it is a secret, and not answered by Esc, a context's end, or the screen's.
func TestFullAsks(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPerson(t, 80, 25)
	defer p.leave()
	f := NewFull(NewBoard("lab12", time.Now()), p.tty, p.tty, Look{}, func() { t.Error("stopped by a letter of an answer") })
	ran := make(chan error, 1)
	go func() { ran <- f.Run() }()
	type said struct {
		text string
		err  error
	}
	ask := func(ctx context.Context, prompt string, hidden bool) chan said {
		answer := make(chan said, 1)
		go func() {
			text, err := f.Ask(ctx, prompt, hidden)
			answer <- said{text, err}
		}()
		p.sees(prompt)
		return answer
	}
	answer := ask(t.Context(), "PIN of room12", true)
	p.types("1q5x\x7f6\r")
	if got := <-answer; got.text != "1q56" || got.err != nil {
		t.Errorf("answer %+v", got)
	}
	p.mu.Lock()
	if all := p.seen.String(); strings.Contains(all, "1q") {
		t.Errorf("the secret was shown: %q", all)
	}
	p.mu.Unlock()
	answer = ask(t.Context(), "Which deployment", false)
	p.types("lab 12")
	p.sees("lab 12_")
	p.types("\r")
	if got := <-answer; got.text != "lab 12" || got.err != nil {
		t.Errorf("answer %+v", got)
	}
	answer = ask(t.Context(), "One more thing", false)
	p.types("\x1b")
	if got := <-answer; !errors.Is(got.err, ErrNoAnswer) {
		t.Errorf("after Esc %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	answer = ask(ctx, "And another", false)
	cancel()
	if got := <-answer; !errors.Is(got.err, context.Canceled) {
		t.Errorf("after the context's end %+v", got)
	}
	answer = ask(t.Context(), "The last one", false)
	f.Quit()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if got := <-answer; !errors.Is(got.err, ErrNoAnswer) {
		t.Errorf("after the screen's end %+v", got)
	}
	if _, err := f.Ask(t.Context(), "Anybody there", false); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("asked after the screen's end: %v", err)
	}
}

// TestFullResize: a window that changes is drawn anew.
func TestFullResize(t *testing.T) {
	defer goleak.VerifyNone(t)
	p := newPerson(t, 80, 25)
	defer p.leave()
	f := NewFull(NewBoard("lab12", time.Now()), p.tty, p.tty, Look{}, func() {})
	ran := make(chan error, 1)
	go func() { ran <- f.Run() }()
	p.sees(strings.Repeat("-", 79))
	p.resize(40, 12)
	p.sees("\x1b[2J")
	p.sees(strings.Repeat("-", 39) + "\x1b")
	for _, size := range [][2]int{{1, 1}, {3, 200}, {0, 0}, {200, 3}, {80, 25}} {
		p.resize(size[0], size[1])
		p.sees("\x1b[2J")
	}
	p.sees(strings.Repeat("-", 79))
	f.Quit()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
}

// TestFullPanic: a screen that panics gives the terminal back, and says so to whoever runs it; the receiving goes on.
func TestFullPanic(t *testing.T) {
	p := newPerson(t, 80, 25)
	defer p.leave()
	before, err := term.GetState(int(p.tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	b := NewBoard("lab12", time.Now())
	f := NewFull(b, p.tty, p.tty, Look{}, func() {})
	ran := make(chan error, 1)
	go func() { ran <- f.Run() }()
	p.sees("LOOKING")
	b.Follow(func() session.Progress { panic("a fault of ours") })
	if err := <-ran; err == nil {
		t.Error("Run ended without an error")
	}
	p.sees("\x1b[?1049l")
	if after, err := term.GetState(int(p.tty.Fd())); err != nil || *after != *before {
		t.Errorf("the terminal isn't as it was: %v, %v", after, err)
	}
}

// TestTerminal: a full screen comes up only where it can be shown.
func TestTerminal(t *testing.T) {
	p := newPerson(t, 80, 25)
	defer p.leave()
	env := func(vars ...string) func(string) string {
		return func(name string) string {
			for _, v := range vars {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value
				}
			}
			return ""
		}
	}
	for _, tc := range []struct {
		name string
		env  func(string) string
		look Look
		can  bool
	}{
		{"xterm, UTF-8", env("TERM=xterm-256color", "LANG=de_DE.UTF-8"), Look{Blocks: true, Colour: true}, true},
		{"no locale", env("TERM=linux"), Look{Colour: true}, true},
		{"LC_ALL wins", env("TERM=linux", "LC_ALL=C", "LANG=C.UTF-8"), Look{Colour: true}, true},
		{"NO_COLOR", env("TERM=xterm", "LANG=C.utf8", "NO_COLOR=1"), Look{Blocks: true}, true},
		{"dumb", env("TERM=dumb", "LANG=C.UTF-8"), Look{}, false},
		{"no TERM", env("LANG=C.UTF-8"), Look{}, false},
	} {
		if look, can := Terminal(p.tty, tc.env); look != tc.look || can != tc.can {
			t.Errorf("%s: %+v, %v", tc.name, look, can)
		}
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, can := Terminal(file, env("TERM=xterm")); can {
		t.Error("a file is taken for a terminal")
	}
	if _, can := Terminal(nil, env("TERM=xterm")); can {
		t.Error("nothing is taken for a terminal")
	}
}
