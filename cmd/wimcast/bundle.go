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
	"wimcast/crypto/keyex"
)

// bundleCommand manages join bundles.
type bundleCommand struct {
	Create bundleCreate `cmd:"" help:"Make a join bundle: CA, certificate, key and the server's address in one file."`
	List   bundleList   `cmd:"" help:"List the bundles that were made."`
	Revoke bundleRevoke `cmd:"" help:"Revoke a bundle: nobody can join with it any more."`
}

type bundleCreate struct {
	Name     string        `arg:"" optional:"" help:"Name of who holds it: a room, a machine, a person."`
	Role     string        `help:"Role: winpe, client, operator, viewer or worker." default:"winpe"`
	Lifetime time.Duration `help:"How long it is good for." default:"8760h"`
	Address  []string      `help:"Address that it names, host:port (default: the daemon's own)." placeholder:"HOST:PORT"`
	Point    []string      `help:"Machines with an address in PREFIX go to this server first, such as 10.1.0.0/16=10.1.0.5:7600; may repeat (default: what the site knows of its points)." placeholder:"PREFIX=HOST:PORT" sep:"none"`
	PIN      bool          `name:"pin" help:"It opens nothing before somebody has shown a PIN: wimcast pin set NAME."`
	Machines string        `help:"Make one for each machine of this list instead: NAME, or NAME,UUID a line." type:"existingfile" placeholder:"LIST.csv"`
	Output   string        `short:"o" help:"File to write (default: NAME.join); with --machines a folder (default: the list's name without its ending)." placeholder:"FILE"`
}

// Run implements the command.
func (b *bundleCreate) Run(ctx context.Context, c *console) error {
	switch {
	case b.Machines != "" && b.Name != "":
		return &codedError{exitUsage, errors.New("bundle create: NAME and --machines: the list has the names; leave one of them out")}
	case b.Machines != "":
		return b.each(ctx, c)
	case b.Name == "":
		return &codedError{exitUsage, errors.New("bundle create: name who holds it, or a list with --machines")}
	}
	points, err := b.table()
	if err != nil {
		return &codedError{exitUsage, fmt.Errorf("bundle create: %w", err)}
	}
	output := b.Output
	if output == "" {
		output = strings.TrimSuffix(fileName(b.Name), ".wim") + ".join"
	}
	f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	issued, err := c.admin().IssueBundle(ctx, api.BundleRequest{Name: b.Name, Role: b.Role, Lifetime: b.Lifetime.Seconds(), Servers: b.Address, Points: points, PIN: b.PIN})
	if err == nil {
		_, err = io.WriteString(f, issued.Text)
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(output)
		return err
	}
	return c.print(issued.Bundle, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: %s for %s until %s, serial %s; who holds the file %s, so keep it as you keep a key\n",
			output, issued.Role, printable(issued.Name), issued.Expires.Local().Format(time.DateOnly), issued.Serial, may(issued.Role))
		if issued.PIN {
			_, _ = fmt.Fprintf(w, "it opens nothing before its room's PIN was shown; next: wimcast pin set %q\n", issued.Name)
		}
	})
}

// table reads --point.
func (b *bundleCreate) table() ([]api.PointAt, error) {
	var out []api.PointAt
	for _, text := range b.Point {
		p, err := keyex.ParsePointAt(text)
		if err != nil {
			return nil, err
		}
		out = append(out, api.PointAt{Prefix: p.Prefix.String(), Server: p.Server})
	}
	return out, nil
}

// may says what a role is good for.
func may(role string) string {
	switch role {
	case "winpe", "client":
		return "can join"
	case "operator":
		return "can administer this distribution point over the network"
	case "viewer":
		return "can look at this distribution point over the network"
	case "worker":
		return "gets images to work on, and hands them back changed"
	}
	return "can't do anything with it yet"
}

type bundleList struct{}

// Run implements the command.
func (*bundleList) Run(ctx context.Context, c *console) error {
	list, err := c.admin().Bundles(ctx)
	if err != nil {
		return err
	}
	return c.print(list, func(w io.Writer) {
		var rows []string
		for _, b := range list {
			state := "good"
			switch {
			case b.Revoked:
				state = "revoked"
			case time.Now().After(b.Expires):
				state = "expired"
			}
			wants := "-"
			if b.PIN {
				wants = "PIN"
			}
			holder := "all who hold it"
			if b.Alone {
				holder = "one machine"
			}
			rows = append(rows, strings.Join([]string{printable(b.Name), b.Role, b.Expires.Local().Format(time.DateOnly), state, wants, holder, b.Serial}, "\t"))
		}
		table(w, "NAME\tROLE\tEXPIRES\tSTATE\tWANTS\tFOR\tSERIAL", rows)
	})
}

type bundleRevoke struct {
	Which string `arg:"" help:"Serial or name."`
}

// Run implements the command.
func (r *bundleRevoke) Run(ctx context.Context, c *console) error {
	revoked, err := c.admin().RevokeBundle(ctx, r.Which)
	if err != nil {
		return err
	}
	return c.print(revoked, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "revoked %s: %s", printable(r.Which), count(revoked.Credentials, "credential"))
		if len(revoked.Evicted) > 0 {
			_, _ = fmt.Fprintf(w, "; evicted: %s", printable(strings.Join(revoked.Evicted, ", ")))
		}
		_, _ = fmt.Fprintln(w)
	})
}
