package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"wimcast/crypto/keyex"
	"wimcast/library/bootimage"
	"wimcast/library/wim"
)

// winpeInjectCommand makes a boot image whose machines join by themselves.
type winpeInjectCommand struct {
	File       string `arg:"" help:"Boot image: boot.wim of the ADK, of installation media, of WDS or Configuration Manager." placeholder:"BOOT.WIM" type:"existingfile"`
	Drivers    string `help:"Folder of drivers (.inf and what belongs to it), loaded before the network is looked for." placeholder:"DIR" type:"existingdir"`
	Deployment string `help:"Deployment that the machines join (default: the one that the bundle may have)." placeholder:"NAME"`
	Program    string `help:"Program for Windows (default: wimcast.exe or wimcast-arm64.exe beside this program, or in ../lib/wimcast from there)." placeholder:"FILE" type:"existingfile"`
	Index      int    `help:"Image inside of the file, from 1 (default: the one that boots)." placeholder:"N"`
	Remove     bool   `help:"Take everything out again."`
	DryRun     bool   `help:"Say what would be done, and change nothing."`

	Options []string `arg:"" optional:"" help:"Options of winpe run for the start line, after --: -- --apply Windows --index 1 --reboot." placeholder:"OPTION"`
}

// soonExpired is when it is said that a bundle ends: boot images live for long.
const soonExpired = 30 * 24 * time.Hour

// winpeInjected is what is told of it.
type winpeInjected struct {
	File         string         `json:"file"`
	Index        int            `json:"index"`
	Images       int            `json:"images"`
	Name         string         `json:"name"`
	Kind         bootimage.Kind `json:"kind"`
	Architecture string         `json:"architecture"`
	Changed      bool           `json:"changed"`
	DryRun       bool           `json:"dry_run,omitempty"`
	Removed      bool           `json:"removed,omitempty"`
	Restored     bool           `json:"restored,omitempty"` // byte for byte
	StartFile    string         `json:"start_file,omitempty"`
	StartLine    string         `json:"start_line,omitempty"`
	StartMade    bool           `json:"start_file_made,omitempty"`
	Prestart     string         `json:"prestart_command,omitempty"`
	Firewall     bool           `json:"firewall_opened,omitempty"`
	Drivers      int            `json:"drivers,omitempty"`
	Original     string         `json:"original,omitempty"`
	Bundle       string         `json:"bundle,omitempty"`
	Expires      time.Time      `json:"bundle_expires,omitzero"`
}

// prestart is what starts the client from a task sequence, where nothing else does.
const prestart = `cmd.exe /c X:\wimcast\start.cmd`

// Run implements the command.
func (w *winpeInjectCommand) Run(ctx context.Context, c *console) error {
	said := winpeInjected{File: filepath.Base(w.File), DryRun: w.DryRun, Removed: w.Remove}
	content := bootimage.Content{Program: w.Program, Drivers: w.Drivers, Options: w.options()}
	if !w.Remove {
		if err := checkRun(content.Options); err != nil {
			return err
		}
		if err := w.readBundle(c, &content, &said); err != nil {
			return err
		}
	}
	boot, err := bootimage.Open(ctx, w.File, w.Index)
	if err != nil {
		return err
	}
	boot.Notice = func(step string) { _, _ = fmt.Fprintf(c.err, "%s: %s\n", printable(said.File), step) }
	said.Index, said.Images, said.Name = boot.Image.Index, boot.Images, boot.Image.Name
	said.Kind, said.Architecture = boot.Kind, boot.Image.Architecture.String()
	var result bootimage.Result
	if w.Remove {
		result, err = boot.Remove(ctx, w.DryRun)
	} else {
		if err := boot.CheckArchitecture(); err != nil {
			return err
		}
		if content.Program == "" {
			if content.Program, err = ownProgram(boot.Image.Architecture); err != nil {
				return err
			}
		}
		result, err = boot.Inject(ctx, &content, w.DryRun)
	}
	if err != nil {
		return err
	}
	said.Changed, said.Restored, said.Drivers = result.Changed, result.Restored, result.Drivers
	said.StartFile, said.StartLine, said.StartMade = result.StartFile, result.StartLine, result.StartMade
	if result.Original != "" {
		said.Original = filepath.Base(result.Original)
	}
	if !w.Remove {
		said.Firewall = boot.Kind != bootimage.ConfigMgr
		if boot.Kind == bootimage.ConfigMgr {
			said.Prestart = prestart
		}
	}
	return c.print(&said, func(out io.Writer) { _, _ = fmt.Fprintln(out, said.text()) })
}

// options are those of the client in the start line.
func (w *winpeInjectCommand) options() []string {
	if w.Deployment == "" {
		return w.Options
	}
	return append([]string{"--deployment=" + w.Deployment}, w.Options...)
}

// checkRun holds that winpe run takes some options: in a boot image nobody would see until the room stands there.
func checkRun(options []string) error {
	asked := false
	parser, err := kong.New(&commands{}, kong.Name("wimcast"), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) { asked = true }))
	if err != nil {
		panic("wimcast: " + err.Error()) // the struct is wrong
	}
	_, err = parser.Parse(append([]string{"winpe", "run", "--bundle=room.join"}, options...))
	if asked {
		err = errors.New("--help starts nothing")
	}
	if err != nil {
		return &codedError{exitUsage, fmt.Errorf("winpe inject: the start line: %w; next: wimcast winpe run --help", err)}
	}
	return nil
}

// readBundle holds that a bundle may go into a boot image, which everybody in the room can read.
func (w *winpeInjectCommand) readBundle(c *console, content *bootimage.Content, said *winpeInjected) error {
	if c.place.Bundle == "" {
		return &codedError{exitUsage, errors.New("winpe inject: it takes a bundle, --bundle FILE; next: wimcast bundle create NAME")}
	}
	bundle, err := keyex.ReadBundle(c.place.Bundle)
	if err != nil {
		return err
	}
	id := bundle.Identity()
	name := printable(filepath.Base(c.place.Bundle))
	if id.Role != keyex.WinPE {
		return fmt.Errorf("winpe inject: %s: it has the role %s, and whoever can boot the image or copy it has what is in it: only bundles of the role winpe go into boot images; next: wimcast bundle create NAME --role winpe", name, id.Role)
	}
	left := time.Until(id.NotAfter)
	if left <= 0 {
		return fmt.Errorf("winpe inject: %s: it has expired on %s; next: wimcast bundle create NAME", name, id.NotAfter.Local().Format(time.DateOnly))
	}
	if left < soonExpired {
		_, _ = fmt.Fprintf(c.err, "bundle %s ends on %s: nobody can join with this boot image after that; next: wimcast bundle create NAME --lifetime 8760h\n", name, id.NotAfter.Local().Format(time.DateOnly))
	}
	said.Bundle, said.Expires = id.Name, id.NotAfter
	content.Bundle, err = bundle.Marshal()
	return err
}

// ownProgram finds the client for Windows beside this program, as dist/ has them, or
// where the package has it.
func ownProgram(arch wim.Architecture) (string, error) {
	own, err := os.Executable()
	if err == nil {
		own, err = filepath.EvalSymlinks(own)
	}
	if err != nil {
		return "", fmt.Errorf("winpe inject: where is this program: %w; next: --program FILE", err)
	}
	return programFor(arch, filepath.Dir(own))
}

// programFor finds it from the directory of this program on.
func programFor(arch wim.Architecture, dir string) (string, error) {
	name := "wimcast.exe"
	if arch.String() == "arm64" {
		name = "wimcast-arm64.exe"
	}
	packaged := filepath.Join(dir, "..", "lib", "wimcast") // of /usr/bin: /usr/lib/wimcast
	for _, place := range []string{dir, packaged} {
		program := filepath.Join(place, name)
		if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() {
			return program, nil
		}
	}
	return "", fmt.Errorf("winpe inject: there is no %s beside this program or in %s, which the %s image needs; next: --program FILE, install the package wimcast, or make build", name, packaged, arch)
}

// text is the result in one line.
func (i *winpeInjected) text() string {
	parts := []string{fmt.Sprintf("%s: %s %s", printable(i.File), i.Kind, i.Architecture)}
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if i.Images > 1 {
		add("image %d of %d (%s)", i.Index, i.Images, printable(i.Name))
	}
	// what happens, or would.
	did := func(participle string) string {
		if i.DryRun {
			return "would be " + participle
		}
		return participle
	}
	original := "original " + did("kept") + " in " + printable(i.Original)
	if !i.DryRun {
		original = "original in " + printable(i.Original)
	}
	switch {
	case i.Removed:
		if i.StartFile != "" {
			how := "restored"
			if i.StartMade {
				how = "removed"
			}
			add("%s %s", i.StartFile, did(how))
		}
		add("wimcast %s", did("taken out"))
		if i.Restored {
			add("the file is %s again, byte for byte", printable(i.Original))
			return strings.Join(parts, ", ")
		}
	case !i.Changed:
		add("nothing to change")
		original = "original in " + printable(i.Original)
	case i.StartFile == "":
		add("program and bundle %s", did("added"))
		add("starts nothing")
	default:
		how := "changed"
		if i.StartMade {
			how = "made"
		}
		add("%s %s", i.StartFile, did(how))
		add("firewall %s", did("opened"))
	}
	if i.Drivers > 0 && i.Changed {
		add("%s %s", count(i.Drivers, "driver"), did("added"))
	}
	if i.Original != "" {
		parts = append(parts, original)
	}
	line := strings.Join(parts, ", ")
	if i.Prestart != "" {
		line += "; next: enable a prestart command in the boot image's properties (tab Customization), or a step Run Command Line: " + i.Prestart
	}
	return line
}
