package client

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"wimcast/client/volume"
	"wimcast/crypto"
)

// image is content made up for a test, with its names.
type image struct {
	data     []byte
	manifest []byte
	digest   crypto.Hash
}

func makeImage(size int, seed uint64) image {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	b := crypto.NewManifestBuilder()
	_, _ = b.Write(data)
	m := b.Manifest()
	return image{data: data, manifest: m.Marshal(), digest: m.Digest()}
}

func (im image) size() int64 { return int64(len(im.data)) }
func (im image) blocks() int { return crypto.BlockCount(im.size()) }

func (im image) block(i int) []byte {
	return im.data[i*crypto.BlockSize:][:crypto.BlockLen(im.size(), i)]
}

// notices collects what a File tells a person.
type notices struct{ lines []string }

func (n *notices) hear(text string) { n.lines = append(n.lines, text) }

func mustOpen(t *testing.T, path string, opts Options) *File {
	t.Helper()
	f, err := OpenFile(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// mustBegin begins and returns what is claimed.
func mustBegin(t *testing.T, f *File, im image) ([]int, []byte) {
	t.Helper()
	claimed, manifest, err := f.Begin(im.digest, im.size())
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(claimed), manifest
}

func mustWrite(t *testing.T, f *File, im image, blocks ...int) {
	t.Helper()
	for _, i := range blocks {
		if err := f.WriteBlock(i, im.block(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func checkListing(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := listing(t, dir); !slices.Equal(got, want) {
		t.Fatalf("%v are there, want %v", got, want)
	}
}

func TestFileReceivesWhole(t *testing.T) {
	dir := t.TempDir()
	path, im := filepath.Join(dir, "w11.wim"), makeImage(20*crypto.BlockSize+77, 1)
	f := mustOpen(t, path, Options{})
	if claimed, manifest := mustBegin(t, f, im); len(claimed) != 0 || manifest != nil {
		t.Fatalf("a fresh file claims %v and a manifest of %d bytes", claimed, len(manifest))
	}
	checkListing(t, dir, "w11.wim.part")
	// Blocks and symbols from several goroutines, checkpoints between.
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := w; i < im.blocks(); i += 3 {
				if i%2 == 0 {
					if err := f.WriteBlock(i, im.block(i)); err != nil {
						t.Error(err)
					}
					continue
				}
				for off, end := i*crypto.BlockSize, i*crypto.BlockSize+len(im.block(i)); off < end; off += 1408 {
					if _, err := f.WriteAt(im.data[off:min(off+1408, end)], int64(off)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		for range 3 {
			if err := f.Checkpoint(NewBitmap(0).All(), nil); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	checkListing(t, dir, "w11.wim.part", "w11.wim.part.have")
	buf := make([]byte, crypto.BlockSize)
	for i := range im.blocks() {
		if n, err := f.ReadBlock(i, buf); err != nil || !bytes.Equal(buf[:n], im.block(i)) {
			t.Fatalf("block %d: %d bytes, %v", i, n, err)
		}
	}
	if n, err := f.ReadAt(buf[:100], im.size()-100); n != 100 || err != nil || !bytes.Equal(buf[:100], im.data[im.size()-100:]) {
		t.Fatalf("tail: %d bytes, %v", n, err)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	checkListing(t, dir, "w11.wim")
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, im.data) {
		t.Fatalf("received %d bytes, %v", len(got), err)
	}
	for name, err := range map[string]error{
		"write":      f.WriteBlock(0, im.block(0)),
		"checkpoint": f.Checkpoint(NewBitmap(0).All(), nil),
		"finish":     f.Finish(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after finish: %v", name, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestFileResumes(t *testing.T) {
	path, im := filepath.Join(t.TempDir(), "w11.wim"), makeImage(9*crypto.BlockSize, 2)
	f := mustOpen(t, path, Options{})
	mustBegin(t, f, im)
	mustWrite(t, f, im, 1, 2, 7)
	have := NewBitmap(9)
	have.SetRange(1, 2)
	have.Set(7)
	if err := f.Checkpoint(have.All(), im.manifest); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, im, 8) // never claimed
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	heard := &notices{}
	f = mustOpen(t, path, Options{Notice: heard.hear})
	claimed, manifest := mustBegin(t, f, im)
	if !slices.Equal(claimed, []int{1, 2, 7}) || !bytes.Equal(manifest, im.manifest) || len(heard.lines) != 0 {
		t.Fatalf("claimed %v, manifest %d bytes, notices %q", claimed, len(manifest), heard.lines)
	}
	buf := make([]byte, crypto.BlockSize)
	for _, i := range claimed {
		if n, err := f.ReadBlock(i, buf); err != nil || !bytes.Equal(buf[:n], im.block(i)) {
			t.Errorf("claimed block %d: %v", i, err)
		}
	}
}

// The server was restarted: the same File begins again, before any checkpoint.
func TestFileBeginsAgain(t *testing.T) {
	path, im := filepath.Join(t.TempDir(), "w11.wim"), makeImage(3*crypto.BlockSize, 3)
	heard := &notices{}
	f := mustOpen(t, path, Options{Notice: heard.hear})
	mustBegin(t, f, im)
	mustWrite(t, f, im, 0, 1, 2)
	if claimed, _ := mustBegin(t, f, im); len(claimed) != 0 || len(heard.lines) != 0 {
		t.Fatalf("claimed %v, notices %q", claimed, heard.lines)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, im.data) {
		t.Fatal("the second begin lost what was written")
	}
}

// What is beside the target but can't be used is replaced, and said to be.
func TestFileStartsFromNothing(t *testing.T) {
	im, other := makeImage(5*crypto.BlockSize+1, 4), makeImage(7*crypto.BlockSize, 5)
	claim := func(im image, manifest []byte) []byte {
		m := haveMap{digest: im.digest, size: im.size(), have: NewBitmap(im.blocks()), manifest: manifest}
		m.have.SetRange(0, 2)
		return m.marshal()
	}
	for name, c := range map[string]struct {
		part, have []byte
		claimed    []int
		manifest   bool
		notice     string // "" where none is due
	}{
		"nothing there":       {},
		"no have-map":         {part: other.data, notice: "no have-map"},
		"other content":       {part: other.data, have: claim(other, other.manifest), notice: "2 of 7 blocks of other content"},
		"garbage":             {part: im.data, have: []byte("garbage"), notice: "not a have-map"},
		"torn":                {part: im.data, have: claim(im, nil)[:80], notice: "checksum"},
		"empty have-map":      {part: im.data, have: []byte{}, notice: "not a have-map"},
		"far too long":        {part: im.data, have: make([]byte, 1<<20), notice: "at most"},
		"part too short":      {part: im.data[:9], have: claim(im, nil), notice: "9 bytes"},
		"part is new":         {part: []byte{}, have: claim(im, nil)},
		"no part":             {have: claim(im, nil)},
		"foreign manifest":    {part: im.data, have: claim(im, make([]byte, len(im.manifest))), claimed: []int{0, 1}, notice: "manifest"},
		"good":                {part: im.data, have: claim(im, im.manifest), claimed: []int{0, 1}, manifest: true},
		"good, no manifest":   {part: im.data, have: claim(im, nil), claimed: []int{0, 1}},
		"same size, not ours": {part: im.data, have: claim(image{data: im.data, digest: other.digest}, nil), notice: "other content"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.wim")
			for suffix, content := range map[string][]byte{partSuffix: c.part, haveSuffix: c.have} {
				if content != nil {
					if err := os.WriteFile(path+suffix, content, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			heard := &notices{}
			f := mustOpen(t, path, Options{Notice: heard.hear})
			claimed, manifest := mustBegin(t, f, im)
			if !slices.Equal(claimed, c.claimed) || (manifest != nil) != c.manifest {
				t.Errorf("claimed %v, manifest %d bytes", claimed, len(manifest))
			}
			if said := strings.Join(heard.lines, "\n"); (said == "") != (c.notice == "") || !strings.Contains(said, c.notice) || len(heard.lines) > 1 {
				t.Errorf("notices %q, want one with %q", heard.lines, c.notice)
			}
			if len(c.claimed) == 0 {
				checkListing(t, dir, "x.wim.part")
				got, err := stored(f)
				if err != nil || int64(len(got)) != im.size() || slices.ContainsFunc(got, func(b byte) bool { return b != 0 }) {
					t.Errorf("the part file has %d bytes, not all of them zero: %v", len(got), err)
				}
			}
		})
	}
}

func TestOpenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"there.wim", "plain"} {
		if err := os.WriteFile(at(name), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"folder", "odd.wim.part"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	before := listing(t, dir)
	for _, c := range []struct {
		path string
		opts Options
		is   error
		says string
	}{
		{at("there.wim"), Options{}, ErrExists, "overwrite"},
		{at("nowhere/x.wim"), Options{}, fs.ErrNotExist, "make it first"},
		{at("plain/x.wim"), Options{}, nil, "plain"},
		{at("folder"), Options{Overwrite: true}, nil, "is a directory"},
		{at("odd.wim"), Options{}, nil, "is a directory"},
		{dir + "/", Options{}, nil, "not the name of a file"},
		{"", Options{}, nil, "not the name of a file"},
		{dir + "/..", Options{}, nil, "not the name of a file"},
	} {
		f, err := OpenFile(c.path, c.opts)
		if err == nil {
			_ = f.Close()
			t.Errorf("open %q: no error", c.path)
			continue
		}
		if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("open %q: %v, want %v with %q", c.path, err, c.is, c.says)
		}
	}
	if after := listing(t, dir); !slices.Equal(before, after) {
		t.Errorf("refusals left %v, before were %v", after, before)
	}
}

func TestOpenFilePermission(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("root may write anywhere, and Windows has other rules; run as another user")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	_, err := OpenFile(filepath.Join(dir, "x.wim"), Options{})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "choose another directory") {
		t.Fatal(err)
	}
}

func TestOpenFileLocks(t *testing.T) {
	dir := t.TempDir()
	path, im := filepath.Join(dir, "x.wim"), makeImage(100, 6)
	first := mustOpen(t, path, Options{})
	if _, err := OpenFile(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	mustBegin(t, first, im)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, path, Options{})
	mustBegin(t, second, im)
	mustWrite(t, second, im, 0)
	if err := second.Finish(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path, Options{}); !errors.Is(err, ErrExists) {
		t.Fatalf("open after finish: %v", err)
	}
	checkListing(t, dir, "x.wim")
}

// Many start at once, each finishes or is refused; nobody writes into what
// another one finished.
func TestOpenFileRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.wim")
	var wg sync.WaitGroup
	var mu sync.Mutex
	finished := 0
	for w := range 8 {
		wg.Go(func() {
			im := makeImage(1000, 100+uint64(w))
			for {
				f, err := OpenFile(path, Options{})
				if errors.Is(err, ErrLocked) {
					runtime.Gosched()
					continue
				}
				if errors.Is(err, ErrExists) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err = f.Begin(im.digest, im.size()); err == nil {
					if err = f.WriteBlock(0, im.data); err == nil {
						err = f.Finish()
					}
				}
				if err != nil {
					t.Error(err)
					_ = f.Close()
					return
				}
				mu.Lock()
				finished++
				mu.Unlock()
				if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, im.data) {
					t.Error("another one wrote into a finished file")
				}
			}
		})
	}
	wg.Wait()
	if finished != 1 {
		t.Fatalf("%d finished, want 1", finished)
	}
}

func TestFileOverwrites(t *testing.T) {
	dir := t.TempDir()
	path, im := filepath.Join(dir, "x.wim"), makeImage(crypto.BlockSize+1, 7)
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, path, Options{Overwrite: true})
	mustBegin(t, f, im)
	mustWrite(t, f, im, 0, 1)
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Fatalf("the old file changed before finish: %d bytes", len(got))
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, im.data) {
		t.Fatalf("%d bytes", len(got))
	}
	checkListing(t, dir, "x.wim")
}

// Somebody makes FILE while we receive.
func TestFinishKeepsForeignFile(t *testing.T) {
	dir := t.TempDir()
	path, im := filepath.Join(dir, "x.wim"), makeImage(10, 8)
	f := mustOpen(t, path, Options{})
	mustBegin(t, f, im)
	mustWrite(t, f, im, 0)
	if err := os.WriteFile(path, []byte("foreign"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); !errors.Is(err, ErrExists) {
		t.Fatalf("finish: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "foreign" {
		t.Fatal("the foreign file was replaced")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err != nil {
		t.Fatalf("finish once the name is free: %v", err)
	}
	checkListing(t, dir, "x.wim")
}

func TestFileRefusesMisplaced(t *testing.T) {
	path, im := filepath.Join(t.TempDir(), "x.wim"), makeImage(crypto.BlockSize+10, 9)
	f := mustOpen(t, path, Options{})
	if err := f.WriteBlock(0, im.block(0)); err == nil {
		t.Error("write before begin: no error")
	}
	if err := f.Finish(); err == nil {
		t.Error("finish before begin: no error")
	}
	if _, _, err := f.Begin(im.digest, -1); err == nil {
		t.Error("an image of -1 bytes: no error")
	}
	if _, _, err := f.Begin(im.digest, crypto.MaxImageSize+1); err == nil {
		t.Error("an image that is too big: no error")
	}
	mustBegin(t, f, im)
	buf := make([]byte, crypto.BlockSize)
	beyond := NewBitmap(3)
	beyond.Set(2)
	for name, call := range map[string]func() error{
		"block -1":          func() error { return f.WriteBlock(-1, buf) },
		"block beyond":      func() error { return f.WriteBlock(2, buf) },
		"short block":       func() error { return f.WriteBlock(0, buf[1:]) },
		"long last block":   func() error { return f.WriteBlock(1, buf[:11]) },
		"read beyond":       func() error { _, err := f.ReadBlock(2, buf); return err },
		"read without room": func() error { _, err := f.ReadBlock(0, buf[1:]); return err },
		"symbol at -1":      func() error { _, err := f.WriteAt(buf[:1], -1); return err },
		"symbol over end":   func() error { _, err := f.WriteAt(buf[:11], crypto.BlockSize); return err },
		"read over end":     func() error { _, err := f.ReadAt(buf[:2], im.size()-1); return err },
		"symbol far out":    func() error { _, err := f.WriteAt(buf[:9], 1<<63-5); return err },
		"claim beyond":      func() error { return f.Checkpoint(beyond.All(), nil) },
		"half a manifest":   func() error { return f.Checkpoint(NewBitmap(0).All(), im.manifest[:50]) },
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if info, err := os.Stat(path + partSuffix); err != nil || info.Size() != im.size() {
		t.Errorf("the part file has %d bytes, want %d (%v)", info.Size(), im.size(), err)
	}
}

func TestCloseWithoutBegin(t *testing.T) {
	dir := t.TempDir()
	f := mustOpen(t, filepath.Join(dir, "x.wim"), Options{})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	checkListing(t, dir)
}

func TestEmptyImage(t *testing.T) {
	dir := t.TempDir()
	f, im := mustOpen(t, filepath.Join(dir, "x.wim"), Options{}), makeImage(0, 0)
	mustBegin(t, f, im)
	if err := f.Checkpoint(NewBitmap(0).All(), im.manifest); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	checkListing(t, dir, "x.wim")
}

// What is announced takes no space before it is written.
func TestBeginIsSparse(t *testing.T) {
	f := mustOpen(t, filepath.Join(t.TempDir(), "x.wim"), Options{})
	if v, err := f.dir.volume(); err != nil || v.Free < 6<<30 || v.Largest > 0 {
		t.Skipf("needs a volume with 6 GiB free, this one says %+v (%v)", v, err)
	}
	const size = 5 << 30
	if _, _, err := f.Begin(crypto.Hash{1}, size); err != nil {
		t.Fatal(err)
	}
	if allocated, err := f.part.Allocated(); err != nil || allocated > 1<<20 {
		t.Fatalf("%d bytes allocated (%v)", allocated, err)
	}
}

// smallVolume is a directory whose volume says what the test wants.
type smallVolume struct {
	directory
	v volume.Volume
}

func (s smallVolume) volume() (volume.Volume, error) { return s.v, nil }

func TestBeginChecksSpace(t *testing.T) {
	dir := t.TempDir()
	path, im := filepath.Join(dir, "x.wim"), makeImage(3*crypto.BlockSize, 10)
	if err := os.WriteFile(path+partSuffix, bytes.Repeat([]byte("old content "), 50_000), 0o644); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(path + partSuffix)
	if err != nil {
		t.Fatal(err)
	}
	f := mustOpen(t, path, Options{})
	real := f.dir
	allocated, err := f.part.Allocated()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		v    volume.Volume
		ok   bool
		says string
	}{
		{volume.Volume{Free: 0}, false, "are free"},
		{volume.Volume{Free: max(0, im.size()-allocated) + 2*haveMapLimit(im.size()) - 1}, false, "are needed"},
		{volume.Volume{Free: 1 << 40, Largest: im.size() - 1, Kind: "FAT32"}, false, "choose an NTFS volume"},
		{volume.Volume{Free: 1 << 40, Largest: im.size(), Kind: "FAT32"}, true, ""},
		{volume.Volume{Free: -1}, true, ""},
	} {
		f.dir = smallVolume{directory: real, v: c.v}
		_, _, err := f.Begin(im.digest, im.size())
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Fatalf("%+v: %v", c.v, err)
		}
		if space, is := errors.AsType[*SpaceError](err); is {
			if !errors.Is(err, syscall.ENOSPC) || space.Free != c.v.Free || space.Need <= space.Free {
				t.Errorf("%+v: %+v", c.v, space)
			}
		}
		if c.ok {
			continue
		}
		if now, err := stored(f); !bytes.Equal(now, old) {
			t.Fatalf("%+v: the part file was touched before the check, or can't be read: %v", c.v, err)
		}
	}
}

// stored reads what the part file holds by its own handle: on Windows nobody else may open it.
func stored(f *File) ([]byte, error) {
	size, err := f.part.Size()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f.part, 0, size))
}
