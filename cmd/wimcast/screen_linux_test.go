package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"

	"wimcast/multicast/fault"
)

// atTerminal opens a terminal, and reads all that is written to it until text returns it.
func atTerminal(t *testing.T) (ptm, tty *os.File, text func() string) {
	t.Helper()
	ptm, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close(); _ = ptm.Close() })
	all := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(ptm) // ends with an error once nobody has the other end
		all <- string(b)
	}()
	return ptm, tty, func() string {
		_ = tty.Close()
		return <-all
	}
}

func sameTerminal(t *testing.T, tty *os.File, before *term.State) {
	t.Helper()
	after, err := term.GetState(int(tty.Fd()))
	if err != nil || *after != *before {
		t.Errorf("the terminal isn't as it was: %v, %v", after, err)
	}
}

// TestScreenPanic: a command that panics gives the terminal back.
func TestScreenPanic(t *testing.T) {
	t.Setenv("TERM", "xterm")
	_, tty, text := atTerminal(t)
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		s := newScreen(&console{out: io.Discard, err: tty})
		defer s.close()
		ctx := s.open(t.Context())
		if s.open(ctx) != ctx {
			t.Error("opened twice")
		}
		panic("a fault of ours")
	}()
	sameTerminal(t, tty, before)
	if shown := text(); strings.Count(shown, "\x1b[?1049h") != 1 || strings.Count(shown, "\x1b[?1049l") != 1 {
		t.Errorf("terminal: %q", shown)
	}
}

// TestScreenEnds: the last screen says how it ended, once, and a second close changes nothing.
func TestScreenEnds(t *testing.T) {
	t.Setenv("TERM", "xterm")
	_, tty, text := atTerminal(t)
	s := newScreen(&console{out: io.Discard, err: tty})
	s.open(t.Context())
	s.asked("lab12")
	s.event("notice", "a word on the way")
	failed := &codedError{exitDisk, errors.New("write a.wim: no room; next: another volume")}
	s.result(outcome{}, "a.wim", failed)
	if s.close() {
		t.Error("closed twice")
	}
	if err := s.told(failed); exitCode(err) != exitDisk || !errors.Is(err, failed) {
		t.Errorf("told as %v, exit code %d", err, exitCode(err))
	} else if _, said := errors.AsType[*saidError](err); !said {
		t.Error("would be said twice")
	}
	_, last, _ := strings.Cut(text(), "\x1b[?1049l")
	for _, want := range []string{"FAILED", "exit code 6", "! write a.wim: no room", "> another volume", "a word on the way"} {
		if !strings.Contains(last, want) {
			t.Errorf("%q isn't on the last screen: %q", want, last)
		}
	}
}

// TestScreenLines: without a terminal the sentences are lines, and an error stays to be said at the end.
func TestScreenLines(t *testing.T) {
	var b strings.Builder
	s := newScreen(&console{out: io.Discard, err: &b})
	if ctx := s.open(t.Context()); ctx != t.Context() {
		t.Error("a screen came up")
	}
	s.fault("network", &fault.Fault{Kind: "no_link", Text: "no link on eth0", Next: "plug the cable in"})
	s.fault("", nil)
	failed := errors.New("refused")
	s.result(outcome{}, "a.wim", failed)
	if !strings.HasSuffix(b.String(), " no link on eth0; next: plug the cable in\n") || strings.Count(b.String(), "\n") != 1 {
		t.Errorf("%q", &b)
	}
	if _, said := errors.AsType[*saidError](s.told(failed)); said || s.told(nil) != nil {
		t.Error("nobody was told")
	}
}

// TestAskNobody: without a terminal there is an error that says how else, and nothing waits.
func TestAskNobody(t *testing.T) {
	for _, json := range []bool{true, false} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close(); _ = out.Close() })
		stdin := os.Stdin
		os.Stdin = in
		_, err = newScreen(&console{out: io.Discard, err: io.Discard, json: json}).ask(t.Context(), "PIN of room12", true)
		os.Stdin = stdin
		if err == nil || !strings.Contains(err.Error(), "--pin") || !strings.Contains(err.Error(), "WIMCAST_PIN") {
			t.Errorf("json %v: %v", json, err)
		}
	}
}

// TestReadAnswer: a plain terminal is asked without showing a secret, and is as it was when nobody waits any more.
func TestReadAnswer(t *testing.T) {
	ptm, tty, text := atTerminal(t)
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []bool{false, true} {
		type said struct {
			text string
			err  error
		}
		answer := make(chan said, 1)
		go func() {
			a, err := readAnswer(t.Context(), tty, hidden)
			answer <- said{a, err}
		}()
		if hidden { // typed before echo is off it would show
			for {
				now, err := term.GetState(int(tty.Fd()))
				if err != nil {
					t.Fatal(err)
				}
				if *now != *before {
					break
				}
			}
		}
		word := "visible"
		if hidden {
			word = "secret"
		}
		if _, err := ptm.WriteString(word + "\n"); err != nil {
			t.Fatal(err)
		}
		if got := <-answer; got.text != word || got.err != nil {
			t.Errorf("%+v", got)
		}
		sameTerminal(t, tty, before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := readAnswer(ctx, tty, true)
		ended <- err
	}()
	for now := before; *now == *before; {
		if now, err = term.GetState(int(tty.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	sameTerminal(t, tty, before)
	if _, err := ptm.WriteString("\n"); err != nil { // for the read that can't be called back
		t.Fatal(err)
	}
	if shown := text(); strings.Contains(shown, "secret") || !strings.Contains(shown, "visible") {
		t.Errorf("shown: %q", shown)
	}
}
