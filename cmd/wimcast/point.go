package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"wimcast/api"
)

// pointCommand manages the points of a site.
type pointCommand struct {
	Add    pointAdd    `cmd:"" help:"Add a point, and write its file: whom it trusts, who it is, and its keys."`
	List   pointList   `cmd:"" help:"List the points, and how far what they shall have is on its way to the registry."`
	Show   pointShow   `cmd:"" help:"Show a point and what it shall have."`
	Set    pointSet    `cmd:"" help:"Change groups, multicast, subnets or addresses of a point."`
	Remove pointRemove `cmd:"" help:"Remove a point: its certificates are revoked, and nothing is its any more."`
}

type pointAdd struct {
	Name      string        `arg:"" help:"Name of the point: lower-case letters, digits, hyphens."`
	Group     []string      `help:"Group that it is in; may be repeated. What is distributed to it is the point's too." placeholder:"GROUP"`
	Multicast bool          `negatable:"" default:"true" help:"Whether it casts; without it serves by unicast only."`
	Subnet    []string      `help:"Network whose clients go to it; may be repeated." placeholder:"CIDR"`
	Address   []string      `help:"Where they reach it; may be repeated." placeholder:"HOST:PORT"`
	Lifetime  time.Duration `help:"How long its certificates are good for." default:"8760h"`
	Output    string        `short:"o" help:"File to write (default: NAME.point)." placeholder:"FILE"`
}

// Run implements the command.
func (p *pointAdd) Run(ctx context.Context, c *console) error {
	output := p.Output
	if output == "" {
		output = fileName(p.Name) + ".point"
	}
	f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write point file: %w", err)
	}
	added, err := c.admin().AddPoint(ctx, api.PointAdd{
		Name: p.Name, Groups: p.Group, Multicast: &p.Multicast, Subnets: p.Subnet, Addresses: p.Address, Lifetime: p.Lifetime.Seconds(),
	})
	if err == nil {
		if _, err = io.WriteString(f, added.Text); err == nil {
			err = f.Sync()
		}
		if err != nil {
			err = fmt.Errorf("write point file: %w; the point was added, and its file is nowhere else; next: wimcast point remove %s, and add it again", err, p.Name)
		}
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(output)
		return err
	}
	return c.print(added.Point, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: point %s, until %s; whoever holds the file can have what the point may have, so carry it as you carry a key\n",
			output, printable(added.Name), added.Expires.Local().Format(time.DateOnly))
		tellLeftOut(w, added.LeftOut)
		_, _ = fmt.Fprintf(w, "next: on the point, name it in wimcastd.toml ([point] bundle = %q), give it access to the registry ([registry]), and start wimcastd\n", output)
	})
}

// tellLeftOut says what a point doesn't get.
func tellLeftOut(w io.Writer, list []api.PointLeftOut) {
	for _, l := range list {
		_, _ = fmt.Fprintf(w, "left out: %s doesn't get %s: %s\n", printable(l.Point), printable(l.Package), printable(l.Reason))
	}
}

type pointList struct{}

// Run implements the command.
func (*pointList) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Points(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		var rows []string
		for i := range list {
			p := &list[i]
			multicast, published := "on", "never"
			if !p.Multicast {
				multicast = "off"
			}
			if !p.Published.IsZero() {
				published = p.Published.Local().Format("2006-01-02 15:04")
			}
			rows = append(rows, strings.Join([]string{
				p.Name, orDash(strings.Join(p.Groups, ",")), multicast, orDash(strings.Join(p.Addresses, ",")), inRegistry(p), published, printable(pointTrouble(p)),
			}, "\t"))
		}
		table(w, "NAME\tGROUPS\tMULTICAST\tADDRESSES\tIN REGISTRY\tTOLD\tTROUBLE", rows)
	})
}

// inRegistry counts what of a point's packages is in the registry.
func inRegistry(p *api.Point) string {
	there := 0
	for i := range p.Packages {
		if p.Packages[i].State == api.FleetSuccess {
			there++
		}
	}
	return fmt.Sprintf("%d of %d", there, len(p.Packages))
}

// pointTrouble is the first thing that is wrong with what goes to a point.
func pointTrouble(p *api.Point) string {
	if p.Error != "" {
		return p.Error
	}
	for i := range p.Packages {
		if a := &p.Packages[i]; a.Error != "" {
			return a.Package + ": " + a.Error
		}
	}
	return ""
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

type pointShow struct {
	Name string `arg:"" help:"Name of the point."`
}

// Run implements the command.
func (s *pointShow) Run(ctx context.Context, c *console) error {
	p, err := c.admin().Point(ctx, s.Name)
	if err != nil {
		return err
	}
	return c.print(p, func(w io.Writer) { showPoint(w, &p) })
}

func showPoint(w io.Writer, p *api.Point) {
	multicast := "on"
	if !p.Multicast {
		multicast = "off"
	}
	_, _ = fmt.Fprintf(w, "point      %s\ngroups     %s\nmulticast  %s\nsubnets    %s\naddresses  %s\nadded      %s\n",
		p.Name, orDash(strings.Join(p.Groups, ", ")), multicast, orDash(strings.Join(p.Subnets, ", ")), orDash(strings.Join(p.Addresses, ", ")), p.Added.Local().Format(time.DateTime))
	if !p.Expires.IsZero() {
		_, _ = fmt.Fprintf(w, "expires    %s\n", p.Expires.Local().Format(time.DateOnly))
	}
	if p.Serial > 0 {
		_, _ = fmt.Fprintf(w, "told       %s (assignments %d)\n", p.Published.Local().Format(time.DateTime), p.Serial)
	} else {
		_, _ = fmt.Fprintln(w, "told       nothing yet")
	}
	if p.Error != "" {
		_, _ = fmt.Fprintf(w, "trouble    %s; tried again at %s\n", printable(p.Error), p.Retry.Local().Format(time.TimeOnly))
	}
	if len(p.Packages) > 0 {
		_, _ = fmt.Fprintln(w)
		var rows []string
		for i := range p.Packages {
			a := &p.Packages[i]
			current := ""
			if a.Current {
				current = "current"
			}
			rows = append(rows, strings.Join([]string{printable(a.Package), current, a.Priority, revisionText(a.Revision), strings.ReplaceAll(a.State, "_", " "), onItsWay(a)}, "\t"))
		}
		table(w, "PACKAGE\t\tPRIORITY\tREVISION\tIN REGISTRY\t", rows)
	}
	tellLeftOut(w, p.LeftOut)
}

func revisionText(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// onItsWay says more of what isn't in the registry.
func onItsWay(a *api.AssignedPackage) string {
	var parts []string
	if a.State == api.FleetInProgress && a.Total > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s, %s of it sent", bytesText(float64(a.Bytes)), bytesText(float64(a.Total)), bytesText(float64(a.Sent))))
	}
	if a.Error != "" {
		parts = append(parts, printable(a.Error))
	}
	if !a.Retry.IsZero() {
		parts = append(parts, "tried again at "+a.Retry.Local().Format(time.TimeOnly))
	}
	return strings.Join(parts, "; ")
}

type pointSet struct {
	Name        string   `arg:"" help:"Name of the point."`
	Group       []string `help:"Groups that it is in from now on, in place of those it is in; may be repeated." placeholder:"GROUP"`
	NoGroups    bool     `help:"Take it out of all groups."`
	Multicast   *bool    `negatable:"" help:"Whether it casts."`
	Subnet      []string `help:"Networks whose clients go to it, in place of those there are." placeholder:"CIDR"`
	NoSubnets   bool     `help:"No networks."`
	Address     []string `help:"Where they reach it, in place of those there are." placeholder:"HOST:PORT"`
	NoAddresses bool     `help:"No addresses."`
}

// Run implements the command.
func (s *pointSet) Run(ctx context.Context, c *console) error {
	change := api.PointChange{Multicast: s.Multicast}
	for _, list := range []struct {
		named []string
		none  bool
		to    **[]string
	}{{s.Group, s.NoGroups, &change.Groups}, {s.Subnet, s.NoSubnets, &change.Subnets}, {s.Address, s.NoAddresses, &change.Addresses}} {
		switch {
		case list.none && len(list.named) > 0:
			return &codedError{exitUsage, errors.New("point set: some and none of the same; keep one")}
		case list.none:
			*list.to = &[]string{}
		case len(list.named) > 0:
			*list.to = &list.named
		}
	}
	if change == (api.PointChange{}) {
		return &codedError{exitUsage, errors.New("point set: name what to change; see wimcast point set --help")}
	}
	p, err := c.admin().ChangePoint(ctx, s.Name, change)
	if err != nil {
		return err
	}
	return c.print(p, func(w io.Writer) { showPoint(w, &p) })
}

type pointRemove struct {
	Name string `arg:"" help:"Name of the point."`
	Lost bool   `help:"Strangers may have it: the content keys that it knew are replaced too, for versions from now on."`
}

// Run implements the command.
func (r *pointRemove) Run(ctx context.Context, c *console) error {
	out, err := c.admin().RemovePoint(ctx, r.Name, r.Lost)
	if err != nil {
		return err
	}
	return c.print(out, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "removed %s: %s revoked, and nothing is its any more\n", printable(out.Name), count(out.Credentials, "certificate"))
		switch {
		case !out.Lost:
		case len(out.Keys) == 0:
			_, _ = fmt.Fprintln(w, "it knew no content key")
		default:
			_, _ = fmt.Fprintf(w, "versions from now on are sealed under other keys, and move whole once: %s; what it had, or could read in the registry until now, it can still read\n", printable(strings.Join(out.Keys, ", ")))
		}
		if out.Lost {
			_, _ = fmt.Fprintln(w, "next: replace the credentials for the registry that it had")
		}
	})
}

// imageDistribute has a package go to points.
type imageDistribute struct {
	Package  string   `arg:"" help:"Name, for its current version; name@version; or digest."`
	To       []string `help:"Point or group; may be repeated." placeholder:"POINT|GROUP"`
	All      bool     `help:"All points, and those that are added later."`
	Priority string   `help:"What goes first, and which hours are open to it: high, medium or low." default:"medium"`
	Keep     int      `help:"How many versions stay at a point." default:"2"`
}

// Run implements the command.
func (d *imageDistribute) Run(ctx context.Context, c *console) error {
	out, err := c.admin().Distribute(ctx, d.Package, api.Distribute{To: d.To, All: d.All, Priority: d.Priority, Keep: d.Keep})
	if err != nil {
		return err
	}
	return c.print(out, func(w io.Writer) {
		if len(out.Points) == 0 {
			_, _ = fmt.Fprintf(w, "%s is distributed; no point is there to have it yet\n", printable(out.Package))
		} else {
			_, _ = fmt.Fprintf(w, "%s goes to %s; next: wimcast fleet status\n", printable(out.Package), printable(strings.Join(out.Points, ", ")))
		}
		tellLeftOut(w, out.LeftOut)
	})
}

// imageWithdraw takes a package from points.
type imageWithdraw struct {
	Package string   `arg:"" help:"Name, for all its versions; or name@version."`
	From    []string `help:"Point or group; may be repeated." placeholder:"POINT|GROUP"`
	All     bool     `help:"From all points."`
}

// Run implements the command.
func (d *imageWithdraw) Run(ctx context.Context, c *console) error {
	out, err := c.admin().Withdraw(ctx, d.Package, api.Withdraw{From: d.From, All: d.All})
	if err != nil {
		return err
	}
	return c.print(out, func(w io.Writer) {
		if len(out.Points) == 0 {
			_, _ = fmt.Fprintf(w, "withdrawn %s; no point loses it\n", printable(d.Package))
			return
		}
		_, _ = fmt.Fprintf(w, "withdrawn %s from %s; what is running there goes on\n", printable(strings.Join(out.Packages, ", ")), printable(strings.Join(out.Points, ", ")))
	})
}
