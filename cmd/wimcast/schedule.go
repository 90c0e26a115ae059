package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"wimcast/api"
)

// imageService orders the servicing of an image.
type imageService struct {
	Image           string    `arg:"" help:"Name, for its current version when it runs; or name@version."`
	Update          []string  `help:"Update of the catalogue, by its id; in the order in which they are applied." placeholder:"ID"`
	Overlay         []string  `help:"Overlay, by its name; after the updates." placeholder:"NAME"`
	Applicable      bool      `help:"Also every update that is applicable and not yet applied when it runs."`
	Index           []int     `help:"Which of the images in it (default: all)." placeholder:"N"`
	Executor        string    `help:"What applies updates: stage puts them into the image, and Windows installs them on the client; dism has a Windows machine install them (wimcast worker)." placeholder:"stage|dism"`
	At              time.Time `help:"When, such as 2026-12-01T03:00:00+01:00 (default: now)." format:"2006-01-02T15:04:05Z07:00" placeholder:"TIME"`
	Cron            string    `help:"Again and again: minute hour day month weekday, such as \"0 3 * * SUN\", in the server's local time."`
	UTC             bool      `name:"utc" help:"--cron is in UTC."`
	ContinueOnError bool      `help:"Go on with the next update after one that failed."`
	Version         string    `help:"Version of what is made (default: the version of before, with the date)."`
	Distribute      bool      `help:"Have the new version go to the points that have the version of before."`
	DryRun          bool      `help:"Show the summary, and change nothing."`
}

// Run implements the command.
func (s *imageService) Run(ctx context.Context, c *console) error {
	request := api.ScheduleRequest{
		Image: s.Image, Indexes: s.Index, Updates: append(slices.Clone(s.Update), s.Overlay...), Applicable: s.Applicable, Executor: s.Executor, At: s.At,
		Cron: s.Cron, UTC: s.UTC, ContinueOnError: s.ContinueOnError, Version: s.Version, Distribute: s.Distribute,
	}
	if s.DryRun {
		plan, err := c.admin().PlanSchedule(ctx, request)
		if err != nil {
			return err
		}
		return c.print(plan, func(w io.Writer) { s.summary(w, &plan) })
	}
	made, err := c.admin().CreateSchedule(ctx, request)
	if err != nil {
		return err
	}
	return c.print(made, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "schedule %s: servicing of %s, %s; next: wimcast schedule show %s\n", made.ID, printable(made.Order.Image), printable(made.When), made.ID)
	})
}

// summary is what the console's wizard shows before it begins.
func (s *imageService) summary(w io.Writer, p *api.SchedulePlan) {
	name, _, _ := strings.Cut(p.Package, "@")
	onError := "stop, and keep the image as it is"
	if s.ContinueOnError {
		onError = "go on with the next update"
	}
	distribute := "no"
	if s.Distribute {
		distribute = "to the points that have " + printable(p.Package)
	}
	_, _ = fmt.Fprintf(w, "image          %s, %s\nnew version    %s@%s; %s stays until you remove it\nwhen           %s, first at %s\non error       %s\ndistribute     %s\n",
		printable(p.Package), bytesText(float64(p.Size)), printable(name), printable(p.Version), printable(p.Package), printable(p.When), p.Due.Local().Format(time.DateTime), onError, distribute)
	_, _ = fmt.Fprint(w, "\n")
	steps(w, p.Steps)
	_, _ = fmt.Fprintln(w, "\nnothing was changed (--dry-run)")
}

func steps(w io.Writer, list []api.ScheduleStep) {
	var rows []string
	for _, s := range list {
		rows = append(rows, strings.Join([]string{fmt.Sprint(s.Index), printable(s.Update), s.Executor, strings.ReplaceAll(s.State, "_", " "), printable(s.Text)}, "\t"))
	}
	table(w, "INDEX\tUPDATE\tEXECUTOR\tSTATE\tTEXT", rows)
}

// imageRollback makes a former version the current one.
type imageRollback struct {
	Name    string  `arg:"" help:"Name of the package."`
	Version *string `help:"Which version (default: the one that was current before)."`
}

// Run implements the command.
func (r *imageRollback) Run(ctx context.Context, c *console) error {
	done, err := c.admin().Rollback(ctx, r.Name, api.RollbackRequest{Version: r.Version})
	if err != nil {
		return err
	}
	return c.print(done, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s means %s now; %s stays, and running sessions keep what they have\n", printable(r.Name), printable(done.To), printable(done.From))
	})
}

// scheduleCommand watches and cancels servicing.
type scheduleCommand struct {
	List   scheduleList   `cmd:"" help:"List the schedules, the latest first."`
	Show   scheduleShow   `cmd:"" help:"Show a schedule with the log of each update."`
	Cancel scheduleCancel `cmd:"" help:"Cancel a schedule; a run that is in process ends and changes nothing."`
}

type scheduleList struct{}

// Run implements the command.
func (*scheduleList) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Schedules(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		var rows []string
		for i := range list {
			s := &list[i]
			what := strings.Join(s.Order.Updates, " ")
			if s.Order.Applicable {
				what = strings.TrimSpace(what + " all applicable")
			}
			due, last := "", ""
			if !s.Due.IsZero() {
				due = s.Due.Local().Format("2006-01-02 15:04")
			}
			if n := len(s.Runs); n > 0 {
				r := &s.Runs[n-1]
				last = strings.ReplaceAll(r.State, "_", " ")
				if r.To != "" {
					last += ": " + r.To
				}
			}
			rows = append(rows, strings.Join([]string{
				s.ID, printable(s.Order.Image), strings.ReplaceAll(s.State, "_", " "), due, printable(what), printable(last), printable(s.Reason),
			}, "\t"))
		}
		table(w, "ID\tIMAGE\tSTATE\tDUE\tWHAT\tLAST RUN\tREASON", rows)
	})
}

type scheduleShow struct {
	ID string `arg:"" help:"Such as v3."`
}

// Run implements the command.
func (s *scheduleShow) Run(ctx context.Context, c *console) error {
	one, err := c.admin().Schedule(ctx, s.ID)
	if err != nil {
		return err
	}
	return c.print(one, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "schedule  %s\nimage     %s\nwhen      %s\nmade      %s by %s\nstate     %s\n", one.ID, printable(one.Order.Image), printable(one.When),
			one.Created.Local().Format(time.DateTime), printable(one.By), strings.ReplaceAll(one.State, "_", " "))
		if one.Reason != "" {
			_, _ = fmt.Fprintf(w, "reason    %s\n", printable(one.Reason))
		}
		if !one.Due.IsZero() {
			_, _ = fmt.Fprintf(w, "due       %s\n", one.Due.Local().Format(time.DateTime))
		}
		for i := range one.Runs {
			r := &one.Runs[i]
			_, _ = fmt.Fprintf(w, "\nrun of %s: %s", r.Started.Local().Format(time.DateTime), strings.ReplaceAll(r.State, "_", " "))
			if r.To != "" {
				_, _ = fmt.Fprintf(w, ", %s from %s", printable(r.To), printable(r.From))
			}
			if r.Reason != "" {
				_, _ = fmt.Fprintf(w, " (%s)", printable(r.Reason))
			}
			_, _ = fmt.Fprintln(w)
			steps(w, r.Steps)
		}
	})
}

type scheduleCancel struct {
	ID string `arg:"" help:"Such as v3."`
}

// Run implements the command.
func (s *scheduleCancel) Run(ctx context.Context, c *console) error {
	one, err := c.admin().CancelSchedule(ctx, s.ID)
	if err != nil {
		return err
	}
	return c.print(one, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "cancelled %s; the image stays as it is\n", one.ID)
	})
}
