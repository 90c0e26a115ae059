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

// sessionCommand watches sessions.
type sessionCommand struct {
	List   sessionList   `cmd:"" help:"List running sessions and those that ended lately."`
	Show   sessionShow   `cmd:"" help:"Show a session and its clients."`
	Set    sessionSet    `cmd:"" help:"Change ceiling, floor or slow policy of a running session."`
	Start  sessionStart  `cmd:"" help:"Start a session whose clients wait for it; late ones may still join."`
	Wait   sessionWait   `cmd:"" help:"Put off the start of a session; its minimum still starts it before."`
	Cancel sessionCancel `cmd:"" help:"End a session before it has started; its clients are told."`
	Stop   sessionStop   `cmd:"" help:"End a session; its clients are told."`
}

type sessionList struct{}

// Run implements the command.
func (*sessionList) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Sessions(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		var rows []string
		for i := range list {
			s := &list[i]
			proven := 0
			for _, m := range s.Clients {
				if m.State == "proven" {
					proven++
				}
			}
			state := s.State
			switch {
			case !s.Ended.IsZero():
				state = "ended: " + printable(s.Reason)
			case !s.Deadline.IsZero():
				state = waits(s)
			case s.Group == "":
				state = "unicast only"
			}
			rows = append(rows, strings.Join([]string{
				s.ID, printable(s.Deployment), printable(s.Package), s.Mode, state, fmt.Sprint(len(s.Clients)), fmt.Sprint(proven),
				fmt.Sprintf("%.0f/%.0f/%.0f%%", 100*s.Progress, 100*s.Median, 100*s.Most), bytesText(s.Rate) + "/s", eta(s), s.Group,
			}, "\t"))
		}
		table(w, "ID\tDEPLOYMENT\tPACKAGE\tMODE\tSTATE\tCLIENTS\tPROVEN\tMIN/MED/MAX\tRATE\tETA\tGROUP", rows)
	})
}

// waits says what a session's clients wait for.
func waits(s *api.Session) string {
	here := fmt.Sprint(s.Waiting)
	if s.Minimum > 0 {
		here = fmt.Sprintf("%d of %d", s.Waiting, s.Minimum)
	}
	at := s.Deadline.Local().Format(time.TimeOnly)
	if left := time.Until(s.Deadline); left > 20*time.Hour {
		at = s.Deadline.Local().Format("2006-01-02 15:04")
	}
	return fmt.Sprintf("waiting (%s, until %s)", here, at)
}

// eta estimates when the slowest client is done.
func eta(s *api.Session) string {
	if s.Rate <= 0 || s.Progress >= 1 {
		return ""
	}
	left := (1 - s.Progress) * float64(s.Size) / s.Rate
	return time.Duration(left * float64(time.Second)).Round(time.Second).String()
}

type sessionShow struct {
	ID   string `arg:"" help:"Session, as session list names it."`
	Slow bool   `help:"Only clients that lose more than the median or lag behind."`
}

// Run implements the command.
func (s *sessionShow) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Sessions(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].ID != s.ID {
			continue
		}
		found := &list[i]
		if s.Slow {
			found.Clients = slow(found)
			return c.print(found, func(w io.Writer) { showSlow(w, found) })
		}
		return c.print(found, func(w io.Writer) { showSession(w, found) })
	}
	return fmt.Errorf("no session %s; list them: wimcast session list", s.ID)
}

// slow keeps the clients that are slow, or were until something was done about it, that are behind the median, or that
// lose more than a hundredth.
func slow(s *api.Session) []api.Member {
	out := []api.Member{}
	for _, m := range s.Clients {
		if m.Slow != nil || m.State == "receiving" && (m.Progress < s.Median-0.05 || m.Loss > 0.01) {
			out = append(out, m)
		}
	}
	return out
}

// showSlow prints a line for each slow client: what it takes, where it loses, what came of it.
func showSlow(w io.Writer, s *api.Session) {
	if len(s.Clients) == 0 {
		_, _ = fmt.Fprintf(w, "nobody is slow in %s\n", printable(s.ID))
	}
	for i := range s.Clients {
		_, _ = fmt.Fprintln(w, slowLine(s, &s.Clients[i]))
	}
}

func slowLine(s *api.Session, m *api.Member) string {
	return printable(m.Name) + "  " + printable(s.WhySlow(m))
}

// bytesText writes a number of bytes as people read it.
func bytesText(n float64) string { return api.FormatBytes(n) }

func showSession(w io.Writer, s *api.Session) {
	overhead := 1.0
	if s.Sent.SourcePackets > 0 {
		overhead = float64(s.Sent.SourcePackets+s.Sent.ParityPackets) / float64(s.Sent.SourcePackets)
	}
	_, _ = fmt.Fprintf(w, "package   %s (%s)\nstate     %s, running for %s, group %s, epoch %d\nrate      %s/s of %s/s (%s%s), GRTT %.1f ms\nsent      %d source, %d parity packets (%.3f), %d NACKs served, %d merged\n\n",
		printable(s.Package), s.Mode, s.State, since(s.Started), s.Group, s.Epoch, bytesText(s.Rate), bytesText(s.Ceiling), s.RateReason,
		limiting(s), 1000*s.GRTT, s.Sent.SourcePackets, s.Sent.ParityPackets, overhead, s.NACKs.Served, s.NACKs.Merged)
	if s.Deployment != "" {
		_, _ = fmt.Fprintf(w, "deployed  by %s\n\n", printable(s.Deployment))
	}
	if !s.Deadline.IsZero() {
		_, _ = fmt.Fprintf(w, "start     %s\n\n", waits(s))
	}
	if s.Alarm != "" {
		_, _ = fmt.Fprintf(w, "ALARM     %s\n\n", printable(s.Alarm))
	}
	var rows []string
	for _, m := range s.Clients {
		rows = append(rows, strings.Join([]string{
			fmt.Sprint(m.Number), printable(m.Name), stateText(&m), fmt.Sprintf("%.0f%%", 100*m.Progress), bytesText(m.Rate) + "/s",
			fmt.Sprintf("%.1f%%", 100*m.Loss), fmt.Sprintf("%d/%d/%d", m.LostNetwork, m.LostBuffer, m.LostDisk), printable(m.Address), printable(m.Reason),
		}, "\t"))
	}
	table(w, "NO\tCLIENT\tSTATE\tPROVEN\tRATE\tLOSS\tNETWORK/BUFFER/DISK\tADDRESS\tREASON", rows)
}

// stateText says what a client does; muted: what it asks for beyond what it can have lost is ignored.
func stateText(m *api.Member) string {
	if m.Muted {
		return printable(m.State) + ", muted"
	}
	return printable(m.State)
}

func limiting(s *api.Session) string {
	if s.Limiting == "" {
		return ""
	}
	return ", " + printable(s.Limiting)
}

// sessionSet changes a running session.
type sessionSet struct {
	ID      string        `arg:"" help:"Session, as session list names it."`
	Ceiling string        `help:"Most that it sends, such as \"200 Mbit/s\" or \"25 MB/s\"; auto for its share of the machine's." placeholder:"RATE|auto"`
	Slow    string        `help:"What becomes of slow clients: wait, demote, unicast or drop." placeholder:"POLICY"`
	Floor   string        `help:"What a client must take, such as \"20 MB/s\"; 0 for none." placeholder:"RATE"`
	Grace   time.Duration `help:"How long a client may be slow, such as 30s." placeholder:"DURATION"`
}

// Run implements the command.
func (s *sessionSet) Run(ctx context.Context, c *console) error {
	var change api.SessionChange
	for _, f := range []struct {
		flag, text, none string
		to               **float64
	}{{"--ceiling", s.Ceiling, "auto", &change.Ceiling}, {"--floor", s.Floor, "0", &change.Floor}} {
		if f.text == "" {
			continue
		}
		v := 0.0
		if f.text != f.none {
			var err error
			if v, err = api.ParseRate(f.text); err != nil {
				return &codedError{exitUsage, fmt.Errorf("%s: %w, or %s", f.flag, err, f.none)}
			}
		}
		*f.to = &v
	}
	if s.Slow != "" {
		if _, err := session.ParseSlowPolicy(s.Slow); err != nil {
			return &codedError{exitUsage, fmt.Errorf("--slow: %w", err)}
		}
		change.SlowPolicy = &s.Slow
	}
	if s.Grace != 0 {
		seconds := s.Grace.Seconds()
		change.Grace = &seconds
	}
	if change == (api.SessionChange{}) {
		return &codedError{exitUsage, errors.New("nothing to change: name --ceiling, --slow, --floor or --grace")}
	}
	now, err := c.admin().ChangeSession(ctx, s.ID, change)
	if err != nil {
		return err
	}
	return c.print(now, func(w io.Writer) {
		ceiling, floor := "auto", "none"
		if now.Limit > 0 {
			ceiling = bytesText(now.Limit) + "/s"
		}
		if now.Floor > 0 {
			floor = bytesText(now.Floor) + "/s"
		}
		_, _ = fmt.Fprintf(w, "%s: ceiling %s, slow clients: %s, floor %s, grace %v\n", printable(now.ID), ceiling, printable(now.SlowPolicy), floor, time.Duration(now.Grace*float64(time.Second)))
	})
}

type sessionStart struct {
	ID string `arg:"" help:"Session, as session list names it."`
}

// Run implements the command.
func (s *sessionStart) Run(ctx context.Context, c *console) error {
	now, err := c.admin().StartSession(ctx, s.ID)
	if err != nil {
		return err
	}
	return c.print(now, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s starts with %d clients; others may still join\n", printable(now.ID), receiving(&now))
	})
}

// receiving counts the clients that haven't ended.
func receiving(s *api.Session) int {
	n := 0
	for _, m := range s.Clients {
		if m.Ended.IsZero() {
			n++
		}
	}
	return n
}

type sessionWait struct {
	ID string        `arg:"" help:"Session, as session list names it."`
	By time.Duration `required:"" help:"How much longer clients wait at most, such as 10m." placeholder:"DURATION"`
}

// Run implements the command.
func (s *sessionWait) Run(ctx context.Context, c *console) error {
	if s.By <= 0 {
		return &codedError{exitUsage, fmt.Errorf("--by: %v isn't more than 0s", s.By)}
	}
	now, err := c.admin().WaitLonger(ctx, s.ID, api.SessionWait{Longer: s.By.Seconds()})
	if err != nil {
		return err
	}
	return c.print(now, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s: %s\n", printable(now.ID), waits(&now)) })
}

type sessionCancel struct {
	ID string `arg:"" help:"Session, as session list names it."`
}

// Run implements the command.
func (s *sessionCancel) Run(ctx context.Context, c *console) error {
	if err := c.admin().CancelSession(ctx, s.ID); err != nil {
		return err
	}
	return c.print(struct{}{}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "cancelled %s\n", printable(s.ID)) })
}

type sessionStop struct {
	ID string `arg:"" help:"Session, as session list names it."`
}

// Run implements the command.
func (s *sessionStop) Run(ctx context.Context, c *console) error {
	if err := c.admin().StopSession(ctx, s.ID); err != nil {
		return err
	}
	return c.print(struct{}{}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "stopped %s\n", printable(s.ID)) })
}

// queueCommand lists who waits for a place.
type queueCommand struct{}

// Run implements the command.
func (*queueCommand) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Queue(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		if len(list) == 0 {
			_, _ = fmt.Fprintln(w, "nobody waits for a place")
			return
		}
		var rows []string
		for i := range list {
			q := &list[i]
			rows = append(rows, strings.Join([]string{
				fmt.Sprint(q.Place), printable(q.Name), printable(q.Package), since(q.Since), printable(q.Address), printable(q.Reason),
			}, "\t"))
		}
		table(w, "PLACE\tCLIENT\tPACKAGE\tWAITING\tADDRESS\tFOR", rows)
	})
}

// clientCommand acts on clients.
type clientCommand struct {
	Evict   clientEvict   `cmd:"" help:"Take a client out of its session; those who stay get a new key."`
	Unicast clientUnicast `cmd:"" help:"Send a client to unicast, where its package allows that."`
	Log     clientLog     `cmd:"" help:"Show the log that a machine sent when its get failed."`
}

type clientUnicast struct {
	Name    string `arg:"" help:"Client, by name or number."`
	Session string `help:"Only in this session." placeholder:"ID"`
}

// Run implements the command.
func (u *clientUnicast) Run(ctx context.Context, c *console) error {
	in, err := c.admin().SendUnicast(ctx, u.Session, u.Name)
	if err != nil {
		return err
	}
	return c.print(in, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s sent to unicast (%s); it stays in the group and fetches what it lacks\n", printable(u.Name), strings.Join(in, ", "))
	})
}

type clientEvict struct {
	Name    string `arg:"" help:"Client, by name or number."`
	Session string `help:"Only out of this session." placeholder:"ID"`
	Revoke  bool   `help:"Revoke its bundle as well, so that it can't come back, where that is of this machine alone."`
}

// Run implements the command.
func (e *clientEvict) Run(ctx context.Context, c *console) error {
	var from []string
	var err error
	switch {
	case e.Revoke && e.Session != "":
		return &codedError{exitUsage, errors.New("client evict: --revoke and --session: whose bundle is revoked goes out of all sessions; leave one of them out")}
	case e.Revoke:
		from, err = c.admin().EvictAndRevoke(ctx, e.Name)
	default:
		from, err = c.admin().Evict(ctx, e.Session, e.Name)
	}
	if err != nil {
		return err
	}
	return c.print(from, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s evicted from %s; new key for those who stay%s\n", printable(e.Name), strings.Join(from, ", "), map[bool]string{true: "; its bundle is revoked"}[e.Revoke])
	})
}
