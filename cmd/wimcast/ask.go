package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// errNobody says that there is no terminal.
var errNobody = errors.New("there is no terminal to ask on; next: give it with --pin, or in the variable WIMCAST_PIN")

// ask returns what the person in front of the machine says, without the line's end. What is typed isn't shown if it is hidden. It fails
// where there is nobody to ask, and when the context ends.
func (s *screen) ask(ctx context.Context, prompt string, hidden bool) (string, error) {
	full := s.onFull()
	terminal := term.IsTerminal(int(os.Stdin.Fd()))
	switch {
	case s.c.json || !terminal:
		return "", errNobody
	case full != nil:
		return full.Ask(ctx, prompt, hidden)
	}
	_, _ = fmt.Fprintf(s.c.err, "%s: ", prompt)
	answer, err := readAnswer(ctx, os.Stdin, hidden)
	_, _ = fmt.Fprintln(s.c.err)
	return answer, err
}

// readAnswer reads a line from a terminal. When the context ends first, the terminal is as it was, and what is typed after that is
// lost: a read from a terminal can't be called back, and ends with the program.
func readAnswer(ctx context.Context, in *os.File, hidden bool) (string, error) {
	fd := int(in.Fd()) // the goroutine below may outlive the file
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type line struct {
		text string
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		if hidden {
			text, err := term.ReadPassword(fd)
			typed <- line{string(text), err}
			return
		}
		text, err := bufio.NewReader(in).ReadString('\n')
		if err == io.EOF && text != "" {
			err = nil
		}
		typed <- line{strings.TrimRight(text, "\r\n"), err}
	}()
	select {
	case l := <-typed:
		return l.text, l.err
	case <-ctx.Done():
		_ = term.Restore(fd, before)
		return "", context.Cause(ctx)
	}
}
