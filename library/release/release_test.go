package release

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"wimcast/crypto"
)

// siteKey makes a key that is the same each time.
func siteKey(fill byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{fill}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// sample is a release of a content of three chunks.
func sample(sealed bool) (*Release, []v1.Descriptor) {
	r := &Release{
		Name: "w11", Version: "2026.11", Comment: "for rooms", Revision: 7, Made: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC), AllowMulticast: true, Encrypt: sealed,
		Content: json.RawMessage(`{"images":[]}`), Digest: strings.Repeat("ab", 32), Size: 40 * crypto.BlockSize, ChunkBlocks: 16,
	}
	if sealed {
		r.Keys = []byte("wrapped")
	}
	l := r.Layout()
	layers := []v1.Descriptor{{MediaType: MediaManifest, Digest: digest.FromString("manifest"), Size: l.ManifestLen()}}
	for i := range l.Chunks() {
		layers = append(layers, v1.Descriptor{MediaType: MediaChunk, Digest: digest.FromString("chunk" + string(rune('0'+i))), Size: l.ChunkLen(i)})
	}
	return r, layers
}

func TestRelease(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		r, layers := sample(sealed)
		document, manifest, err := r.Seal(siteKey(1), layers)
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseManifest(manifest)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Open(document, public(siteKey(1)))
		if err != nil {
			t.Fatal(err)
		}
		if got.Reference() != "w11@2026.11" || got.Revision != 7 || got.Sealed() != sealed || got.Layout() != r.Layout() || !slices.EqualFunc(m.Layers, layers, func(a, b v1.Descriptor) bool { return a.Digest == b.Digest }) {
			t.Errorf("%+v", got)
		}
		if _, err := m.Open(document, public(siteKey(2))); !errors.Is(err, ErrOrigin) {
			t.Errorf("signed by another site: %v", err)
		}
	}
}

// TestReleaseRefusals changes one thing in a release that holds, and nothing of that is taken.
func TestReleaseRefusals(t *testing.T) {
	type change struct {
		document func(*Release)                        // signed by the site
		layers   func([]v1.Descriptor) []v1.Descriptor // after they were signed
		manifest func(*v1.Manifest)
		bytes    func([]byte) []byte // of the document
		want     string
	}
	for name, c := range map[string]change{
		"a changed document":       {bytes: func(b []byte) []byte { return bytes.Replace(b, []byte("for rooms"), []byte("for wolfs"), 1) }, want: "digest"},
		"no signature":             {manifest: func(m *v1.Manifest) { m.Annotations = nil }, want: "signed"},
		"a signature of something": {manifest: func(m *v1.Manifest) { m.Annotations[keySignature] = sign(siteKey(1), signsAssignments, []byte("x")) }, want: "signed"},
		"another chunk":            {layers: func(l []v1.Descriptor) []v1.Descriptor { l[2].Digest = digest.FromString("evil"); return l }, want: "signed"},
		"chunks in another order":  {layers: func(l []v1.Descriptor) []v1.Descriptor { l[1], l[2] = l[2], l[1]; return l }, want: "signed"},
		"a chunk less":             {layers: func(l []v1.Descriptor) []v1.Descriptor { return l[:3] }, want: "signed"},
		"a longer chunk":           {layers: func(l []v1.Descriptor) []v1.Descriptor { l[1].Size++; return l }, want: "layer 1"},
		"a chunk of another kind":  {layers: func(l []v1.Descriptor) []v1.Descriptor { l[1].MediaType = MediaManifest; return l }, want: "media type"},
		"a digest that isn't one":  {layers: func(l []v1.Descriptor) []v1.Descriptor { l[1].Digest = "sha256:../../etc"; return l }, want: "signed"},
		"another artifact":         {manifest: func(m *v1.Manifest) { m.ArtifactType = AssignmentsType }, want: "isn't a manifest"},
		"a huge document":          {manifest: func(m *v1.Manifest) { m.Config.Size = MaxDocument + 1 }, want: "at most"},
		"no revision":              {document: func(r *Release) { r.Revision = 0 }, want: "revision"},
		"no digest":                {document: func(r *Release) { r.Digest = "x" }, want: "hash"},
	} {
		t.Run(name, func(t *testing.T) {
			r, layers := sample(true)
			if c.document != nil {
				c.document(r)
			}
			document, b, err := r.Seal(siteKey(1), layers)
			if err != nil {
				t.Fatal(err)
			}
			var raw v1.Manifest
			if err := json.Unmarshal(b, &raw); err != nil {
				t.Fatal(err)
			}
			if c.layers != nil {
				raw.Layers = c.layers(raw.Layers)
			}
			if c.manifest != nil {
				c.manifest(&raw)
			}
			if b, err = json.Marshal(raw); err != nil {
				t.Fatal(err)
			}
			if c.bytes != nil {
				document = c.bytes(document)
			}
			m, err := ParseManifest(b)
			if err == nil {
				_, err = m.Open(document, public(siteKey(1)))
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	r, layers := sample(false)
	r.ChunkBlocks = 17
	if _, _, err := r.Seal(siteKey(1), layers); err == nil {
		t.Error("layers that don't fit are signed")
	}
}

func TestTag(t *testing.T) {
	seen := map[string]string{}
	for _, ref := range []string{"w11@2026.11", "W11@2026.11", "w11-2026.11", "Büro PC@1", strings.Repeat("x", 300), "-"} {
		tag := Tag(ref, 12)
		if other, twice := seen[tag]; twice {
			t.Errorf("%q and %q have the tag %s", ref, other, tag)
		}
		seen[tag] = ref
		if len(tag) > 128 || strings.Trim(tag, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
			t.Errorf("%q: %s is no tag", ref, tag)
		}
	}
	if got := Tag("w11@2026.11", 3); got != Tag("w11@2026.11", 3) || !strings.HasPrefix(got, "p-w11-2026.11-") || !strings.HasSuffix(got, "-r3") {
		t.Errorf("tag %s", got)
	}
}

func assignments() *Assignments {
	return &Assignments{
		Point: "north", Serial: 4, Multicast: true, Revoked: []string{strings.Repeat("4", 32)},
		Packages: []Assigned{{Reference: "w11@2026.11", Current: true, Revision: 7, Manifest: digest.FromString("m"), Size: 900, Priority: High}},
	}
}

func TestAssignments(t *testing.T) {
	document, b, err := assignments().Seal(siteKey(1))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseAssignments(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.OpenAssignments(document, public(siteKey(1)), "north")
	if err != nil || got.Serial != 4 || len(got.Packages) != 1 || got.Packages[0].Priority != High || !got.Multicast {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := m.OpenAssignments(document, public(siteKey(1)), "south"); err == nil {
		t.Error("those of another point are taken")
	}
	if _, err := m.OpenAssignments(document, public(siteKey(2)), "north"); !errors.Is(err, ErrOrigin) {
		t.Errorf("of another site: %v", err)
	}
	if _, err := m.OpenAssignments(append(document, ' '), public(siteKey(1)), "north"); err == nil {
		t.Error("a changed document is taken")
	}
	for name, change := range map[string]func(*Assignments){
		"no digest":       func(a *Assignments) { a.Packages[0].Manifest = "sha256:x" },
		"another hash":    func(a *Assignments) { a.Packages[0].Manifest = digest.SHA512.FromString("x") },
		"a huge manifest": func(a *Assignments) { a.Packages[0].Size = MaxManifest + 1 },
		"no size":         func(a *Assignments) { a.Packages[0].Size = 0 },
		"no reference":    func(a *Assignments) { a.Packages[0].Reference = "" },
		"a priority":      func(a *Assignments) { a.Packages[0].Priority = "urgent" },
	} {
		a := assignments()
		change(a)
		document, b, err := a.Seal(siteKey(1))
		if err != nil {
			t.Fatal(err)
		}
		if m, err = ParseAssignments(b); err != nil {
			t.Fatal(err)
		}
		if _, err := m.OpenAssignments(document, public(siteKey(1)), "north"); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	r, layers := sample(false)
	_, b, err = r.Seal(siteKey(1), layers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseAssignments(b); err == nil {
		t.Error("a release is taken for assignments")
	}
}

func TestPointFile(t *testing.T) {
	identity, _, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	whole := func() *PointFile {
		return &PointFile{Name: "north", Repository: "registry.example.org/wimcast", SiteKey: FormatPublicKey(public(siteKey(1))), Identity: identity, Bundle: "bundle", Server: "server", Admin: []string{"10.0.0.1:7601"}}
	}
	text, err := whole().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "north.point")
	for mode, exposed := range map[os.FileMode]bool{0o600: false, 0o644: true} {
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, text, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		p, err := ReadPointFile(path)
		if err != nil || p.Name != "north" || p.Exposed != exposed || p.Admin[0] != "10.0.0.1:7601" {
			t.Errorf("%+v, %v", p, err)
		}
	}
	for name, change := range map[string]func(*PointFile){
		"no name":       func(p *PointFile) { p.Name = "" },
		"a path":        func(p *PointFile) { p.Name = "../north" },
		"upper case":    func(p *PointFile) { p.Name = "North" },
		"a hyphen":      func(p *PointFile) { p.Name = "-n" },
		"a long name":   func(p *PointFile) { p.Name = strings.Repeat("n", 49) },
		"no registry":   func(p *PointFile) { p.Repository = "" },
		"no bundle":     func(p *PointFile) { p.Bundle = "" },
		"no key":        func(p *PointFile) { p.SiteKey = "AAAA" },
		"no identity":   func(p *PointFile) { p.Identity = "AGE-SECRET-KEY-1" },
		"no credential": func(p *PointFile) { p.Server = "" },
	} {
		p := whole()
		change(p)
		if _, err := p.Marshal(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if _, err := ParsePointFile(bytes.Replace(text, []byte(`"format": 1`), []byte(`"format": 2`), 1)); err == nil {
		t.Error("another format is taken")
	}
	if _, err := ReadPointFile(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// FuzzOpen: whatever a registry hands out, nothing panics, and what isn't signed isn't taken.
func FuzzOpen(f *testing.F) {
	for _, sealed := range []bool{false, true} {
		r, layers := sample(sealed)
		document, manifest, err := r.Seal(siteKey(1), layers)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(manifest, document)
	}
	document, manifest, err := assignments().Seal(siteKey(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(manifest, document)
	known := map[string]bool{string(document): true}
	for _, sealed := range []bool{false, true} {
		r, layers := sample(sealed)
		d, _, err := r.Seal(siteKey(1), layers)
		if err != nil {
			f.Fatal(err)
		}
		known[string(d)] = true
	}
	f.Fuzz(func(t *testing.T, manifest, document []byte) {
		if m, err := ParseManifest(manifest); err == nil {
			if _, err := m.Open(document, public(siteKey(1))); err == nil && !known[string(document)] {
				t.Errorf("taken: %q", document)
			}
		}
		if m, err := ParseAssignments(manifest); err == nil {
			if _, err := m.OpenAssignments(document, public(siteKey(1)), "north"); err == nil && !known[string(document)] {
				t.Errorf("taken: %q", document)
			}
		}
	})
}
