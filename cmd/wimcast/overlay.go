package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"wimcast/api"
)

// overlayCommand manages overlays.
type overlayCommand struct {
	Add    overlayAdd    `cmd:"" help:"Add a folder, whose files go into the root of images: Windows/..., drivers, unattend and setup scripts."`
	List   overlayList   `cmd:"" help:"List the overlays."`
	Remove overlayRemove `cmd:"" help:"Remove an overlay."`
}

type overlayAdd struct {
	Folder string `arg:"" help:"Folder: what is in it goes into the root of an image." placeholder:"FOLDER" type:"existingdir"`
	told
}

// Run implements the command.
func (a *overlayAdd) Run(ctx context.Context, c *console) error {
	if a.ID == "" {
		return &codedError{exitUsage, errors.New("overlay add: an overlay needs a name; say it with --id")}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := pack(ctx, a.Folder, w)
		_ = w.CloseWithError(err)
		packed <- err
	}()
	u, err := c.admin().AddUpdate(ctx, r, -1, a.request(filepath.Base(filepath.Clean(a.Folder))+".tar", true))
	_ = r.CloseWithError(context.Canceled) // the daemon may have had enough before the end
	if packing := <-packed; packing != nil && !errors.Is(packing, context.Canceled) {
		return fmt.Errorf("overlay add: %w", packing)
	}
	if err != nil {
		return err
	}
	return c.print([]api.Update{u}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "added %s\n", updateText(&u)) })
}

// pack writes a folder as a tar archive, in the order of the names, so that the same folder is the same archive.
func pack(ctx context.Context, folder string, to io.Writer) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	archive := tar.NewWriter(to)
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder; an overlay has no links and no devices", name)
		}
		header := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: info.ModTime().UTC(), Format: tar.FormatPAX}
		if info.IsDir() {
			return archive.WriteHeader(header)
		}
		header.Typeflag, header.Name, header.Mode, header.Size = tar.TypeReg, name, 0o644, info.Size()
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if n, err := io.Copy(archive, f); err != nil || n != info.Size() {
			return errors.Join(err, fmt.Errorf("%s had %d bytes, and %d when it was read", name, info.Size(), n))
		}
		return nil
	})
	return errors.Join(err, archive.Close())
}

type overlayList struct{}

// Run implements the command.
func (*overlayList) Run(ctx context.Context, c *console) error {
	return listKind(ctx, c, func(kind string) bool { return kind == overlayKind })
}

type overlayRemove struct {
	Overlay string `arg:"" help:"Name."`
}

// Run implements the command.
func (r *overlayRemove) Run(ctx context.Context, c *console) error {
	return removeKind(ctx, c, r.Overlay)
}
