package validation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/library"
	"wimcast/test/noise"
)

func testWIM(size int, seed byte) []byte { return noise.WIM(size, uint64(seed), "w") }

// bed is a library with packages a, b and c, and a validator that reports into a channel.
type bed struct {
	t       *testing.T
	dir     string
	library *library.Library
	v       *Validator
	busy    atomic.Bool
	results chan Result
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir(), results: make(chan Result, 100)}
	var err error
	if b.library, err = library.Open(b.dir); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a", "b", "c"} {
		file := filepath.Join(t.TempDir(), name+".wim")
		content := testWIM(1_000_000+i, byte(i))
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		again := ""
		if name != "a" { // of a nobody knows where it came from
			again = file
		}
		if _, _, err := b.library.Add(t.Context(), f, library.AddOptions{Name: name, Source: name + ".wim", Again: again}); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	b.v = New(Config{Library: b.library, Busy: b.busy.Load, Report: func(r Result) { b.results <- r }})
	return b
}

// spoil flips a bit in the content of a package.
func (b *bed) spoil(name string) {
	b.t.Helper()
	p, err := b.library.Get(name)
	if err != nil {
		b.t.Fatal(err)
	}
	err = filepath.WalkDir(b.dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != fmt.Sprintf("%x", p.SHA256) {
			return err
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		text[500_000] ^= 1
		return os.WriteFile(at, text, 0o600)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) next() Result {
	b.t.Helper()
	select {
	case r := <-b.results:
		return r
	case <-time.After(time.Hour): // in virtual time
		b.t.Fatal("nothing happens")
		return Result{}
	}
}

// run runs the validator in virtual time.
func (b *bed) run() (stop func()) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() { b.v.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

// TestSchedule: every content in turn, the one that was looked at longest ago first, at the rate.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		time.Sleep(time.Minute)
		if _, err := b.library.Verify(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		if err := b.v.Set("*/10 * * * *", 100_000); err != nil {
			t.Fatal(err)
		}
		defer b.run()()
		for _, want := range []string{"b", "c", "a"} {
			r := b.next()
			if r.Kind != Matches || r.Package.Name != want || r.Err != nil || r.Took < 9*time.Second || r.Took > 11*time.Second {
				t.Errorf("%s: %+v", want, r)
			}
			if p, _ := b.library.Get(want); !p.Validated.Equal(time.Now().UTC()) && time.Since(p.Validated) > time.Second {
				t.Errorf("%s: validated %v, now %v", want, p.Validated, time.Now())
			}
		}
		began := time.Now()
		if r := b.next(); r.Package.Name != "b" || time.Since(began) < 5*time.Minute {
			t.Errorf("the next round: %+v, after %v", r, time.Since(began))
		}
	})
}

// TestPausesWhileCasting: nothing is read as long as a session casts.
func TestPausesWhileCasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		if err := b.v.Set("* * * * *", 100_000); err != nil {
			t.Fatal(err)
		}
		b.busy.Store(true)
		defer b.run()()
		select {
		case r := <-b.results:
			t.Errorf("while a session casts: %+v", r)
		case <-time.After(3 * time.Hour):
		}
		b.busy.Store(false)
		if r := b.next(); r.Kind != Matches || r.Took < 2*time.Hour {
			t.Errorf("%+v", r)
		}
		// In the middle of a content too, and without a rush afterwards.
		time.Sleep(4 * time.Second)
		b.busy.Store(true)
		time.Sleep(time.Minute)
		b.busy.Store(false)
		if r := b.next(); r.Took < 65*time.Second {
			t.Errorf("%+v", r)
		}
	})
}

// TestMends what is damaged and has a source of its own, and nothing else.
func TestMends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		for _, name := range []string{"a", "b", "c"} {
			b.spoil(name)
		}
		p, _ := b.library.Get("c")
		if err := os.WriteFile(p.Again, testWIM(1_000_000, 9), 0o600); err != nil { // another file by now
			t.Fatal(err)
		}
		if err := b.v.Set("0 3 * * *", 0); err != nil {
			t.Fatal(err)
		}
		defer b.run()()
		kinds := map[string][]Kind{}
		for range 5 {
			r := b.next24()
			kinds[r.Package.Name] = append(kinds[r.Package.Name], r.Kind)
			if r.Kind == NotMended && !errors.Is(r.Err, library.ErrHash) {
				t.Errorf("%v", r.Err)
			}
		}
		if got := fmt.Sprint(kinds); got != "map[a:[damaged] b:[damaged refilled] c:[damaged not_mended]]" {
			t.Error(got)
		}
		for name, out := range map[string]bool{"a": true, "b": false, "c": true} {
			if p, _ := b.library.Get(name); (p.OutOfService != "") != out {
				t.Errorf("%s: out of service: %q", name, p.OutOfService)
			}
		}
	})
}

func (b *bed) next24() Result {
	b.t.Helper()
	select {
	case r := <-b.results:
		return r
	case <-time.After(25 * time.Hour):
		b.t.Fatal("nothing happens")
		return Result{}
	}
}

// TestMendsAtOnce what casting found, without a schedule.
func TestMendsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.library.Watch(func(c library.ServiceChange) {
			if c.Reason != "" {
				b.v.Mend()
			}
		})
		defer b.run()()
		b.spoil("b")
		c, err := b.library.OpenContent("b")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.ReadBlock(2, make([]byte, 1<<20)); err == nil {
			t.Fatal("damage wasn't found")
		}
		if r := b.next(); r.Kind != Refilled || r.Package.Name != "b" {
			t.Errorf("%+v", r)
		}
	})
}

func TestCheckSchedule(t *testing.T) {
	for text, good := range map[string]bool{"": true, "0 3 * * 0": true, "@weekly": true, "30 2 1 * *": true, "0 3 * *": false, "61 3 * * 0": false, "0 3 31 2 *": false, "often": false} {
		if err := CheckSchedule(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := New(Config{}).Set("often", 0); err == nil || !strings.Contains(err.Error(), "0 3 * * 0") {
		t.Errorf("%v", err)
	}
}
