package library

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/library/wim"
	"wimcast/library/wimlib"
)

// realWIM captures a WIM of images of that many bytes of noise each, with their numbers for names.
func realWIM(t *testing.T, sizes []int, options ...string) []byte {
	t.Helper()
	if err := wimlib.Available(); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "real.wim")
	for i, size := range sizes {
		from, noise := t.TempDir(), make([]byte, size)
		_, _ = rand.Read(noise)
		if err := os.WriteFile(filepath.Join(from, "noise"), noise, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"capture", from, file, fmt.Sprintf("Image %d", i+1)}
		if i > 0 {
			args[0] = "append"
		}
		if out, err := exec.CommandContext(t.Context(), "wimlib-imagex", append(args, options...)...).CombinedOutput(); err != nil {
			t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAddIndex: one image of several is stored alone, once however often it is added, and nothing else stays.
func TestAddIndex(t *testing.T) {
	for _, option := range []string{"--check", "--pipable", "--compress=LZMS"} {
		t.Run(option, func(t *testing.T) {
			dir := t.TempDir()
			l := openAt(t, dir)
			b := realWIM(t, []int{300_000, 200_000}, option)
			p, there, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Index: 2, FileStem: "file", Source: "file.wim", Size: int64(len(b))})
			if err != nil || there {
				t.Fatalf("%v, %v", there, err)
			}
			if p.Name != "Image 2" || len(p.Images) != 1 || p.Images[0].Index != 1 || p.Index != 2 || p.Source != "file.wim" || p.Pipable || p.Solid ||
				p.Size > 250_000 || !p.IntegrityChecked || p.Validated.IsZero() {
				t.Errorf("%+v", p)
			}
			if n := blobs(t, dir); len(n) != 4 {
				t.Errorf("stored: %v", n)
			}
			info, err := os.Stat(contentFile(dir, &p))
			if err != nil || info.Mode().Perm() != fileMode {
				t.Errorf("%v, %v", info, err)
			}
			if err := wimlib.Verify(t.Context(), contentFile(dir, &p)); err != nil {
				t.Error(err)
			}
			again, there, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Index: 2})
			if err != nil || !there || again.Digest != p.Digest {
				t.Errorf("again: %+v, %v, %v", again, there, err)
			}
			other, there, err := l.Add(t.Context(), bytes.NewReader(b), AddOptions{Index: 1})
			if err != nil || there || other.Digest == p.Digest {
				t.Errorf("the other: %+v, %v, %v", other, there, err)
			}
			// It is all there for the next start.
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := openAt(t, dir).Get("Image 2")
			if err != nil || got.Source != p.Source || got.Index != 2 || got.Validated.Before(p.Validated) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestAddRefused: what can't be added leaves the library as it was, byte for byte.
func TestAddRefused(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	add(t, l, testWIM(1000, 1, "w"), "w", "")
	before := tree(t, dir)
	two := realWIM(t, []int{300_000, 200_000}, "--check")
	broken := bytes.Clone(two)
	broken[100_000] ^= 1 // its integrity table finds it
	silent := realWIM(t, []int{300_000, 200_000})
	silent[100_000] ^= 1 // only unpacking does
	split := testWIM(1000, 2, "w")
	split[42] = 3
	sum := sha256.Sum256(two)
	sum[0] ^= 1
	for name, c := range map[string]struct {
		b    []byte
		o    AddOptions
		bad  error
		says string
	}{
		"beyond the images":  {two, AddOptions{Index: 3}, ErrNoIndex, "image 3 of a file that has 2"},
		"another hash":       {two, AddOptions{SHA256: sum[:]}, ErrHash, "SHA-256"},
		"flipped bit":        {broken, AddOptions{}, wim.ErrDamaged, "integrity"},
		"flipped bit, index": {silent, AddOptions{Index: 1}, nil, "wimlib-imagex export"},
		"split":              {split, AddOptions{}, ErrSplit, "part 1 of 3"},
		"page":               {[]byte("<html>" + strings.Repeat("log in ", 100)), AddOptions{}, wim.ErrNotWIM, "<html>"},
		"truncated":          {two[:len(two)-100], AddOptions{}, wim.ErrTruncated, ""},
		"truncated, index":   {two[:len(two)-100], AddOptions{Index: 1}, wim.ErrTruncated, ""},
		"long source":        {two, AddOptions{Source: strings.Repeat("x", maxSource+1)}, nil, "source of"},
		"source with escape": {two, AddOptions{Source: "a\x1b[2J"}, nil, "source: "},
	} {
		c.o.Name = "new"
		p, _, err := l.Add(t.Context(), bytes.NewReader(c.b), c.o)
		if err == nil || c.bad != nil && !errors.Is(err, c.bad) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if after := tree(t, dir); !equalTrees(before, after) {
			t.Errorf("%s: the library changed", name)
		}
	}
}

func equalTrees(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, content := range a {
		if b[name] != content {
			return false
		}
	}
	return true
}

// TestAddIndexWithoutTool refuses before it reads anything.
func TestAddIndexWithoutTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	l := openAt(t, t.TempDir())
	source := &failing{err: errors.New("it was read")}
	if _, _, err := l.Add(t.Context(), source, AddOptions{Index: 1}); !errors.Is(err, wimlib.ErrMissing) || !strings.Contains(err.Error(), "on the server") {
		t.Errorf("%v", err)
	}
}

// TestRefill: only the very same content mends a package, and brings it back for all who have it.
func TestRefill(t *testing.T) {
	dir := t.TempDir()
	l := openAt(t, dir)
	var heard []string
	b, other := testWIM(400_000, 1, "w"), testWIM(400_000, 2, "w")
	p := add(t, l, b, "w", "1")
	add(t, l, b, "same", "")
	damage(t, contentFile(dir, &p), 200_000)
	if _, err := l.Verify(t.Context(), "w", nil); err == nil {
		t.Fatal("damage wasn't found")
	}
	l.Watch(func(c ServiceChange) { heard = append(heard, c.Package.Reference()+":"+c.Reason) })
	if len(heard) != 2 || !strings.Contains(heard[0], "block 1 of 3") {
		t.Errorf("before it was watched: %q", heard)
	}
	heard = nil
	if got, err := l.Refill(t.Context(), "w", bytes.NewReader(other), 0); !errors.Is(err, ErrHash) {
		t.Errorf("other content: %+v, %v", got, err)
	}
	if got, _ := l.Get("w"); got.OutOfService == "" || len(heard) != 0 {
		t.Errorf("after other content: %+v, %q", got, heard)
	}
	before := tree(t, dir)
	got, err := l.Refill(t.Context(), "w", bytes.NewReader(b), int64(len(b)))
	if err != nil || got.OutOfService != "" || got.Name != "w" || !got.Added.Equal(p.Added) || !got.Validated.After(p.Validated) {
		t.Errorf("%+v, %v", got, err)
	}
	if len(heard) != 2 || heard[0] != "w@1:" || heard[1] != "same:" {
		t.Errorf("%q", heard)
	}
	if after := tree(t, dir); len(after) != len(before) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
	holds(t, l, "same", b)
	if _, err := l.Refill(t.Context(), "none", bytes.NewReader(b), 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	// The watcher hears of what casting finds too, and may ask the library.
	l.Watch(func(c ServiceChange) {
		now, err := l.Get(c.Package.Reference())
		heard = append(heard, fmt.Sprint(now.OutOfService != "", err))
	})
	heard = nil
	damage(t, contentFile(dir, &p), 10)
	c, err := l.OpenContent("w")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.ReadBlock(0, make([]byte, 1<<20)); err == nil || len(heard) != 2 || heard[0] != "true <nil>" {
		t.Errorf("%v, %q", err, heard)
	}
}
