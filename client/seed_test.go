package client

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/crypto"
	"wimcast/session"
)

var _ session.Seed = (*Seed)(nil)

// shown is an image of which only some blocks can be read.
type shown struct {
	data   []byte
	blocks map[int]bool
}

func (s *shown) ReadAt(p []byte, off int64) (int, error) {
	for i := off / crypto.BlockSize; i*crypto.BlockSize < off+int64(len(p)); i++ {
		if !s.blocks[int(i)] {
			return 0, errors.New("not there yet")
		}
	}
	return copy(p, s.data[off:]), nil
}

// taken goes through a seed as the engine does. It returns how many blocks of the image come from it, how many it wanted to see, and
// how many guesses were wrong.
func taken(t *testing.T, seed *Seed, image []byte) (fit, wanted, wrong int) {
	t.Helper()
	wants, err := seed.Begin(int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	view := &shown{image, map[int]bool{}}
	for steps := 0; len(wants) > 0; steps++ {
		if steps > 4 {
			t.Fatalf("still wants %v", wants)
		}
		for _, i := range wants {
			view.blocks[i] = true
		}
		if wants, err = seed.Learn(view); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, crypto.BlockSize)
	for i := range crypto.BlockCount(int64(len(image))) {
		want := image[i*crypto.BlockSize:][:crypto.BlockLen(int64(len(image)), i)]
		for {
			n, err := seed.ReadBlock(i, buf)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			if bytes.Equal(buf[:n], want) {
				fit++
				break
			}
			wrong++
		}
	}
	return fit, len(view.blocks), wrong
}

func openSeed(t *testing.T, data []byte) *Seed {
	t.Helper()
	name := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSeed(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// TestSeedOfAnything takes what stands at the same offset of files that aren't WIMs.
func TestSeedOfAnything(t *testing.T) {
	image := noise(10*crypto.BlockSize + 99)
	changed := bytes.Clone(image)
	changed[3*crypto.BlockSize+5] ^= 1
	for _, test := range []struct {
		name       string
		data       []byte
		fit, wrong int
	}{
		{"the same", image, 11, 0},
		{"a block changed", changed, 10, 1},
		{"longer", append(bytes.Clone(image), 1, 2, 3), 11, 0},
		{"cut off", image[:5*crypto.BlockSize+1], 5, 0},
		{"empty", nil, 0, 0},
		{"magic and no more", []byte("MSWIM\x00\x00\x00"), 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			fit, wanted, wrong := taken(t, openSeed(t, test.data), image)
			if fit != test.fit || wanted != 0 || wrong != test.wrong {
				t.Errorf("%d blocks fit, %d wanted, %d wrong; want %d, 0, %d", fit, wanted, wrong, test.fit, test.wrong)
			}
		})
	}
}

// TestSeedCutWhileRead has a seed lose its end after it was opened.
func TestSeedCutWhileRead(t *testing.T) {
	image := noise(4 * crypto.BlockSize)
	seed := openSeed(t, image)
	if err := os.Truncate(seed.path, 2*crypto.BlockSize+1); err != nil {
		t.Fatal(err)
	}
	if fit, _, wrong := taken(t, seed, image); fit != 2 || wrong != 0 {
		t.Errorf("%d blocks fit, %d wrong; want 2 and 0", fit, wrong)
	}
}

func TestOpenSeedErrors(t *testing.T) {
	for _, test := range []struct {
		name, path string
		is         error
	}{
		{"missing", filepath.Join(t.TempDir(), "no"), fs.ErrNotExist},
		{"a directory", t.TempDir(), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := OpenSeed(test.path)
			if err == nil {
				_ = s.Close()
				t.Fatal("opened")
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is no %v", err, test.is)
			}
			if !strings.Contains(err.Error(), "; next: ") || strings.Count(err.Error(), test.path) != 1 {
				t.Errorf("says %q", err)
			}
		})
	}
}

// wimlib makes a WIM of files that don't compress, and returns how to run the program on it.
func wimlib(t *testing.T, kind ...string) (dir string, run func(args ...string)) {
	t.Helper()
	if _, err := exec.LookPath("wimlib-imagex"); err != nil {
		t.Skip("no wimlib-imagex (Debian package wimtools)")
	}
	dir = t.TempDir()
	run = func(args ...string) {
		t.Helper()
		cmd := exec.Command("wimlib-imagex", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("wimlib-imagex %v: %v: %s", args, err, out)
		}
	}
	data := noise(60 * 200_000)
	for i := range 60 {
		name := filepath.Join(dir, "one", fmt.Sprintf("file%02d", i))
		if i >= 50 {
			name = filepath.Join(dir, "two", fmt.Sprintf("file%02d", i))
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data[i*200_000:][:200_000], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(append([]string{"capture", "one", "old.wim", "one", "--threads=1"}, kind...)...)
	run("append", "two", "old.wim", "two", "--threads=1")
	return dir, run
}

// TestSeedOfWIM takes from a WIM what wimlib made of it in ways of servicing.
func TestSeedOfWIM(t *testing.T) {
	for _, kind := range [][]string{{"--compress=LZX"}, {"--compress=XPRESS", "--pipable"}} {
		dir, run := wimlib(t, kind...)
		var pipable []string
		if len(kind) > 1 {
			pipable = kind[1:]
		}
		old, err := os.ReadFile(filepath.Join(dir, "old.wim"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "added"), noise(300_000)[1000:], 0o644); err != nil {
			t.Fatal(err)
		}
		for _, change := range []struct {
			name string
			most int // blocks that aren't in the seed
			do   func()
		}{
			{"update", 6, func() { run("update", "new.wim", "1", "--command=add added /added") }},
			{"optimize after an update", 6, func() {
				run("update", "new.wim", "1", "--command=delete /file20")
				run(append([]string{"optimize", "new.wim"}, pipable...)...)
			}},
			{"second image alone", 4, func() {
				if err := os.Remove(filepath.Join(dir, "new.wim")); err != nil {
					t.Fatal(err)
				}
				run(append([]string{"export", "old.wim", "2", "new.wim"}, pipable...)...)
			}},
		} {
			t.Run(fmt.Sprint(change.name, kind), func(t *testing.T) {
				if err := os.WriteFile(filepath.Join(dir, "new.wim"), old, 0o644); err != nil {
					t.Fatal(err)
				}
				change.do()
				image, err := os.ReadFile(filepath.Join(dir, "new.wim"))
				if err != nil {
					t.Fatal(err)
				}
				blocks := crypto.BlockCount(int64(len(image)))
				fit, wanted, wrong := taken(t, openSeed(t, old), image)
				t.Logf("%d of %d blocks fit, %d wanted, %d guesses wrong", fit, blocks, wanted, wrong)
				if fit < blocks-change.most || wanted > 3 {
					t.Errorf("%d of %d blocks fit, want all but %d; %d wanted", fit, blocks, change.most, wanted)
				}
				// A seed whose tables are damaged is as good as any file.
				damaged := bytes.Clone(old)
				copy(damaged[48:], bytes.Repeat([]byte{0x55}, 24))
				taken(t, openSeed(t, damaged), image)
			})
		}
	}
}
