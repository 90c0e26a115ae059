package client

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wimcast/crypto"
)

// finished receives an image whole, with its manifest in the latest claim, and returns the File.
func finished(t *testing.T, path string, im image, opts Options) *File {
	t.Helper()
	f := mustOpen(t, path, opts)
	mustBegin(t, f, im)
	var all []int
	for i := range im.blocks() {
		all = append(all, i)
	}
	mustWrite(t, f, im, all...)
	if err := f.Checkpoint(func(yield func(int) bool) { yield(0) }, im.manifest); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestHeldIsTakenAgain: what was finished is claimed whole by the next try, manifest and all; it has its name again after Finish. Who doesn't
// ask for that is refused as ever.
func TestHeldIsTakenAgain(t *testing.T) {
	dir := t.TempDir()
	path, im := filepath.Join(dir, "w11.wim"), makeImage(5*crypto.BlockSize+9, 1)
	first := finished(t, path, im, Options{Held: true})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	checkListing(t, dir, "w11.wim", "w11.wim.proven")
	if _, err := OpenFile(path, Options{}); !errors.Is(err, ErrExists) {
		t.Errorf("without asking for it: %v", err)
	}
	for _, end := range []string{"killed", "killed again", "finished"} {
		f := mustOpen(t, path, Options{Held: true})
		if missing, err := f.Missing(im.size()); err != nil || missing > 0 {
			t.Errorf("%s: %d bytes are missing, %v", end, missing, err)
		}
		claimed, manifest := mustBegin(t, f, im)
		if len(claimed) != im.blocks() || !bytes.Equal(manifest, im.manifest) {
			t.Fatalf("%s: claims %d of %d blocks, manifest of %d bytes", end, len(claimed), im.blocks(), len(manifest))
		}
		buf := make([]byte, crypto.BlockSize)
		if n, err := f.ReadBlock(3, buf); err != nil || !bytes.Equal(buf[:n], im.block(3)) {
			t.Errorf("%s: block 3: %v", end, err)
		}
		if end == "finished" {
			if err := f.Finish(); err != nil {
				t.Fatal(err)
			}
			checkListing(t, dir, "w11.wim", "w11.wim.proven")
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeldOfAnotherImage: a FILE that an earlier try finished stays whole when another image comes; with Overwrite until that is proven.
func TestHeldOfAnotherImage(t *testing.T) {
	dir := t.TempDir()
	path, im, other := filepath.Join(dir, "w11.wim"), makeImage(3*crypto.BlockSize, 1), makeImage(3*crypto.BlockSize, 2)
	_ = finished(t, path, im, Options{Held: true}).Close()
	f := mustOpen(t, path, Options{Held: true})
	if _, _, err := f.Begin(other.digest, other.size()); !errors.Is(err, ErrExists) {
		t.Errorf("another image: %v", err)
	}
	_ = f.Close()
	checkListing(t, dir, "w11.wim", "w11.wim.proven")
	f = mustOpen(t, path, Options{Held: true, Overwrite: true})
	if claimed, _ := mustBegin(t, f, other); len(claimed) != 0 {
		t.Errorf("claims %v of another image", claimed)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, im.data) {
		t.Errorf("the file was touched: %v", err)
	}
	_ = f.Close()
	if f := finished(t, path, other, Options{Held: true, Overwrite: true}); f.Unchanged() != nil {
		t.Error(f.Unchanged())
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, other.data) {
		t.Errorf("it wasn't replaced: %v", err)
	}
}

// TestHeldStaysTheSame: the finished file is held open: nobody else receives into it, and whoever changes or replaces it is noticed.
func TestHeldStaysTheSame(t *testing.T) {
	im := makeImage(2*crypto.BlockSize+1, 1)
	for name, change := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"written to": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("!"), 5)
				_ = f.Close()
			}
			if err == nil {
				later := time.Now().Add(time.Second) // some kernels' file times are coarse
				err = os.Chtimes(path, later, later)
			}
			return err
		},
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", im.data, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
		"removed": os.Remove,
	} {
		path := filepath.Join(t.TempDir(), "w11.wim")
		f := finished(t, path, im, Options{Held: true})
		if b, err := io.ReadAll(io.NewSectionReader(f.Finished(), 0, im.size())); err != nil || !bytes.Equal(b, im.data) {
			t.Errorf("%s: the held file doesn't read as the image: %v", name, err)
		}
		second, err := OpenFile(path, Options{Held: true})
		if err == nil {
			_, _, err = second.Begin(im.digest, im.size())
			_ = second.Close()
		}
		if !errors.Is(err, ErrLocked) {
			t.Errorf("%s: received into by another: %v", name, err)
		}
		err = change(path)
		switch {
		case name == "nothing":
			if err := f.Unchanged(); err != nil {
				t.Error(err)
			}
		case err != nil:
			t.Logf("%s: %v", name, err) // Windows doesn't let anybody
		default:
			if err := f.Unchanged(); !errors.Is(err, ErrChanged) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := f.Close(); err != nil || f.Finished() != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

// TestHeldFileOfNoImage: a claim that is damaged, or whose file was cut off, counts for nothing and loses nothing.
func TestHeldFileOfNoImage(t *testing.T) {
	im := makeImage(3*crypto.BlockSize, 1)
	for name, spoil := range map[string]func(path string) error{
		"claim damaged": func(path string) error { return os.WriteFile(path+doneSuffix, []byte("wimcast have-map"), 0o600) },
		"file cut off":  func(path string) error { return os.Truncate(path, 100) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "w11.wim")
		_ = finished(t, path, im, Options{Held: true}).Close()
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path)
		f := mustOpen(t, path, Options{Held: true})
		if _, _, err := f.Begin(im.digest, im.size()); !errors.Is(err, ErrExists) {
			t.Errorf("%s: %v", name, err)
		}
		_ = f.Close()
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the file was touched: %v", name, err)
		}
	}
}
