package servicing

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/library/wim"
)

// needs skips a test where a program is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is missing: make setup installs it", p)
		}
	}
}

// cabinet makes a cabinet with files in it, unpacked: [MS-CAB], one folder.
func cabinet(files map[string]string) []byte {
	le := binary.LittleEndian
	var table, data []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entry := make([]byte, cabFile)
		le.PutUint32(entry, uint32(len(files[name])))
		le.PutUint32(entry[4:], uint32(len(data)))
		table = append(append(append(table, entry...), name...), 0)
		data = append(data, files[name]...)
	}
	at := cabHeader + 8 + len(table)
	var blocks []byte
	count := 0
	for chunk := range slices.Chunk(data, 32<<10) {
		block := make([]byte, 8)
		le.PutUint16(block[4:], uint16(len(chunk)))
		le.PutUint16(block[6:], uint16(len(chunk)))
		blocks = append(append(blocks, block...), chunk...)
		count++
	}
	out := make([]byte, cabHeader+8)
	copy(out, cabMagic)
	le.PutUint32(out[8:], uint32(at+len(blocks)))
	le.PutUint32(out[16:], cabHeader+8)
	out[24], out[25] = 3, 1
	le.PutUint16(out[26:], 1)
	le.PutUint16(out[28:], uint16(len(files)))
	le.PutUint32(out[36:], uint32(at))
	le.PutUint16(out[40:], uint16(count))
	return slices.Concat(out, table, blocks)
}

// manifest is the update.mum of a package.
func manifest(kb, version, arch string) string {
	return `<?xml version="1.0" encoding="utf-8" standalone="yes"?><assembly xmlns="urn:schemas-microsoft-com:asm.v3" manifestVersion="1.0" displayName="Security Update">` +
		fmt.Sprintf(`<assemblyIdentity name="Package_for_%s" version="%s" language="neutral" processorArchitecture="%s" publicKeyToken="31bf3856ad364e35"/>`, kb, version, arch) +
		fmt.Sprintf(`<package identifier="%s" applicabilityEvaluation="deep" releaseType="Security Update"><parent/></package></assembly>`, kb)
}

// cabPackage is an update as a .cab.
func cabPackage(kb, version string) []byte {
	return cabinet(map[string]string{"update.mum": manifest(kb, version, "amd64"), "a.dll": strings.Repeat(kb, 10_000)})
}

// msuPackage is an update as an .msu of the older form, with a .cab in it.
func msuPackage(kb, version string) []byte {
	name := "Windows11.0-" + kb + "-x64"
	return cabinet(map[string]string{
		name + ".cab":               string(cabPackage(kb, version)),
		name + "-pkgProperties.txt": "ApplicabilityInfo=\"Windows 11.0 Client;\"\r\nApplies to=\"Windows 11.0\"\r\nKB Article Number=\"" + kb[2:] + "\"\r\nProcessor Architecture=\"amd64\"\r\n",
		name + ".xml": `<unattend xmlns="urn:schemas-microsoft-com:unattend"><servicing><package action="install">` +
			fmt.Sprintf(`<assemblyIdentity name="Package_for_%s" version="%s" language="neutral" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35"/>`, kb, version) +
			`<source location="%configsetroot%\` + name + `.CAB" /></package></servicing></unattend>`,
		"WSUSSCAN.cab": "scan",
	})
}

// tree makes a tar archive of files; a name that ends in / is a folder.
func tree(files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(files[name])), Mode: 0o644, ModTime: time.Unix(1_700_000_000, 0)}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Size = tar.TypeDir, 0
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, files[name]); err != nil {
				panic(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// writeFiles writes files below a directory.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// windows captures a WIM with an image of x64, build 22621, edition Education for each set of files.
func windows(t *testing.T, images ...map[string]string) string {
	t.Helper()
	needs(t, "wimlib-imagex")
	dir := t.TempDir()
	file := filepath.Join(dir, "w.wim")
	for i, files := range images {
		from := filepath.Join(dir, fmt.Sprint(i))
		writeFiles(t, from, files)
		verb := "append"
		if i == 0 {
			verb = "capture"
		}
		out, err := exec.CommandContext(t.Context(), "wimlib-imagex", verb, from, file, fmt.Sprintf("Windows %d", i+1), "--no-acls",
			"--image-property", "WINDOWS/ARCH=9", "--image-property", "WINDOWS/VERSION/BUILD=22621", "--image-property", "WINDOWS/EDITIONID=Education").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", verb, err, out)
		}
	}
	return file
}

// shelf is a library in a directory: a file for each version, the latest last.
type shelf struct {
	t   *testing.T
	dir string

	mu     sync.Mutex
	images []Image
	fail   error // of the next Add

	opening func() // called before a content is opened, where it isn't nil
}

func newShelf(t *testing.T, name, version, file string) *shelf {
	s := &shelf{t: t, dir: t.TempDir()}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := s.Add(t.Context(), f, 0, Image{Name: name}, version); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *shelf) Images() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.images)
}

func (s *shelf) Image(ref string) (Image, error) {
	for _, i := range slices.Backward(s.Images()) {
		if i.Reference == ref || i.Name == ref {
			return i, nil
		}
	}
	return Image{}, fmt.Errorf("%w: %q", ErrNotFound, ref)
}

type shelved struct {
	*os.File
	size int64
}

func (s shelved) Size() int64  { return s.size }
func (s shelved) Path() string { return s.Name() }

func (s *shelf) path(i Image) string { return filepath.Join(s.dir, i.Digest) }

func (s *shelf) Open(i Image) (Content, error) {
	if s.opening != nil {
		s.opening()
	}
	f, err := os.Open(s.path(i))
	if err != nil {
		return nil, err
	}
	return shelved{f, i.Size}, nil
}

func (s *shelf) Free() (uint64, error) { return 1 << 40, nil }

func (s *shelf) Add(_ context.Context, r io.Reader, _ int64, from Image, version string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return Image{}, s.fail
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return Image{}, err
	}
	sum := sha256.Sum256(b)
	i := Image{Name: from.Name, Version: version, Reference: from.Name + "@" + version, Digest: hex.EncodeToString(sum[:]), Size: int64(len(b))}
	f, err := wim.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return Image{}, err
	}
	i.Images = f.Images
	s.images = append(s.images, i)
	return i, os.WriteFile(s.path(i), b, 0o600)
}

// read returns a file of an image; "" where it isn't there.
func (s *shelf) read(ref string, index int, path string) string {
	s.t.Helper()
	i, err := s.Image(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := readImage(s.t.Context(), &target{file: s.path(i), index: index}, path)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// bench is a service with a catalogue and a shelf.
type bench struct {
	*Service
	t         *testing.T
	shelf     *shelf
	catalogue *Catalogue
	dir       string
	moments   func(Schedule, Change) // of tests
	changed   chan Schedule
}

func newBench(t *testing.T, images ...map[string]string) *bench {
	t.Helper()
	b := &bench{t: t, shelf: newShelf(t, "w11", "1", windows(t, images...)), dir: t.TempDir(), changed: make(chan Schedule, 1000)}
	b.open()
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.catalogue, err = OpenCatalogue(filepath.Join(b.dir, "updates")); err != nil {
		b.t.Fatal(err)
	}
	if b.Service, err = New(b.config(filepath.Join(b.dir, "servicing"))); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _, _ = b.Close(), b.catalogue.Close() })
}

func (b *bench) config(dir string) Config {
	return Config{Dir: dir, Catalogue: b.catalogue, Images: b.shelf, Changed: func(s Schedule, what Change) {
		if b.moments != nil {
			b.moments(s, what)
		}
		b.changed <- s
	}}
}

// run runs the service until the test is over.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.Run(ctx) })
	b.t.Cleanup(func() { cancel(); running.Wait() })
}

// add adds an update or overlay.
func (b *bench) add(content []byte, name string, told Description) Update {
	b.t.Helper()
	u, _, err := b.catalogue.Add(b.t.Context(), bytes.NewReader(content), name, int64(len(content)), strings.HasSuffix(name, ".tar"), told)
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

// order makes a schedule that must be possible.
func (b *bench) order(o Order) Schedule {
	b.t.Helper()
	s, err := b.Create(b.t.Context(), o, "test")
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// await waits until a schedule is as it should be.
func (b *bench) await(id string, is func(Schedule) bool) Schedule {
	b.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case s := <-b.changed:
			if s.ID == id && is(s) {
				return s
			}
		case <-late:
			s, err := b.Schedule(id)
			b.t.Fatalf("schedule %s: %+v, %v", id, s, err)
		}
	}
}

func (b *bench) ended(id string) Schedule {
	b.t.Helper()
	return b.await(id, func(s Schedule) bool { return s.ended() })
}

// clean holds that nothing of a run is left.
func (b *bench) clean(dir string) {
	b.t.Helper()
	for _, sub := range []string{"servicing/" + workDir, "updates/" + incomingDir} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
			b.t.Errorf("%s: %v, %v", sub, entries, err)
		}
	}
}
