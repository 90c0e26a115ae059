package fleet

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/library"
	"wimcast/library/prestage"
	"wimcast/library/release"
	"wimcast/test/registry"
)

// openPoint opens the library of a point, as its point file says.
func (b *bench) openPoint(name, dir string) *library.Library {
	b.t.Helper()
	file := b.files[name]
	key, err := file.Site()
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := library.OpenPoint(dir, &library.Site{
		Point: name, Key: key, OpenKey: func(wrapped []byte) ([release.KeySize]byte, error) { return release.Unwrap(wrapped, file.Identity) },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// file exports a release as a file.
func (b *bench) export(ref string, to ...string) []byte {
	b.t.Helper()
	built, err := b.site.Export(b.t.Context(), ref, to, false)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = built.Close() }()
	var out bytes.Buffer
	r := built.File()
	if err := r.Write(b.t.Context(), &out); err != nil {
		b.t.Fatal(err)
	}
	return out.Bytes()
}

// TestExport carries releases to a point before they are distributed to it, and then has nothing travel.
func TestExport(t *testing.T) {
	b := newBench(t, registry.ForTest(t, registry.Options{}))
	b.point("north", "rooms")
	b.point("south")
	b.point("east")
	for _, encrypt := range []bool{true, false} {
		name := map[bool]string{true: "secret", false: "open"}[encrypt]
		wim := testWIM(3*chunkBytes+777, 1)
		p := b.add(wim, name, "1", &library.Flags{AllowMulticast: true, Encrypt: encrypt})
		ref := p.Reference()
		if _, err := b.site.Export(t.Context(), ref, nil, false); !errors.Is(err, ErrNotReleased) || !strings.Contains(err.Error(), "--for POINT") {
			t.Errorf("for nobody: %v", err)
		}
		if _, err := b.site.Export(t.Context(), ref, []string{"west"}, false); !errors.Is(err, ErrNotFound) {
			t.Errorf("for whom nobody knows: %v", err)
		}
		early := b.export(ref, "rooms")

		dir := filepath.Join(t.TempDir(), "north")
		north := b.openPoint("north", dir)
		got, already, err := prestage.Import(t.Context(), north, bytes.NewReader(early))
		if err != nil || already || got.Reference() != ref || !got.Prestaged || got.Flags.Encrypt != encrypt {
			t.Fatalf("%s: import: %+v, %v", name, got, err)
		}
		b.holds(north, ref, wim)
		if _, already, err := prestage.Import(t.Context(), north, bytes.NewReader(early)); err != nil || !already {
			t.Errorf("%s: imported again: %t, %v", name, already, err)
		}
		south := b.openPoint("south", filepath.Join(t.TempDir(), "south"))
		if _, _, err := prestage.Import(t.Context(), south, bytes.NewReader(early)); encrypt && !errors.Is(err, release.ErrNotRecipient) || !encrypt && err != nil {
			t.Errorf("%s: at a point that it isn't for: %v", name, err)
		}
		if encrypt != (len(south.List()) == 0) {
			t.Errorf("%s: the other point has %d packages", name, len(south.List()))
		}
		_ = south.Close()

		// Distributed to one, then to both; and a file of it for another, that north gets by mistake.
		b.distribute(ref, "north")
		b.settle()
		b.nothingMissing(north, "north", ref)
		late := b.export(ref, "north", "east")
		if _, _, err := prestage.Import(t.Context(), north, bytes.NewReader(late)); err != nil {
			t.Errorf("%s: what it has, for two: %v", name, err)
		}
		if p, err := north.Get(ref); err != nil || p.Prestaged {
			t.Errorf("%s: an import undoes the assignment: %+v, %v", name, p, err)
		}
		b.nothingMissing(north, "north", ref)
		b.distribute(ref, "east")
		b.settle()
		b.nothingMissing(north, "north", ref)
		if encrypt {
			if _, _, err := prestage.Import(t.Context(), north, bytes.NewReader(early)); !errors.Is(err, library.ErrOlder) {
				t.Errorf("%s: an older file: %v", name, err)
			}
		}
		// What stands in the registry goes out as it is.
		in, err := prestage.NewReader(bytes.NewReader(b.export(ref)))
		if err != nil || string(in.Manifest) != string(b.manifest("north", ref)) {
			t.Errorf("%s: another release than in the registry: %v", name, err)
		}
		_ = north.Close()
	}
}

// TestImportGoesOn breaks an import off at many places, each time with a new start of the point, until all is there.
func TestImportGoesOn(t *testing.T) {
	b := newBench(t, registry.ForTest(t, registry.Options{}))
	b.point("north")
	wim := testWIM(4*chunkBytes+777, 2)
	p := b.add(wim, "w11", "1", nil)
	file := b.export(p.Reference(), "north")
	dir := filepath.Join(t.TempDir(), "north")
	for part := range 10 {
		l := b.openPoint("north", dir)
		if len(l.List()) != 0 {
			t.Fatalf("after %d parts it counts", part)
		}
		broken := errors.New("the cable was pulled")
		_, _, err := prestage.Import(t.Context(), l, io.MultiReader(bytes.NewReader(file[:len(file)*part/10]), failing{broken}))
		if !errors.Is(err, broken) {
			t.Errorf("part %d: %v", part, err)
		}
		_ = l.Close()
	}
	l := b.openPoint("north", dir)
	damaged := bytes.Clone(file)
	damaged[len(file)-chunkBytes/2] ^= 1
	if _, _, err := prestage.Import(t.Context(), l, bytes.NewReader(damaged)); !errors.Is(err, library.ErrChunk) || !strings.Contains(err.Error(), "copy the file again") {
		t.Errorf("a damaged file: %v", err)
	}
	if len(l.List()) != 0 {
		t.Error("a damaged file counts")
	}
	short := append(bytes.Clone(file[:len(file)-2*chunkBytes]), make([]byte, 2*chunkBytes)...) // with an end of its own, too early
	if _, _, err := prestage.Import(t.Context(), l, bytes.NewReader(short)); err == nil || len(l.List()) != 0 {
		t.Errorf("a file that lacks layers: %v", err)
	}
	if _, _, err := prestage.Import(t.Context(), l, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	b.holds(l, "w11@1", wim)
	_ = l.Close()

	// Whoever isn't the site can't give it anything.
	other := newBench(t, b.server)
	other.point("north")
	other.add(wim, "w11", "2", nil)
	l = b.openPoint("north", dir)
	defer func() { _ = l.Close() }()
	if _, _, err := prestage.Import(t.Context(), l, bytes.NewReader(other.export("w11@2", "north"))); !errors.Is(err, release.ErrOrigin) {
		t.Errorf("of another site: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// holds proves all of a package of a point.
func (b *bench) holds(l *library.Library, ref string, want []byte) {
	b.t.Helper()
	if _, err := l.Verify(b.t.Context(), ref, nil); err != nil {
		b.t.Error(err)
	}
	c, err := l.OpenContent(ref)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer func() { _ = c.Close() }()
	got := make([]byte, c.Size())
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		b.t.Errorf("%s isn't what was exported: %v", ref, err)
	}
}

// manifest is that of a release which a point is assigned.
func (b *bench) manifest(point, ref string) []byte {
	b.t.Helper()
	for _, a := range b.assigned(point).Packages {
		if a.Reference == ref {
			_, m, err := b.repo.Manifest(b.t.Context(), a.Manifest.String())
			if err != nil {
				b.t.Fatal(err)
			}
			return m
		}
	}
	b.t.Fatalf("%s isn't assigned to %s", ref, point)
	return nil
}

// nothingMissing pulls as the point would: a new document at most.
func (b *bench) nothingMissing(l *library.Library, point, ref string) {
	b.t.Helper()
	manifest := b.manifest(point, ref)
	m, err := release.ParseManifest(manifest)
	if err != nil {
		b.t.Fatal(err)
	}
	document, err := b.site.fetch(b.t.Context(), m.Document)
	if err != nil {
		b.t.Fatal(err)
	}
	pull, err := l.Pull(manifest, document, false)
	if err != nil {
		b.t.Fatal(err)
	}
	missing, err := pull.Missing(b.t.Context())
	if err != nil || len(missing) > 0 {
		b.t.Errorf("%d blobs of %s would travel: %v", len(missing), ref, err)
	}
	if _, err := pull.Commit(library.Placing{Current: true}); err != nil {
		b.t.Fatal(err)
	}
}
