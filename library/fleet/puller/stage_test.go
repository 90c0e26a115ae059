//go:build linux

package puller

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"wimcast/crypto"
	"wimcast/library"
	"wimcast/library/fleet/window"
	"wimcast/library/registry"
	"wimcast/library/release"
	"wimcast/test/noise"
	server "wimcast/test/registry"
	"wimcast/test/releases"
)

func TestMain(m *testing.M) {
	if crashing() {
		crashChild()
		return
	}
	goleak.VerifyTestMain(m)
}

// stage is a site, a real registry, and what stands between it and points.
type stage struct {
	t         *testing.T
	site      *releases.Site
	server    *server.Server
	push      *registry.Repository
	proxy     *proxy
	identity  string
	recipient string
	key       [release.KeySize]byte
	serial    int64
	made      map[string]release.Assigned
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, site: releases.NewSite(1), server: server.ForTest(t, server.Options{}), key: [release.KeySize]byte{3}, made: map[string]release.Assigned{}}
	var err error
	if s.identity, s.recipient, err = release.NewIdentity(); err != nil {
		t.Fatal(err)
	}
	s.push = s.repository(s.server.Addr)
	s.proxy = newProxy(t, s.server.Addr)
	return s
}

// repository is the one of the stage, at an address.
func (s *stage) repository(addr string) *registry.Repository {
	s.t.Helper()
	r, err := registry.Open(registry.Config{Repository: addr + "/wimcast", PlainHTTP: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(r.Close)
	return r
}

// release pushes a release of content and remembers how it is assigned by its reference.
func (s *stage) release(r release.Release, content []byte, sealed bool, to ...string) *releases.Release {
	s.t.Helper()
	r.AllowMulticast, r.Encrypt = true, sealed
	r.Content = describe(s.t, content)
	if sealed && len(to) == 0 {
		to = []string{s.recipient}
	}
	made, err := s.site.Make(&r, content, s.key, to...)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := s.t.Context()
	for d, b := range made.Blobs {
		if _, err := s.push.PushBlob(ctx, v1.Descriptor{Digest: d, Size: int64(len(b)), MediaType: "application/octet-stream"}, bytes.NewReader(b)); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := s.push.PushManifest(ctx, made.Manifest, release.Tag(r.Reference(), r.Revision)); err != nil {
		s.t.Fatal(err)
	}
	s.made[r.Reference()] = made.Assigned(&r, true)
	return made
}

// assign pushes the next assignments of point north.
func (s *stage) assign(packages ...release.Assigned) {
	s.t.Helper()
	s.serial++
	s.assignAs(s.site, &release.Assignments{Point: "north", Serial: s.serial, Multicast: true, Packages: packages})
}

func (s *stage) assignAs(site *releases.Site, a *release.Assignments) {
	s.t.Helper()
	document, manifest, err := site.Assign(a)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range [][]byte{document, []byte("{}")} {
		d := v1.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b)), MediaType: "application/octet-stream"}
		if _, err := s.push.PushBlob(s.t.Context(), d, bytes.NewReader(b)); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err := s.push.PushManifest(s.t.Context(), manifest, release.AssignmentsTag("north")); err != nil {
		s.t.Fatal(err)
	}
}

// point is a puller with a library.
type point struct {
	*Puller

	t       *testing.T
	dir     string
	library *library.Library
	changes chan struct{}
	stop    func()
}

// point starts one in a directory, that reaches the registry through the proxy.
func (s *stage) point(dir string, change ...func(*Config)) *point {
	s.t.Helper()
	p := &point{t: s.t, dir: dir, changes: make(chan struct{}, 1)}
	var err error
	identity := s.identity
	p.library, err = library.OpenPoint(filepath.Join(dir, "library"), &library.Site{
		Point: "north", Key: s.site.Public, OpenKey: func(wrapped []byte) ([release.KeySize]byte, error) { return release.Unwrap(wrapped, identity) },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := Config{
		Library: p.library, Repository: s.repository(s.proxy.addr()), Gate: window.New(nil, time.Now), Dir: filepath.Join(dir, "point"), Site: s.site.Public, Point: "north",
		Every: 20 * time.Millisecond, Changed: func() { poke(p.changes) }, Log: zaptest.NewLogger(s.t, zaptest.Level(zap.WarnLevel)),
	}
	for _, f := range change {
		f(&cfg)
	}
	if p.Puller, err = New(cfg); err != nil {
		s.t.Fatal(err)
	}
	p.backOff = 20 * time.Millisecond
	p.library.Watch(func(library.ServiceChange) { p.Poke() })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		_ = p.Close()
		_ = p.library.Close()
	})
	s.t.Cleanup(p.stop)
	return p
}

// until waits until the packages are as is wants them.
func (p *point) until(what string, is func([]Progress) bool) {
	p.t.Helper()
	limit := time.After(60 * time.Second)
	for !is(p.Snapshot()) {
		select {
		case <-p.changes:
		case <-limit:
			p.t.Fatalf("%s: not in time: %+v, %+v", what, p.Snapshot(), p.Status())
		}
	}
}

// done waits until a reference's revision is in service.
func (p *point) done(ref string, revision int64) {
	p.t.Helper()
	p.until(ref, func(list []Progress) bool {
		for _, g := range list {
			if g.Reference == ref && g.Revision == revision && g.State == Success {
				return true
			}
		}
		return false
	})
}

// holds checks that a package reads as content, every byte proven.
func (p *point) holds(ref string, content []byte) {
	p.t.Helper()
	c, err := p.library.OpenContent(ref)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	got := make([]byte, len(content))
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) || c.Size() != int64(len(content)) {
		p.t.Fatalf("%s reads otherwise: %v", ref, err)
	}
}

// proxy stands between points and the registry.
type proxy struct {
	server *httptest.Server

	mu      sync.Mutex
	fault   func(w http.ResponseWriter, r *http.Request) bool // reports whether it answered
	modify  func(*http.Response) error
	fetched map[string]int // blobs, by their path
}

func newProxy(t *testing.T, addr string) *proxy {
	t.Helper()
	p := &proxy{fetched: map[string]int{}}
	reverse := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	reverse.ErrorLog = zap.NewStdLog(zap.NewNop())
	transport := &http.Transport{}
	reverse.Transport = transport
	reverse.ModifyResponse = func(r *http.Response) error {
		p.mu.Lock()
		modify := p.modify
		p.mu.Unlock()
		if modify == nil {
			return nil
		}
		return modify(r)
	}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		fault := p.fault
		if strings.Contains(r.URL.Path, "/blobs/") {
			p.fetched[r.URL.Path]++
		}
		p.mu.Unlock()
		if fault != nil && fault(w, r) {
			return
		}
		reverse.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
		transport.CloseIdleConnections()
	})
	return p
}

func (p *proxy) addr() string { return p.server.Listener.Addr().String() }

// set replaces the faults.
func (p *proxy) set(fault func(http.ResponseWriter, *http.Request) bool, modify func(*http.Response) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.modify = fault, modify
}

// count returns how often blobs were asked for of which the path ends so.
func (p *proxy) count(d digest.Digest) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for path, times := range p.fetched {
		if strings.HasSuffix(path, d.String()) {
			n += times
		}
	}
	return n
}

// image makes a WIM of whole blocks of noise, as far as its tables say.
func image(blocks int, seed uint64) []byte {
	return noise.WIM(blocks*crypto.BlockSize, seed, "Windows 11")
}

// describe returns what a library says of a WIM file.
func describe(t *testing.T, content []byte) []byte {
	t.Helper()
	l, err := library.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p, _, err := l.Add(t.Context(), bytes.NewReader(content), library.AddOptions{Name: "described"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := p.Description()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// waits waits until goOn is closed, or who asks is gone, as when the test has failed.
func waits(r *http.Request, goOn <-chan struct{}) {
	select {
	case <-goOn:
	case <-r.Context().Done():
	}
}

// hold holds up the nth blob from now until goOn is closed, and all behind it; reached is closed when it comes.
func (p *proxy) hold(n int32, reached, goOn chan struct{}) {
	var count atomic.Int32
	p.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		switch c := count.Add(1); {
		case c == n:
			close(reached)
			waits(r, goOn)
		case c > n:
			waits(r, goOn)
		}
		return false
	}, nil)
}
