//go:build linux

package puller

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"wimcast/library"
	"wimcast/library/fleet/window"
	"wimcast/library/registry"
	"wimcast/library/release"
	"wimcast/test/smalldisk"
)

// Variables that make the test binary a point of its own, which is killed.
const (
	crashDir      = "WIMCAST_TEST_POINT_DIR"
	crashRegistry = "WIMCAST_TEST_POINT_REGISTRY"
	crashIdentity = "WIMCAST_TEST_POINT_IDENTITY"
	crashSite     = "WIMCAST_TEST_POINT_SITE"
)

func crashing() bool { return os.Getenv(crashDir) != "" }

// crashChild is a point's process: it says what it has reached, a line each time.
func crashChild() {
	fail := func(err error) {
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	site, err := base64.StdEncoding.DecodeString(os.Getenv(crashSite))
	fail(err)
	dir := os.Getenv(crashDir)
	l, err := library.OpenPoint(filepath.Join(dir, "library"), &library.Site{
		Point: "north", Key: site, OpenKey: func(wrapped []byte) ([release.KeySize]byte, error) {
			return release.Unwrap(wrapped, os.Getenv(crashIdentity))
		},
	})
	fail(err)
	r, err := registry.Open(registry.Config{Repository: os.Getenv(crashRegistry), PlainHTTP: true})
	fail(err)
	changes := make(chan struct{}, 1)
	p, err := New(Config{
		Library: l, Repository: r, Gate: window.New(nil, time.Now), Dir: filepath.Join(dir, "point"), Site: site, Point: "north",
		Every: 20 * time.Millisecond, Changed: func() { poke(changes) }, Log: zap.NewNop(),
	})
	fail(err)
	_, _ = fmt.Fprintln(os.Stdout, "open")
	go func() {
		for range changes {
			for _, g := range p.Snapshot() {
				_, _ = fmt.Fprintln(os.Stdout, g.Revision, g.State)
			}
		}
	}()
	p.Run(context.Background())
}

// TestKilled kills a point again and again in mid-pull, at any moment: it ends whole, the version before is there all the while, and no chunk
// that was there is fetched again.
func TestKilled(t *testing.T) {
	s := newStage(t)
	one, two := image(16*4, 1), image(16*30, 2)
	s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, one, true)
	s.assign(s.made["w11@1"])
	dir := t.TempDir()
	child := func() (*exec.Cmd, *bufio.Scanner) {
		t.Helper()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir, crashRegistry+"="+s.proxy.addr()+"/wimcast", crashIdentity+"="+s.identity,
			crashSite+"="+base64.StdEncoding.EncodeToString(s.site.Public))
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, bufio.NewScanner(out)
	}
	until := func(lines *bufio.Scanner, want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("the point ended before %q", want)
	}
	cmd, lines := child()
	until(lines, "1 success")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	made := s.release(release.Release{Name: "w11", Version: "2", Revision: 2}, two, true)
	s.assign(s.made["w11@2"])
	blobs := filepath.Join(dir, "library", "blobs", "sha256")
	there := func() map[string]bool {
		names := map[string]bool{}
		entries, err := os.ReadDir(blobs)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
		return names
	}
	kills, last := 0, map[string]bool{}
	for done := false; !done; kills++ {
		if kills == 200 {
			t.Fatal("it gets no further")
		}
		before := map[string]int{}
		for _, d := range made.Layers {
			if last[d.Digest.Encoded()] {
				before[d.Digest.Encoded()] = s.proxy.count(d.Digest)
			}
		}
		cmd, lines := child()
		until(lines, "open")
		// At any moment from its start on; later and later, so that a slow machine gets through as well.
		timer := time.AfterFunc(time.Duration(rand.IntN(150+30*kills))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			done = done || lines.Text() == "2 success"
		}
		timer.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		last = there()
		for _, d := range made.Layers {
			if n, was := before[d.Digest.Encoded()]; was && s.proxy.count(d.Digest) != n {
				t.Errorf("%s was there, and was fetched again", d.Digest)
			}
		}
		if !done && !last[strings.TrimPrefix(s.made["w11@1"].Manifest.String(), "sha256:")] {
			// It may have been put in service right before it was killed.
			if !last[made.Digest().Encoded()] {
				t.Fatal("neither version is there")
			}
		}
	}
	t.Logf("killed %d times", kills)
	if kills < 3 {
		t.Errorf("it was through after %d starts: nothing was shown", kills)
	}
	p := s.point(dir)
	p.done("w11@2", 2)
	p.holds("w11", two)
	p.until("the old one goes", func([]Progress) bool { return len(p.library.List()) == 1 })
	if n := len(there()); n != len(made.Layers)+2 {
		t.Errorf("%d blobs at the end, want %d", n, len(made.Layers)+2)
	}
	for _, d := range []string{"ingest", "pending"} {
		if entries, err := os.ReadDir(filepath.Join(dir, "library", d)); err != nil || len(entries) != 0 {
			t.Errorf("left in %s: %v, %v", d, entries, err)
		}
	}
}

// TestDiskFull has a release come to a disk without room for it: known before, and in mid-pull. When there is room it goes on.
func TestDiskFull(t *testing.T) {
	smalldisk.Run(t, "150m", func(t *testing.T, dir string) {
		s := newStage(t)
		one, two := image(16, 1), image(16*10, 2)
		s.release(release.Release{Name: "w11", Version: "1", Revision: 1}, one, true)
		made := s.release(release.Release{Name: "w11", Version: "2", Revision: 2}, two, true)
		s.assign(s.made["w11@1"])
		p := s.point(dir)
		p.done("w11@1", 1)
		filler := filepath.Join(dir, "filler")
		fill := func(leave int64) {
			t.Helper()
			free, err := p.library.FreeBytes()
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			// Blobs that come meanwhile fill it too.
			if _, err := f.Write(make([]byte, int64(free)-leave)); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
		}
		full := func(list []Progress) bool {
			return len(list) == 1 && list[0].Revision == 2 && list[0].State == Failed && strings.Contains(list[0].Err, library.ErrDiskFull.Error())
		}
		fill(reserve)
		s.assign(s.made["w11@2"])
		p.until("known before", full)
		if n := s.proxy.count(made.Layers[1].Digest); n != 0 {
			t.Errorf("a blob was fetched %d times without room for it", n)
		}
		p.holds("w11", one)
		// Room when it begins, none in the middle.
		reached, goOn := make(chan struct{}), make(chan struct{})
		s.proxy.hold(4, reached, goOn)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		<-reached
		fill(1 << 20)
		close(goOn)
		p.until("in the middle", full)
		p.holds("w11", one)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		p.done("w11@2", 2)
		p.holds("w11", two)
		if p.Failures()[DiskFull] < 2 {
			t.Errorf("failures %v", p.Failures())
		}
	})
}
