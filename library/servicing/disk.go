package servicing

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode"
)

const (
	dirMode  = 0o750
	fileMode = 0o640
	// maxJSON bounds what is read of a file of ours, in bytes.
	maxJSON = 64 << 20
)

// openDir opens a directory, and makes it and those in it where they are missing.
func openDir(dir string, in ...string) (*os.Root, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range in {
		if err := root.MkdirAll(name, dirMode); err != nil {
			return nil, errors.Join(err, root.Close())
		}
	}
	return root, nil
}

// emptyDir makes a directory that is empty.
func emptyDir(root *os.Root, name string) error {
	if err := root.RemoveAll(name); err != nil {
		return err
	}
	return root.Mkdir(name, dirMode)
}

// readJSON reads a file of ours; one that isn't there leaves into as it is.
func readJSON(root *os.Root, name string, into any) error {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return err
	}
	if len(b) > maxJSON {
		return fmt.Errorf("%s: more than %d bytes", name, maxJSON)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: it doesn't parse (%w); next: restore it from a backup, or remove it", name, err)
	}
	return nil
}

// writeJSON replaces a file so that it is there whole, or as it was: a temporary file in a directory of the
// same root, sync, rename, sync of the directory.
func writeJSON(root *os.Root, name, temporaryDir string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	temporary := path.Join(temporaryDir, rand.Text())
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(append(b, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		_ = root.Remove(temporary)
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDir(root, path.Dir(name))
}

// syncDir makes renames in a directory last.
func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// contextReader reads until its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// maxPrintable bounds a text that quotes what came from outside.
const maxPrintable = 1000

// printable makes one line of a text that may quote anything.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), maxPrintable)], "")
}
