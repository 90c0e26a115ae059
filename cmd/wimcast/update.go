package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"wimcast/api"
)

// updateCommand manages the catalogue of software updates.
type updateCommand struct {
	Add        updateAdd        `cmd:"" help:"Add an .msu or .cab, or all in a folder. There is no Microsoft Update sync."`
	List       updateList       `cmd:"" help:"List the updates."`
	Show       updateShow       `cmd:"" help:"Show an update: what its package says, and what was told."`
	Remove     updateRemove     `cmd:"" help:"Remove an update."`
	Applicable updateApplicable `cmd:"" help:"List the updates that are applicable to an image and not yet applied."`
}

// told are flags that say what a package doesn't say itself.
type told struct {
	ID           string   `name:"id" help:"What it is called, such as KB5031455."`
	Title        string   `help:"Title."`
	Arch         string   `help:"Architecture that it is for: x64, arm64, x86." placeholder:"ARCH"`
	Build        string   `help:"Builds of Windows that it is for: 22621, 22621-22631, or any."`
	Edition      []string `help:"Edition that it is for, as image show has it (default: any)."`
	Language     []string `help:"Language that it is for, such as de-DE (default: any)."`
	SupersededBy []string `help:"Update that takes its place." placeholder:"ID"`
	Requires     []string `help:"Update that has to come before it." placeholder:"ID"`
}

func (t *told) request(file string, overlay bool) api.UpdateRequest {
	return api.UpdateRequest{
		File: file, Overlay: overlay, ID: t.ID, Title: t.Title, Architecture: t.Arch, Build: t.Build, Editions: t.Edition, Languages: t.Language,
		SupersededBy: t.SupersededBy, Requires: t.Requires,
	}
}

type updateAdd struct {
	File string `arg:"" optional:"" help:"Package: .msu or .cab." placeholder:"FILE"`
	Dir  string `help:"Add every .msu and .cab in a folder." placeholder:"DIR"`
	told
}

// Run implements the command.
func (a *updateAdd) Run(ctx context.Context, c *console) error {
	switch {
	case (a.File == "") == (a.Dir == ""):
		return &codedError{exitUsage, errors.New("update add: name a file, or a folder with --dir")}
	case a.Dir != "" && (a.ID != "" || a.Title != "" || len(a.SupersededBy) > 0 || len(a.Requires) > 0):
		return &codedError{exitUsage, errors.New("update add: --id, --title, --superseded-by and --requires are of one update, and --dir adds many; add that one by its name")}
	}
	files := []string{a.File}
	if a.Dir != "" {
		var err error
		if files, err = packagesIn(a.Dir); err != nil {
			return err
		}
	}
	var added []api.Update
	var failed []error
	for _, file := range files {
		u, err := a.one(ctx, c, file)
		if err != nil {
			failed = append(failed, err)
			if a.Dir != "" {
				_, _ = fmt.Fprintf(c.err, "wimcast: %v\n", err)
			}
			continue
		}
		added = append(added, u)
	}
	if len(failed) > 0 && a.Dir == "" {
		return failed[0]
	}
	if err := c.print(added, func(w io.Writer) {
		for i := range added {
			verb := "added"
			if added[i].AlreadyThere {
				verb = "already there:"
			}
			_, _ = fmt.Fprintf(w, "%s %s\n", verb, updateText(&added[i]))
		}
	}); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("update add: %d of %d were refused", len(failed), len(files))
	}
	return nil
}

func (a *updateAdd) one(ctx context.Context, c *console, name string) (u api.Update, err error) {
	f, err := os.Open(name)
	if err != nil {
		return u, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return u, err
	}
	if !info.Mode().IsRegular() {
		return u, fmt.Errorf("add %s: not a regular file; a folder of updates is added with --dir, one of files for an image is an overlay: wimcast overlay add FOLDER --id NAME", name)
	}
	return c.admin().AddUpdate(ctx, f, info.Size(), a.request(filepath.Base(name), false))
}

// packagesIn lists the packages in a folder.
func packagesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if kind := strings.ToLower(filepath.Ext(e.Name())); kind == ".msu" || kind == ".cab" {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("update add: there is no .msu and no .cab in %s", dir)
	}
	return files, nil
}

// updateText says in a line what an update is, and how that is known.
func updateText(u *api.Update) string {
	arch := u.Architecture
	if arch == "" {
		arch = "any architecture"
	}
	text := fmt.Sprintf("%s: %s, %s, build %s, %s", printable(u.ID), u.Kind, arch, u.Build, bytesText(float64(u.Size)))
	if len(u.Read) > 0 {
		text += "; the package says " + strings.Join(u.Read, ", ")
	}
	if len(u.Told) > 0 {
		text += "; you say " + strings.Join(u.Told, ", ")
	}
	return text
}

type updateList struct{}

// Run implements the command.
func (*updateList) Run(ctx context.Context, c *console) error {
	return listKind(ctx, c, func(kind string) bool { return kind != overlayKind })
}

// overlayKind is the kind of what isn't a software update.
const overlayKind = "overlay"

func listKind(ctx context.Context, c *console, is func(kind string) bool) error {
	list, err := c.admin().Updates(ctx)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(u api.Update) bool { return !is(u.Kind) })
	return c.print(list, func(w io.Writer) {
		var rows []string
		for _, u := range list {
			rows = append(rows, strings.Join([]string{
				printable(u.ID), u.Kind, u.Architecture, u.Build, printable(strings.Join(u.Editions, " ")), printable(strings.Join(u.Languages, " ")),
				bytesText(float64(u.Size)), printable(strings.Join(u.SupersededBy, " ")), u.Added.Local().Format("2006-01-02"), printable(u.Title),
			}, "\t"))
		}
		table(w, "ID\tKIND\tARCH\tBUILD\tEDITIONS\tLANGUAGES\tSIZE\tSUPERSEDED BY\tADDED\tTITLE", rows)
	})
}

type updateShow struct {
	Update string `arg:"" help:"Id, with the architecture (KB5031455-x64) where there are several."`
}

// Run implements the command.
func (s *updateShow) Run(ctx context.Context, c *console) error {
	u, err := c.admin().Update(ctx, s.Update)
	if err != nil {
		return err
	}
	return c.print(u, func(w io.Writer) {
		line := func(name, value string, fields ...string) {
			if value == "" {
				return
			}
			known := ""
			for _, f := range fields {
				if slices.Contains(u.Read, f) {
					known = "  (the package says so)"
				} else if slices.Contains(u.Told, f) {
					known = "  (told when it was added)"
				}
			}
			_, _ = fmt.Fprintf(w, "%-14s %s%s\n", name, printable(value), known)
		}
		line("id", u.ID, "id")
		line("kind", u.Kind)
		line("title", u.Title, "title")
		line("architecture", u.Architecture, "architecture")
		line("build", u.Build, "build")
		line("editions", strings.Join(u.Editions, ", "), "editions")
		line("languages", strings.Join(u.Languages, ", "), "languages")
		line("superseded by", strings.Join(u.SupersededBy, ", "), "superseded_by")
		line("requires", strings.Join(u.Requires, ", "), "requires")
		if i := u.Identity; i != nil {
			line("servicing", strings.Join([]string{i.Name, i.Version, i.Architecture, i.PublicKeyToken, i.Language}, " "), "identity")
		}
		line("file", u.File)
		line("size", fmt.Sprintf("%s (%d bytes)", bytesText(float64(u.Size)), u.Size))
		line("SHA-256", u.SHA256)
	})
}

type updateRemove struct {
	Update string `arg:"" help:"Id, with the architecture where there are several."`
}

// Run implements the command.
func (r *updateRemove) Run(ctx context.Context, c *console) error {
	return removeKind(ctx, c, r.Update)
}

func removeKind(ctx context.Context, c *console, name string) error {
	if err := c.admin().RemoveUpdate(ctx, name); err != nil {
		return err
	}
	return c.print(struct{}{}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "removed %s\n", printable(name)) })
}

type updateApplicable struct {
	Image string `arg:"" help:"Name, name@version or digest; :INDEX behind it for one of the images in it."`
	All   bool   `help:"Show the others too, and why they aren't."`
}

// Run implements the command.
func (a *updateApplicable) Run(ctx context.Context, c *console) error {
	ref, number, indexed := strings.Cut(a.Image, ":")
	index := 0
	if indexed {
		var err error
		if index, err = strconv.Atoi(number); err != nil || index < 1 {
			return &codedError{exitUsage, fmt.Errorf("update applicable: %q: want a number behind the colon", a.Image)}
		}
	}
	list, err := c.admin().ImageUpdates(ctx, ref, index)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Updates = slices.DeleteFunc(list[i].Updates, func(j api.JudgedUpdate) bool { return !a.All && j.Verdict != "applicable" && j.Verdict != "lacks" })
	}
	return c.print(list, func(w io.Writer) {
		for n := range list {
			i := &list[n]
			_, _ = fmt.Fprintf(w, "%s image %d, %s: %s %s build %d; %s of Windows in it, %s applied here\n", printable(i.Package), i.Index, printable(i.Name),
				i.Architecture, printable(i.Edition), i.Build, count(len(i.Installed), "update"), count(len(i.Applied), "change"))
			for _, applied := range i.Applied {
				_, _ = fmt.Fprintf(w, "  %s was applied here on %s (%s)\n", printable(applied.ID), printable(applied.Date), printable(applied.Executor))
			}
			var rows []string
			for _, j := range i.Updates {
				rows = append(rows, strings.Join([]string{"  " + printable(j.Update), strings.ReplaceAll(j.Verdict, "_", " "), printable(j.Text), printable(j.Title)}, "\t"))
			}
			if len(rows) == 0 {
				_, _ = fmt.Fprintln(w, "  nothing in the catalogue is applicable and not yet applied")
				continue
			}
			table(w, "  UPDATE\tVERDICT\tWHY\tTITLE", rows)
		}
	})
}
