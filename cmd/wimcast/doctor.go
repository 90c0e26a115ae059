package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"

	"wimcast/api"
	"wimcast/client/doctor"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/multicast/fault"
)

// doctorCommand says why casts fail, on either side.
type doctorCommand struct {
	Output     string        `short:"o" help:"Client: folder that images go to; its disk is tried with a file that is removed again." placeholder:"DIR" type:"path"`
	Interface  string        `help:"Client: network interface of the group, by name or address (default: the one that reaches the server)." placeholder:"NAME"`
	ReadBuffer int           `hidden:"" help:"Client: receive buffer to ask for, in bytes: for tests."`
	ClockOff   time.Duration `hidden:"" help:"Client: wrong by so much: for tests."`
}

// Help says how the side is found.
func (*doctorCommand) Help() string {
	return "With a join bundle (--bundle, or room.join in this folder) it looks as a client: is the server reached, who refuses whom, does the group arrive. " +
		"With a daemon on this machine, --socket, or an operator's or viewer's bundle it looks as the server: interfaces, IGMP querier, other servers, buffers, disk, certificates. " +
		"Exit code 0: nothing failed; 1: something did; 2: usage; 4: the bundle can't be used."
}

// errFailed ends the doctor when something failed; what it was has been printed.
var errFailed = errors.New("doctor: something failed; the lines that begin with FAIL say what, and what to do")

// Run implements the command.
func (d *doctorCommand) Run(ctx context.Context, c *console) error {
	side, bundle, err := d.side(c)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	found := api.Doctor{Side: side, Host: host}
	switch {
	case bundle != nil:
		err = d.client(ctx, c, bundle, &found)
	default:
		err = d.server(ctx, c, &found)
	}
	if err != nil {
		return err
	}
	if c.json {
		if err := c.print(found, nil); err != nil {
			return err
		}
	}
	if found.Failed() {
		return errFailed
	}
	return nil
}

// The sides.
const (
	sideServer = "server"
	sideClient = "client"
)

// side says which side this is; with a bundle where it is a client.
func (d *doctorCommand) side(c *console) (string, *keyex.Bundle, error) {
	named := c.place.Bundle
	if c.place.Socket != "" && named == "" { // the socket may come from the environment
		return sideServer, nil, nil
	}
	if named == "" {
		if _, err := os.Stat(findSocket()); err == nil && len(c.place.Server) == 0 {
			return sideServer, nil, nil
		}
		if _, err := os.Stat(firstBundle); err != nil && len(c.place.Server) == 0 {
			return sideServer, nil, nil // and no daemon: the server's checks say so
		}
	}
	bundle, err := keyex.ReadBundle(cmp.Or(named, firstBundle))
	if err != nil {
		return "", nil, &codedError{exitRefused, err}
	}
	if role := bundle.Identity().Role; role == keyex.Operator || role == keyex.Viewer {
		return sideServer, nil, nil
	}
	return sideClient, bundle, nil
}

// client looks as a client.
func (d *doctorCommand) client(ctx context.Context, c *console, bundle *keyex.Bundle, found *api.Doctor) error {
	credentials, err := bundle.Credentials()
	if err != nil {
		return &codedError{exitRefused, err}
	}
	d.head(c, found)
	return doctor.Run(ctx, doctor.Config{
		Ways: waysOf(bundle, &c.place)(), Credentials: credentials, Folder: d.Output, ReadBuffer: d.ReadBuffer,
		Now: func() time.Time { return time.Now().Add(d.ClockOff) },
		Interface: func(local, group netip.Addr) (*multicast.Interface, error) {
			which := d.Interface
			if which == "" && local.IsValid() && !local.IsUnspecified() {
				which = local.String()
			}
			return multicast.FindInterface(which, group)
		},
	}, func(f doctor.Finding) {
		d.line(c, found, api.Finding{State: string(f.State), Check: f.Check, Text: f.Text, Next: f.Next, Fault: string(f.Kind)})
	})
}

// server asks the daemon; without one it looks at the machine.
func (d *doctorCommand) server(ctx context.Context, c *console, found *api.Doctor) error {
	asked, err := c.admin().Doctor(ctx)
	if err == nil {
		found.Side, found.Host = asked.Side, asked.Host
		d.head(c, found)
		for _, f := range asked.Findings {
			d.line(c, found, f)
		}
		return nil
	}
	if _, refused := errors.AsType[*api.Problem](err); refused || c.place.Bundle != "" || len(c.place.Server) > 0 || ctx.Err() != nil {
		return err // a daemon elsewhere: this machine doesn't matter
	}
	d.head(c, found)
	d.line(c, found, faultFinding(api.FindingFail, "daemon", fault.NoDaemon(cmp.Or(c.place.Socket, findSocket()), bareError(err))))
	for _, f := range localFindings() {
		d.line(c, found, f)
	}
	return nil
}

func faultFinding(state, check string, f fault.Fault) api.Finding {
	return api.Finding{State: state, Check: check, Text: f.Text, Next: f.Next, Fault: string(f.Kind)}
}

// bareError is the system's own word of an error, where it has one.
func bareError(err error) error {
	if errno, is := errors.AsType[syscall.Errno](err); is {
		return errno
	}
	return err
}

// head says which side this is.
func (d *doctorCommand) head(c *console, found *api.Doctor) {
	if c.json {
		return
	}
	as := "as a client of the distribution point"
	if found.Side == sideServer {
		as = "as a distribution point"
	}
	_, _ = fmt.Fprintf(c.out, "%s, %s:\n", printable(found.Host), as)
}

// line adds a finding, and prints it at once.
func (d *doctorCommand) line(c *console, found *api.Doctor, f api.Finding) {
	found.Findings = append(found.Findings, f)
	if !c.json {
		writeFinding(c.out, &f)
	}
}

func writeFinding(w io.Writer, f *api.Finding) {
	word := f.State
	if f.State == api.FindingFail {
		word = "FAIL"
	}
	_, _ = fmt.Fprintf(w, "%-4s %s: %s\n", word, printable(f.Check), printable(fault.Fault{Text: f.Text, Next: f.Next}.String()))
}

// localFindings look at this machine as a server's, without a daemon.
func localFindings() (out []api.Finding) {
	all, err := multicast.Interfaces()
	if err != nil {
		return []api.Finding{faultFinding(api.FindingFail, "interface", fault.InterfaceDown("", err))}
	}
	group := netip.AddrFrom4([4]byte{239, 195, 16, 1})
	for _, ifc := range all {
		if ifc.Loopback {
			continue
		}
		if _, err := multicast.FindInterface(ifc.Name, group); err != nil {
			out = append(out, api.Finding{State: api.FindingSkip, Check: "interface", Text: fmt.Sprintf("%s can't carry groups: %v", ifc.Name, bareError(err))})
			continue
		}
		text := fmt.Sprintf("%s can carry groups: %v, MTU %d", ifc.Name, ifc.Addr(group), ifc.MTU)
		if !ifc.Running() {
			out = append(out, faultFinding(api.FindingWarn, "interface", fault.InterfaceDown(ifc.Name, errors.New("it has no carrier"))))
			continue
		}
		out = append(out, api.Finding{State: api.FindingOK, Check: "interface", Text: text})
	}
	if _, err := multicast.FindInterface("", group); err != nil {
		out = append(out, faultFinding(api.FindingFail, "interface", fault.InterfaceDown("for groups", bareError(err))))
	}
	return out
}
