package fleet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"wimcast/crypto"
	"wimcast/library"
	oci "wimcast/library/registry"
	"wimcast/library/release"
	"wimcast/test/noise"
	"wimcast/test/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testWIM(size int, seed byte) []byte { return noise.WIM(size, uint64(seed), "w") }

// chunkBytes is the content of a whole chunk.
const chunkBytes = 16 * crypto.BlockSize

// counting is a repository that counts, and can be made to fail.
type counting struct {
	*oci.Repository
	chunks atomic.Int64 // that were sent
	stored atomic.Int64 // manifests that were pushed
	mu     sync.Mutex
	before func(d v1.Descriptor) error // each blob
}

func (c *counting) PushBlob(ctx context.Context, d v1.Descriptor, content io.ReaderAt) (bool, error) {
	c.mu.Lock()
	before := c.before
	c.mu.Unlock()
	if before != nil {
		if err := before(d); err != nil {
			return false, err
		}
	}
	sent, err := c.Repository.PushBlob(ctx, d, content)
	if sent && d.MediaType == release.MediaChunk {
		c.chunks.Add(1)
	}
	return sent, err
}

func (c *counting) PushManifest(ctx context.Context, b []byte, tag string) (v1.Descriptor, error) {
	d, err := c.Repository.PushManifest(ctx, b, tag)
	if err == nil {
		c.stored.Add(1)
	}
	return d, err
}

// bench is a site with a library and a registry.
type bench struct {
	t        *testing.T
	dir      string
	server   *registry.Server
	repo     *counting
	library  *library.Library
	site     *Site
	revoked  []string
	changes  chan Change
	identity map[string]string // of points
	files    map[string]*release.PointFile
	stop     func()
	step     func(string)
	restored []string // what was said of a restore
}

func newBench(t *testing.T, server *registry.Server) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), server: server, changes: make(chan Change, 1000), identity: map[string]string{}, files: map[string]*release.PointFile{}, step: func(string) {}}
	b.openRepo("")
	var err error
	if b.library, err = library.Open(filepath.Join(b.dir, "library")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.library.Close() })
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) openRepo(credentials string) {
	b.t.Helper()
	repo, err := oci.Open(oci.Config{Repository: b.server.Repository("wimcast"), PlainHTTP: true, Credentials: credentials})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(repo.Close)
	b.repo = &counting{Repository: repo}
}

// open opens the site; nothing runs yet.
func (b *bench) open() {
	b.t.Helper()
	site, err := New(Config{
		Dir: filepath.Join(b.dir, "fleet"), Library: b.library, Repository: b.repo, Busy: func() bool { return false },
		Revoked: func() []string { return b.revoked }, Changed: func(c Change) { b.changes <- c }, step: func(name string) { b.step(name) },
		Restored: func(point string, serial int64, lost []string) {
			b.restored = append(b.restored, fmt.Sprint(point, " ", serial, " ", lost))
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.site = site
}

func (b *bench) close() {
	if b.stop != nil {
		b.stop()
		b.stop = nil
	}
	_ = b.site.Close()
}

// run runs the site until the test or stop ends it.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.site.Run(ctx) })
	b.stop = func() { cancel(); running.Wait() }
}

// settle does passes until nothing is left to do or all that is left failed.
func (b *bench) settle() {
	b.t.Helper()
	for range 20 {
		select {
		case <-b.site.wake[0]:
		case <-b.site.wake[1]:
		default:
		}
		before := b.repo.stored.Load()
		b.site.contents(b.t.Context())
		b.site.documents(b.t.Context())
		if b.repo.stored.Load() == before {
			return
		}
	}
	b.t.Fatal("it doesn't settle")
}

func (b *bench) add(content []byte, name, version string, flags *library.Flags) library.Package {
	b.t.Helper()
	p, _, err := b.library.Add(b.t.Context(), bytes.NewReader(content), library.AddOptions{Name: name, Version: version, Size: int64(len(content)), Flags: flags})
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) point(name string, groups ...string) {
	b.t.Helper()
	_, file, _, err := b.site.Add(Point{Name: name, Groups: groups, Multicast: true})
	if err != nil {
		b.t.Fatal(err)
	}
	b.identity[name], b.files[name] = file.Identity, file
}

func (b *bench) distribute(ref string, to ...string) Distributed {
	b.t.Helper()
	p, err := b.library.Get(ref)
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := b.site.Distribute(Order{Package: p, To: to})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// assigned is what a point reads in the registry.
func (b *bench) assigned(point string) *release.Assignments {
	b.t.Helper()
	a, err := b.site.fetchAssignments(b.t.Context(), point)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// pull reads a release as a point does, with nothing but its identity and the site's key, and returns its content.
func (b *bench) pull(point, ref string) (*release.Release, []byte, error) {
	b.t.Helper()
	for _, p := range b.assigned(point).Packages {
		if p.Reference == ref {
			return b.pullManifest(p.Manifest.String(), b.identity[point])
		}
	}
	return nil, nil, fmt.Errorf("%s isn't assigned to %s", ref, point)
}

func (b *bench) pullManifest(digest, identity string) (*release.Release, []byte, error) {
	b.t.Helper()
	ctx := b.t.Context()
	blob := func(d v1.Descriptor) []byte {
		b.t.Helper()
		text, err := b.site.fetch(ctx, d)
		if err != nil {
			b.t.Fatal(err)
		}
		return text
	}
	_, text, err := b.repo.Manifest(ctx, digest)
	if err != nil {
		b.t.Fatal(err)
	}
	m, err := release.ParseManifest(text)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := m.Open(blob(m.Document), b.site.Key())
	if err != nil {
		b.t.Fatal(err)
	}
	var sealer *release.Sealer
	open := func(place uint64, stored []byte) []byte {
		if sealer == nil {
			return stored
		}
		plain, err := sealer.Open(nil, place, stored)
		if err != nil {
			b.t.Fatal(err)
		}
		return plain
	}
	if r.Sealed() {
		key, err := release.Unwrap(r.Keys, identity)
		if err != nil {
			return r, nil, err
		}
		if sealer, err = release.NewSealer(key); err != nil {
			b.t.Fatal(err)
		}
	}
	blocks, err := crypto.ParseManifest(open(release.ManifestPlace, blob(m.Layers[0])))
	if err != nil || blocks.Digest().String() != r.Digest {
		b.t.Fatalf("manifest of blocks: %v", err)
	}
	var content []byte
	layout := r.Layout()
	for c := range layout.Chunks() {
		stored := blob(m.Layers[1+c])
		first, end := layout.Blocks(c)
		for i := first; i < end; i++ {
			_, offset, length := layout.Find(i)
			block := open(uint64(i), stored[offset:offset+int64(length)])
			if crypto.BlockHash(block) != blocks.Blocks[i] {
				b.t.Fatalf("block %d doesn't hold", i)
			}
			content = append(content, block...)
		}
	}
	return r, content, nil
}

// waitFor waits for a change.
func (b *bench) waitFor(what string, is func(Change) bool) Change {
	b.t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case c := <-b.changes:
			if is(c) {
				return c
			}
		case <-deadline:
			b.t.Fatalf("waited a minute for %s", what)
		}
	}
}
