package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

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

// pinAsker has the PIN of a command: the one that was named, then what somebody types. It is nowhere but in memory.
type pinAsker struct {
	named string
	tried bool
	ask   func(ctx context.Context, prompt string) (string, error)
}

// newKey returns the key of a command that was given a PIN, or "".
func newKey(pin string, screen *screen) *session.Key {
	asker := &pinAsker{named: pin, ask: func(ctx context.Context, prompt string) (string, error) {
		screen.fault("", nil) // what was in the way isn't any more
		return screen.ask(ctx, prompt, true)
	}}
	return session.NewKey(asker.pin)
}

// pin implements what session.NewKey wants.
func (p *pinAsker) pin(ctx context.Context, reason string) (string, error) {
	if p.named != "" && !p.tried {
		p.tried = true
		return p.named, nil
	}
	pin, err := p.ask(ctx, printable(reason)+"; PIN")
	if err != nil {
		return "", err
	}
	if pin = strings.TrimSpace(pin); pin == "" {
		return "", errors.New("no PIN was typed; next: start it again")
	}
	return pin, nil
}
