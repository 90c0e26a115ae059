package bootimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// Kind is what starts a boot image's programs.
type Kind string

// The kinds.
const (
	// ADK is plain Windows PE: startnet.cmd runs.
	ADK Kind = "adk"
	// Shell has programs in winpeshl.ini, in place of startnet.cmd.
	Shell Kind = "winpeshl"
	// Setup is the image of installation media that starts Setup.
	Setup Kind = "setup"
	// ConfigMgr is a boot image of Configuration Manager, whose task sequence decides what runs.
	ConfigMgr Kind = "configmgr"
)

// String returns what people call the kind.
func (k Kind) String() string {
	switch k {
	case ADK:
		return "ADK WinPE"
	case Shell:
		return "WinPE with winpeshl.ini"
	case Setup:
		return "installation media"
	case ConfigMgr:
		return "ConfigMgr boot image"
	}
	return string(k)
}

// Boot is an image inside a boot WIM, as it was when it was opened.
type Boot struct {
	File   string
	Image  wim.Image // the one that is changed
	Images int       // in the file
	Kind   Kind
	// Injected says that the client is in it.
	Injected bool
	// Notice, if set, is told each step of a change, which may take a while: large images are copied and verified.
	Notice func(step string)

	info  os.FileInfo
	paths map[string]string // lower case → as they are
	rec   *record
	start *startFile // nil for ConfigMgr
}

// startFile is the file that starts the image's programs.
type startFile struct {
	path     string // as it is in the image, or shall be
	now      []byte // nil: not there
	original []byte // without us; nil: not there
}

// Open looks at a boot image. index counts from 1; 0 is the one that the header marks as bootable, or the only one. It
// changes nothing. Errors end in what to do.
func Open(ctx context.Context, file string, index int) (*Boot, error) {
	b, err := open(ctx, file, index)
	if err != nil {
		return nil, fmt.Errorf("boot image %s: %w", filepath.Base(file), err)
	}
	return b, nil
}

func open(ctx context.Context, file string, index int) (*Boot, error) {
	b := &Boot{File: file}
	if err := b.readTables(index); err != nil {
		return nil, err
	}
	paths, err := wimlib.Dir(ctx, file, b.Image.Index, "/")
	if err != nil {
		return nil, err
	}
	b.paths = make(map[string]string, len(paths))
	for _, p := range paths {
		b.paths[strings.ToLower(p)] = p
	}
	if err := b.readRecord(ctx); err != nil {
		return nil, err
	}
	if err := b.findStart(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// readTables reads what the WIM says of itself.
func (b *Boot) readTables(index int) error {
	f, err := os.Open(b.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if b.info, err = f.Stat(); err != nil {
		return err
	}
	w, err := wim.Open(f, b.info.Size())
	if err != nil {
		return err
	}
	switch {
	case w.Pipable || w.Split() || w.Solid:
		return errors.New("no machine boots from a pipable, split or solid WIM; next: name the boot.wim that the machines boot")
	case len(w.Images) == 0:
		return errors.New("it has no image in it; next: name the boot.wim that the machines boot")
	}
	b.Images = len(w.Images)
	switch {
	case index == 0 && w.BootIndex > 0:
		index = int(w.BootIndex)
	case index == 0 && b.Images == 1:
		index = 1
	case index == 0:
		return fmt.Errorf("it has %d images and marks none to boot; next: --index N", b.Images)
	case index < 0 || index > b.Images:
		return fmt.Errorf("it has no image %d, the last is %d; next: --index N, or without --index the one that boots", index, b.Images)
	}
	b.Image = w.Images[index-1]
	return nil
}

// has reports whether the image has a path, which is in lower case.
func (b *Boot) has(lower string) bool { return b.paths[lower] != "" }

// read reads a file of the image; nil where there is none.
func (b *Boot) read(ctx context.Context, lower string, bound int) ([]byte, error) {
	if !b.has(lower) {
		return nil, nil
	}
	text, err := wimlib.Read(ctx, b.File, b.Image.Index, b.paths[lower])
	if err == nil && len(text) > bound {
		err = fmt.Errorf("%s has %d bytes, more than %d", b.paths[lower], len(text), bound)
	}
	if text == nil {
		text = []byte{}
	}
	return text, err
}

func (b *Boot) readRecord(ctx context.Context) error {
	if !b.has(dir) {
		return nil
	}
	text, err := b.read(ctx, dir+"/"+recordName, maxRecord)
	if err != nil {
		return err
	}
	b.rec, err = parseRecord(text)
	b.Injected = err == nil
	return err
}

// findStart says what kind the image is of, and reads its start file. An image that we are in is what it was before.
func (b *Boot) findStart(ctx context.Context) error {
	shell, err := b.readStart(ctx, winpeshl)
	if err != nil {
		return err
	}
	switch {
	case b.has(smsBin):
		b.Kind = ConfigMgr
	case !b.has(shellExe):
		return b.unknown()
	case shell.original != nil:
		b.Kind, b.start = Shell, shell
	case b.setup() != "":
		b.Kind, b.start = Setup, shell
	case b.has(startnet):
		b.Kind = ADK
		b.start, err = b.readStart(ctx, startnet)
	default:
		return b.unknown()
	}
	if b.Injected && b.rec.Start != "" && (b.start == nil || !strings.EqualFold(b.rec.Start, b.start.path)) {
		return fmt.Errorf("it was injected as %s, and is something else now; next: begin again from the untouched image, %s.orig", b.rec.Kind, filepath.Base(b.File))
	}
	return err
}

func (b *Boot) unknown() error {
	return fmt.Errorf("image %d (%s) is none that Windows PE starts from: it has no %s; looked for that with startnet.cmd, winpeshl.ini or setup.exe, and for %s of Configuration Manager; next: name a boot.wim, or another image of it with --index N",
		b.Image.Index, printable(b.Image.Name), missing(b), windowsPath(smsBin))
}

func missing(b *Boot) string {
	if !b.has(shellExe) {
		return `\Windows\System32\winpeshl.exe`
	}
	return `\Windows\System32\startnet.cmd`
}

// setup returns where Setup lies, or "".
func (b *Boot) setup() string {
	if i := slices.IndexFunc(setups, b.has); i >= 0 {
		return b.paths[setups[i]]
	}
	return ""
}

// readStart reads a start file, and what it was before us.
func (b *Boot) readStart(ctx context.Context, lower string) (*startFile, error) {
	s := &startFile{path: b.paths[lower]}
	var err error
	if s.now, err = b.read(ctx, lower, maxScript); err != nil {
		return nil, err
	}
	s.original = s.now
	switch {
	case s.path == "":
		// Where it will be, in the case that the folder is written in.
		s.path = path.Join(b.paths[system32], path.Base(lower))
		return s, nil
	case b.rec == nil || !strings.EqualFold(b.rec.Start, lower):
	case hash(s.now) != b.rec.SHA256:
		s.original, err = withoutLine(s.now)
	case b.rec.Made:
		s.original = nil
	default:
		s.original, err = b.read(ctx, dir+"/"+savedName+"/"+path.Base(lower), maxScript)
		if err == nil && s.original == nil {
			err = errNotOurs
		}
	}
	return s, err
}

// windowsPath writes a path of an image as Windows does.
func windowsPath(p string) string { return strings.ReplaceAll(p, "/", `\`) }

// printable keeps names from images from steering a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
