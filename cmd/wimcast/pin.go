package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"wimcast/api"
	"wimcast/session"
)

// pinCommand opens rooms whose bundles want a PIN.
type pinCommand struct {
	Set   pinSet   `cmd:"" help:"Open a room for a time to machines that show a PIN; one is drawn and shown once, or named."`
	Open  pinOpen  `cmd:"" help:"Open a room for a time without a PIN."`
	List  pinList  `cmd:"" help:"List the rooms that are open, until when, and how many PINs were tried."`
	Clear pinClear `cmd:"" help:"Close a room."`
}

type pinSet struct {
	Room string        `arg:"" help:"Name of the bundles, or a pattern such as 'lab12-*'."`
	For  time.Duration `help:"How long: 1m to 24h." default:"1h"`
	PIN  string        `name:"pin" help:"The PIN, 6 to 64 signs (default: one is drawn)." placeholder:"PIN"`
}

// Run implements the command.
func (p *pinSet) Run(ctx context.Context, c *console) error {
	opened, err := c.admin().SetPIN(ctx, api.PINSet{Room: p.Room, For: p.For.Seconds(), PIN: p.PIN})
	if err != nil {
		return err
	}
	return c.print(opened, func(w io.Writer) {
		if opened.Drawn != "" {
			_, _ = fmt.Fprintf(w, "PIN %s\n", opened.Drawn)
		}
		_, _ = fmt.Fprintf(w, "%s is open to who shows the PIN until %s; it isn't shown again, and a restart of the distribution point forgets it\n", printable(opened.Room), opened.Until.Local().Format(time.DateTime))
	})
}

type pinOpen struct {
	Room string        `arg:"" help:"Name of the bundles, or a pattern such as 'lab12-*'."`
	For  time.Duration `help:"How long: 1m to 24h." default:"1h"`
}

// Run implements the command.
func (p *pinOpen) Run(ctx context.Context, c *console) error {
	opened, err := c.admin().SetPIN(ctx, api.PINSet{Room: p.Room, For: p.For.Seconds(), Open: true})
	if err != nil {
		return err
	}
	return c.print(opened, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s is open without a PIN until %s: whoever has its boot image gets in; to close it: wimcast pin clear %s\n", printable(opened.Room), opened.Until.Local().Format(time.DateTime), printable(opened.Room))
	})
}

type pinList struct{}

// Run implements the command.
func (*pinList) Run(ctx context.Context, c *console) error {
	list, err := c.admin().PINs(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		var rows []string
		for _, p := range list {
			kind := "PIN"
			if p.Open {
				kind = "open"
			}
			rows = append(rows, strings.Join([]string{
				printable(p.Room), kind, p.Until.Local().Format(time.DateTime), fmt.Sprint(p.Right), fmt.Sprint(p.Wrong), fmt.Sprint(p.Addresses),
			}, "\t"))
		}
		table(w, "ROOM\tWANTS\tUNTIL\tRIGHT\tWRONG\tWRONG FROM", rows)
	})
}

type pinClear struct {
	Room string `arg:"" help:"As it was set."`
}

// Run implements the command.
func (p *pinClear) Run(ctx context.Context, c *console) error {
	if err := c.admin().ClearPIN(ctx, p.Room); err != nil {
		return err
	}
	return c.print(p.Room, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s is closed; who is in stays (wimcast client evict)\n", printable(p.Room))
	})
}

// pinVariable is where a get finds the PIN of its room, beside --pin.
const pinVariable = "WIMCAST_PIN"

// pinAsker has the PIN of a get: the one that was named, then what somebody types. It is nowhere but in memory.
type pinAsker struct {
	named  string
	screen *screen
	tried  bool
	// ask asks a person; nil: on the screen, or at the terminal of this process.
	ask func(ctx context.Context, prompt string) (string, error)
}

// newKey returns the key of a command that was given a PIN, or "".
func newKey(pin string, screen *screen) *session.Key {
	return session.NewKey((&pinAsker{named: pin, screen: screen}).pin)
}

// pin implements what session.ReceiverConfig wants.
func (p *pinAsker) pin(ctx context.Context, reason string) (string, error) {
	if p.named != "" && !p.tried {
		p.tried = true
		return p.named, nil
	}
	ask := p.ask
	switch full := p.screen.onFull(); {
	case ask != nil:
	case full != nil && term.IsTerminal(int(os.Stdin.Fd())):
		ask = func(ctx context.Context, prompt string) (string, error) {
			return full.Ask(ctx, strings.ReplaceAll(prompt, "\n", "; "), true)
		}
	default:
		ask = p.atTerminal
	}
	p.screen.fault("", nil) // what was in the way isn't any more
	pin, err := ask(ctx, printable(reason)+"\nPIN: ")
	if err != nil {
		return "", err
	}
	if pin = strings.TrimSpace(pin); pin == "" {
		return "", errors.New("no PIN was typed; next: start it again")
	}
	return pin, nil
}

func (p *pinAsker) atTerminal(ctx context.Context, prompt string) (string, error) {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		if p.tried {
			return "", errors.New("next: another --pin or $" + pinVariable)
		}
		return "", errors.New("there is no terminal to ask at; next: --pin, or set $" + pinVariable)
	}
	state, err := term.GetState(in)
	if err != nil {
		return "", err
	}
	_, _ = fmt.Fprint(p.screen.c.err, prompt)
	type typed struct {
		text []byte
		err  error
	}
	done := make(chan typed, 1)
	go func() { // it can't be interrupted; it ends with the next line, or with the process
		text, err := term.ReadPassword(in)
		done <- typed{text, err}
	}()
	select {
	case t := <-done:
		_, _ = fmt.Fprintln(p.screen.c.err)
		return string(t.text), t.err
	case <-ctx.Done():
		_ = term.Restore(in, state) // ReadPassword had turned the echo off
		_, _ = fmt.Fprintln(p.screen.c.err)
		return "", context.Cause(ctx)
	}
}
