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

	"wimcast/statefile"
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
	b, err := statefile.Read(root, name, maxJSON)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: it doesn't parse (%w); next: restore it from a backup, or remove it", name, err)
	}
	return nil
}

// writeJSON replaces a file so that it is there whole, or as it was. What isn't whole yet lies in temporaryDir.
func writeJSON(root *os.Root, name, temporaryDir string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := statefile.Write(root, path.Join(temporaryDir, rand.Text()), name, fileMode, append(b, '\n'), nil); err != nil {
		return err
	}
	return statefile.SyncDir(root, path.Dir(name))
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
