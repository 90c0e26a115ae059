package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"wimcast/api"
)

// fleetCommand looks at all points of a site.
type fleetCommand struct {
	Status fleetStatus `cmd:"" help:"Show the points of this site: what each has, what is on its way, what failed and why, and what it casts now."`
}

type fleetStatus struct {
	Which string `arg:"" optional:"" help:"Only this point, or this package (name@version, or a name for all its versions)." placeholder:"POINT|PACKAGE"`
	Watch bool   `short:"w" help:"Show it again every two seconds, until interrupted; where that isn't a terminal, or with --json, when it has changed."`
}

// fleetEvery is how often --watch looks; points tell their site so often at most.
const fleetEvery = 2 * time.Second

// Run implements the command.
func (f *fleetStatus) Run(ctx context.Context, c *console) error {
	client := c.admin()
	if !f.Watch {
		fleet, err := f.ask(ctx, client)
		if err != nil {
			return err
		}
		return c.print(fleet, func(w io.Writer) { showFleet(w, &fleet, time.Now()) })
	}
	var last []byte
	ticker := time.NewTicker(fleetEvery)
	defer ticker.Stop()
	for first := true; ; first = false {
		fleet, err := f.ask(ctx, client)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first:
			return err
		case err != nil:
			_, _ = fmt.Fprintf(c.err, "wimcast: fleet status: %v; trying again\n", err)
		default:
			if last, err = c.again(&fleet, last); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// again writes the fleet over what was written before, on a terminal; elsewhere behind it, where it has changed. It returns what it wrote.
func (c *console) again(fleet *api.Fleet, last []byte) ([]byte, error) {
	var out bytes.Buffer
	if c.json {
		if err := json.NewEncoder(&out).Encode(fleet); err != nil {
			return last, err
		}
	} else {
		showFleet(&out, fleet, time.Now())
	}
	if clears(c.out) && !c.json {
		_, err := fmt.Fprintf(c.out, "\x1b[H\x1b[2J%s", out.Bytes())
		return out.Bytes(), err
	}
	if bytes.Equal(out.Bytes(), last) {
		return last, nil
	}
	if last != nil && !c.json {
		_, _ = fmt.Fprintln(c.out)
	}
	_, err := c.out.Write(out.Bytes())
	return out.Bytes(), err
}

// clears reports whether w is a terminal that is cleared by ANSI's codes. Consoles of Windows would have to be asked first.
func clears(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && runtime.GOOS != "windows" && term.IsTerminal(int(f.Fd()))
}

// ask returns what was asked for.
func (f *fleetStatus) ask(ctx context.Context, client *api.Client) (api.Fleet, error) {
	fleet, err := client.Fleet(ctx)
	if err != nil || f.Which == "" {
		return fleet, err
	}
	if i := slices.IndexFunc(fleet.Points, func(p api.FleetPoint) bool { return p.Name == f.Which }); i >= 0 {
		return api.Fleet{Points: fleet.Points[i : i+1]}, nil
	}
	out := api.Fleet{Points: []api.FleetPoint{}}
	for _, p := range fleet.Points {
		p.Packages = slices.DeleteFunc(p.Packages, func(x api.FleetPackage) bool { return !fits(x.Package, f.Which) })
		p.Casts = slices.DeleteFunc(p.Casts, func(x api.PointCast) bool { return !fits(x.Package, f.Which) })
		p.OutOfService = slices.DeleteFunc(p.OutOfService, func(x api.PointFault) bool { return !fits(x.Package, f.Which) })
		if len(p.Packages)+len(p.Casts)+len(p.OutOfService) > 0 {
			out.Points = append(out.Points, p)
		}
	}
	if len(out.Points) == 0 {
		return out, fmt.Errorf("no point is called %q, and no point has a package of that name; list all: wimcast fleet status", f.Which)
	}
	return out, nil
}

// fits reports whether a reference is meant by another, or by a name for all versions.
func fits(reference, which string) bool {
	name, _, _ := strings.Cut(reference, "@")
	return reference == which || name == which
}

// showFleet writes a table of packages by point, and below it what there is to say of the points themselves.
func showFleet(w io.Writer, fleet *api.Fleet, now time.Time) {
	if len(fleet.Points) == 0 {
		_, _ = fmt.Fprintln(w, "this site has no points; next: wimcast point add NAME -o NAME.point")
		return
	}
	var rows, notes []string
	for i := range fleet.Points {
		p := &fleet.Points[i]
		name := printable(p.Name)
		if !p.OutOfReach.IsZero() || p.Reported.IsZero() {
			name += " (?)"
		}
		if len(p.Packages) == 0 {
			rows = append(rows, strings.Join([]string{name, "-", "", "", "", "", "", "nothing is distributed to it"}, "\t"))
		}
		for j := range p.Packages {
			rows = append(rows, packageRow(name, &p.Packages[j], now))
		}
		notes = append(notes, pointNotes(p, now)...)
	}
	table(w, "POINT\tPACKAGE\tSTATE\tDONE\tRATE\tETA\tSINCE\tNOTE", rows)
	if len(notes) > 0 {
		_, _ = fmt.Fprintf(w, "\n%s\n", strings.Join(notes, "\n"))
	}
}

// packageRow is a package at a point.
func packageRow(name string, p *api.FleetPackage, now time.Time) string {
	done, rate, eta := "", "", ""
	switch p.State {
	case api.PackageInProgress, api.PackageFailed, api.PackageWaiting:
		if p.Total > 0 {
			done = fmt.Sprintf("%.0f%% of %s", 100*float64(min(p.Bytes, p.Total))/float64(p.Total), bytesText(float64(p.Total)))
		}
		if p.Rate > 0 {
			rate = bytesText(p.Rate) + "/s"
		}
		if p.ETA > 0 && p.State == api.PackageInProgress {
			eta = time.Duration(p.ETA * float64(time.Second)).Round(time.Second).String()
		}
	}
	return strings.Join([]string{name, printable(p.Package), strings.ReplaceAll(printable(p.State), "_", " "), done, rate, eta, moment(p.Since, now), packageNote(p, now)}, "\t")
}

// packageNote says why, and what comes next.
func packageNote(p *api.FleetPackage, now time.Time) string {
	var words []string
	if p.Revision > 0 {
		words = append(words, fmt.Sprintf("revision %d", p.Revision))
	}
	switch {
	case p.State == api.PackageNotTold && p.Revision > 0:
		words = []string{fmt.Sprintf("revision %d; %d hasn't been told of", p.Revision, p.Wanted)}
	case p.State == api.PackageLeaving:
		words = append(words, "isn't distributed to it any more")
	case p.State == api.PackageWaiting, p.State == api.PackageInProgress:
		words = append(words, "priority "+printable(p.Priority))
	}
	if !p.Validated.IsZero() && p.State == api.PackageSuccess {
		words = append(words, "validated "+moment(p.Validated, now))
	}
	for _, s := range []string{p.Held, p.Error} {
		if s != "" {
			words = append(words, printable(s))
		}
	}
	if !p.Retry.IsZero() {
		words = append(words, "next try "+moment(p.Retry, now))
	}
	return strings.Join(words, "; ")
}

// moment is a time of day where that is near, else a date too.
func moment(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case now.Sub(t).Abs() < 20*time.Hour:
		return t.Local().Format(time.TimeOnly)
	}
	return t.Local().Format("2006-01-02 15:04")
}

// pointNotes says of a point what nobody should miss, and what it casts.
func pointNotes(p *api.FleetPoint, now time.Time) []string {
	var out []string
	say := func(format string, args ...any) {
		out = append(out, printable(p.Name)+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case p.Reported.IsZero():
		say("has never reported; is its wimcastd running, with its point file, and does it reach admin.listen of this site?")
	case !p.OutOfReach.IsZero():
		say("out of reach since %s (%s); what is shown of it was so then", moment(p.OutOfReach, now), now.Sub(p.OutOfReach).Round(time.Second))
	}
	if off := time.Duration(p.ClockAhead * float64(time.Second)).Round(time.Second); off > 0 {
		say("its clock is %s ahead of this site's: its hours are wrong; times here are put right", off)
	} else if off < 0 {
		say("its clock is %s behind this site's: its hours are wrong; times here are put right", -off)
	}
	for _, f := range p.OutOfService {
		say("%s is out of service: %s", printable(f.Package), printable(f.Reason))
	}
	for i := range p.Casts {
		say("%s", castText(&p.Casts[i]))
	}
	return out
}

// castText is what a point casts, in a line.
func castText(c *api.PointCast) string {
	total := 0
	var states []string
	for _, state := range slices.Sorted(maps.Keys(c.Clients)) {
		total += c.Clients[state]
		states = append(states, fmt.Sprintf("%d %s", c.Clients[state], printable(state)))
	}
	clients := fmt.Sprintf("%d clients", total)
	if len(states) > 0 {
		clients += " (" + strings.Join(states, ", ") + ")"
	}
	to := ""
	if c.Deployment != "" {
		to = " for " + printable(c.Deployment)
	}
	reason := ""
	if c.RateReason != "" {
		reason = " (" + printable(c.RateReason) + ")"
	}
	return fmt.Sprintf("%s %s %s%s: %s, %.0f/%.0f/%.0f%%, %s/s%s", printable(c.Session), printable(c.State), printable(c.Package), to, clients,
		100*c.Progress, 100*c.Median, 100*c.Most, bytesText(c.Rate), reason)
}
