package source

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wimcast/library/wim"
)

// site is an HTTPS server whose every answer a test decides.
type site struct {
	*httptest.Server
	ca       string // PEM file
	requests atomic.Int32
}

func newSite(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(int(s.requests.Add(1)), w, r)
	}))
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	s.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) open(t *testing.T, path string) (*Source, error) {
	t.Helper()
	return Open(t.Context(), s.URL+path, Options{CACert: s.ca, backoff: time.Millisecond})
}

// breaking serves ranges of b as a real server does, and cuts each connection after so many bytes.
func breaking(b []byte, etag string, after int64) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		http.ServeContent(&cut{ResponseWriter: w, left: after}, r, "a.wim", time.Time{}, bytes.NewReader(b))
	}
}

// cut is a connection that breaks after so many bytes.
type cut struct {
	http.ResponseWriter
	left int64
}

func (c *cut) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// ReadFrom keeps http.ServeContent from going around Write.
func (c *cut) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{c}, r) }

func TestWeb(t *testing.T) {
	b := testWIM(3 << 20)
	s := newSite(t, breaking(b, `"1"`, 1<<40))
	in, err := s.open(t, "/images/w%2011.wim")
	if err != nil {
		t.Fatal(err)
	}
	if in.Name != s.URL+"/images/w%2011.wim" || in.Again != in.Name || in.Stem != "w 11" || in.Size != int64(len(b)) {
		t.Errorf("%+v", in)
	}
	if !bytes.Equal(all(t, in), b) {
		t.Error("other bytes")
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
	// What follows the ? may be a key: it goes to the server and nowhere else.
	if in, err = s.open(t, "/a.wim?key=secret"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(in.Name+in.Again+in.Stem, "secret") || in.Again != "" {
		t.Errorf("%+v", in)
	}
	_ = in.Close()
}

// TestWebResumes at the byte where each connection broke, in the header of the file too.
func TestWebResumes(t *testing.T) {
	for after, size := range map[int64]int{1: 10, 100: 3000, 208: 3000, 70_001: 1 << 20, 1 << 19: 1 << 20} {
		b := testWIM(size)
		s := newSite(t, breaking(b, `"1"`, after))
		in, err := s.open(t, "/a.wim")
		if err != nil {
			t.Fatalf("%d: %v", after, err)
		}
		if !bytes.Equal(all(t, in), b) {
			t.Errorf("%d: other bytes", after)
		}
		if n := int64(s.requests.Load()); n < int64(len(b))/after {
			t.Errorf("%d: %d requests", after, n)
		}
	}
}

// TestWebWithoutRanges: a server that always begins at the beginning is passed over, where it says that it is the same file.
func TestWebWithoutRanges(t *testing.T) {
	b := testWIM(300_000)
	s := newSite(t, func(n int, w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		breaking(b, `"1"`, int64(n)*100_000)(n, w, r)
	})
	in, err := s.open(t, "/a.wim")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all(t, in), b) {
		t.Error("other bytes")
	}
}

// TestWebLies: whatever the server does when it is asked to go on, the bytes of two files never meet.
func TestWebLies(t *testing.T) {
	b, other := testWIM(300_000), testWIM(300_000)
	longer := testWIM(400_000)
	for name, c := range map[string]struct {
		then func(int, http.ResponseWriter, *http.Request) // answers from the second on
		bad  error
		says string
	}{
		"changed, new ETag":    {breaking(other, `"2"`, 1<<40), ErrChanged, ""},
		"changed, longer":      {breaking(longer, `"1"`, 1<<40), ErrChanged, ""},
		"changed, without tag": {breaking(longer, "", 1<<40), ErrChanged, ""},
		"changed, If-Range ignored": {func(n int, w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Range")
			breaking(other, `"2"`, 1<<40)(n, w, r)
		}, ErrChanged, ""},
		"changed, without tag in the answer": {func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-Range") != `"1"` {
				http.Error(w, "it doesn't say which file it wants the rest of", http.StatusInternalServerError)
				return
			}
			w.WriteHeader(http.StatusPreconditionFailed)
		}, ErrChanged, ""},
		"other range": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(b)-1, len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}, nil, "the server answered"},
		"no range": {func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPartialContent) }, nil, "the server answered"},
		"gone":     {func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, fs.ErrNotExist, ""},
		"denied":   {func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, ErrDenied, ""},
		"beyond": {func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}, ErrChanged, ""},
		"ill": {func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, ErrUnreachable, "9 tries"},
		"nothing more": {func(n int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 100000-%d/%d", len(b)-1, len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}, ErrUnreachable, "9 tries"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 1 {
					breaking(b, `"1"`, 100_000)(n, w, r)
					return
				}
				c.then(n, w, r)
			})
			in, err := s.open(t, "/a.wim")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = in.Close() }()
			got, err := io.ReadAll(in)
			if err == nil || c.bad != nil && !errors.Is(err, c.bad) || !strings.Contains(err.Error(), c.says) || in.Err() == nil {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if !bytes.HasPrefix(b, got) {
				t.Error("bytes of another file")
			}
		})
	}
}

// TestWebUnnamed: without a name for the version, only a pinned hash lets a broken download go on.
func TestWebUnnamed(t *testing.T) {
	b := testWIM(300_000)
	s := newSite(t, breaking(b, "", 100_000))
	in, err := s.open(t, "/a.wim")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(in); err == nil || !strings.Contains(err.Error(), "--sha256") {
		t.Errorf("%v", err)
	}
	_ = in.Close()
	if in, err = Open(t.Context(), s.URL+"/a.wim", Options{CACert: s.ca, Pinned: true, backoff: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all(t, in), b) {
		t.Error("other bytes")
	}
}

// TestWebRefused: what can be known at the beginning is said at the beginning.
func TestWebRefused(t *testing.T) {
	b := testWIM(1000)
	part := bytes.Clone(b)
	part[42] = 3
	answers := map[string]func(w http.ResponseWriter){
		"/page":    func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>"+strings.Repeat("log in ", 100)) },
		"/none":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"/login":   func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) },
		"/busy":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"/odd":     func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"/packed":  func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); _, _ = w.Write(b) },
		"/endless": func(w http.ResponseWriter) { _, _ = w.Write(b); _ = http.NewResponseController(w).Flush() },
		"/http": func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/a.wim")
			w.WriteHeader(http.StatusFound)
		},
		"/loop":  func(w http.ResponseWriter) { w.Header().Set("Location", "/loop"); w.WriteHeader(http.StatusFound) },
		"/moved": func(w http.ResponseWriter) { w.Header().Set("Location", "/good"); w.WriteHeader(http.StatusFound) },
		"/part":  func(w http.ResponseWriter) { _, _ = w.Write(part) },
		"/short": func(w http.ResponseWriter) { _, _ = w.Write(b[:100]) },
		"/good":  func(w http.ResponseWriter) { w.Header().Set("ETag", `"1"`); _, _ = w.Write(b) },
	}
	s := newSite(t, func(_ int, w http.ResponseWriter, r *http.Request) { answers[r.URL.Path](w) })
	for path, want := range map[string]struct {
		bad  error
		says string
	}{
		"/page": {wim.ErrNotWIM, "<html>"}, "/none": {fs.ErrNotExist, ""}, "/login": {ErrDenied, "password"}, "/busy": {ErrUnreachable, "503"}, "/odd": {nil, "204"},
		"/packed": {nil, "gzip"}, "/endless": {nil, "how long"}, "/http": {ErrInsecure, "from https:// on to http://"}, "/loop": {nil, "redirects"},
		"/part": {ErrParts, "part 1 of 3"}, "/short": {wim.ErrTruncated, ""},
	} {
		in, err := s.open(t, path)
		if err == nil || want.bad != nil && !errors.Is(err, want.bad) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v, %v", path, in, err)
		}
	}
	in, err := s.open(t, "/moved")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all(t, in), b) {
		t.Error("other bytes behind a redirect")
	}
	if _, err := Open(t.Context(), s.URL+"/good", Options{}); err == nil || !strings.Contains(err.Error(), "--cacert") {
		t.Errorf("a CA that isn't trusted: %v", err)
	}
	if _, err := Open(t.Context(), s.URL+"/good", Options{CACert: s.ca + ".none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no CA file: %v", err)
	}
	for address, says := range map[string]string{
		"http://images.example/a.wim": "--sha256", "https://ann:hunter2@images.example/a.wim": "shows on screens", "https:///a.wim": "names no server",
		"https://h\x00unter2/": "can't be read",
	} {
		if _, err := Open(t.Context(), address, Options{}); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestWebLoopback: http:// is good enough on this machine.
func TestWebLoopback(t *testing.T) {
	b := testWIM(1000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }))
	defer s.Close()
	in, err := Open(t.Context(), s.URL+"/a.wim", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if in.Again != "" || !bytes.Equal(all(t, in), b) {
		t.Errorf("%+v", in)
	}
}

// TestWebCancelled: whoever gives up isn't kept waiting.
func TestWebCancelled(t *testing.T) {
	b := testWIM(300_000)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	s := newSite(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 1 {
			cancel(enough)
			<-r.Context().Done()
			return
		}
		breaking(b, `"1"`, 100_000)(n, w, r)
	})
	in, err := Open(ctx, s.URL+"/a.wim", Options{CACert: s.ca, backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if _, err := io.ReadAll(in); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
}
