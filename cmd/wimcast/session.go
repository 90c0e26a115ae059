package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"wimcast/api"
)

// sessionCommand watches sessions.
type sessionCommand struct {
	List sessionList `cmd:"" help:"List running sessions and those that ended lately."`
	Show sessionShow `cmd:"" help:"Show a session and its clients."`
	Stop sessionStop `cmd:"" help:"End a session; its clients are told."`
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
			if !s.Ended.IsZero() {
				state = "ended: " + printable(s.Reason)
			}
			rows = append(rows, strings.Join([]string{
				s.ID, printable(s.Package), s.Mode, state, fmt.Sprint(len(s.Clients)), fmt.Sprint(proven),
				fmt.Sprintf("%.0f/%.0f/%.0f%%", 100*s.Progress, 100*s.Median, 100*s.Most), bytesText(s.Rate) + "/s", eta(s), s.Group,
			}, "\t"))
		}
		table(w, "ID\tPACKAGE\tMODE\tSTATE\tCLIENTS\tPROVEN\tMIN/MED/MAX\tRATE\tETA\tGROUP", rows)
	})
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
		}
		return c.print(found, func(w io.Writer) { showSession(w, found) })
	}
	return fmt.Errorf("no session %s; list them: wimcast session list", s.ID)
}

// slow keeps the clients that are behind the median, or lose more than a hundredth.
func slow(s *api.Session) []api.Member {
	var out []api.Member
	for _, m := range s.Clients {
		if m.State == "receiving" && (m.Progress < s.Median-0.05 || m.Loss > 0.01) {
			out = append(out, m)
		}
	}
	return out
}

func showSession(w io.Writer, s *api.Session) {
	overhead := 1.0
	if s.Sent.SourcePackets > 0 {
		overhead = float64(s.Sent.SourcePackets+s.Sent.ParityPackets) / float64(s.Sent.SourcePackets)
	}
	_, _ = fmt.Fprintf(w, "package   %s (%s)\nstate     %s, running for %s, group %s, epoch %d\nrate      %s/s of %s/s (%s%s), GRTT %.1f ms\nsent      %d source, %d parity packets (%.3f), %d NACKs served, %d merged\n\n",
		printable(s.Package), s.Mode, s.State, since(s.Started), s.Group, s.Epoch, bytesText(s.Rate), bytesText(s.Ceiling), s.RateReason,
		limiting(s), 1000*s.GRTT, s.Sent.SourcePackets, s.Sent.ParityPackets, overhead, s.NACKs.Served, s.NACKs.Merged)
	var rows []string
	for _, m := range s.Clients {
		rows = append(rows, strings.Join([]string{
			fmt.Sprint(m.Number), printable(m.Name), printable(m.State), fmt.Sprintf("%.0f%%", 100*m.Progress), bytesText(m.Rate) + "/s",
			fmt.Sprintf("%.1f%%", 100*m.Loss), fmt.Sprintf("%d/%d/%d", m.LostNetwork, m.LostBuffer, m.LostDisk), printable(m.Address), printable(m.Reason),
		}, "\t"))
	}
	table(w, "NO\tCLIENT\tSTATE\tPROVEN\tRATE\tLOSS\tNETWORK/BUFFER/DISK\tADDRESS\tREASON", rows)
}

func limiting(s *api.Session) string {
	if s.Limiting == "" {
		return ""
	}
	return ", " + printable(s.Limiting)
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

// clientCommand acts on clients.
type clientCommand struct {
	Evict clientEvict `cmd:"" help:"Take a client out of its session; those who stay get a new key."`
}

type clientEvict struct {
	Name    string `arg:"" help:"Client, by name or number."`
	Session string `help:"Only out of this session." placeholder:"ID"`
}

// Run implements the command.
func (e *clientEvict) Run(ctx context.Context, c *console) error {
	from, err := c.admin().Evict(ctx, e.Session, e.Name)
	if err != nil {
		return err
	}
	return c.print(from, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s evicted from %s; new key for those who stay\n", printable(e.Name), strings.Join(from, ", "))
	})
}
