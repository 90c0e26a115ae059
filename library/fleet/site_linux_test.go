package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/library"
	"wimcast/library/release"
	"wimcast/test/registry"
)

// TestPush: a package goes into the registry sealed, points read it back with what they hold and nobody else; another
// version moves only the chunks that differ; a changed flag, another recipient and one that goes move none.
func TestPush(t *testing.T) {
	b := newBench(t, registry.ForTest(t, registry.Options{}))
	content := testWIM(4*chunkBytes+5000, 1)
	b.add(content, "w11", "1", nil)
	b.point("north", "schools")
	b.point("south", "schools")
	b.point("other")
	if out := b.distribute("w11", "schools"); !slices.Equal(out.Points, []string{"north", "south"}) || out.Reference != "w11@1" {
		t.Fatalf("%+v", out)
	}
	if p, _ := b.site.Point("north"); p.Packages[0].State != Waiting || p.Packages[0].Revision != 0 {
		t.Fatalf("before anything was sent: %+v", p)
	}
	b.settle()
	if n := b.repo.chunks.Load(); n != 5 {
		t.Errorf("%d chunks were sent, want 5", n)
	}
	for _, point := range []string{"north", "south"} {
		r, got, err := b.pull(point, "w11@1")
		if err != nil || !bytes.Equal(got, content) || r.Name != "w11" || r.Version != "1" || !r.Encrypt || !r.AllowMulticast || len(r.Content) == 0 {
			t.Fatalf("%s: %+v, %d bytes, %v", point, r, len(got), err)
		}
	}
	a := b.assigned("north")
	if len(a.Packages) != 1 || !a.Packages[0].Current || a.Packages[0].Priority != release.Medium || !a.Multicast || a.Serial < 1 {
		t.Errorf("%+v", a)
	}
	if a := b.assigned("other"); len(a.Packages) != 0 {
		t.Errorf("%+v", a)
	}
	if _, _, err := b.pullManifest(a.Packages[0].Manifest.String(), b.identity["other"]); !errors.Is(err, release.ErrNotRecipient) {
		t.Errorf("another point reads it: %v", err)
	}
	if at := grep(t, b.server.Storage, content[300:400]); at != "" {
		t.Errorf("plain text of the image is in %s", at)
	}
	if p, _ := b.site.Point("north"); p.Packages[0].State != Success || p.Packages[0].Revision != a.Packages[0].Revision || p.Serial != a.Serial || p.Published.IsZero() {
		t.Errorf("%+v", p)
	}

	// Another version: one chunk differs in the middle, and the tail.
	changed := slices.Clone(content)
	changed[2*chunkBytes+77] ^= 1
	b.add(changed, "w11", "2", nil)
	b.repo.chunks.Store(0)
	b.settle()
	if got := b.assigned("north").Packages; len(got) != 1 {
		t.Errorf("a version that nobody distributed: %+v", got)
	}
	b.distribute("w11", "north")
	b.settle()
	if n := b.repo.chunks.Load(); n != 1 {
		t.Errorf("%d chunks of the second version were sent, want 1", n)
	}
	if _, got, err := b.pull("north", "w11@2"); err != nil || !bytes.Equal(got, changed) {
		t.Fatal(err)
	}
	var current []string
	for _, p := range b.assigned("north").Packages {
		if p.Current {
			current = append(current, p.Reference)
		}
	}
	if !slices.Equal(current, []string{"w11@2"}) || len(b.assigned("north").Packages) != 2 {
		t.Errorf("north: %+v", b.assigned("north").Packages)
	}
	if p := b.assigned("south").Packages; len(p) != 1 || !p[0].Current { // the name means what is there
		t.Errorf("south: %+v", p)
	}

	// A rollback at the site changes what the name means.
	if _, _, err := b.library.Rollback("w11", nil); err != nil {
		t.Fatal(err)
	}
	b.settle()
	for _, p := range b.assigned("north").Packages {
		if p.Current != (p.Reference == "w11@1") {
			t.Errorf("after a rollback: %+v", p)
		}
	}

	// Flags, comment, recipients: no chunk moves, the revision rises.
	b.repo.chunks.Store(0)
	before := b.assigned("south")
	on, comment := true, "for the schools"
	if _, err := b.library.Change("w11@1", library.Change{MulticastOnly: &on, Comment: &comment}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	r, _, err := b.pull("south", "w11@1")
	if err != nil || !r.MulticastOnly || r.Comment != comment {
		t.Errorf("%+v, %v", r, err)
	}
	after := b.assigned("south")
	if after.Serial <= before.Serial || after.Packages[0].Revision <= before.Packages[0].Revision || after.Packages[0].Manifest == before.Packages[0].Manifest {
		t.Errorf("from %+v to %+v", before, after)
	}
	if _, err := b.site.Distribute(Order{Package: mustGet(b, "w11@1"), To: []string{"other"}}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if _, got, err := b.pull("other", "w11@1"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("another recipient: %v", err)
	}
	if _, err := b.site.Withdraw("w11@1", []string{"other"}, false); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if len(b.assigned("other").Packages) != 0 {
		t.Error("it wasn't withdrawn")
	}
	south := b.assigned("south").Packages[0].Manifest.String()
	if _, _, err := b.pullManifest(south, b.identity["other"]); !errors.Is(err, release.ErrNotRecipient) {
		t.Errorf("who was a recipient reads the new revision: %v", err)
	}
	if n := b.repo.chunks.Load(); n != 0 {
		t.Errorf("%d chunks were sent for flags and recipients", n)
	}

	// Not encrypted any more: other chunks.
	off := false
	if _, err := b.library.Change("w11@1", library.Change{Encrypt: &off}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if r, got, err := b.pull("south", "w11@1"); err != nil || r.Sealed() || !bytes.Equal(got, content) || b.repo.chunks.Load() != 5 {
		t.Errorf("clear: %+v, %v, %d chunks", r, err, b.repo.chunks.Load())
	}
	if _, err := b.library.Change("w11@1", library.Change{Encrypt: &on}); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if r, got, err := b.pull("south", "w11@1"); err != nil || !r.Sealed() || !bytes.Equal(got, content) {
		t.Errorf("sealed again: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(b.dir, "fleet", releasesDir, "*"))
	if err != nil || len(files) != 4 {
		t.Errorf("files of two releases, want four: %v, %v", files, err)
	}
}

func mustGet(b *bench, ref string) library.Package {
	b.t.Helper()
	p, err := b.library.Get(ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// grep returns the file below dir that has some bytes.
func grep(t *testing.T, dir string, b []byte) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, b) {
			found = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPushGoesOn: a push that a fault, a kill or the end of the daemon interrupts goes on where it was, and nothing is
// assigned before all of it is there.
func TestPushGoesOn(t *testing.T) {
	b := newBench(t, registry.ForTest(t, registry.Options{}))
	content := testWIM(5*chunkBytes, 2)
	b.add(content, "w11", "1", nil)
	b.point("north")
	b.distribute("w11", "north")
	broken := errors.New("the line is cut")
	var asked atomic.Int64 // by several at a time
	b.repo.before = func(d v1.Descriptor) error {
		if d.MediaType == release.MediaChunk {
			if asked.Add(1) > 3 {
				return broken
			}
		}
		return nil
	}
	b.settle()
	if a := b.assigned("north"); len(a.Packages) != 0 {
		t.Fatalf("half of it is assigned: %+v", a)
	}
	p, err := b.site.Point("north")
	if err != nil || p.Packages[0].State != Failed || !strings.Contains(p.Packages[0].Err, "the line is cut") || p.Packages[0].Retry.IsZero() {
		t.Fatalf("%+v, %v", p, err)
	}
	// Another life of the daemon: it knows nothing but what is on disk.
	b.close()
	there := b.repo.chunks.Load()
	b.repo.before = nil
	b.open()
	b.settle()
	// One that was on its way when the line was cut may have arrived, though nobody heard of it.
	if n := b.repo.chunks.Load(); there < 1 || there > 3 || n < 4 || n > 6 {
		t.Errorf("%d chunks before, %d in all; want at most 3 and 6", there, n)
	}
	if _, got, err := b.pull("north", "w11@1"); err != nil || !bytes.Equal(got, content) {
		t.Fatal(err)
	}
}

// TestKilled: killed before any step that lasts, the next life comes to the same end, with nothing sent twice.
func TestKilled(t *testing.T) {
	server := registry.ForTest(t, registry.Options{})
	content := testWIM(300_000, 3)
	for kill := 1; ; kill++ {
		b := newBench(t, server)
		b.add(content, "w11", "1", nil)
		b.point("north")
		b.distribute("w11", "north")
		steps, killed := 0, ""
		b.step = func(name string) {
			if steps++; steps == kill {
				killed = name
			}
			if killed != "" {
				panic(dead{})
			}
		}
		life(func() { b.site.documents(t.Context()) })
		if killed == "" {
			life(func() { b.pushOne("w11@1") })
			if killed == "" {
				life(func() { b.site.documents(t.Context()) })
			}
		}
		b.step = func(string) {}
		_ = b.site.Close()
		b.open()
		b.settle()
		if _, got, err := b.pull("north", "w11@1"); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("killed before %q: %v", killed, err)
		}
		if left, _ := filepath.Glob(filepath.Join(b.dir, "fleet", releasesDir, "*")); len(left) != 2 {
			t.Errorf("killed before %q: %v", killed, left)
		}
		if b.restored != nil {
			t.Errorf("killed before %q: taken for a restore: %q", killed, b.restored)
		}
		if killed == "" {
			if kill < 10 {
				t.Errorf("only %d steps", kill)
			}
			return
		}
		b.close()
	}
}

type dead struct{}

// life does something until it is killed.
func life(do func()) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(dead); !ok {
				panic(v)
			}
		}
	}()
	do()
}

// pushOne pushes in this goroutine, so that it can be killed.
func (b *bench) pushOne(ref string) {
	w := b.site.current().plan(b.site.facts()).wants[ref]
	number, key, err := b.site.keyFor(w)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := b.library.OpenContent(ref)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	layout := release.NewLayout(c.Size(), w.Encrypt)
	src, err := newSource(c, layout, key)
	if err != nil {
		b.t.Fatal(err)
	}
	layers := make([]v1.Descriptor, 1+layout.Chunks())
	for i := range layout.Chunks() {
		if layers[1+i], _, err = b.site.pushChunk(b.t.Context(), src, i); err != nil {
			b.t.Fatal(err)
		}
	}
	blocks, err := src.manifest()
	if err != nil {
		b.t.Fatal(err)
	}
	if layers[0], err = b.site.pushBytes(b.t.Context(), release.MediaManifest, blocks); err != nil {
		b.t.Fatal(err)
	}
	p := mustGet(b, ref)
	description, err := p.Description()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.site.finish(b.t.Context(), w, &release.Release{Content: description, Size: c.Size(), ChunkBlocks: layout.ChunkBlocks}, layers, number); err != nil {
		b.t.Fatal(err)
	}
}

// TestLost: who loses a point keeps strangers from what comes, and says what they can still read.
func TestLost(t *testing.T) {
	b := newBench(t, registry.ForTest(t, registry.Options{}))
	content := testWIM(2*chunkBytes, 4)
	b.add(content, "w11", "1", nil)
	b.add(testWIM(chunkBytes, 5), "clear", "1", &library.Flags{AllowMulticast: true})
	b.point("north")
	b.point("south")
	b.distribute("w11", "north", "south")
	b.distribute("clear", "north")
	b.settle()
	before := b.assigned("north").Packages
	b.repo.chunks.Store(0)
	out, err := b.site.Remove("north", true)
	if err != nil || !slices.Equal(out.Keys, []string{"w11"}) {
		t.Fatalf("%+v, %v", out, err)
	}
	b.settle()
	if a := b.assigned("north"); len(a.Packages) != 0 {
		t.Errorf("who is gone is told so: %+v", a)
	}
	if n := b.repo.chunks.Load(); n != 0 {
		t.Errorf("%d chunks moved", n)
	}
	for _, p := range before {
		if p.Reference == "w11@1" && b.assigned("south").Packages[0].Manifest == p.Manifest {
			t.Error("it wasn't wrapped anew")
		}
	}
	south := b.assigned("south").Packages[0]
	if _, _, err := b.pullManifest(south.Manifest.String(), b.identity["north"]); !errors.Is(err, release.ErrNotRecipient) {
		t.Errorf("the lost point reads the new revision: %v", err)
	}
	// A next version, nearly the same, shares no chunk: it is sealed under another key.
	changed := slices.Clone(content)
	changed[500] ^= 1
	b.add(changed, "w11", "2", nil)
	b.distribute("w11", "south")
	b.settle()
	if n := b.repo.chunks.Load(); n != 3 {
		t.Errorf("%d chunks moved, want all 3", n)
	}
	if _, got, err := b.pull("south", "w11@2"); err != nil || !bytes.Equal(got, changed) {
		t.Fatal(err)
	}
	if _, got, err := b.pull("south", "w11@1"); err != nil || !bytes.Equal(got, content) {
		t.Fatal(err)
	}
	// The old version keeps its key, also when the registry has lost its release.
	b.repo.chunks.Store(0)
	b.site.stale["w11@1"] = true
	b.settle()
	if _, got, err := b.pull("south", "w11@1"); err != nil || !bytes.Equal(got, content) || b.repo.chunks.Load() != 0 {
		t.Errorf("brought again: %v, %d chunks", err, b.repo.chunks.Load())
	}
	// A point of that name that is added again is another one.
	b.point("north")
	b.distribute("w11@1", "north")
	b.settle()
	if _, got, err := b.pull("north", "w11@1"); err != nil || !bytes.Equal(got, content) {
		t.Fatal(err)
	}
	if out, err := b.site.Remove("north", false); err != nil || len(out.Keys) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestRegistryLoses: what the registry loses is brought again, and a site that was restored from a backup goes on counting where
// the registry is.
func TestRegistryLoses(t *testing.T) {
	server := registry.ForTest(t, registry.Options{})
	b := newBench(t, server)
	content := testWIM(2*chunkBytes, 6)
	b.add(content, "w11", "1", nil)
	b.point("north")
	b.close()
	backup := map[string][]byte{}
	for _, name := range []string{stateFile, keysFile} {
		if text, err := os.ReadFile(filepath.Join(b.dir, "fleet", name)); err == nil {
			backup[name] = text
		}
	}
	b.open()
	for range 3 {
		b.distribute("w11", "north")
		b.settle()
		if _, err := b.site.Withdraw("w11", []string{"north"}, false); err != nil {
			t.Fatal(err)
		}
		b.settle()
	}
	b.distribute("w11", "north")
	b.settle()
	a := b.assigned("north")
	b.close()
	if b.restored != nil {
		t.Errorf("before there was a restore: %q", b.restored)
	}
	for name, text := range backup {
		if err := os.WriteFile(filepath.Join(b.dir, "fleet", name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.open()
	b.settle()
	if want := []string{fmt.Sprintf("north %d [w11@1]", a.Serial)}; !slices.Equal(b.restored, want) {
		t.Errorf("after a restore it says %q, want %q", b.restored, want)
	}
	b.distribute("w11", "north")
	b.settle()
	if now := b.assigned("north"); now.Serial <= a.Serial || now.Packages[0].Revision <= a.Packages[0].Revision {
		t.Errorf("after a restore %+v, before %+v", now, a)
	}
	// The registry is empty.
	server.Stop()
	if err := os.RemoveAll(server.Storage); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(server.Storage, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.close()
	b.open()
	b.repo.chunks.Store(0)
	b.settle()
	if _, got, err := b.pull("north", "w11@1"); err != nil || !bytes.Equal(got, content) || b.repo.chunks.Load() != 3 {
		t.Fatalf("%v, %d chunks", err, b.repo.chunks.Load())
	}
	if len(b.restored) != 1 {
		t.Errorf("a registry that was emptied is no restore: %q", b.restored)
	}
}

// TestCredentials: credentials that expire hold the push, which says so, and go on when the file has new ones.
func TestCredentials(t *testing.T) {
	server := registry.ForTest(t, registry.Options{Htpasswd: map[string]string{"site": "old"}})
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, fmt.Appendf(nil, "username = \"site\"\npassword = %q\n", password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	b := newBench(t, server)
	_ = b.site.Close()
	b.openRepo(file)
	b.open()
	b.add(testWIM(chunkBytes, 7), "w11", "1", nil)
	b.point("north")
	b.run()
	b.waitFor("the assignments", func(c Change) bool { return c.Point == "north" && c.Err == nil })
	if err := server.SetUsers(map[string]string{"site": "new"}); err != nil {
		t.Fatal(err)
	}
	b.distribute("w11", "north")
	c := b.waitFor("the refusal", func(c Change) bool { return c.Reference == "w11@1" })
	if c.Err == nil || c.Retry.IsZero() || !strings.Contains(c.Err.Error(), file) {
		t.Fatalf("%+v", c)
	}
	if p, _ := b.site.Point("north"); p.Packages[0].State != Failed {
		t.Errorf("%+v", p)
	}
	write("new")
	b.waitFor("the release", func(c Change) bool { return c.Reference == "w11@1" && c.Err == nil })
	b.waitFor("the assignments", func(c Change) bool { return c.Point == "north" && c.Err == nil })
	if a := b.assigned("north"); len(a.Packages) != 1 {
		t.Errorf("%+v", a)
	}
}

// TestUnwanted: what is withdrawn while it is on its way stops, and what is damaged doesn't leave.
func TestUnwanted(t *testing.T) {
	b := newBench(t, registry.ForTest(t, registry.Options{}))
	b.add(testWIM(8*chunkBytes, 8), "w11", "1", nil)
	b.point("north")
	b.distribute("w11", "north")
	var once sync.Once
	b.repo.before = func(d v1.Descriptor) error {
		if d.MediaType == release.MediaChunk {
			once.Do(func() {
				if _, err := b.site.Withdraw("w11", nil, true); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	}
	b.settle()
	if p, _ := b.site.Point("north"); len(p.Packages) != 0 || len(b.site.current().Made) != 0 {
		t.Errorf("%+v", p)
	}
	b.repo.before = nil
	b.distribute("w11", "north")
	b.settle()
	built, err := b.site.Open("w11")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = built.Close() }()
	for i, d := range built.Layers {
		layer, err := built.Layer(i)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, d.Size)
		if n, err := layer.ReadAt(got, 0); err != nil || d.Digest.Validate() != nil || d.Digest != d.Digest.Algorithm().FromBytes(got[:n]) {
			t.Errorf("layer %d: %v", i, err)
		}
	}
}
