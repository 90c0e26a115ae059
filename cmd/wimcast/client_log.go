package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"wimcast/api"
	"wimcast/unicast/clientlog"
)

// clientLog shows what a machine sent of itself.
type clientLog struct {
	Name   string `arg:"" optional:"" help:"Machine, by name (with * and ?), or the id of a log; the latest log of it is shown."`
	List   bool   `help:"List the logs instead; without NAME those of all machines."`
	Raw    bool   `help:"Print wimcast's own log as it came, as lines of JSON, and nothing else."`
	File   string `help:"Print this file of the log alone, such as dism.log." placeholder:"FILE"`
	Remove bool   `help:"Remove the logs that fit from the distribution point."`
}

// Run implements the command.
func (l *clientLog) Run(ctx context.Context, c *console) error {
	if l.Name == "" && !l.List {
		return &codedError{exitUsage, fmt.Errorf("client log: name a machine; next: wimcast client log --list")}
	}
	admin := c.admin()
	list, err := admin.ClientLogs(ctx, l.Name)
	if err != nil {
		return err
	}
	if l.List {
		return l.list(c, list)
	}
	if len(list) == 0 {
		return fmt.Errorf("client log: %s: no log of it is here (machines send one when a get fails, or with --send-log); next: wimcast client log --list", printable(l.Name))
	}
	if l.Remove {
		return l.remove(ctx, c, admin, list)
	}
	latest := &list[0]
	if l.File != "" || l.Raw {
		return l.raw(ctx, c, admin, latest)
	}
	return l.show(ctx, c, admin, latest)
}

func (*clientLog) list(c *console, list []api.ClientLog) error {
	return c.print(list, func(w io.Writer) {
		var rows []string
		for i := range list {
			e := &list[i]
			var files []string
			for _, f := range e.Files {
				files = append(files, harmless(f.Name))
			}
			rows = append(rows, strings.Join([]string{
				harmless(e.Machine.Name), e.Received.Local().Format(time.DateTime), fmt.Sprint(e.ExitCode), harmless(e.Package), harmless(e.Certificate), e.Address,
				strings.Join(files, ", "), e.ID,
			}, "\t"))
		}
		table(w, "MACHINE\tRECEIVED\tEXIT\tPACKAGE\tBUNDLE\tADDRESS\tFILES\tID", rows)
	})
}

// harmless is a word from a machine: no escape codes, no tabs.
func harmless(s string) string { return strings.ReplaceAll(clientlog.Harmless(s), "\t", " ") }

func (*clientLog) remove(ctx context.Context, c *console, admin *api.Client, list []api.ClientLog) error {
	for i := range list {
		if err := admin.RemoveClientLog(ctx, list[i].ID); err != nil {
			return fmt.Errorf("%w; %s removed before", err, count(i, "log"))
		}
	}
	return c.print(list, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s removed\n", count(len(list), "log")) })
}

// raw prints a file as it came, but not onto a terminal.
func (l *clientLog) raw(ctx context.Context, c *console, admin *api.Client, e *api.ClientLog) error {
	name := l.File
	if name == "" {
		name = api.OwnLog
	}
	text, err := admin.ClientLogFile(ctx, e.ID, name)
	if err != nil {
		return err
	}
	if f, ok := c.out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		_, err = c.out.Write(text)
		return err
	}
	printLines(c.out, text, clientlog.Harmless)
	return nil
}

// shownLog is what --json prints of a log.
type shownLog struct {
	api.ClientLog

	Events []json.RawMessage `json:"events"`
}

// show prints what is known of the machine, what happened, and the other files.
func (*clientLog) show(ctx context.Context, c *console, admin *api.Client, e *api.ClientLog) error {
	files := map[string][]byte{}
	for _, f := range e.Files {
		text, err := admin.ClientLogFile(ctx, e.ID, f.Name)
		if err != nil {
			return err
		}
		files[f.Name] = text
	}
	shown := shownLog{ClientLog: *e, Events: []json.RawMessage{}}
	for line := range bytes.Lines(files[api.OwnLog]) {
		if line = bytes.TrimSpace(line); json.Valid(line) {
			shown.Events = append(shown.Events, line)
		}
	}
	return c.print(shown, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s  received %s from %s, bundle %s (%s)\n", harmless(e.Machine.Name), e.Received.Local().Format(time.DateTime), e.Address, harmless(e.Certificate), e.Role)
		_, _ = fmt.Fprintf(w, "  wimcast %s on %s; serial %s, UUID %s, MACs %s\n", harmless(e.Version), harmless(e.System), dash(e.Machine.Serial), dash(e.Machine.UUID), dash(e.Machine.MACs))
		_, _ = fmt.Fprintf(w, "  exit code %d, package %s: %s\n", e.ExitCode, dash(e.Package), dash(e.Error))
		for _, f := range e.Files {
			_, _ = fmt.Fprintf(w, "\n%s (%s)\n", harmless(f.Name), bytesText(float64(f.Size)))
			line := clientlog.Harmless
			if f.Name == api.OwnLog {
				line = logLine
			}
			printLines(w, files[f.Name], line)
		}
	})
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return harmless(s)
}

// printLines prints a text from elsewhere, each line made harmless.
func printLines(w io.Writer, text []byte, line func(string) string) {
	for l := range bytes.Lines(text) {
		_, _ = fmt.Fprintln(w, line(strings.TrimRight(string(l), "\r\n")))
	}
}

// logLine says to a person what a line of wimcast's own log says; one that can't be read stands as it is, made harmless.
func logLine(line string) string {
	var e getEvent
	if json.Unmarshal([]byte(line), &e) != nil || e.Event == "" {
		return clientlog.Harmless(line)
	}
	text := e.Text
	if e.Result != nil {
		text = fmt.Sprintf("exit code %d after %.1f s, %s of %s", e.Result.Code, e.Result.Seconds, bytesText(float64(e.Result.Size)), e.Result.Package)
		if e.Result.Error != "" {
			text += ": " + e.Result.Error
		}
	}
	return clientlog.Harmless(e.Time.UTC().Format(time.DateTime) + "Z  " + e.Event + "  " + strings.ReplaceAll(text, "\n", "; "))
}
