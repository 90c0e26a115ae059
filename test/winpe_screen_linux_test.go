package test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"wimcast/test/rig"
)

// onTerminal starts a program at a terminal of 80 by 25, and returns what is written to it and the terminal, for keys.
func (s *stage) onTerminal(env []string, args ...string) (*exec.Cmd, *screen, *os.File) {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, s.programs.Client, args...)
	cmd.Env = append(append(os.Environ(), "TERM=xterm", "LC_ALL=C.UTF-8"), env...)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 25, Cols: 80})
	if err != nil {
		s.t.Fatal(err)
	}
	shown, gone := &screen{}, make(chan struct{})
	go func() {
		defer close(gone)
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			_, _ = shown.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	s.t.Cleanup(func() {
		_ = terminal.Close()
		<-gone
		if s.t.Failed() {
			s.t.Logf("written to the terminal: %q", shown.text())
		}
	})
	return cmd, shown, terminal
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// shows waits until a terminal was sent a text.
func (s *stage) shows(shown *screen, text string) {
	s.t.Helper()
	for !strings.Contains(shown.text(), text) {
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("%q wasn't shown: %v", text, context.Cause(s.ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// exits waits for a program's end and holds its exit code.
func (s *stage) exits(cmd *exec.Cmd, code int) {
	s.t.Helper()
	err := cmd.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		s.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit code %d, want %d", got, code)
	}
}

// TestWinPEScreen: a person at a terminal sees what is waited for, how far the room is, and how it ended; the last screen stays when
// the terminal is given back.
func TestWinPEScreen(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "6 MB/s"`})
	s.cli("deployment", "create", "lab12", "--image", "w11", "--min-clients", "2", "--delay", "10m")
	output := s.file("pc01")
	cmd, shown, _ := s.onTerminal(nil, "get", "lab12", "--bundle", s.daemon.Bundle(), "--output", output, "--name", "pc01")
	s.shows(shown, "for the start: 1 of 2 are here")
	s.shows(shown, "deployment lab12")
	second, err := rig.StartGet(s.ctx, rig.Loopback("pc02"), s.programs, "lab12", "--bundle", s.daemon.Bundle(), "--output", s.file("pc02"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Kill)
	s.shows(shown, "RECEIVING")
	s.shows(shown, "of 2 done")
	s.hurry(rig.Config{})
	s.exits(cmd, 0)
	s.proven(second)
	if sum(t, output) != sum(t, s.image) {
		t.Error("the image isn't what was cast")
	}
	s.shows(shown, "\x1b[?1049l")
	_, after, _ := strings.Cut(shown.text(), "\x1b[?1049l")
	for _, want := range []string{"DONE", "exit code 0", "of 2 done", "w11@1", output + " proven: "} {
		if !strings.Contains(after, want) {
			t.Errorf("%q isn't on the last screen: %q", want, after)
		}
	}
}

// TestWinPEScreenStop: q asks, and once more stops; what is there stays, and the next try goes on from it.
func TestWinPEScreenStop(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "1 MB/s"`})
	args := []string{"get", "w11", "--bundle", s.daemon.Bundle(), "--output", s.file("pc01")}
	cmd, shown, terminal := s.onTerminal(nil, args...)
	s.shows(shown, "by multicast")
	s.shows(shown, "about ") // the time left: it has received for a while
	if _, err := terminal.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	s.shows(shown, "Stop?")
	if _, err := terminal.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	s.exits(cmd, 1)
	s.shows(shown, "STOPPED")
	s.shows(shown, "what is there stays")
	if text := shown.text(); strings.Contains(text, "wimcast: stopped") {
		t.Error("said twice")
	}
	s.hurry(rig.Config{})
	cmd, shown, _ = s.onTerminal(nil, args...)
	s.shows(shown, "are there from an earlier try")
	s.exits(cmd, 0)
	if sum(t, s.file("pc01")) != sum(t, s.image) {
		t.Error("the image isn't what was cast")
	}
}

// TestWinPEScreenTrouble: the last screen of a failure has the sentence, what to do, and the exit code; and where the terminal can't
// show a screen there are lines, with the same sentence.
func TestWinPEScreenTrouble(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	args := []string{"get", "nothing", "--bundle", s.daemon.Bundle(), "--output", s.file("pc01")}
	cmd, shown, _ := s.onTerminal(nil, args...)
	s.exits(cmd, 4)
	s.shows(shown, "FAILED")
	s.shows(shown, "exit code 4")
	s.shows(shown, "nothing")
	for _, env := range [][]string{{"TERM=dumb"}, {"TERM="}} {
		cmd, shown, _ = s.onTerminal(env, args...)
		s.exits(cmd, 4)
		s.shows(shown, "wimcast: refused")
		if strings.Contains(shown.text(), "\x1b") {
			t.Errorf("%s: escape sequences: %q", env, shown.text())
		}
	}
	cmd, shown, _ = s.onTerminal([]string{"NO_COLOR=1", "LC_ALL=C"}, args...)
	s.exits(cmd, 4)
	s.shows(shown, "FAILED")
	_, last, _ := strings.Cut(shown.text(), "\x1b[?1049l")
	for _, r := range last {
		if r > 0x7e {
			t.Fatalf("%q without UTF-8: %q", r, last)
		}
	}
	if strings.Contains(shown.text(), "\x1b[1m") || strings.Contains(shown.text(), "\x1b[37m") || strings.Contains(shown.text(), "\x1b[1;9") {
		t.Errorf("colours in spite of NO_COLOR: %q", shown.text())
	}
}
