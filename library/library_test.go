package library

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wimcast/crypto"
	"wimcast/library/wim"
)

func TestAddAndReadBack(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	for i, size := range []int{0, 1, crypto.BlockSize - 208, 3*crypto.BlockSize + 77, 2 << 20} {
		b := testWIM(size, uint64(size), "Windows 11 Education", "second")
		p := add(t, l, b, "", strings.Repeat("v", 1+i))
		if p.Name != "file" || p.Size != int64(len(b)) || len(p.Images) != 2 || p.Images[0].Edition() != "Education" {
			t.Errorf("added %+v", p)
		}
		if p.Flags != (Flags{AllowMulticast: true, Encrypt: true}) {
			t.Errorf("flags %+v", p.Flags)
		}
		holds(t, l, p.Reference(), b)
	}
	before := l.List()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, dir)
	after := again.List()
	if len(after) != len(before) {
		t.Fatalf("%d packages, %d before", len(after), len(before))
	}
	for i := range after {
		a, b := after[i], before[i]
		if a.Reference() != b.Reference() || a.Digest != b.Digest || a.SHA256 != b.SHA256 || !a.Added.Equal(b.Added) || a.Flags != b.Flags ||
			a.Size != b.Size || a.Compression != b.Compression || !slices.EqualFunc(a.Images, b.Images, func(x, y wim.Image) bool { return x.Name == y.Name && x.TotalBytes == y.TotalBytes }) {
			t.Errorf("%+v, before %+v", a, b)
		}
	}
}

func TestDefaultName(t *testing.T) {
	for name, c := range map[string]struct {
		given, stem string
		images      []string
		want        string // empty: refused
	}{
		"one image":             {"", "install", []string{"Windows 11"}, "Windows 11"},
		"several":               {"", "install", []string{"a", "b"}, "install"},
		"given":                 {"w11", "install", []string{"a"}, "w11"},
		"unusable image name":   {"", "install", []string{"a/b"}, "install"},
		"no image name":         {"", "install", []string{""}, "install"},
		"stem like a digest":    {"", "0123456789abcdef", []string{"a", "b"}, ""},
		"no stem":               {"", "", []string{"a", "b"}, ""},
		"given with a slash":    {"a/b", "install", []string{"a"}, ""},
		"given like a version":  {"a@b", "install", []string{"a"}, ""},
		"given like an option":  {"-rf", "install", []string{"a"}, ""},
		"given with a control":  {"a\x1b[2J", "install", []string{"a"}, ""},
		"given turning text":    {"a\u202eb", "install", []string{"a"}, ""},
		"given not UTF-8":       {"a\xff", "install", []string{"a"}, ""},
		"given a folder":        {"..", "install", []string{"a"}, ""},
		"given with a space":    {"a ", "install", []string{"a"}, ""},
		"given too long":        {strings.Repeat("x", 129), "install", []string{"a"}, ""},
		"given in other script": {"образ", "install", []string{"a"}, "образ"},
	} {
		t.Run(name, func(t *testing.T) {
			l := openAt(t, t.TempDir())
			p, _, err := l.Add(t.Context(), bytes.NewReader(testWIM(9, 1, c.images...)), AddOptions{Name: c.given, FileStem: c.stem})
			if p.Name != c.want || (err != nil) != (c.want == "") {
				t.Errorf("named %q, %v; want %q", p.Name, err, c.want)
			}
		})
	}
}

func TestSameContentOnce(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	b := testWIM(300_000, 1, "w")
	first := add(t, l, b, "w11", "1")
	p, already, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Name: "w11", Version: "1", Comment: "other"})
	if err != nil || !already || !p.Added.Equal(first.Added) || p.Comment != "" {
		t.Errorf("again: %+v, already there: %v, %v", p, already, err)
	}
	if n := len(blobs(t, dir)); n != 4 {
		t.Errorf("%d blobs, want 4", n)
	}
	add(t, l, b, "copy", "")
	if n := len(blobs(t, dir)); n != 4 {
		t.Errorf("%d blobs for two packages of one content, want 4", n)
	}
	if _, _, err := l.Add(t.Context(), bytes.NewReader(testWIM(300_000, 2, "w")), AddOptions{Name: "w11", Version: "1"}); !errors.Is(err, ErrExists) {
		t.Errorf("other content under the same name: %v", err)
	}
	if n := len(blobs(t, dir)); n != 4 {
		t.Errorf("%d blobs after a refusal, want 4", n)
	}
	if err := l.Remove("w11"); err != nil {
		t.Fatal(err)
	}
	holds(t, l, "copy", b)
	if err := l.Remove("copy"); err != nil {
		t.Fatal(err)
	}
	if left := blobs(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestGet(t *testing.T) {
	l := openAt(t, t.TempDir())
	a1 := add(t, l, testWIM(10, 1, "w"), "w11", "2026.10")
	a2 := add(t, l, testWIM(10, 2, "w"), "w11", "2026.11")
	b := add(t, l, testWIM(10, 3, "w"), "lab", "")
	add(t, l, testWIM(10, 3, "w"), "lab-copy", "")
	for ref, want := range map[string]crypto.Hash{
		"w11@2026.10": a1.Digest, "w11@2026.11": a2.Digest, "w11": a2.Digest, "lab": b.Digest, "lab@": b.Digest,
		a1.Digest.String(): a1.Digest, a2.Digest.String()[:12]: a2.Digest,
	} {
		if p, err := l.Get(ref); err != nil || p.Digest != want {
			t.Errorf("%s: %s, %v; want %s", ref, p.Reference(), err, want)
		}
	}
	for ref, want := range map[string]string{
		"w12": "did you mean w11@", "w11@2025.01": "did you mean w11@2026.1", "la": "did you mean lab", "": "wimcast image list",
		"nothing like it": "wimcast image list", strings.Repeat("a", 64): "wimcast image list", a1.Digest.String()[:11]: "wimcast image list",
	} {
		if _, err := l.Get(ref); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", ref, err, want)
		}
	}
	if _, err := l.Get(b.Digest.String()); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "lab, lab-copy") {
		t.Errorf("a digest of two packages: %v", err)
	}
	c, err := l.OpenDigest(b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestChange(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	b := testWIM(100, 1, "w")
	add(t, l, b, "w11", "1")
	add(t, l, testWIM(100, 2, "w"), "lab", "1")
	on, off, name, comment := true, false, "w11-edu", "for lab 12"
	p, err := l.Change("w11", Change{Name: &name, Comment: &comment, MulticastOnly: &on, Encrypt: &off})
	if err != nil || p.Reference() != "w11-edu@1" || p.Comment != comment || p.Flags != (Flags{AllowMulticast: true, MulticastOnly: true}) {
		t.Fatalf("%+v, %v", p, err)
	}
	for what, c := range map[string]struct {
		ref    string
		change Change
		want   error
	}{
		"multicast off while multicast-only": {"w11-edu", Change{AllowMulticast: &off}, ErrFlags},
		"unknown":                            {"w11", Change{Encrypt: &on}, ErrNotFound},
		"taken name":                         {"lab", Change{Name: &name}, ErrExists},
	} {
		before := tree(t, dir)
		if _, err := l.Change(c.ref, c.change); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if after := tree(t, dir); after["index.json"] != before["index.json"] {
			t.Errorf("%s: it changed the library", what)
		}
	}
	if _, err := l.Change("w11-edu", Change{AllowMulticast: &off}); err == nil || !strings.Contains(err.Error(), "multicast-only") || !strings.Contains(err.Error(), "--no-multicast") {
		t.Errorf("the refusal names neither flag: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, dir)
	if p, err := again.Get("w11-edu"); err != nil || p.Comment != comment || !p.Flags.MulticastOnly || p.Flags.Encrypt {
		t.Errorf("after opening again: %+v, %v", p, err)
	}
	holds(t, again, "w11-edu", b)
}

func TestRefused(t *testing.T) {
	split := testWIM(50, 1, "w")
	split[40], split[42] = 2, 4
	whole := testWIM(500_000, 1, "w")
	for name, c := range map[string]struct {
		b    []byte
		size int64
		want error
	}{
		"empty":             {nil, 0, wim.ErrNotWIM},
		"text":              {bytes.Repeat([]byte("not a WIM "), 100), 0, wim.ErrNotWIM},
		"truncated":         {whole[:400_000], 0, wim.ErrTruncated},
		"source ends early": {whole[:400_000], int64(len(whole)), wim.ErrTruncated},
		"split":             {split, 0, ErrSplit},
		"huge":              {whole, 1 << 45, ErrDiskFull},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := openAt(t, dir)
			_, _, err := l.Add(t.Context(), bytes.NewReader(c.b), AddOptions{Name: "w", Size: c.size})
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if left := blobs(t, dir); len(left) != 0 || len(l.List()) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	t.Run("source fails", func(t *testing.T) {
		dir := t.TempDir()
		l := openAt(t, dir)
		broken := errors.New("cable cut")
		if _, _, err := l.Add(t.Context(), &failing{whole[:300_000], broken}, AddOptions{Name: "w"}); !errors.Is(err, broken) {
			t.Error(err)
		}
		if left := blobs(t, dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, dir)
}

func TestDamagedContent(t *testing.T) {
	b := testWIM(5*crypto.BlockSize, 1, "w")
	for name, spoil := range map[string]func(t *testing.T, file string){
		"bit flipped": func(t *testing.T, file string) { damage(t, file, 2*crypto.BlockSize+5) },
		"cut short": func(t *testing.T, file string) {
			if err := os.Truncate(file, 1000); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := openAt(t, dir)
			p := add(t, l, b, "w", "1")
			add(t, l, b, "twin", "1")
			spoil(t, contentFile(dir, &p))
			var damaged *DamagedError
			c, err := l.OpenContent("w")
			if err == nil {
				buf := make([]byte, crypto.BlockSize)
				for i := range crypto.BlockCount(c.Size()) {
					if _, err = c.ReadBlock(i, buf); err != nil {
						break
					}
				}
				if _, at := c.ReadAt(buf, 2*crypto.BlockSize-10); at == nil {
					t.Error("ReadAt gave damaged bytes")
				}
				_ = c.Close()
			}
			if !errors.As(err, &damaged) {
				t.Fatalf("%v, want a DamagedError", err)
			}
			for _, ref := range []string{"w", "twin"} {
				if p, _ := l.Get(ref); p.OutOfService == "" {
					t.Errorf("%s is in service", ref)
				}
				if _, err := l.OpenContent(ref); !errors.As(err, &damaged) {
					t.Errorf("%s was opened: %v", ref, err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			again := openAt(t, dir)
			if p, _ := again.Get("w"); p.OutOfService == "" {
				t.Error("in service after opening again")
			}
			if _, err := again.Verify(t.Context(), "w", nil); !errors.As(err, &damaged) {
				t.Errorf("verified: %v", err)
			}
			if _, already, err := again.Add(t.Context(), bytes.NewReader(b), AddOptions{Name: "w", Version: "1"}); err != nil || !already {
				t.Fatal(already, err)
			}
			holds(t, again, "w", b)
			holds(t, again, "twin", b)
		})
	}
}

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	b := testWIM(5*crypto.BlockSize, 1, "w")
	p := add(t, l, b, "w", "")
	var told []int64
	if _, err := l.Verify(t.Context(), "w", func(done, total int64) {
		if total != int64(len(b)) {
			t.Errorf("total %d", total)
		}
		told = append(told, done)
	}); err != nil || len(told) != 6 || told[5] != int64(len(b)) {
		t.Fatal(err, told)
	}
	var damaged *DamagedError
	file := contentFile(dir, &p)
	damage(t, file, int64(len(b)-1))
	if _, err := l.Verify(t.Context(), "w", nil); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "block 5") {
		t.Errorf("%v", err)
	}
	damage(t, file, int64(len(b)-1)) // back as it was
	if p, err := l.Verify(t.Context(), "w", nil); err != nil || p.OutOfService != "" {
		t.Errorf("%+v, %v", p, err)
	}
	holds(t, l, "w", b)
	// Each of the small blobs, too.
	for _, d := range []string{p.oci.Digest.Encoded(), p.config.Digest.Encoded(), p.manifest.Digest.Encoded()} {
		file := filepath.Join(dir, blobDir, d)
		damage(t, file, 3)
		if _, err := l.Verify(t.Context(), "w", nil); !errors.As(err, &damaged) {
			t.Errorf("%s: %v", d, err)
		}
		damage(t, file, 3)
		if _, err := l.Verify(t.Context(), "w", nil); err != nil {
			t.Error(err)
		}
	}
}

// TestUnknownContent: where the descriptions are damaged, the package is still listed and can be
// removed or added again, and nothing is swept.
func TestUnknownContent(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	b := testWIM(1000, 1, "w")
	p := add(t, l, b, "w", "")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(dir, blobDir, p.oci.Digest.Encoded()), 3)
	l = openAt(t, dir)
	if q, err := l.Get("w"); err != nil || q.OutOfService == "" || q.Digest != p.Digest {
		t.Errorf("%+v, %v", q, err)
	}
	var damaged *DamagedError
	if _, err := l.OpenContent("w"); !errors.As(err, &damaged) {
		t.Error(err)
	}
	if n := len(blobs(t, dir)); n != 4 {
		t.Errorf("%d blobs", n)
	}
	if _, already, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Name: "w"}); err != nil || !already {
		t.Fatal(already, err)
	}
	holds(t, l, "w", b)
}

func TestForeignIndex(t *testing.T) {
	for name, index := range map[string]string{
		"not JSON":         "{",
		"foreign artifact": `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1}]}`,
		"path as digest":   `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../../../etc/passwd","size":1,"artifactType":"` + artifactType + `"}]}`,
	} {
		dir := t.TempDir()
		l := openAt(t, dir)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(dir); err == nil {
			_ = l.Close()
			t.Errorf("%s: opened", name)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "index.json")); string(b) != index {
			t.Errorf("%s: it was changed", name)
		}
	}
}

func TestOpenContentOutlivesRemoval(t *testing.T) {
	l := openAt(t, t.TempDir())
	b := testWIM(3*crypto.BlockSize, 1, "w")
	add(t, l, b, "w", "")
	c, err := l.OpenContent("w")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := l.Remove("w"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(b))
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("after its removal: %v", err)
	}
}
