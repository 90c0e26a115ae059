//go:build linux || windows

package wim

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	winio "github.com/Microsoft/go-winio/wim"
)

// TestWinio reads a file with Microsoft's own reader, which takes LZX alone, and finds the
// same images, and the same resources by unpacking each.
func TestWinio(t *testing.T) {
	w := newWimlib(t)
	w.trees(t)
	b := w.capture(t, "lzx.wim", "--compress=LZX")
	f := mustOpen(t, b)
	theirs, err := winio.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if ours := b[f.Header.XML.Offset:][:f.Header.XML.Size]; !bytes.Equal(ours, encode(theirs.XMLInfo)) {
		t.Error("the XML differs")
	}
	if len(theirs.Image) != len(f.Images) {
		t.Fatalf("%d images, want %d", len(f.Images), len(theirs.Image))
	}
	sizes := map[winio.SHA1Hash]int64{}
	entries, err := f.Lookup()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Flags&Metadata == 0 {
			sizes[e.SHA1] = int64(e.OriginalSize)
		}
	}
	for i, their := range theirs.Image {
		our := f.Images[i]
		if our.Index != their.Index || our.Name != their.Name || !same(our.Created, their.CreationTime) || !same(our.Modified, their.ModTime) {
			t.Errorf("image %d: %+v, want %+v", i+1, our, their.ImageInfo)
		}
		if win := their.Windows; win == nil {
			if our.HasArchitecture || our.Version != (Version{}) {
				t.Errorf("image %d: %+v, want nothing about Windows", i+1, our)
			}
		} else if our.Architecture != Architecture(win.Arch) || !our.HasArchitecture || our.ProductName != win.ProductName || our.EditionID != win.EditionID ||
			our.InstallationType != win.InstallationType || !slices.Equal(our.Languages, win.Languages) || our.DefaultLanguage != win.DefaultLanguage ||
			our.Version != (Version{
				uint32(win.Version.Major), uint32(win.Version.Minor), uint32(win.Version.Build), uint32(win.Version.SPBuild), uint32(win.Version.SPLevel),
			}) {
			t.Errorf("image %d: %+v, want %+v", i+1, our, win)
		}
		root, err := their.Open()
		if err != nil {
			t.Fatal(err)
		}
		files, dirs := walk(t, root, sizes)
		if our.Files != files || our.Directories != dirs-1 && our.Directories != dirs {
			t.Errorf("image %d: %d files in %d directories, found %d in %d", i+1, our.Files, our.Directories, files, dirs)
		}
	}
	if theirs.Image[0].Windows != nil || theirs.Image[1].Windows == nil {
		t.Error("the images are others than were made")
	}
	for sha, size := range sizes {
		if size >= 0 {
			t.Errorf("resource %x is in no image", sha)
		}
	}
}

func same(ours time.Time, theirs winio.Filetime) bool {
	return ours.Equal(theirs.Time()) && !ours.IsZero()
}

// walk counts files and directories, and marks in sizes which resources it saw.
func walk(t *testing.T, dir *winio.File, sizes map[winio.SHA1Hash]int64) (files, dirs uint64) {
	t.Helper()
	children, err := dir.Readdir()
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range children {
		if child.IsDir() {
			f, d := walk(t, child, sizes)
			files, dirs = files+f, dirs+d
			continue
		}
		files++
		if child.Hash == (winio.SHA1Hash{}) {
			continue // empty
		}
		size, ok := sizes[child.Hash]
		if !ok {
			t.Errorf("%s isn't in the lookup table", child.Name)
			continue
		}
		r, err := child.Open()
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if size = max(size, -size); err != nil || n != size {
			t.Errorf("%s unpacks to %d bytes, want %d: %v", child.Name, n, size, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		sizes[child.Hash] = -size
	}
	return files, dirs + 1
}
