package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"wimcast/api"
)

// deploymentCommand manages deployments.
type deploymentCommand struct {
	Create deploymentCreate `cmd:"" help:"Let bundles have an image, with start rules of its own."`
	Set    deploymentSet    `cmd:"" help:"Change a deployment; an empty value takes one back, as in --delay \"\"."`
	List   deploymentList   `cmd:"" help:"List the deployments."`
	Show   deploymentShow   `cmd:"" help:"Show a deployment."`
	Remove deploymentRemove `cmd:"" help:"Remove a deployment; running sessions go on."`
}

// deploymentFlags are what both create and set take. Rules are as in [session] of the configuration.
type deploymentFlags struct {
	Index      *int     `help:"Image in the WIM, from 1 on; 0 names none." placeholder:"N"`
	Who        []string `help:"Bundles that may have it, such as 'lab12' or 'room-*'; several times for several (default: all)." placeholder:"PATTERN"`
	Content    *string  `help:"download: download content locally when needed; direct: access content directly from the distribution point." placeholder:"download|direct"`
	Comment    *string  `help:"Comment."`
	Start      *string  `help:"auto: with the first client; scheduled: when enough wait, or it is time." placeholder:"auto|scheduled"`
	MinClients *string  `help:"Starts once so many wait." placeholder:"N"`
	Delay      *string  `help:"Clients wait no longer, such as 15m." placeholder:"DURATION"`
	DelayFrom  *string  `help:"What the delay counts from: the first or the last join." placeholder:"first|last"`
	At         *string  `help:"Starts at that time, such as 22:00 or 2026-11-30T22:00:00+01:00." placeholder:"TIME"`
	MaxClients *string  `help:"Most clients of a session; 0 for any number." placeholder:"N"`
	Overflow   *string  `help:"What becomes of clients beyond a limit." placeholder:"queue|unicast"`
	Slow       *string  `help:"What becomes of slow clients: wait, demote, unicast or drop." placeholder:"POLICY"`
	Floor      *string  `help:"What a client must take, such as \"20 MB/s\"." placeholder:"RATE"`
	Grace      *string  `help:"How long a client may be slow, such as 30s." placeholder:"DURATION"`
	Weight     *string  `help:"Weight of the session where several share the ceiling." placeholder:"X"`
}

// rule is a flag that is a key of [session].
type rule struct {
	key   string
	value *string
}

func (f *deploymentFlags) all() []rule {
	return []rule{
		{"start", f.Start},
		{"min_clients", f.MinClients},
		{"delay", f.Delay},
		{"delay_from", f.DelayFrom},
		{"at", f.At},
		{"max_clients", f.MaxClients},
		{"overflow", f.Overflow},
		{"slow", f.Slow},
		{"floor", f.Floor},
		{"grace", f.Grace},
		{"weight", f.Weight},
	}
}

// rules returns the rules that were named.
func (f *deploymentFlags) rules() map[string]string {
	out := map[string]string{}
	for _, r := range f.all() {
		if r.value != nil {
			out[r.key] = *r.value
		}
	}
	return out
}

// who returns the patterns that were named: --who "" names nobody, which is everybody.
func (f *deploymentFlags) who() []string {
	out := []string{}
	for _, pattern := range f.Who {
		if pattern != "" {
			out = append(out, pattern)
		}
	}
	return out
}

type deploymentCreate struct {
	Name  string `arg:"" help:"Name of the deployment."`
	Image string `required:"" help:"Package: name@version, or a name for the version that is current when a client joins." placeholder:"PACKAGE"`
	deploymentFlags
}

// Run implements the command.
func (a *deploymentCreate) Run(ctx context.Context, c *console) error {
	d := api.Deployment{Name: a.Name, Image: a.Image, Who: a.who(), Rules: map[string]string{}}
	for key, value := range a.rules() {
		if value != "" {
			d.Rules[key] = value
		}
	}
	if a.Index != nil {
		d.Index = *a.Index
	}
	if a.Content != nil {
		d.Content = *a.Content
	}
	if a.Comment != nil {
		d.Comment = *a.Comment
	}
	made, err := c.admin().CreateDeployment(ctx, d)
	if err != nil {
		return err
	}
	return c.print(made, func(w io.Writer) { _, _ = fmt.Fprintf(w, "created %s\n", deploymentText(&made)) })
}

type deploymentSet struct {
	Name  string  `arg:"" help:"Name of the deployment."`
	Image *string `help:"Package: name@version, or a name for the version that is current when a client joins." placeholder:"PACKAGE"`
	deploymentFlags
}

// Run implements the command.
func (s *deploymentSet) Run(ctx context.Context, c *console) error {
	change := api.DeploymentChange{Image: s.Image, Index: s.Index, Rules: s.rules(), Content: s.Content, Comment: s.Comment}
	if s.Who != nil {
		who := s.who()
		change.Who = &who
	}
	d, err := c.admin().ChangeDeployment(ctx, s.Name, change)
	if err != nil {
		return err
	}
	return c.print(d, func(w io.Writer) { _, _ = fmt.Fprintf(w, "%s\n", deploymentText(&d)) })
}

// deploymentText says in one line what a deployment is.
func deploymentText(d *api.Deployment) string {
	out := d.Name + ": image " + d.Image
	if d.Package != d.Image {
		out += " (now " + d.Package + ")"
	}
	if d.Index > 0 {
		out += fmt.Sprintf(", index %d", d.Index)
	}
	out += ", for " + whoText(d)
	if rules := rulesText(d); rules != "" {
		out += ", " + rules
	}
	return printable(out)
}

func whoText(d *api.Deployment) string {
	if len(d.Who) == 0 {
		return "every bundle"
	}
	return strings.Join(d.Who, " ")
}

// rulesText lists a deployment's rules, in the order of the configuration.
func rulesText(d *api.Deployment) string {
	var out []string
	for _, r := range (&deploymentFlags{}).all() {
		if value, ok := d.Rules[r.key]; ok {
			out = append(out, strings.ReplaceAll(r.key, "_", "-")+" "+value)
		}
	}
	return strings.Join(out, ", ")
}

type deploymentList struct{}

// Run implements the command.
func (*deploymentList) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Deployments(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		if len(list) == 0 {
			_, _ = fmt.Fprintln(w, "none: only operator bundles may have images; next: wimcast deployment create NAME --image PACKAGE")
			return
		}
		var rows []string
		for i := range list {
			d := &list[i]
			rows = append(rows, strings.Join([]string{
				printable(d.Name), printable(d.Image), nowText(d), indexText(d), printable(whoText(d)), printable(rulesText(d)), d.Content, printable(d.Comment),
			}, "\t"))
		}
		table(w, "NAME\tIMAGE\tNOW\tINDEX\tWHO\tRULES\tCONTENT\tCOMMENT", rows)
	})
}

func nowText(d *api.Deployment) string {
	if d.Package == "" {
		return "MISSING"
	}
	return printable(d.Package)
}

func indexText(d *api.Deployment) string {
	if d.Index == 0 {
		return "-"
	}
	return fmt.Sprint(d.Index)
}

type deploymentShow struct {
	Name string `arg:"" help:"Name of the deployment."`
}

// Run implements the command.
func (s *deploymentShow) Run(ctx context.Context, c *console) error {
	d, err := c.admin().Deployment(ctx, s.Name)
	if err != nil {
		return err
	}
	return c.print(d, func(w io.Writer) {
		lines := [][2]string{
			{"name", d.Name},
			{"image", d.Image},
			{"now", nowText(&d)},
			{"index", indexText(&d)},
			{"who", whoText(&d)},
			{"content", d.Content},
			{"comment", d.Comment},
			{"created", d.Created.Local().Format(time.DateTime)},
			{"changed", d.Changed.Local().Format(time.DateTime)},
		}
		for _, r := range (&deploymentFlags{}).all() {
			if value, ok := d.Rules[r.key]; ok {
				lines = append(lines, [2]string{r.key, value})
			}
		}
		var rows []string
		for _, line := range lines {
			rows = append(rows, line[0]+"\t"+printable(line[1]))
		}
		table(w, rows[0], rows[1:])
	})
}

type deploymentRemove struct {
	Name string `arg:"" help:"Name of the deployment."`
}

// Run implements the command.
func (r *deploymentRemove) Run(ctx context.Context, c *console) error {
	if err := c.admin().RemoveDeployment(ctx, r.Name); err != nil {
		return err
	}
	return c.print(struct{}{}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "removed %s; running sessions go on\n", printable(r.Name)) })
}
