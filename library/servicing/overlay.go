package servicing

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"wimcast/library/wimlib"
)

// overlayExecutor puts a tree of files into an image. Folders that are there stay with what is in them; files
// of the same name are replaced.
type overlayExecutor struct{}

var _ executor = overlayExecutor{}

func (overlayExecutor) name() string { return ExecutorOverlay }

func (overlayExecutor) apply(ctx context.Context, t *target, u *Update, file string) (string, error) {
	dir := filepath.Join(t.scratch, "tree")
	files, size, err := unpackTree(ctx, file, dir)
	if err != nil {
		return "", err
	}
	if err := keepFirstBoot(ctx, t, dir); err != nil {
		return "", err
	}
	from, err := wimlib.Quote(dir)
	if err != nil {
		return "", err
	}
	if err := wimlib.Update(ctx, t.file, t.index, "add "+from+" /"); err != nil {
		return "", err
	}
	if files == 1 {
		return fmt.Sprintf("1 file of %d bytes put into the image", size), nil
	}
	return fmt.Sprintf("%d files of %d bytes put into the image", files, size), nil
}

// keepFirstBoot has a tree's own SetupComplete.cmd call firstboot.cmd, where updates were staged into the image: it
// replaces the one that did.
func keepFirstBoot(ctx context.Context, t *target, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	var own string
	if err := fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.EqualFold("/"+name, setupComplete) {
			own = name
		}
		return err
	}); err != nil || own == "" {
		return err
	}
	list, err := readStaged(ctx, t)
	if err != nil || len(list) == 0 {
		return err
	}
	script, err := root.ReadFile(own)
	if err != nil {
		return err
	}
	merged, err := mergeScript(script)
	if err != nil {
		return err
	}
	return root.WriteFile(own, merged, fileMode)
}

// unpackTree writes an archive below a new directory. Nothing in it can get out of that.
func unpackTree(ctx context.Context, archive, dir string) (files int, size int64, err error) {
	if err := os.Mkdir(dir, dirMode); err != nil {
		return 0, 0, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = root.Close() }()
	f, err := os.Open(archive)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	err = walkTree(contextReader{ctx, f}, func(h *tar.Header, name string, r io.Reader) error {
		if h.Typeflag == tar.TypeDir {
			return root.MkdirAll(name, dirMode)
		}
		if err := root.MkdirAll(path.Dir(name), dirMode); err != nil {
			return err
		}
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if errors.Is(err, fs.ErrExist) {
			return errors.New("it is in the archive twice")
		}
		if err != nil {
			return err
		}
		n, err := io.Copy(out, r)
		files++
		size += n
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
		return root.Chtimes(name, h.ModTime, h.ModTime)
	})
	return files, size, err
}
