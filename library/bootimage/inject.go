package bootimage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"wimcast/library/wimlib"
)

// Result says what was done, or would be.
type Result struct {
	Changed bool
	// StartFile is the name of the start file, "" where there is none; StartLine what was put into it.
	StartFile, StartLine string
	StartMade            bool   // there was none
	Original             string // file with the image as it was; "" where there is none
	Drivers              int    // .inf files
	// Restored says that the file is byte for byte the original again.
	Restored bool
}

// edit is a start file that runs start.cmd.
type edit struct {
	text []byte
	line string
}

// edited returns the start file as it should be; nil where none is changed.
func (b *Boot) edited() (*edit, error) {
	e := &edit{}
	var err error
	switch b.Kind {
	case ConfigMgr:
		return nil, nil
	case ADK:
		e.text, e.line, err = editStartnet(b.start.original)
	case Setup:
		e.text, e.line = makeShell(b.setup())
	default:
		e.text, e.line, err = editShell(b.start.original)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", windowsPath(b.start.path), err)
	}
	return e, nil
}

// Inject puts the client into the image, in place of an earlier one. Where everything is there already nothing is done. The
// first time the file is kept as FILE.orig, which is never overwritten. dry says what would be done, and changes nothing.
func (b *Boot) Inject(ctx context.Context, c *Content, dry bool) (Result, error) {
	r, err := b.inject(ctx, c, dry)
	if err != nil {
		return r, fmt.Errorf("inject into %s: %w", filepath.Base(b.File), err)
	}
	return r, nil
}

func (b *Boot) inject(ctx context.Context, c *Content, dry bool) (r Result, err error) {
	if err := b.CheckArchitecture(); err != nil {
		return r, err
	}
	if r.Original, err = b.original(b.Injected); err != nil {
		return r, err
	}
	scratch, err := os.MkdirTemp("", "wimcast-inject-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	start, err := b.edited()
	if err != nil {
		return r, err
	}
	tree := filepath.Join(scratch, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return r, err
	}
	if r.Drivers, err = b.stage(tree, c, start); err != nil {
		return r, err
	}
	if start != nil {
		r.StartFile, r.StartLine, r.StartMade = filepath.Base(b.start.path), start.line, b.start.original == nil
	}
	same, err := b.holds(ctx, tree, start)
	if err != nil {
		return r, err
	}
	r.Changed = !same
	if same || dry {
		return r, nil
	}
	commands, err := b.commands(tree, start, scratch)
	if err != nil {
		return r, err
	}
	return r, b.replace(ctx, commands)
}

// holds reports whether the image is already as it should be. Nothing is extracted for that: what is in the image comes from anywhere.
func (b *Boot) holds(ctx context.Context, tree string, start *edit) (bool, error) {
	if !b.Injected || start != nil && hash(b.start.now) != hash(start.text) {
		return false, nil
	}
	listed, err := wimlib.Hashes(ctx, b.File, b.Image.Index, b.paths[dir])
	if err != nil {
		return false, err
	}
	now := make(map[string]string, len(listed))
	for name, sum := range listed {
		now[strings.ToLower(name)] = sum
	}
	want, err := hashTree(tree)
	return err == nil && maps.Equal(now, want), err
}

// commands returns what wimlib has to do to the image.
func (b *Boot) commands(tree string, start *edit, scratch string) ([]string, error) {
	var commands []string
	if b.Injected {
		commands = append(commands, "delete --recursive "+dir)
	}
	from, err := wimlib.Quote(tree)
	if err != nil {
		return nil, err
	}
	commands = append(commands, "add "+from+" "+dir)
	if start == nil {
		return commands, nil
	}
	command, err := addFile(scratch, start.text, b.start.path)
	return append(commands, command), err
}

// addFile returns the command that writes a file into an image.
func addFile(scratch string, text []byte, to string) (string, error) {
	file := filepath.Join(scratch, "start")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", err
	}
	from, err := wimlib.Quote(file)
	if err != nil {
		return "", err
	}
	quoted, err := wimlib.Quote(to)
	return "add " + from + " " + quoted, err
}

// ErrNotInjected says that there is nothing to remove.
var ErrNotInjected = errors.New("the client isn't in it")

// Remove takes everything out again and restores the start file. Where the image has then the same files as FILE.orig, it becomes
// that, byte for byte; FILE.orig stays. The error wraps ErrNotInjected where there is nothing to do.
func (b *Boot) Remove(ctx context.Context, dry bool) (Result, error) {
	r, err := b.remove(ctx, dry)
	if err != nil {
		return r, fmt.Errorf("remove from %s: %w", filepath.Base(b.File), err)
	}
	return r, nil
}

func (b *Boot) remove(ctx context.Context, dry bool) (r Result, err error) {
	if !b.Injected {
		return r, fmt.Errorf("%w; next: name the file that wimcast winpe inject wrote, and its --index", ErrNotInjected)
	}
	scratch, err := os.MkdirTemp("", "wimcast-inject-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	r.Changed = true
	if r.Original, err = b.original(true); err != nil {
		return r, err
	}
	commands := []string{"delete --recursive " + dir}
	if b.rec.Start != "" {
		r.StartFile, r.StartMade = filepath.Base(b.start.path), b.start.original == nil
		if b.start.now != nil {
			command, err := b.back(scratch)
			if err != nil {
				return r, err
			}
			commands = append(commands, command)
		}
	}
	if !dry {
		r.Restored, err = b.restore(ctx, commands, r.Original)
	}
	return r, err
}

// back returns the command that makes the start file what it was.
func (b *Boot) back(scratch string) (string, error) {
	if b.start.original != nil {
		return addFile(scratch, b.start.original, b.start.path)
	}
	path, err := wimlib.Quote(b.start.path)
	return "delete " + path, err
}
