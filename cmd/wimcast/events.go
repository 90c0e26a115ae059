package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"wimcast/api"
)

// eventsCommand follows what happens.
type eventsCommand struct {
	After string `help:"Go on after this event, by its id." placeholder:"ID"`
}

// comeBack is how long a stream that broke off is let alone.
const comeBack = 2 * time.Second

// Run implements the command. It ends when it is interrupted, when the first try finds
// nobody, or when one is refused.
func (e *eventsCommand) Run(ctx context.Context, c *console) error {
	client, last, was := c.admin(), e.After, false
	for ctx.Err() == nil {
		err := client.Events(ctx, last, func(event api.Event) error {
			last = event.ID
			return c.printEvent(event)
		})
		_, refused := errors.AsType[*api.Problem](err)
		_, unwritten := errors.AsType[*printError](err)
		was = was || errors.Is(err, io.EOF) || errors.Is(err, api.ErrBroken)
		switch {
		case ctx.Err() != nil:
			continue
		case refused, unwritten, !was:
			return err
		}
		_, _ = fmt.Fprintf(c.err, "wimcast: events: %v; trying again\n", err)
		select {
		case <-ctx.Done():
		case <-time.After(comeBack):
		}
	}
	return nil
}

// printError is an event that couldn't be written: nobody listens any more.
type printError struct{ err error }

func (e *printError) Error() string { return "write event: " + e.err.Error() }
func (e *printError) Unwrap() error { return e.err }

// printEvent writes one line.
func (c *console) printEvent(e api.Event) error {
	line := eventLine(e)
	if c.json {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		line = string(text)
	}
	if _, err := fmt.Fprintln(c.out, line); err != nil {
		return &printError{err}
	}
	return nil
}

// eventLine says what happened to a person.
func eventLine(e api.Event) string {
	words := []string{e.Time.Local().Format(time.TimeOnly)}
	if e.Session != "" {
		words = append(words, e.Session, printable(e.Package))
	}
	switch {
	case e.Client != nil:
		words = append(words, fmt.Sprintf("%s %s: %s", strings.TrimPrefix(string(e.Kind), "client_"), printable(e.Client.Name), printable(e.Client.State)))
		if e.Client.State == "proven" {
			break
		}
		words = append(words, fmt.Sprintf("%.0f%%", 100*e.Client.Progress))
		if e.Client.Reason != "" {
			words = append(words, "("+printable(e.Client.Reason)+")")
		}
	case e.Schedule != "":
		words = append(words, e.Schedule, string(e.Kind)+": "+printable(e.Text))
	case e.Point != "":
		words = append(words, printable(e.Point), printable(e.Package), string(e.Kind)+": "+printable(e.Text))
	case e.Text != "":
		words = append(words, string(e.Kind)+": "+printable(e.Text))
	default:
		words = append(words, fmt.Sprintf("session %s: %s", strings.TrimPrefix(string(e.Kind), "session_"), printable(e.State)))
		if e.Reason != "" {
			words = append(words, "("+printable(e.Reason)+")")
		}
	}
	return strings.Join(words, "  ")
}
