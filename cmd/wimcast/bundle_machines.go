package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// maxMachines bounds a list; each bundle costs the server a certificate.
const maxMachines = 10_000

// machineEntry is a line of a list of machines.
type machineEntry struct {
	name, uuid, file string
}

// machinesMade is the result of making a bundle for each machine.
type machinesMade struct {
	Folder string       `json:"folder"`
	Made   []api.Bundle `json:"made"`
	Kept   []string     `json:"kept"` // were there already, and weren't touched
}

// each makes a bundle for each machine of a list. Files that are there already stay as they are, and so it can be run again when it was
// broken off, or when the list has grown.
func (b *bundleCreate) each(ctx context.Context, c *console) error {
	list, err := readMachines(b.Machines)
	if err != nil {
		return err
	}
	points, err := b.table()
	if err != nil {
		return &codedError{exitUsage, fmt.Errorf("bundle create: %w", err)}
	}
	folder := b.Output
	if folder == "" {
		folder = strings.TrimSuffix(filepath.Base(b.Machines), filepath.Ext(b.Machines))
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("bundle create: %w", err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("bundle create: %w; next: name another folder with --output", err)
	}
	defer func() { _ = root.Close() }()
	made := machinesMade{Folder: folder, Made: []api.Bundle{}, Kept: []string{}}
	admin := c.admin()
	for _, m := range list {
		if _, err := root.Lstat(m.file); err == nil {
			made.Kept = append(made.Kept, m.file)
			continue
		}
		issued, err := admin.IssueBundle(ctx, api.BundleRequest{
			Name: m.name, Role: b.Role, Lifetime: b.Lifetime.Seconds(), Servers: b.Address, Points: points, PIN: b.PIN, Alone: true, UUID: m.uuid,
		})
		if err == nil {
			err = writeWhole(root, m.file, issued.Text)
		}
		if err != nil {
			return fmt.Errorf("bundle create: %s: %w; %s made before; next: the same command again, which goes on", printable(m.name), err, count(len(made.Made), "bundle"))
		}
		made.Made = append(made.Made, issued.Bundle)
	}
	return c.print(made, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: %s made, %d there already; who holds one %s as that machine, so keep them as you keep keys\n",
			printable(folder), count(len(made.Made), "bundle"), len(made.Kept), may(b.Role))
	})
}

// readMachines reads a list: a name a line, or name and SMBIOS UUID. A first line "name,uuid", empty lines and those that begin with
// # say nothing. All of it is held before anything is made of it.
func readMachines(path string) (list []machineEntry, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bundle create: %w", err)
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\ufeff")))
	r.FieldsPerRecord, r.Comment, r.TrimLeadingSpace = -1, '#', true
	files := map[string]int{}
	var errs []error
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("bundle create: %s: %w", path, err)
		}
		line, _ := r.FieldPos(0)
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("bundle create: %s: line %d: %w", path, line, fmt.Errorf(format, args...)))
		}
		m := machineEntry{name: strings.TrimSpace(fields[0])}
		if len(fields) > 1 {
			m.uuid = strings.TrimSpace(fields[1])
		}
		if line == 1 && strings.EqualFold(m.name, "name") {
			continue
		}
		m.file = strings.TrimSuffix(fileName(m.name), ".wim") + ".join"
		switch first := files[strings.ToLower(m.file)]; {
		case len(fields) > 2:
			bad("%d fields; want NAME or NAME,UUID", len(fields))
		case m.name == "":
			bad("no name")
		case first != 0:
			bad("%q would be written to the same file as line %d", m.name, first)
		}
		if m.uuid != "" {
			if _, err := keyex.ParseUUID(m.uuid); err != nil {
				bad("%w", err)
			}
		}
		files[strings.ToLower(m.file)] = line
		list = append(list, m)
	}
	if len(list) == 0 || len(list) > maxMachines {
		errs = append(errs, fmt.Errorf("bundle create: %s: %d machines; want 1 to %d", path, len(list), maxMachines))
	}
	return list, errors.Join(errs...)
}

// writeWhole writes a file that isn't there yet, whole or not at all, mode 0600.
func writeWhole(root *os.Root, name, text string) error {
	temporary := ".new-" + name
	_ = root.Remove(temporary) // of a run that was killed
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		// A link takes no place that is taken. Where a file system has none, somebody would have to come in between.
		if err = root.Link(temporary, name); err != nil && !errors.Is(err, fs.ErrExist) {
			if _, there := root.Lstat(name); there != nil {
				return root.Rename(temporary, name)
			}
		}
	}
	_ = root.Remove(temporary)
	return err
}
