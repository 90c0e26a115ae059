package library

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"wimcast/crypto"
	"wimcast/library/release"
	"wimcast/test/releases"
)

// fromSite is a point's side and a site's, for tests.
type fromSite struct {
	*Site

	signs     *releases.Site
	recipient string
	key       [release.KeySize]byte
}

func newSite(t *testing.T) *fromSite {
	t.Helper()
	identity, recipient, err := release.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	signs := releases.NewSite(1)
	open := func(wrapped []byte) ([release.KeySize]byte, error) { return release.Unwrap(wrapped, identity) }
	return &fromSite{&Site{Point: "north", Key: signs.Public, OpenKey: open}, signs, recipient, [release.KeySize]byte{7}}
}

// describeWIM returns what the library says of a WIM file.
func describeWIM(t *testing.T, b []byte) json.RawMessage {
	t.Helper()
	l, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p := add(t, l, b, "described", "")
	text, err := p.Description()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func about(t *testing.T, b []byte, name, version string, revision int64) *release.Release {
	t.Helper()
	return &release.Release{Name: name, Version: version, Revision: revision, AllowMulticast: true, Content: describeWIM(t, b)}
}

// release makes one of content, sealed or not.
func (s *fromSite) release(t *testing.T, r *release.Release, b []byte, sealed bool) *releases.Release {
	t.Helper()
	r.Encrypt = sealed
	var to []string
	if sealed {
		to = []string{s.recipient}
	}
	made, err := s.signs.Make(r, b, s.key, to...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func openPoint(t *testing.T, dir string, s *fromSite) *Library {
	t.Helper()
	l, err := OpenPoint(dir, s.Site)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// bring pulls a release whole, and returns how many blobs came.
func bring(t *testing.T, l *Library, r *releases.Release, o Placing) (Package, int) {
	t.Helper()
	pull, err := l.Pull(r.Manifest, r.Document, false)
	if err != nil {
		t.Fatal(err)
	}
	missing, err := pull.Missing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range missing {
		if err := pull.Put(d, bytes.NewReader(r.Blobs[d.Digest])); err != nil {
			t.Fatal(err)
		}
	}
	p, err := pull.Commit(o)
	if err != nil {
		t.Fatal(err)
	}
	return p, len(missing)
}

// pulledSizes: less than a block, one chunk exactly, several chunks with a short end.
var pulledSizes = []int{1000, 16*crypto.BlockSize - 600, 35*crypto.BlockSize + 77}

func TestPulled(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		for i, size := range pulledSizes {
			s := newSite(t)
			dir := t.TempDir()
			l := openPoint(t, dir, s)
			b := testWIM(size, uint64(i), "Windows 11")
			r := about(t, b, "w11", "1", 5)
			r.Comment, r.MulticastOnly = "for the lab", true
			made := s.release(t, r, b, sealed)
			p, came := bring(t, l, made, Placing{Current: true})
			if came != len(made.Layers) || p.Revision != 5 || p.Release() != made.Digest() || p.Comment != "for the lab" || !p.Flags.MulticastOnly || p.Flags.Encrypt != sealed ||
				p.Images[0].Name != "Windows 11" || !p.Current || p.Validated.IsZero() {
				t.Errorf("%d blobs: %+v", came, p)
			}
			holds(t, l, "w11", b)
			if _, err := l.Verify(t.Context(), "w11", nil); err != nil {
				t.Error(err)
			}
			c, err := l.OpenContent("w11")
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(b))
			if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
				t.Errorf("ReadAt: %v", err)
			}
			if _, err := c.Path(); !errors.Is(err, ErrFromSite) {
				t.Errorf("a path: %v", err)
			}
			_ = c.Close()
			for name, file := range tree(t, dir) {
				// Enough to be found in no noise; the file's beginning and its end are known to everybody.
				if sealed && strings.Contains(file, string(b[300:400])) {
					t.Errorf("%s has plain text", name)
				}
			}
			if _, came := bring(t, l, made, Placing{Current: true}); came != 0 {
				t.Errorf("again: %d blobs came", came)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			again := openPoint(t, dir, s)
			if q, err := again.Get("w11@1"); err != nil || q.OutOfService != "" || q.Revision != 5 || !q.Current || !q.Added.Equal(p.Added) {
				t.Errorf("after opening again: %+v, %v", q, err)
			}
			holds(t, again, "w11", b)
			if err := again.Withdraw("w11@1"); err != nil {
				t.Fatal(err)
			}
			if left := blobs(t, dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	}
}

// TestPulledOnlyWhatChanged: a version that differs in one block takes one chunk and the manifest.
func TestPulledOnlyWhatChanged(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	l := openPoint(t, dir, s)
	one := testWIM(50*crypto.BlockSize, 1, "w")
	two := slices.Clone(one)
	two[20*crypto.BlockSize] ^= 1
	bring(t, l, s.release(t, about(t, one, "w11", "1", 1), one, true), Placing{Current: true})
	first, _ := l.Get("w11")
	p, came := bring(t, l, s.release(t, about(t, two, "w11", "2", 2), two, true), Placing{})
	if came != 2 {
		t.Errorf("%d blobs came", came)
	}
	if !p.Validated.Equal(first.Validated) {
		t.Errorf("validated %v, and what it shares %v", p.Validated, first.Validated)
	}
	holds(t, l, "w11@1", one)
	holds(t, l, "w11@2", two)
	if q, _ := l.Get("w11"); q.Version != "1" {
		t.Errorf("the name means %s before the site says so", q.Reference())
	}
	if err := l.Assigned("w11@2", true); err != nil {
		t.Fatal(err)
	}
	if q, _ := l.Get("w11"); q.Version != "2" || l.List()[0].Version != "2" {
		t.Errorf("the name means %s", q.Reference())
	}
	// A new revision with other flags moves nothing and replaces the entry.
	r := about(t, two, "w11", "2", 3)
	r.MulticastOnly = true
	q, came := bring(t, l, s.release(t, r, two, true), Placing{Current: true})
	if came != 0 || !q.Flags.MulticastOnly || !q.Added.Equal(p.Added) || len(l.List()) != 2 {
		t.Errorf("%d blobs, %+v", came, q)
	}
	// An older one isn't taken.
	old := s.release(t, about(t, two, "w11", "2", 2), two, true)
	if _, err := l.Pull(old.Manifest, old.Document, false); !errors.Is(err, ErrOlder) {
		t.Errorf("an older revision: %v", err)
	}
	if err := l.Withdraw("w11@1"); err != nil {
		t.Fatal(err)
	}
	holds(t, l, "w11", two)
	if n := len(blobs(t, dir)); n != 2+1+4 { // release manifest and document, manifest of blocks, chunks
		t.Errorf("%d blobs", n)
	}
}

func TestPulledRefused(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	l := openPoint(t, dir, s)
	b := testWIM(3*crypto.BlockSize, 1, "w")
	add(t, l, testWIM(10, 9, "w"), "mine", "")
	foreign, other := newSite(t), newSite(t)
	foreign.signs = releases.NewSite(2)
	for what, c := range map[string]struct {
		made *releases.Release
		want error
	}{
		"another site":   {foreign.release(t, about(t, b, "w11", "1", 1), b, false), release.ErrOrigin},
		"another point":  {other.release(t, about(t, b, "w11", "1", 1), b, true), release.ErrNotRecipient},
		"a name of here": {s.release(t, about(t, b, "mine", "2", 1), b, false), ErrExists},
	} {
		if _, err := l.Pull(c.made.Manifest, c.made.Document, false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	bad := about(t, b, "-rf", "1", 1)
	if made := s.release(t, bad, b, false); made != nil {
		if _, err := l.Pull(made.Manifest, made.Document, false); err == nil {
			t.Error("a name that looks like an option was taken")
		}
	}
	made := s.release(t, about(t, b, "w11", "1", 1), b, false)
	if _, err := l.Pull(made.Manifest, foreign.release(t, about(t, b, "w11", "1", 1), b, true).Document, false); err == nil {
		t.Error("another document was taken")
	}
	if n := len(blobs(t, dir)); n != 4 {
		t.Errorf("%d blobs", n)
	}
	pull, err := l.Pull(made.Manifest, made.Document, false)
	if err != nil {
		t.Fatal(err)
	}
	d := made.Layers[1]
	whole := made.Blobs[d.Digest]
	flipped := slices.Clone(whole)
	flipped[100] ^= 1
	broken := errors.New("cable cut")
	for what, c := range map[string]struct {
		r    io.Reader
		want error
	}{
		"other bytes": {bytes.NewReader(flipped), ErrChunk},
		"cut short":   {bytes.NewReader(whole[:len(whole)-1]), ErrChunk},
		"longer":      {io.MultiReader(bytes.NewReader(whole), strings.NewReader("x")), ErrChunk},
		"broken":      {&failing{slices.Clone(whole[:50]), broken}, broken},
	} {
		if err := pull.Put(d, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if missing, err := pull.Missing(t.Context()); err != nil || len(missing) != len(made.Layers) {
		t.Errorf("%d missing, %v", len(missing), err)
	}
	if _, err := pull.Commit(Placing{}); !errors.Is(err, ErrIncomplete) {
		t.Errorf("into service: %v", err)
	}
	if err := l.DropPulls(dropAll); err != nil {
		t.Fatal(err)
	}
	if err := pull.Put(d, bytes.NewReader(whole)); err == nil {
		t.Error("a blob came after the pull was given up")
	}
	if n := len(blobs(t, dir)); n != 4 {
		t.Errorf("%d blobs after it was given up", n)
	}
}

// TestPulledIsTheSites: what people do to packages of their own is refused, naming the site's command.
func TestPulledIsTheSites(t *testing.T) {
	s := newSite(t)
	l := openPoint(t, t.TempDir(), s)
	b := testWIM(3*crypto.BlockSize, 1, "w")
	bring(t, l, s.release(t, about(t, b, "w11", "1", 1), b, false), Placing{Current: true})
	comment := "mine"
	_, change := l.Change("w11", Change{Comment: &comment})
	_, _, rollback := l.Rollback("w11", nil)
	_, _, same := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Name: "w11", Version: "mine"})
	_, _, unnamed := l.Add(t.Context(), bytes.NewReader(testWIM(9, 2, "w11")), AddOptions{})
	for want, err := range map[string]error{
		`wimcast image set "w11@1"`: change, `wimcast image withdraw "w11@1" --from north`: l.Remove("w11"), `wimcast image rollback "w11"`: rollback,
		"with another --name": same, "add it at the site": unnamed,
	} {
		if !errors.Is(err, ErrFromSite) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if p, _ := l.Get("w11"); p.Comment != "" {
		t.Errorf("%+v", p)
	}
	// What was prestaged may be removed by hand.
	bring(t, l, s.release(t, about(t, b, "lab", "", 2), b, false), Placing{Prestaged: true})
	if err := l.Remove("lab"); err != nil {
		t.Error(err)
	}
	holds(t, l, "w11", b)
}

// TestPulledProvenAtOpen: a library that somebody changed, or another site's, isn't served.
func TestPulledProvenAtOpen(t *testing.T) {
	s := newSite(t)
	b := testWIM(3*crypto.BlockSize, 1, "w")
	made := s.release(t, about(t, b, "w11", "1", 1), b, true)
	for what, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		site  func() *Site
		want  string
	}{
		"flags in the index": {spoil: func(t *testing.T, dir string) {
			name := filepath.Join(dir, "index.json")
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			changed := bytes.Replace(text, []byte(`"vnd.wimcast.encrypt": "true"`), []byte(`"vnd.wimcast.encrypt": "false"`), 1)
			if bytes.Equal(text, changed) {
				t.Fatal("nothing was changed")
			}
			if err := os.WriteFile(name, changed, 0o600); err != nil {
				t.Fatal(err)
			}
		}, want: "than the site signed"},
		"another document": {spoil: func(t *testing.T, dir string) {
			damage(t, filepath.Join(dir, blobDir, digest.FromBytes(made.Document).Encoded()), 30)
		}, want: "release document"},
		"a chunk is gone": {spoil: func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, blobDir, made.Layers[1].Digest.Encoded())); err != nil {
				t.Fatal(err)
			}
		}, want: "1 of its 2 blobs"},
		"another site": {site: func() *Site { o := *s.Site; o.Key = releases.NewSite(9).Public; return &o }, want: release.ErrOrigin.Error()},
		"another point": {site: func() *Site {
			o := *s.Site
			o.OpenKey = func([]byte) (k [release.KeySize]byte, err error) { return k, release.ErrNotRecipient }
			return &o
		}, want: release.ErrNotRecipient.Error()},
		"no point": {site: func() *Site { return nil }, want: "no point"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			l := openPoint(t, dir, s)
			bring(t, l, made, Placing{Current: true})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			site := s.Site
			if c.site != nil {
				site = c.site()
			}
			l, err := OpenPoint(dir, site)
			if err != nil {
				t.Fatal(err)
			}
			p, err := l.Get("w11")
			if err != nil || !strings.Contains(p.OutOfService, c.want) {
				t.Errorf("%q, %v", p.OutOfService, err)
			}
			var damaged *DamagedError
			if _, err := l.OpenContent("w11"); !errors.As(err, &damaged) {
				t.Errorf("it was opened: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			// Pulled once more it is whole, and in service.
			l = openPoint(t, dir, s)
			_, came := bring(t, l, made, Placing{Current: true})
			if want := map[string]int{"a chunk is gone": 1}[what]; came != want {
				t.Errorf("%d blobs came, want %d", came, want)
			}
			holds(t, l, "w11", b)
		})
	}
}

// TestPulledDamage: a damaged chunk takes out of service what has it, and is the only one that comes again.
func TestPulledDamage(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		s := newSite(t)
		dir := t.TempDir()
		l := openPoint(t, dir, s)
		var changes []ServiceChange
		l.Watch(func(c ServiceChange) { changes = append(changes, c) })
		b := testWIM(50*crypto.BlockSize, 1, "w")
		made := s.release(t, about(t, b, "w11", "1", 1), b, sealed)
		bring(t, l, made, Placing{Current: true})
		running, err := l.OpenContent("w11")
		if err != nil {
			t.Fatal(err)
		}
		damage(t, filepath.Join(dir, blobDir, made.Layers[2].Digest.Encoded()), 3*crypto.BlockSize)
		var damaged *DamagedError
		buf := make([]byte, crypto.BlockSize)
		if _, err := running.ReadBlock(18, buf); !errors.As(err, &damaged) {
			if _, err = running.ReadBlock(19, buf); !errors.As(err, &damaged) {
				t.Fatalf("%v", err)
			}
		}
		if p, _ := l.Get("w11"); p.OutOfService == "" {
			t.Error("in service")
		}
		if _, came := bring(t, l, made, Placing{Current: true}); came != 1 {
			t.Errorf("%d blobs came", came)
		}
		holds(t, l, "w11", b)
		if len(changes) != 2 || changes[0].Reason == "" || changes[1].Reason != "" {
			t.Errorf("changes %+v", changes)
		}
		// What still reads the old file says nothing about the new one.
		_, _ = running.ReadBlock(19, buf)
		if p, _ := l.Get("w11"); p.OutOfService != "" {
			t.Error(p.OutOfService)
		}
		_ = running.Close()
		if n := len(blobs(t, dir)); n != 2+1+4 {
			t.Errorf("%d blobs", n)
		}
	}
}

// TestPulledOutlivesWithdrawal: a cast keeps what it reads, and what only it needs goes with it.
func TestPulledOutlivesWithdrawal(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	l := openPoint(t, dir, s)
	b := testWIM(200*crypto.BlockSize, 1, "w")
	bring(t, l, s.release(t, about(t, b, "w11", "1", 1), b, true), Placing{Current: true})
	c, err := l.OpenContent("w11")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Withdraw("w11@1"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Get("w11"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	got := make([]byte, len(b))
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("after its removal: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left := blobs(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestPulledForm holds the form that files of today have against tomorrow's code.
func TestPulledForm(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	l := openPoint(t, dir, s)
	b := testWIM(17*crypto.BlockSize, 1, "w")
	made := s.release(t, about(t, b, "w11", "1", 7), b, false)
	p, _ := bring(t, l, made, Placing{Current: true, Prestaged: true})
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	const form = `{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
    {
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "digest": "MANIFEST",
      "size": LENGTH,
      "annotations": {
        "org.opencontainers.image.ref.name": "w11@1",
        "vnd.wimcast.added": "TIME",
        "vnd.wimcast.allow-multicast": "true",
        "vnd.wimcast.comment": "",
        "vnd.wimcast.current": "true",
        "vnd.wimcast.digest": "DIGEST",
        "vnd.wimcast.encrypt": "false",
        "vnd.wimcast.multicast-only": "false",
        "vnd.wimcast.name": "w11",
        "vnd.wimcast.prestaged": "true",
        "vnd.wimcast.revision": "7",
        "vnd.wimcast.validated": "TIME",
        "vnd.wimcast.version": "1"
      },
      "artifactType": "application/vnd.wimcast.release.v1"
    }
  ]
}`
	added, _ := p.Added.MarshalText()
	got := strings.NewReplacer(made.Digest().String(), "MANIFEST", `"size": `+sizeText(int64(len(made.Manifest))), `"size": LENGTH`, string(added), "TIME", p.Digest.String(), "DIGEST").Replace(string(text))
	if got != form {
		t.Errorf("index.json\n%s\nwant\n%s", got, form)
	}
	want := []string{made.Digest().Encoded()}
	for d := range made.Blobs {
		want = append(want, d.Encoded())
	}
	slices.Sort(want)
	if got := blobs(t, dir); !slices.Equal(got, want) {
		t.Errorf("blobs %v, want %v", got, want)
	}
	for d, blob := range made.Blobs {
		if file := tree(t, dir)[blobDir+"/"+d.Encoded()]; file != string(blob) {
			t.Errorf("%s isn't as it came", d)
		}
	}
}
