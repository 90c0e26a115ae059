package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// maxBeside bounds the files beside a part that are looked into.
const maxBeside = 10_000

// part is one file of a split set.
type part struct {
	name string
	size int64
}

// gather finds all parts of the set that a part belongs to, by what stands in the headers of the files with its extension beside it.
// What the files are called decides nothing. The parts come in their order.
func gather(f folder, name string, one *wim.File) ([]part, error) {
	dir, extension := path.Dir(name), path.Ext(name)
	entries, err := f.list(dir)
	if err != nil {
		return nil, err
	}
	parts := make([]part, one.Parts)
	var strange []string // beside it, and no whole part of the set
	looked := 0
	for _, e := range entries {
		if !e.Mode().IsRegular() || !strings.EqualFold(path.Ext(e.Name()), extension) {
			continue
		}
		if looked++; looked > maxBeside {
			return nil, fmt.Errorf("%w: more than %d files lie beside %s; put its parts into a folder of their own", ErrParts, maxBeside, path.Base(name))
		}
		at := path.Join(dir, e.Name())
		in, other, err := openWIM(f, at)
		if err != nil {
			strange = append(strange, fmt.Sprintf("%s: %v", e.Name(), err))
			continue
		}
		_ = in.Close()
		switch {
		case other.GUID != one.GUID || !other.Split():
			continue
		case other.Parts != one.Parts:
			return nil, fmt.Errorf("%w: %s says that there are %d parts, %s says %d", ErrParts, path.Base(name), one.Parts, e.Name(), other.Parts)
		}
		if have := &parts[other.Part-1]; have.name != "" {
			return nil, fmt.Errorf("%w: both %s and %s are part %d; take away the wrong one", ErrParts, path.Base(have.name), e.Name(), other.Part)
		}
		parts[other.Part-1] = part{at, other.size}
	}
	var missing []string
	for i := range parts {
		if parts[i].name == "" {
			missing = append(missing, strconv.Itoa(i+1))
		}
	}
	if len(missing) > 0 {
		text := fmt.Sprintf("part %s of %d isn't beside %s", strings.Join(missing, ", "), one.Parts, path.Base(name))
		if len(strange) > 0 {
			text += " (can't be read: " + strings.Join(strange, "; ") + ")"
		}
		return nil, fmt.Errorf("%w: %s; next: put all parts into one folder", ErrParts, text)
	}
	return parts, nil
}

// join gathers the parts, joins them in a temporary folder, and lets the source read the result. What was made is
// removed when the source is closed.
func (o *Options) join(ctx context.Context, s *Source, f folder, name string, one *wim.File) (err error) {
	parts, err := gather(f, name, one)
	if err != nil {
		return err
	}
	if err := wimlib.Available(); err != nil {
		return fmt.Errorf("join the %d parts: %w", len(parts), err)
	}
	dir, err := os.MkdirTemp(o.Temp, "wimcast-join-")
	if err != nil {
		return fmt.Errorf("join the %d parts: %w", len(parts), err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := o.room(f, dir, parts); err != nil {
		return err
	}
	paths, err := o.bring(ctx, f, dir, parts)
	if err != nil {
		return err
	}
	whole := filepath.Join(dir, "whole.wim")
	o.notice("joining %d parts", len(parts))
	if err := wimlib.Join(ctx, whole, paths...); err != nil {
		return o.full(dir, err)
	}
	// wimlib draws a new GUID each time. With that of the set the same parts make the same file, which is then stored once.
	if err := wimlib.SetGUID(whole, one.GUID); err != nil {
		return err
	}
	in, joined, err := openWIM(osFolder(dir), filepath.Base(whole))
	if err != nil {
		return fmt.Errorf("join the %d parts: %w", len(parts), err)
	}
	s.Size, s.Images = joined.size, joined.Images
	s.closers = append(s.closers, func() error { return os.RemoveAll(dir) })
	s.from(in)
	return nil
}

// room refuses a temporary folder that is too small: for the whole, and for the parts where they have to be copied first.
func (o *Options) room(f folder, dir string, parts []part) error {
	var need uint64
	for _, p := range parts {
		need += uint64(p.size)
		if _, here := f.local(p.name); !here {
			need += uint64(p.size)
		}
	}
	if free, known := freeBytes(dir); known && free < need {
		return fmt.Errorf("%w: %d bytes are free in %s, %d are needed; next: name another folder with --temp", ErrNoSpace, free, filepath.Dir(dir), need)
	}
	return nil
}

// full says what to do where the temporary folder became full all the same.
func (o *Options) full(dir string, err error) error {
	if e, ok := errors.AsType[*wimlib.Error](err); ok && strings.Contains(e.Text, "No space left") {
		return fmt.Errorf("%w in %s (%w); next: name another folder with --temp", ErrNoSpace, filepath.Dir(dir), err)
	}
	return err
}

// bring returns paths at which a program of this machine finds the parts; those from elsewhere are copied.
func (o *Options) bring(ctx context.Context, f folder, dir string, parts []part) ([]string, error) {
	var paths []string
	for i, p := range parts {
		if at, here := f.local(p.name); here {
			paths = append(paths, at)
			continue
		}
		o.notice("copying part %d of %d", i+1, len(parts))
		at := filepath.Join(dir, fmt.Sprintf("part%d.swm", i+1))
		if err := copyPart(ctx, f, p, at); err != nil {
			return nil, err
		}
		paths = append(paths, at)
	}
	return slices.Clip(paths), nil
}

// copyPart copies a part of a split set.
func copyPart(ctx context.Context, f folder, p part, to string) (err error) {
	in, err := f.open(p.name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := make([]byte, readBuffer)
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.Read(buf)
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		size += int64(n)
		switch {
		case errors.Is(err, io.EOF) && size == p.size:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: %s ended after %d of %d bytes", ErrChanged, path.Base(p.name), size, p.size)
		case err != nil:
			return fmt.Errorf("read %s: %w", path.Base(p.name), err)
		}
	}
}
