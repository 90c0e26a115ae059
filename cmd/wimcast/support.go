package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"wimcast/api"
	"wimcast/api/support"
)

// supportCommand makes a support bundle.
type supportCommand struct {
	Output    string        `short:"o" help:"Write the bundle here; without it to wimcast-support-DATE-TIME.tar.gz in this directory." placeholder:"FILE.tar.gz"`
	Session   string        `help:"Of sessions this one alone." placeholder:"ID"`
	Since     time.Duration `help:"How far back history and log go." default:"24h"`
	Anonymous bool          `help:"Replace names of machines, addresses, serial numbers and MACs by words that say the same wherever the same is meant."`
	DryRun    bool          `help:"List what would go in, and write nothing."`
}

// What a bundle doesn't have, whatever is asked.
func leftOutOfSupport() []supportLeftOut {
	return []supportLeftOut{
		{"private keys, join bundles, point files", "whoever has them can join, administer, or be the server; nothing asks for them"},
		{"passwords, tokens and files of credentials", "likewise; the configuration says only that there are some"},
		{"PINs", "the daemon itself doesn't know them, only slow hashes"},
		{"keys of sessions and of contents", "they are in memory, and nothing of the memory is in here"},
		{"the environment of the daemon", "it may hold credentials"},
		{"arguments of calls in goroutines.txt", "they may be keys"},
		{"images, and logs of clients", "they are large and others' business; of logs the list is here: wimcast client log"},
	}
}

type supportLeftOut struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// supportManifest is MANIFEST.json of a bundle.
type supportManifest struct {
	Made      time.Time        `json:"made"`
	Version   string           `json:"version"` // of the command
	Since     time.Time        `json:"since"`
	Session   string           `json:"session,omitempty"`
	Anonymous bool             `json:"anonymous"`
	Daemon    string           `json:"daemon"` // how it was reached, or why it wasn't
	Parts     []support.Entry  `json:"parts"`
	LeftOut   []supportLeftOut `json:"left_out"`
}

// supportResult is what --json prints.
type supportResult struct {
	File     string          `json:"file,omitempty"` // not of --dry-run
	Bytes    int64           `json:"bytes,omitempty"`
	Manifest supportManifest `json:"manifest"`
}

// Run implements the command. A daemon that can't be asked is no reason for none: then somebody needs a bundle most.
func (s *supportCommand) Run(ctx context.Context, c *console) error {
	now := time.Now()
	if s.Since <= 0 {
		return &codedError{exitUsage, errors.New("support: --since must be longer ago than now; such as --since 24h")}
	}
	admin := c.admin()
	name := s.Output
	if name == "" {
		name = "wimcast-support-" + now.Format("20060102-150405") + ".tar.gz"
	}
	if _, err := os.Lstat(name); err == nil && !s.DryRun {
		return &codedError{exitUsage, fmt.Errorf("support: %s exists already; name another with -o", name)}
	}
	m := supportManifest{Made: now.UTC(), Version: version, Since: now.Add(-s.Since).UTC(), Session: s.Session, Anonymous: s.Anonymous, Daemon: "asked over " + way(admin), LeftOut: leftOutOfSupport()}
	_, _ = fmt.Fprintf(c.err, "wimcast: support: asking the daemon; it takes some seconds\n")
	files, err := s.ask(ctx, admin, m.Since)
	if refused, is := errors.AsType[*api.Problem](err); is {
		return refused
	}
	if err != nil {
		m.Daemon = err.Error()
		_, _ = fmt.Fprintf(c.err, "wimcast: support: %v; going on with what this machine knows\n", err)
	}
	for i := range files {
		files[i].Name = "server/" + files[i].Name
	}
	var scrubber support.Scrubber
	for _, p := range s.ownParts(admin) {
		files = append(files, support.Make(ctx, p, &scrubber))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.Daemon = string(scrubber.Scrub([]byte(m.Daemon)))
	if s.Anonymous {
		m.Daemon = anonymise(files, m.Daemon)
	}
	for _, f := range files {
		m.Parts = append(m.Parts, f.Entry)
		if f.Error != "" {
			_, _ = fmt.Fprintf(c.err, "wimcast: support: %s: %s\n", printable(f.Name), printable(f.Error))
		}
	}
	out := supportResult{Manifest: m}
	if !s.DryRun {
		if out.Bytes, err = writeBundle(name, m, files); err != nil {
			return err
		}
		out.File = name
	}
	return c.print(out, func(w io.Writer) { s.show(w, &out) })
}

// way says how the daemon is asked.
func way(admin *api.Client) string {
	if admin.Remote() {
		return "HTTPS"
	}
	return "the admin socket"
}

// show prints what was made, or what would be.
func (s *supportCommand) show(w io.Writer, out *supportResult) {
	if !s.DryRun {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", out.File, bytesText(float64(out.Bytes)))
		return
	}
	var rows []string
	for _, p := range out.Manifest.Parts {
		state := bytesText(float64(p.Bytes))
		if p.Error != "" {
			state = "missing: " + printable(p.Error)
		}
		rows = append(rows, strings.Join([]string{printable(p.Name), state, printable(p.About)}, "\t"))
	}
	table(w, "PART\tSIZE\tWHAT", rows)
	_, _ = fmt.Fprintln(w, "\nnot in it:")
	for _, l := range out.Manifest.LeftOut {
		_, _ = fmt.Fprintf(w, "  %s: %s\n", l.What, l.Why)
	}
}

// ask has the daemon make its part. What came before it broke off counts.
func (s *supportCommand) ask(ctx context.Context, admin *api.Client, since time.Time) ([]support.File, error) {
	body, err := admin.Support(ctx, api.SupportRequest{Since: since, Session: s.Session})
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return support.Read(body)
}

// ownParts is what the machine knows on which the command runs; with a server elsewhere that isn't its machine.
func (s *supportCommand) ownParts(admin *api.Client) []support.Part {
	here := "tool"
	parts := []support.Part{support.JSON(here+"/machine.json", "the machine that the bundle was made on", func(context.Context) (any, error) {
		host, err := os.Hostname()
		return map[string]any{"version": version, "go": runtime.Version(), "system": runtime.GOOS + "/" + runtime.GOARCH, "host": host, "now": time.Now(), "asked": way(admin)}, err
	}), support.JSON(here+"/interfaces.json", "its interfaces and their addresses", ownInterfaces)}
	if admin.Remote() || runtime.GOOS != "linux" {
		return parts
	}
	since := "-" + fmt.Sprint(int64(s.Since/time.Second)) + "s"
	return append(parts,
		program("journal.txt", "lines of the service in the journal, those before its latest start too", "journalctl", "-u", "wimcastd", "--no-pager", "-o", "short-iso-precise", "-n", "20000", "--since", since),
		// Not all of it: Environment= is among it.
		program("service.txt", "the service, as systemd knows it", "systemctl", "show", "wimcastd", "--no-pager",
			"-p", "ActiveState,SubState,Result,NRestarts,ExecMainStatus,ExecMainCode,ExecMainStartTimestamp,ExecMainExitTimestamp,StateChangeTimestamp,MemoryCurrent,MemoryPeak,CPUUsageNSec,TasksCurrent,LimitNOFILE,FragmentPath,DropInPaths,WatchdogUSec,UnitFileState,StatusText"),
	)
}

// program is a part that a program of this machine prints.
func program(name, about, command string, args ...string) support.Part {
	return support.Part{Name: path.Join("service", name), About: about, Make: func(ctx context.Context, w io.Writer) error {
		run := exec.CommandContext(ctx, command, args...)
		var said bytes.Buffer
		run.Stdout, run.Stderr = w, &said
		run.WaitDelay = time.Second
		if err := run.Run(); err != nil {
			return fmt.Errorf("%s: %w: %.300s", command, err, bytes.TrimSpace(said.Bytes()))
		}
		return nil
	}}
}

func ownInterfaces(context.Context) (any, error) {
	all, err := net.Interfaces()
	out := []map[string]any{}
	for _, i := range all {
		var addresses []string
		list, _ := i.Addrs()
		for _, a := range list {
			addresses = append(addresses, a.String())
		}
		out = append(out, map[string]any{"name": i.Name, "mtu": i.MTU, "flags": i.Flags.String(), "addresses": addresses, "mac": i.HardwareAddr.String()})
	}
	return out, err
}

// anonymise replaces what names machines, in all files alike, and in a text.
func anonymise(files []support.File, text string) string {
	p := support.NewPseudonyms()
	named := []string{"server/queue.json", "server/history/clients.json"}
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".json") || strings.HasSuffix(f.Name, ".jsonl") {
			p.Learn(f.Text, slices.Contains(named, f.Name))
		}
	}
	for i := range files {
		files[i].Text = []byte(p.Replace(string(files[i].Text)))
		files[i].Error = p.Replace(files[i].Error)
		files[i].Bytes = len(files[i].Text)
	}
	return p.Replace(text)
}

// supportReadme is README.txt of a bundle.
const supportReadme = `This is a support bundle of wimcast: what somebody needs who has to help with a
distribution point. It was made by "wimcast support".

MANIFEST.json  what is in it, what couldn't be had and why, and what was left out
server/        what the daemon told of itself: its configuration as it counts,
               sessions and clients, history, events, log, metrics, network
service/       what systemd and its journal say of the service
tool/          the machine on which the bundle was made

Start with server/doctor.json, then server/log.jsonl: one line an event. Its
fields "session", "client" and "request" are those of server/sessions.json and
of server/history: one id, one thing.

No key, password, token or PIN is in it, and it was searched for them. Names of
machines, their addresses and serial numbers are, unless it was made with
--anonymous: then each is a word such as name-3fa9c17b02, the same wherever the
same machine is meant. Look through it before you hand it on: it says much of
a network.
`

// writeBundle writes a bundle that its owner alone can read; nothing is left of one that can't be written.
func writeBundle(name string, m supportManifest, files []support.File) (size int64, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("support: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(name)
			err = fmt.Errorf("support: %w", err)
		}
	}()
	zip := gzip.NewWriter(f)
	out := tar.NewWriter(zip)
	var list bytes.Buffer
	if err := support.JSON("", "", func(context.Context) (any, error) { return m, nil }).Make(context.Background(), &list); err != nil {
		return 0, err
	}
	files = slices.Concat([]support.File{
		{Entry: support.Entry{Name: support.ManifestName}, Text: list.Bytes()}, {Entry: support.Entry{Name: "README.txt"}, Text: []byte(supportReadme)},
	}, files)
	folder := strings.TrimSuffix(path.Base(strings.ReplaceAll(name, `\`, "/")), ".tar.gz")
	for _, one := range files {
		one.Name = path.Join(folder, one.Name)
		if err := support.Append(out, one, m.Made); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(out.Close(), zip.Close(), f.Sync()); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
