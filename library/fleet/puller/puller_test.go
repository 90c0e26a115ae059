//go:build linux

package puller

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"wimcast/crypto"
	"wimcast/library"
	"wimcast/library/fleet/window"
	"wimcast/library/release"
	"wimcast/test/releases"
)

// TestPull goes through the life of a package at a point: a version, a next one of which only what changed travels, other flags, the withdrawal.
func TestPull(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed %v", sealed), func(t *testing.T) {
			s := newStage(t)
			one := image(50, 1)
			two := slices.Clone(one)
			two[20*crypto.BlockSize] ^= 1
			s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, one, sealed)
			s.assign(s.made["w11@1"])
			p := s.point(t.TempDir())
			p.done("w11@1", 1)
			p.holds("w11", one)
			if n := p.Bytes(); n < uint64(len(one)) {
				t.Errorf("%d bytes came", n)
			}
			before := p.Bytes()
			s.release(release.Release{Name: "w11", Version: "2", Revision: 2}, two, sealed)
			former := s.made["w11@1"]
			former.Current = false
			s.assign(former, s.made["w11@2"])
			p.done("w11@2", 2)
			p.holds("w11", two)
			p.holds("w11@1", one)
			if n := p.Bytes() - before; n > 17*crypto.BlockSize+10_000 {
				t.Errorf("%d bytes came for one changed chunk", n)
			}
			// Other flags: nothing travels, and what is cast meanwhile keeps its own.
			running, err := p.library.OpenContent("w11@2")
			if err != nil {
				t.Fatal(err)
			}
			before = p.Bytes()
			s.release(release.Release{Name: "w11", Version: "2", Revision: 3, MulticastOnly: true, Comment: "new"}, two, sealed)
			s.assign(s.made["w11@2"])
			p.done("w11@2", 3)
			if pkg, err := p.library.Get("w11"); err != nil || !pkg.Flags.MulticastOnly || pkg.Comment != "new" || pkg.Revision != 3 || p.Bytes() != before {
				t.Errorf("%+v, %v; %d bytes came", pkg, err, p.Bytes()-before)
			}
			s.assign()
			p.until("withdrawn", func(list []Progress) bool { return len(list) == 0 && len(p.library.List()) == 0 })
			got := make([]byte, len(two))
			if _, err := running.ReadAt(got, 0); err != nil || string(got) != string(two) {
				t.Errorf("a running cast lost its content: %v", err)
			}
			_ = running.Close()
			if left, err := os.ReadDir(filepath.Join(p.dir, "library", "blobs", "sha256")); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			for reason, n := range p.Failures() {
				if n != 0 && reason != Unavailable { // the registry answers 500 while it writes a tag
					t.Errorf("%d failures: %s", n, reason)
				}
			}
		})
	}
}

// isBlob reports whether a request is for a chunk: they alone are so large.
func isBlob(r *http.Response) bool {
	return strings.Contains(r.Request.URL.Path, "/blobs/") && r.ContentLength > crypto.BlockSize
}

// flipped is a body with one bit changed.
type flipped struct {
	io.ReadCloser
	at int
}

func (f *flipped) Read(b []byte) (int, error) {
	n, err := f.ReadCloser.Read(b)
	if f.at >= 0 && f.at < n {
		b[f.at] ^= 1
	}
	f.at -= n
	return n, err
}

// short is a body that ends early, as a connection that breaks.
type short struct {
	io.ReadCloser
	left int
}

func (s *short) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.ReadCloser.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

func refuse(status int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.WriteHeader(status)
		return true
	}
}

// TestFaults: whatever the registry does, nothing of it is served, it is told, and when it does right again the pull ends whole. The
// version before serves all the while.
func TestFaults(t *testing.T) {
	for what, c := range map[string]struct {
		fault  func(http.ResponseWriter, *http.Request) bool
		modify func(*http.Response) error
		reason Reason
	}{
		"other bytes": {modify: func(r *http.Response) error {
			if isBlob(r) {
				r.Body = &flipped{r.Body, 100_000}
			}
			return nil
		}, reason: WrongBytes},
		"cut short": {modify: func(r *http.Response) error {
			if isBlob(r) {
				r.Body = &short{r.Body, 100_000}
			}
			return nil
		}, reason: Unavailable},
		"too short for true": {modify: func(r *http.Response) error {
			if isBlob(r) {
				r.Body, r.ContentLength = &short{r.Body, 100_000}, -1
				r.Header.Del("Content-Length")
			}
			return nil
		}, reason: Unavailable},
		"unauthorized": {fault: refuse(http.StatusUnauthorized), reason: Unauthorized},
		"unavailable":  {fault: refuse(http.StatusServiceUnavailable), reason: Unavailable},
		"gone":         {fault: refuse(http.StatusNotFound), reason: NotFound},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			one, two := image(33, 1), image(33, 2)
			s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, one, true)
			s.assign(s.made["w11@1"])
			p := s.point(t.TempDir())
			p.done("w11@1", 1)
			s.proxy.set(c.fault, c.modify)
			s.release(release.Release{Name: "w11", Version: "2", Revision: 2}, two, true)
			s.assign(s.made["w11@2"])
			p.until("failed", func(list []Progress) bool {
				return len(list) == 1 && list[0].Revision == 2 && list[0].State == Failed && list[0].Err != "" && !list[0].Retry.IsZero() || p.Status().Err != ""
			})
			p.until("counted", func([]Progress) bool { return p.Failures()[c.reason] > 0 })
			if pkg, err := p.library.Get("w11"); err != nil || pkg.Version != "1" {
				t.Errorf("served is %s, %v", pkg.Reference(), err)
			}
			p.holds("w11", one)
			s.proxy.set(nil, nil)
			p.done("w11@2", 2)
			p.holds("w11", two)
			p.until("the old one goes", func([]Progress) bool { return len(p.library.List()) == 1 })
		})
	}
}

// TestAway: the registry goes away in mid-pull; the pull goes on behind what was there, also in another process.
func TestAway(t *testing.T) {
	s := newStage(t)
	b := image(16*12, 1)
	made := s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, b, true)
	var chunks atomic.Int32
	s.proxy.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") || chunks.Add(1) < 8 {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	}, nil)
	s.assign(s.made["w11@1"])
	dir := t.TempDir()
	p := s.point(dir)
	p.until("failed", func(list []Progress) bool { return len(list) == 1 && list[0].State == Failed })
	p.stop()
	there := 0
	for _, d := range made.Layers {
		if _, err := os.Stat(filepath.Join(dir, "library", "blobs", "sha256", d.Digest.Encoded())); err == nil {
			there++
		}
	}
	// Those that were under way when the one failed are broken off.
	if there == 0 || there == len(made.Layers) {
		t.Fatalf("%d of %d blobs are there", there, len(made.Layers))
	}
	// What begins now has no registry at first, and knows what it is to have.
	s.proxy.set(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, nil)
	heard := make(chan *release.Assignments, 10)
	p = s.point(dir, func(c *Config) { c.Assigned = func(a *release.Assignments) { heard <- a } })
	if a := <-heard; a.Serial != 1 || !a.Multicast {
		t.Errorf("kept %+v", a)
	}
	p.until("failed", func(list []Progress) bool { return len(list) == 1 && list[0].State == Failed && p.Status().Err != "" })
	s.proxy.set(nil, nil)
	p.done("w11@1", 1)
	p.holds("w11", b)
	for _, d := range made.Layers {
		if n := s.proxy.count(d.Digest); n > 1 && there == 0 {
			t.Errorf("%s came %d times", d.Digest, n)
		}
	}
	if n := p.Bytes(); n > uint64((len(made.Layers)-there)*17*crypto.BlockSize) {
		t.Errorf("%d bytes came for %d blobs", n, len(made.Layers)-there)
	}
}

// TestReplay: assignments that are older, of another site or of another point change nothing, and are told.
func TestReplay(t *testing.T) {
	s := newStage(t)
	b := image(3, 1)
	s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, b, true)
	s.serial = 7
	s.assign(s.made["w11@1"])
	dir := t.TempDir()
	p := s.point(dir)
	p.done("w11@1", 1)
	for what, c := range map[string]struct {
		site *releases.Site
		a    release.Assignments
		want Reason
	}{
		"older":          {s.site, release.Assignments{Point: "north", Serial: 3}, Replayed},
		"the same again": {s.site, release.Assignments{Point: "north", Serial: 8}, Replayed},
		"another site":   {releases.NewSite(2), release.Assignments{Point: "north", Serial: 100}, Origin},
		"another point":  {s.site, release.Assignments{Point: "south", Serial: 100}, Other},
	} {
		before := p.Failures()[c.want]
		s.assignAs(c.site, &c.a)
		p.until(what, func([]Progress) bool { return p.Failures()[c.want] > before && p.Status().Err != "" })
		if st := p.Status(); st.Serial != 8 || len(p.library.List()) != 1 {
			t.Errorf("%s: %+v", what, st)
		}
	}
	// Nor after a restart.
	p.stop()
	s.assignAs(s.site, &release.Assignments{Point: "north", Serial: 2})
	p = s.point(dir)
	p.until("older", func([]Progress) bool { return p.Failures()[Replayed] > 0 })
	p.holds("w11", b)
	s.serial = 8
	s.assign()
	p.until("withdrawn", func([]Progress) bool { return len(p.library.List()) == 0 && p.Status().Err == "" })
}

// TestOthers: two points pull from one registry at once, and one that isn't a recipient says so.
func TestOthers(t *testing.T) {
	s := newStage(t)
	b := image(100, 1)
	s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, b, true)
	s.assign(s.made["w11@1"])
	one, two := s.point(t.TempDir()), s.point(t.TempDir())
	s.identity, _, _ = release.NewIdentity()
	stranger := s.point(t.TempDir())
	one.done("w11@1", 1)
	two.done("w11@1", 1)
	stranger.until("refused", func(list []Progress) bool {
		return len(list) == 1 && list[0].State == Failed && strings.Contains(list[0].Err, release.ErrNotRecipient.Error())
	})
	one.holds("w11", b)
	two.holds("w11", b)
	if n := stranger.Bytes(); n != 0 {
		t.Errorf("%d bytes came to who can't read them", n)
	}
}

// TestRepair: what is damaged on the disk goes out of service, and its chunk alone travels again.
func TestRepair(t *testing.T) {
	s := newStage(t)
	b := image(100, 1)
	made := s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, b, true)
	s.assign(s.made["w11@1"])
	p := s.point(t.TempDir())
	p.done("w11@1", 1)
	before := p.Bytes()
	name := filepath.Join(p.dir, "library", "blobs", "sha256", made.Layers[3].Digest.Encoded())
	chunk, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	chunk[1000] ^= 1
	if err := os.WriteFile(name, chunk, 0o600); err != nil {
		t.Fatal(err)
	}
	var damaged *library.DamagedError
	if _, err := p.library.Verify(t.Context(), "w11", nil); !errors.As(err, &damaged) {
		t.Fatal(err)
	}
	p.until("whole again", func(list []Progress) bool {
		pkg, err := p.library.Get("w11")
		return err == nil && pkg.OutOfService == "" && list[0].State == Success
	})
	p.holds("w11", b)
	if n := p.Bytes() - before; n != uint64(made.Layers[3].Size) {
		t.Errorf("%d bytes came, the chunk has %d", n, made.Layers[3].Size)
	}
}

// closable are hours that a test opens and closes.
type closable struct {
	*window.Gate

	mu     sync.Mutex
	closed map[release.Priority]bool
}

func (c *closable) Allowed(p release.Priority) (bool, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed[p], time.Now().Add(time.Second)
}

func (c *closable) Held(p release.Priority) string {
	if ok, _ := c.Allowed(p); ok {
		return ""
	}
	return "the hours are closed"
}

func (c *closable) set(closed ...release.Priority) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = map[release.Priority]bool{}
	for _, p := range closed {
		c.closed[p] = true
	}
}

// TestPriorities: the higher goes first, also before one that is under way; hours hold the lower, and let it go on.
func TestPriorities(t *testing.T) {
	s := newStage(t)
	low, high := image(16*20, 1), image(16, 2)
	document := digest.FromBytes(s.release(release.Release{Name: "low", Revision: 1}, low, true).Document)
	s.release(release.Release{Name: "high", Revision: 2}, high, true)
	a, b := s.made["low"], s.made["high"]
	a.Priority, b.Priority = release.Low, release.High
	hours := &closable{Gate: window.New(nil, time.Now)}
	hours.set(release.Low)
	s.assign(a)
	p := s.point(t.TempDir(), func(c *Config) { c.Gate = hours })
	p.until("held", func(list []Progress) bool { return len(list) == 1 && list[0].State == Waiting && list[0].Held != "" })
	// The low one begins and is held in its middle.
	reached, goOn := make(chan struct{}), make(chan struct{})
	var chunks atomic.Int32
	s.proxy.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && chunks.Add(1) == 6 {
			close(reached)
			waits(r, goOn)
		}
		return false
	}, nil)
	hours.set()
	p.Poke()
	<-reached
	// While hours hold the high one it takes nothing from the low one; once they open nobody has to say so.
	hours.set(release.High)
	for range 2 { // after the second the first was dealt with to its end
		s.assign(a, b)
		p.until("taken over", func([]Progress) bool { return p.Status().Serial == s.serial })
	}
	if list := p.Snapshot(); list[0].State != InProgress || s.proxy.count(document) != 1 {
		t.Errorf("the low one was ended for one that is held: %+v", list)
	}
	hours.set()
	p.done("high", 2)
	if list := p.Snapshot(); list[0].State == Success {
		t.Errorf("the low one was first: %+v", list)
	}
	close(goOn)
	p.done("low", 1)
	p.holds("low", low)
	p.holds("high", high)
}

// TestHeldInTheMiddle: hours that close end a pull that runs, and what was there isn't pulled again.
func TestHeldInTheMiddle(t *testing.T) {
	s := newStage(t)
	b := image(16*20, 1)
	made := s.release(release.Release{Name: "w11", Revision: 1}, b, true)
	hours := &closable{Gate: window.New(nil, time.Now)}
	reached, goOn := make(chan struct{}), make(chan struct{})
	var chunks atomic.Int32
	s.proxy.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && chunks.Add(1) == 10 {
			close(reached)
			waits(r, goOn)
		}
		return false
	}, nil)
	s.assign(s.made["w11"])
	p := s.point(t.TempDir(), func(c *Config) { c.Gate = hours })
	<-reached
	hours.set(release.Medium)
	p.until("held", func(list []Progress) bool { return list[0].State == Waiting && list[0].Held != "" })
	close(goOn)
	hours.set()
	p.Poke()
	p.done("w11", 1)
	p.holds("w11", b)
	again := 0
	for _, d := range made.Layers {
		if s.proxy.count(d.Digest) > 1 {
			again++
		}
	}
	if again > Parallel {
		t.Errorf("%d blobs came twice", again)
	}
}

// TestPrestaged: what was imported stays until assignments have named it, needs no pull then, and goes when they don't any more.
func TestPrestaged(t *testing.T) {
	s := newStage(t)
	b, other := image(20, 1), image(3, 2)
	made := s.release(release.Release{Name: "w11", Revision: 1}, b, true)
	s.release(release.Release{Name: "lab", Revision: 2}, other, true)
	s.assign(s.made["lab"])
	p := s.point(t.TempDir())
	p.done("lab", 2)
	pull, err := p.library.Pull(made.Manifest, made.Document, true)
	if err != nil {
		t.Fatal(err)
	}
	missing, err := pull.Missing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range missing {
		if err := pull.Put(d, strings.NewReader(string(made.Blobs[d.Digest]))); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // assignments that don't name it take nothing away of what comes
			s.assign(s.made["lab"])
			p.until("taken over", func([]Progress) bool { return p.Status().Serial == s.serial })
			p.Poke()
		}
	}
	if _, err := pull.Commit(library.Placing{Current: true, Prestaged: true}); err != nil {
		t.Fatal(err)
	}
	before := p.Bytes()
	s.assign(s.made["lab"])
	p.until("taken over", func([]Progress) bool { return p.Status().Serial == s.serial })
	p.holds("w11", b)
	s.assign(s.made["lab"], s.made["w11"])
	p.done("w11", 1)
	if p.Bytes() != before {
		t.Errorf("%d bytes came", p.Bytes()-before)
	}
	s.assign(s.made["lab"])
	p.until("withdrawn", func([]Progress) bool { return len(p.library.List()) == 1 })
}

// TestConflict: a name that was taken here isn't overwritten.
func TestConflict(t *testing.T) {
	s := newStage(t)
	b, mine := image(3, 1), image(3, 2)
	s.release(release.Release{Name: "w11", Revision: 1}, b, true)
	p := s.point(t.TempDir())
	if _, _, err := p.library.Add(t.Context(), strings.NewReader(string(mine)), library.AddOptions{Name: "w11"}); err != nil {
		t.Fatal(err)
	}
	s.assign(s.made["w11"])
	p.until("refused", func(list []Progress) bool {
		return len(list) == 1 && list[0].State == Failed && strings.Contains(list[0].Err, "wimcast image rename")
	})
	p.holds("w11", mine)
	if n := p.Failures()[Conflict]; n == 0 {
		t.Error("not counted")
	}
	if err := p.library.Remove("w11"); err != nil {
		t.Fatal(err)
	}
	p.done("w11", 1)
	p.holds("w11", b)
}
