package library

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"wimcast/crypto"
	"wimcast/test/noise"
)

func testWIM(size int, seed uint64, names ...string) []byte { return noise.WIM(size, seed, names...) }

func openAt(t *testing.T, dir string) *Library {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func add(t *testing.T, l *Library, b []byte, name, version string) Package {
	t.Helper()
	p, _, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Name: name, Version: version, FileStem: "file", Size: int64(len(b))})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// holds checks that a package reads back as the bytes that were added.
func holds(t *testing.T, l *Library, ref string, want []byte) {
	t.Helper()
	c, err := l.OpenContent(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var got []byte
	buf := make([]byte, crypto.BlockSize)
	for i := range crypto.BlockCount(c.Size()) {
		n, err := c.ReadBlock(i, buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s reads back as %d other bytes", ref, len(got))
	}
	if c.Manifest().Digest() != c.Digest() {
		t.Fatalf("%s: manifest and digest don't fit", ref)
	}
}

// tree returns the files under a directory by their path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// blobs returns the names of a library's blobs and of what is being written.
func blobs(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for name := range maps.Keys(tree(t, dir)) {
		if d := path.Dir(name); d == blobDir || d == ingestDir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names
}

func references(l *Library) []string {
	var refs []string
	for _, p := range l.List() {
		refs = append(refs, p.Reference())
	}
	return refs
}

// contentFile returns the path of a package's WIM file.
func contentFile(dir string, p *Package) string { return filepath.Join(dir, contentPath(p)) }

// damage flips a bit of a file.
func damage(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// failing is a reader that gives some bytes and then an error.
type failing struct {
	b   []byte
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, f.err
	}
	n := copy(p, f.b)
	f.b = f.b[n:]
	return n, nil
}
