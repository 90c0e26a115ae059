package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"wimcast/api"
)

type imageExport struct {
	Image  string   `arg:"" help:"Package: name@version, or name for its current version."`
	For    []string `help:"Point or group that may have it; may be repeated (default: those that it is distributed to). It needs not be distributed to them: carry it there first, and nothing travels once it is." placeholder:"POINT|GROUP"`
	All    bool     `help:"For all points."`
	Output string   `short:"o" required:"" help:"File to write: a tar archive with an OCI image layout." placeholder:"FILE.tar"`
}

// Run implements the command.
func (e *imageExport) Run(ctx context.Context, c *console) (err error) {
	if e.All && len(e.For) > 0 {
		return &codedError{exitUsage, errors.New("--for and --all; keep one")}
	}
	if _, err := os.Lstat(e.Output); err == nil {
		return fmt.Errorf("export %s: %s is there already; next: remove it, or name another file", printable(e.Image), printable(e.Output))
	}
	file, err := c.admin().ExportImage(ctx, e.Image, api.ImageExport{For: e.For, All: e.All})
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if err := e.write(c, file); err != nil {
		return fmt.Errorf("export %s: %w", printable(e.Image), err)
	}
	written := struct {
		File string `json:"file"`
		Tag  string `json:"tag"`
		Size int64  `json:"size_bytes"`
	}{e.Output, file.Tag, file.Size}
	return c.print(written, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s: %s, %s\nnext: carry it to the point, and there: wimcast image import %s\n", printable(e.Output), printable(file.Tag), bytesText(float64(file.Size)), printable(filepath.Base(e.Output)))
	})
}

// write writes the file so that there is a whole one or none.
func (e *imageExport) write(c *console, file *api.ImageFile) (err error) {
	f, err := os.CreateTemp(filepath.Dir(e.Output), filepath.Base(e.Output)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	n, err := io.Copy(f, c.progress(file, file.Size, "exporting "+printable(e.Image)))
	if err == nil && n != file.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("%s after %s of %s: %w; the daemon's log says more", printable(e.Output), bytesText(float64(n)), bytesText(float64(file.Size)), err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), e.Output)
}

type imageImport struct {
	File string `arg:"" help:"File that wimcast image export wrote at the site."`
}

// Run implements the command.
func (i *imageImport) Run(ctx context.Context, c *console) error {
	f, err := os.Open(i.File)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("import: %s isn't a file; next: name the one that wimcast image export wrote", printable(i.File))
	}
	image, err := c.admin().ImportImage(ctx, c.progress(f, info.Size(), "importing "+printable(i.File)), info.Size())
	if err != nil {
		return err
	}
	return c.print(image, func(w io.Writer) {
		verb := "imported"
		if image.AlreadyThere {
			verb = "already there:"
		}
		_, _ = fmt.Fprintf(w, "%s %s: %s, %s, %s\n", verb, reference(&image), count(len(image.Images), "image"), bytesText(float64(image.Size)), flagsText(&image))
		if !image.AlreadyThere {
			_, _ = fmt.Fprintf(w, "next: at the site, wimcast image distribute %q --to POINT; nothing of it travels then\n", strings.TrimSuffix(image.Name+"@"+image.Version, "@"))
		}
	})
}
