package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"wimcast/api"
)

// historyCommand asks the record of what was cast.
type historyCommand struct {
	List    historyList    `cmd:"" default:"withargs" help:"List sessions; with --client or --room what these machines received."`
	Show    historyShow    `cmd:"" help:"Show a session: its clients, and what operators did."`
	Proof   historyProof   `cmd:"" help:"Say whether machines have an image, and when each proved it. Ends with 1 unless all have."`
	Actions historyActions `cmd:"" help:"List what operators did."`
	Changes historyChanges `cmd:"" help:"List what became of packages: added, renamed, changed, validated, out of service, removed."`
	Forget  historyForget  `cmd:"" help:"Take a machine's names and numbers out of the record."`
}

// period narrows a question to a time.
type period struct {
	Since string `help:"From then on: a date, a date and time, or how long ago (7d, 12h)." placeholder:"TIME"`
	Until string `help:"Before then; a date includes the day." placeholder:"TIME"`
}

func (p *period) into(q *api.HistoryQuery) (err error) {
	if q.Since, err = parseMoment(p.Since, time.Now(), false); err != nil {
		return &codedError{exitUsage, fmt.Errorf("--since: %w", err)}
	}
	if q.Until, err = parseMoment(p.Until, time.Now(), true); err != nil {
		return &codedError{exitUsage, fmt.Errorf("--until: %w", err)}
	}
	return nil
}

// parseMoment reads what a person calls a time, in local time; "" is the zero time. A
// date alone is its beginning, or with end the day's end.
func parseMoment(text string, now time.Time, end bool) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		if end {
			day = day.AddDate(0, 0, 1)
		}
		return day, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.ParseUint(number, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(days)), nil
		}
	} else if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-11-23, \"2026-11-23 14:00\", 7d or 12h", text)
}

// form is how a list comes out.
type form struct {
	CSV bool `name:"csv" help:"Print CSV: a column for each field of the JSON, times in UTC."`
}

// list writes records in the form that was asked for.
func (f form) list(c *console, records any, text func(w io.Writer)) error {
	switch {
	case f.CSV && c.json:
		return &codedError{exitUsage, errors.New("--csv and --json: name one of them")}
	case f.CSV:
		return writeCSV(c.out, records)
	}
	return c.print(records, text)
}

// pages asks until there are limit records (0: all), each time for what is below the last id.
func pages[T any](q api.HistoryQuery, limit int, ask func(api.HistoryQuery) ([]T, error), id func(T) int64) (all []T, more bool, err error) {
	all = []T{}
	for {
		q.Limit = api.HistoryMost
		if limit > 0 {
			q.Limit = min(limit+1-len(all), api.HistoryMost) // one more tells whether there are more
		}
		page, err := ask(q)
		if err != nil {
			return nil, false, err
		}
		all = append(all, page...)
		if limit > 0 && len(all) > limit {
			return all[:limit], true, nil
		}
		if len(page) < q.Limit {
			return all, false, nil
		}
		q.Before = id(page[len(page)-1])
	}
}

// leftOut says on standard error that a list isn't all.
func leftOut(c *console, more bool) {
	if more {
		_, _ = fmt.Fprintln(c.err, "wimcast: older ones are left out; --limit 0 shows all")
	}
}

type historyList struct {
	period
	form
	Client  []string `help:"Machine, by name (with * and ?), MAC address, UUID or serial number." placeholder:"NAME"`
	Room    string   `help:"Machines that hold this join bundle." placeholder:"BUNDLE"`
	Package string   `help:"Only of this package, name or name@version, or its digest." placeholder:"NAME"`
	State   string   `help:"Only in this state: running, ended, interrupted; of clients proven, failed, ..." placeholder:"STATE"`
	Limit   int      `help:"At most so many, the latest; 0 for all." default:"50"`
}

// Run implements the command.
func (l *historyList) Run(ctx context.Context, c *console) error {
	q := api.HistoryQuery{Clients: l.Client, Bundle: l.Room, Package: l.Package, State: l.State}
	if err := l.into(&q); err != nil {
		return err
	}
	admin := c.admin()
	if len(l.Client) > 0 || l.Room != "" {
		list, more, err := pages(q, l.Limit, func(q api.HistoryQuery) ([]api.HistoryClient, error) { return admin.HistoryClients(ctx, q) },
			func(r api.HistoryClient) int64 { return r.ID })
		if err != nil {
			return err
		}
		defer leftOut(c, more)
		return l.list(c, list, func(w io.Writer) { historyClientTable(w, list, true) })
	}
	list, more, err := pages(q, l.Limit, func(q api.HistoryQuery) ([]api.HistorySession, error) { return admin.History(ctx, q) },
		func(r api.HistorySession) int64 { return r.ID })
	if err != nil {
		return err
	}
	defer leftOut(c, more)
	return l.list(c, list, func(w io.Writer) {
		var rows []string
		for i := range list {
			s := &list[i]
			rows = append(rows, strings.Join([]string{
				fmt.Sprint(s.ID), local(s.Started), took(s.Seconds), printable(s.Session), printable(s.Package), printable(s.Deployment), sessionState(s), fmt.Sprint(s.Clients), fmt.Sprint(s.Proven),
				fmt.Sprint(s.Failed), bytesText(float64(s.Sent.Bytes)), repairText(s), printable(s.Reason),
			}, "\t"))
		}
		table(w, "ID\tSTARTED\tTOOK\tSESSION\tPACKAGE\tDEPLOYMENT\tSTATE\tCLIENTS\tPROVEN\tFAILED\tSENT\tREPAIR\tREASON", rows)
	})
}

func sessionState(s *api.HistorySession) string {
	if s.State == api.HistoryInterrupted {
		return "interrupted, last seen " + s.Seen.Local().Format(time.TimeOnly)
	}
	return s.State
}

// repairText is parity by source, which is what repair cost.
func repairText(s *api.HistorySession) string {
	if s.Sent.SourcePackets == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(s.Sent.ParityPackets)/float64(s.Sent.SourcePackets))
}

func local(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

func took(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

func historyClientTable(w io.Writer, list []api.HistoryClient, sessions bool) {
	header := "CLIENT\tSTATE\tPROVEN AT\tTOOK\tMULTICAST\tUNICAST\tHELD\tSEED\tLOST NETWORK/BUFFER/DISK\tADDRESS\tREASON"
	if sessions {
		header = "ID\tJOINED\tPACKAGE\t" + header
	}
	var rows []string
	for i := range list {
		r := &list[i]
		state := printable(r.State)
		if r.Progress < 1 && r.Progress > 0 {
			state += fmt.Sprintf(" at %.0f%%", 100*r.Progress)
		}
		reason := r.Reason
		switch {
		case r.ApplyError != "":
			state, reason = state+", apply failed", r.ApplyError
		case !r.Applied.IsZero():
			state += fmt.Sprintf(", %d applied in %s", r.AppliedIndex, took(r.ApplySeconds))
		}
		row := []string{
			printable(r.Name), state, local(r.Proven), took(r.Seconds), bytesText(float64(r.MulticastBytes)), bytesText(float64(r.UnicastBytes)),
			bytesText(float64(r.HeldBytes)), bytesText(float64(r.SeedBytes)), fmt.Sprintf("%d/%d/%d", r.LostNetwork, r.LostBuffer, r.LostDisk), printable(r.Address), printable(reason),
		}
		if sessions {
			row = append([]string{fmt.Sprint(r.SessionID), local(r.Joined), printable(r.Package)}, row...)
		}
		rows = append(rows, strings.Join(row, "\t"))
	}
	table(w, header, rows)
}

type historyShow struct {
	form
	ID string `arg:"" help:"Number of the session in history list, or its name when it ran (s7: the latest of that name)."`
}

// Run implements the command.
func (h *historyShow) Run(ctx context.Context, c *console) error {
	s, err := c.admin().HistorySession(ctx, h.ID)
	if err != nil {
		return err
	}
	if h.CSV {
		return h.list(c, s.Members, nil)
	}
	return c.print(s, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "session   %d, %s when it ran\npackage   %s (%s, %s), digest %s\nstarted   %s\n", s.ID, printable(s.Session), printable(s.Package), s.Mode, bytesText(float64(s.Size)),
			s.Digest, local(s.Started))
		if s.Deployment != "" {
			_, _ = fmt.Fprintf(w, "deployed  by %s\n", printable(s.Deployment))
		}
		switch s.State {
		case api.HistoryEnded:
			_, _ = fmt.Fprintf(w, "ended     %s, after %s: %s\n", local(s.Ended), took(s.Seconds), printable(s.Reason))
		case api.HistoryInterrupted:
			_, _ = fmt.Fprintf(w, "ended     %s; it was last seen running at %s, after %s\n", printable(s.Reason), local(s.Seen), took(s.Seconds))
		default:
			_, _ = fmt.Fprintf(w, "running   for %s\n", took(s.Seconds))
		}
		_, _ = fmt.Fprintf(w, "sent      %s to %s: %d source, %d parity packets (repair %s), %d NACKs served, %d merged, %d limited\nclients   %d, %d proven, %d failed, lost or evicted, %d interrupted\n\n",
			bytesText(float64(s.Sent.Bytes)), s.Group, s.Sent.SourcePackets, s.Sent.ParityPackets, repairText(&s), s.NACKs.Served, s.NACKs.Merged, s.NACKs.Limited,
			s.Clients, s.Proven, s.Failed, s.Interrupted)
		historyClientTable(w, s.Members, false)
		if len(s.Actions) > 0 {
			_, _ = fmt.Fprintln(w)
			historyActionTable(w, s.Actions)
		}
	})
}

type historyProof struct {
	period
	form
	Image       string   `arg:"" help:"Package: name@version, a name for the version added last, or a digest."`
	Client      []string `help:"Machine, by name (with * and ?), MAC address, UUID or serial number." placeholder:"NAME"`
	ClientsFrom string   `help:"File with one machine a line; # begins a comment." placeholder:"FILE"`
	Room        string   `help:"Every machine that was here with this join bundle." placeholder:"BUNDLE"`
}

// Run implements the command.
func (p *historyProof) Run(ctx context.Context, c *console) error {
	q := api.HistoryQuery{Clients: p.Client, Bundle: p.Room}
	if err := p.into(&q); err != nil {
		return err
	}
	if p.ClientsFrom != "" {
		text, err := os.ReadFile(p.ClientsFrom)
		if err != nil {
			return fmt.Errorf("read machines: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line != "" {
				q.Clients = append(q.Clients, line)
			}
		}
	}
	if len(q.Clients) == 0 && q.Bundle == "" {
		return &codedError{exitUsage, errors.New("which machines? name them with --client (also 'r12-*'), --clients-from FILE or --room BUNDLE")}
	}
	proof, err := c.admin().HistoryProof(ctx, p.Image, q)
	if err != nil {
		return err
	}
	var records any = proof
	if p.CSV {
		records = proof.Machines
	}
	if err := p.list(c, records, func(w io.Writer) {
		var rows []string
		for i := range proof.Machines {
			m := &proof.Machines[i]
			session, note := "-", ""
			if m.SessionID > 0 {
				session = fmt.Sprint(m.SessionID)
			}
			switch {
			case m.Later != "":
				note = "later proved " + m.Later
			case m.LastState != "":
				note = "last " + m.LastState
				if m.LastReason != "" {
					note += ": " + m.LastReason
				}
			}
			rows = append(rows, strings.Join([]string{printable(m.Name), m.State, local(m.Proven), session, m.Path, local(m.LastSeen), printable(note)}, "\t"))
		}
		table(w, "CLIENT\tSTATE\tPROVEN AT\tSESSION\tMOSTLY BY\tLAST SEEN\tNOTE", rows)
	}); err != nil {
		return err
	}
	switch {
	case len(proof.Machines) == 0:
		return errors.New("the record knows no such machine; list who was here: wimcast history list --client '*'")
	case proof.Missing > 0:
		return fmt.Errorf("%d of %d haven't proven %s", proof.Missing, len(proof.Machines), printable(proof.Package))
	}
	_, _ = fmt.Fprintf(c.err, "all %d have proven %s\n", proof.Proven, printable(proof.Package))
	return nil
}

type historyActions struct {
	period
	form
	Limit int `help:"At most so many, the latest; 0 for all." default:"50"`
}

// Run implements the command.
func (a *historyActions) Run(ctx context.Context, c *console) error {
	var q api.HistoryQuery
	if err := a.into(&q); err != nil {
		return err
	}
	admin := c.admin()
	list, more, err := pages(q, a.Limit, func(q api.HistoryQuery) ([]api.HistoryAction, error) { return admin.HistoryActions(ctx, q) },
		func(r api.HistoryAction) int64 { return r.ID })
	if err != nil {
		return err
	}
	defer leftOut(c, more)
	return a.list(c, list, func(w io.Writer) { historyActionTable(w, list) })
}

func historyActionTable(w io.Writer, list []api.HistoryAction) {
	var rows []string
	for _, a := range list {
		result := "done"
		if a.Error != "" {
			result = "refused: " + a.Error
		}
		rows = append(rows, strings.Join([]string{
			local(a.At), printable(a.Who), printable(a.Action), printable(a.Session), printable(a.Client), printable(a.Detail), printable(result),
		}, "\t"))
	}
	table(w, "AT\tWHO\tACTION\tSESSION\tCLIENT\tDETAIL\tRESULT", rows)
}

type historyForget struct {
	Client string `required:"" help:"Machine, by name (with * and ?), MAC address, UUID or serial number." placeholder:"NAME"`
	DryRun bool   `help:"Only say what would be forgotten."`
}

// Run implements the command.
func (f *historyForget) Run(ctx context.Context, c *console) error {
	gone, err := c.admin().ForgetClient(ctx, f.Client, f.DryRun)
	if err != nil {
		return err
	}
	if err := c.print(gone, func(w io.Writer) {
		verb := "forgotten"
		if f.DryRun {
			verb = "would be forgotten"
		}
		_, _ = fmt.Fprintf(w, "%s: %s", verb, count(gone.Records, "record"))
		if len(gone.Names) > 0 {
			_, _ = fmt.Fprintf(w, " of %s", printable(strings.Join(gone.Names, ", ")))
		}
		_, _ = fmt.Fprintln(w)
	}); err != nil {
		return err
	}
	switch {
	case gone.Running > 0:
		return fmt.Errorf("%s stay, as their sessions still run; forget again when these have ended", count(gone.Running, "record"))
	case gone.Records == 0:
		return fmt.Errorf("the record knows no %s; list who was here: wimcast history list --client '*'", printable(f.Client))
	}
	return nil
}
