package unicast

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/crypto"
)

func TestClientFetches(t *testing.T) {
	h := newHouse(t, func(c *ServerConfig) { c.BytesPerSecond = 1 << 30 })
	b := h.shelf.add("w11@1", 7*crypto.BlockSize+123)
	c := h.fetcher(t, b, h.desk.give("pc01", b.digest))
	manifest, err := c.Manifest(t.Context())
	if err != nil || !bytes.Equal(manifest, b.manifest) {
		t.Fatalf("manifest of %d bytes, %v", len(manifest), err)
	}
	for first := range 9 {
		for count := range 9 - first {
			got, err := gather(t, c, first, count)
			from, to := first*crypto.BlockSize, min((first+count)*crypto.BlockSize, len(b.data))
			if err != nil || !bytes.Equal(got, b.data[min(from, to):to]) {
				t.Fatalf("%d blocks from %d: %d bytes, %v", count, first, len(got), err)
			}
		}
	}
	for _, c2 := range [][2]int{{-1, 1}, {0, -1}, {0, 9}, {9, 0}, {8, 1}, {1 << 62, 1 << 62}} {
		if err := c.Fetch(t.Context(), c2[0], c2[1], func(int, []byte) error { return nil }); err == nil {
			t.Errorf("%d blocks from %d: no error", c2[1], c2[0])
		}
	}
	stop := errors.New("the disk is full")
	calls := 0
	if err := c.Fetch(t.Context(), 0, 8, func(int, []byte) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("after %d calls: %v", calls, err)
	}
	// Over one connection where nothing breaks: the slot is one client's.
	if snap := h.server.Snapshot(); snap.Active != 1 || snap.Results[ResultSuperseded] != 0 {
		t.Errorf("%+v", snap)
	}
}

func TestClientEmptyImage(t *testing.T) {
	h := newHouse(t, nil)
	b := h.shelf.add("empty@1", 0)
	c := h.fetcher(t, b, h.desk.give("pc01", b.digest))
	if got, err := gather(t, c, 0, 0); err != nil || len(got) != 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if m, err := c.Manifest(t.Context()); err != nil || !bytes.Equal(m, b.manifest) {
		t.Errorf("%d bytes, %v", len(m), err)
	}
}

func TestClientErrors(t *testing.T) {
	h := newHouse(t, nil)
	b, closed, other := h.shelf.add("w11@1", 10), h.shelf.add("closed@1", 11), h.shelf.add("other@1", 12)
	closed.pkg.MulticastOnly = true
	gone := &book{data: make([]byte, 5), digest: crypto.Hash{7}}
	for name, c := range map[string]struct {
		book  *book
		token Token
		want  error
		says  string
	}{
		"evicted":        {b, Token{1}, ErrRefused, "join the session"},
		"other content":  {b, h.desk.give("pc01", other.digest), ErrRefused, "other content"},
		"multicast-only": {closed, Token{2}, ErrMulticastOnly, "never sent by unicast"},
		"gone":           {gone, h.desk.give("pc01", gone.digest), ErrUnknown, "join again"},
	} {
		client := h.fetcher(t, c.book, c.token)
		_, err := gather(t, client, 0, 1)
		_, err2 := client.Manifest(t.Context())
		for _, err := range []error{err, err2} {
			refused, is := errors.AsType[*RefusedError](err)
			if !is || !refused.Final() || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			for _, other := range []error{ErrRefused, ErrMulticastOnly, ErrUnknown, ErrOutOfService} {
				if !errors.Is(other, c.want) && errors.Is(err, other) {
					t.Errorf("%s: %v is also %v", name, err, other)
				}
			}
		}
	}
}

func TestClientUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	c := newFetcher(t, ClientConfig{Address: addr, TLS: &tls.Config{}, Size: 10, Attempts: 3})
	_, err = gather(t, c, 0, 1)
	if unreachable, is := errors.AsType[*UnreachableError](err); !is || unreachable.Attempts != 3 || unreachable.Address != addr {
		t.Fatal(err)
	}
	if _, err := NewClient(ClientConfig{Address: "no port", TLS: &tls.Config{}}); err == nil {
		t.Error("an address without a port: no error")
	}
	if _, err := NewClient(ClientConfig{Address: "h:1", TLS: &tls.Config{}, Size: -1}); err == nil {
		t.Error("a negative size: no error")
	}
}

func TestClientTrust(t *testing.T) {
	h, stranger := newHouse(t, nil), newPKI(t)
	b := h.shelf.add("w11@1", 10)
	token := h.desk.give("pc01", b.digest)
	noCertificate := h.client.Clone()
	noCertificate.Certificates = nil
	foreign := h.client.Clone()
	foreign.Certificates = stranger.client.Certificates
	for name, config := range map[string]*tls.Config{
		"the server is a stranger":      stranger.client,
		"the client has no certificate": noCertificate,
		"the client is a stranger":      foreign,
	} {
		c := newFetcher(t, ClientConfig{Address: h.addr, TLS: config, Token: token, Digest: b.digest, Size: b.Size(), Attempts: 50})
		_, err := gather(t, c, 0, 1)
		if trust, is := errors.AsType[*TrustError](err); !is || !trust.Final() {
			t.Errorf("%s: %v", name, err)
		}
	}
	ancient := newOdd(t, 10, func(*odd, int, http.ResponseWriter, *http.Request) {}, tls.VersionTLS12)
	c := newFetcher(t, ClientConfig{Address: ancient.addr, TLS: ancient.tls, Digest: ancient.digest, Size: 10, Attempts: 50})
	if _, err := gather(t, c, 0, 1); !errors.As(err, new(*TrustError)) {
		t.Errorf("a server without TLS 1.3: %v", err)
	}
	old := h.client.Clone()
	old.MaxVersion = tls.VersionTLS12
	conn, err := tls.Dial("tcp", h.addr, old)
	if err == nil {
		_ = conn.Close()
		t.Error("the server speaks TLS 1.2")
	}
}

// odd is a server that misbehaves.
type odd struct {
	*book
	addr   string
	tls    *tls.Config
	mu     sync.Mutex
	ranges []string // asked for
}

func newOdd(t *testing.T, size int, answer func(o *odd, attempt int, w http.ResponseWriter, r *http.Request), maxTLS ...uint16) *odd {
	t.Helper()
	p := newPKI(t)
	o := &odd{book: (&shelf{packages: map[crypto.Hash]*book{}}).add("odd@1", size), tls: p.client}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.ranges = append(o.ranges, r.Header.Get("Range"))
		attempt := len(o.ranges)
		o.mu.Unlock()
		answer(o, attempt, w, r)
	}))
	s.TLS = p.server
	for _, s.TLS.MaxVersion = range maxTLS {
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	o.addr = s.Listener.Addr().String()
	return o
}

// asked returns the bytes that a request is for.
func asked(r *http.Request) (from, to int) {
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
	return from, to + 1
}

// head writes the header of a good answer.
func (o *odd) head(w http.ResponseWriter, r *http.Request, change ...string) {
	from, to := asked(r)
	w.Header().Set("ETag", `"`+o.digest.String()+`"`)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(o.data)))
	w.Header().Set("Content-Length", fmt.Sprint(to-from))
	for i := 0; i+1 < len(change); i += 2 {
		w.Header().Set(change[i], change[i+1])
		if change[i+1] == "" {
			w.Header().Del(change[i])
		}
	}
	w.WriteHeader(http.StatusPartialContent)
}

// Answers that are no answer: an error at once, with a reason.
func TestClientHostileServer(t *testing.T) {
	type answer = func(o *odd, attempt int, w http.ResponseWriter, r *http.Request)
	with := func(change ...string) answer {
		return func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
			o.head(w, r, change...)
			from, to := asked(r)
			_, _ = w.Write(o.data[from:to])
		}
	}
	for name, c := range map[string]struct {
		answer answer
		says   string
	}{
		"ignores ranges": {func(o *odd, _ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"`+o.digest.String()+`"`)
			_, _ = w.Write(o.data)
		}, "ignores ranges"},
		"other range":    {with("Content-Range", "bytes 1-180224/540672"), "asked for"},
		"longer range":   {with("Content-Range", "bytes 0-540671/540672"), "asked for"},
		"other total":    {with("Content-Range", "bytes 0-360447/9999999"), "asked for"},
		"unknown total":  {with("Content-Range", "bytes 0-360447/*"), "asked for"},
		"no range":       {with("Content-Range", ""), "asked for"},
		"endless range":  {with("Content-Range", "bytes 0-"+strings.Repeat("9", 9000)), "asked for"},
		"other content":  {with("ETag", `"0000"`), "other content"},
		"no tag":         {with("ETag", ""), "other content"},
		"packed":         {with("Content-Encoding", "gzip"), "encodes"},
		"announces less": {with("Content-Length", "5"), "announces 5"},
		"announces more": {with("Content-Length", "99999999"), "announces 99999999"},
		"sends more": {func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
			o.head(w, r, "Content-Length", "")
			_, _ = w.Write(o.data)
		}, "more than was asked for"},
		"leads elsewhere": {func(_ *odd, _ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}, "status 302"},
		"no content": {func(_ *odd, _ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "status 204"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOdd(t, 3*crypto.BlockSize, c.answer)
			client := newFetcher(t, ClientConfig{Address: o.addr, TLS: o.tls, Digest: o.digest, Size: o.Size()})
			got, err := gather(t, client, 0, 2)
			wrong, is := errors.AsType[*ProtocolError](err)
			if !is || !wrong.Final() || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x07\x1b") {
				t.Errorf("%.3000v", err)
			}
			if len(o.ranges) != 1 || !bytes.Equal(got, o.data[:len(got)]) {
				t.Errorf("%d requests, %d bytes", len(o.ranges), len(got))
			}
		})
	}
}

// Answers that may be better the next time: tried again, not for ever.
func TestClientGivesUp(t *testing.T) {
	hang := func(r *http.Request) { <-r.Context().Done() }
	for name, c := range map[string]struct {
		answer func(o *odd, attempt int, w http.ResponseWriter, r *http.Request)
		is     error
	}{
		"server error": {func(_ *odd, _ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, nil},
		"no answer":    {func(_ *odd, _ int, _ http.ResponseWriter, r *http.Request) { hang(r) }, errStalled},
		"no content": {func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
			o.head(w, r)
			w.(http.Flusher).Flush()
			hang(r)
		}, errStalled},
		"ends chunks": {func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
			o.head(w, r, "Content-Length", "")
			w.(http.Flusher).Flush()
		}, errShort},
		"breaks":          {func(*odd, int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, io.EOF},
		"breaks the body": {func(o *odd, _ int, w http.ResponseWriter, r *http.Request) { o.head(w, r) }, io.ErrUnexpectedEOF},
		"one byte a time": {func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
			o.head(w, r)
			from, _ := asked(r)
			_, _ = w.Write(o.data[from : from+1])
		}, io.ErrUnexpectedEOF},
		"controls": {func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
			o.head(w, r, "Content-Range", "bytes \x07\x1b[31m"+strings.Repeat("9", 9000))
		}, nil},
		"huge header": {func(_ *odd, _ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOdd(t, 3*crypto.BlockSize, c.answer)
			stall := time.Minute // nothing stalls, however busy the machine is
			if errors.Is(c.is, errStalled) {
				stall = 100 * time.Millisecond
			}
			client := newFetcher(t, ClientConfig{Address: o.addr, TLS: o.tls, Digest: o.digest, Size: o.Size(), Attempts: 4, Stall: stall})
			got, err := gather(t, client, 0, 3)
			unreachable, is := errors.AsType[*UnreachableError](err)
			if !is || unreachable.Attempts != 4 || len(got) != 0 || c.is != nil && !errors.Is(err, c.is) ||
				len(err.Error()) > 1500 || strings.ContainsAny(err.Error(), "\x07\x1b") {
				t.Errorf("%d bytes, %.3000v", len(got), err)
			}
		})
	}
}

// The connection breaks again and again, at odd places; each attempt goes on
// exactly where the last one stopped.
func TestClientResumes(t *testing.T) {
	o := newOdd(t, 12*crypto.BlockSize+99, func(o *odd, attempt int, w http.ResponseWriter, r *http.Request) {
		from, to := asked(r)
		o.head(w, r)
		_, _ = w.Write(o.data[from:min(to, from+attempt*77_777)])
	})
	client := newFetcher(t, ClientConfig{Address: o.addr, TLS: o.tls, Digest: o.digest, Size: o.Size(), Attempts: 4})
	got, err := gather(t, client, 1, 12)
	if err != nil || !bytes.Equal(got, o.data[crypto.BlockSize:]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	at := crypto.BlockSize
	for i, asked := range o.ranges {
		if want := fmt.Sprintf("bytes=%d-%d", at, len(o.data)-1); asked != want {
			t.Errorf("request %d is for %s, want %s", i, asked, want)
		}
		at += (i + 1) * 77_777
	}
	if len(o.ranges) < 4 {
		t.Errorf("only %d requests", len(o.ranges))
	}
}

// A slow disk isn't a slow server: the time that deliver takes doesn't count.
func TestClientSlowDisk(t *testing.T) {
	o := newOdd(t, bigSize, func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
		o.head(w, r)
		from, to := asked(r)
		_, _ = w.Write(o.data[from:to])
	})
	const stall = 3 * time.Second // a busy machine may leave the server itself without a processor for a while
	client := newFetcher(t, ClientConfig{Address: o.addr, TLS: o.tls, Digest: o.digest, Size: o.Size(), Stall: stall})
	var got []byte
	err := client.Fetch(t.Context(), 0, crypto.BlockCount(bigSize), func(block int, data []byte) error {
		if block == 3 {
			time.Sleep(stall + 300*time.Millisecond)
		}
		got = append(got, data...)
		return nil
	})
	if err != nil || !bytes.Equal(got, o.data) || len(o.ranges) != 1 {
		t.Errorf("%d bytes in %d requests, %v", len(got), len(o.ranges), err)
	}
}

func TestClientManifestProven(t *testing.T) {
	o := newOdd(t, 3*crypto.BlockSize, func(o *odd, _ int, w http.ResponseWriter, r *http.Request) {
		forged := bytes.Clone(o.manifest)
		forged[len(forged)-1] ^= 1
		o.head(w, r, "Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(forged)-1, len(forged)))
		_, _ = w.Write(forged)
	})
	client := newFetcher(t, ClientConfig{Address: o.addr, TLS: o.tls, Digest: o.digest, Size: o.Size()})
	if m, err := client.Manifest(t.Context()); m != nil || err == nil || !strings.Contains(err.Error(), "doesn't fit the digest") {
		t.Fatalf("%d bytes, %v", len(m), err)
	}
}

func TestClientReadsProblems(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		kind, body string
		retry      string
		want       error
		position   int
		retryAfter time.Duration
	}{
		"queued":              {status: 503, kind: problemType, body: `{"type":"queued","position":7}`, retry: "4", position: 7, retryAfter: 4 * time.Second},
		"queued, no word":     {status: 503, kind: "text/html", body: "<h1>busy</h1>", retryAfter: defaultRetry},
		"queued for ever":     {status: 503, kind: problemType, body: `{"position":-9}`, retry: "99999999999"},
		"queued until a date": {status: 503, kind: problemType, body: `{`, retry: "Wed, 21 Oct 2026 07:28:00 GMT", retryAfter: defaultRetry},
		"queued for nothing":  {status: 429, kind: problemType, body: `[]`, retry: "0", retryAfter: minRetry},
		"huge problem":        {status: 403, kind: problemType, body: `{"type":"multicast-only","title":"` + strings.Repeat("x", 1<<20) + `"}`, want: ErrRefused},
		"long detail":         {status: 403, kind: problemType, body: `{"type":"multicast-only","detail":"` + strings.Repeat("x", 9000) + `\u001b[31m"}`, want: ErrMulticastOnly},
		"no problem":          {status: 404, kind: "text/plain", body: `{"type":"multicast-only"}`, want: ErrUnknown},
		"gone":                {status: 410, want: ErrUnknown},
		"out of service":      {status: 503, kind: problemType + "; charset=utf-8", body: `{"type":"out-of-service"}`, want: ErrOutOfService},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOdd(t, 10, func(_ *odd, _ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				if c.retry != "" {
					w.Header().Set("Retry-After", c.retry)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			client := newFetcher(t, ClientConfig{Address: o.addr, TLS: o.tls, Digest: o.digest, Size: o.Size()})
			_, err := gather(t, client, 0, 1)
			if len(o.ranges) != 1 || len(err.Error()) > 1500 || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%d requests, %.2000v", len(o.ranges), err)
			}
			if c.want != nil {
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				return
			}
			queued, is := errors.AsType[*QueuedError](err)
			if !is {
				t.Fatal(err)
			}
			position, retry := queued.Queued()
			if want := max(c.retryAfter, 0); position != c.position || want > 0 && retry != want || retry < minRetry || retry > maxRetry {
				t.Errorf("position %d, retry %v", position, retry)
			}
		})
	}
}

func TestClientContext(t *testing.T) {
	started := make(chan struct{}, 1)
	o := newOdd(t, 10, func(_ *odd, _ int, _ http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		<-r.Context().Done()
	})
	client := newFetcher(t, ClientConfig{Address: o.addr, TLS: o.tls, Digest: o.digest, Size: o.Size()})
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the session ended")
	go func() { <-started; cancel(stop) }()
	if err := client.Fetch(ctx, 0, 1, nil); !errors.Is(err, stop) {
		t.Fatal(err)
	}
}

func FuzzReadProblem(f *testing.F) {
	f.Add(problemType, "3", []byte(`{"type":"queued","title":"t","status":503,"position":3}`))
	f.Add("text/html", "-1", []byte("<h1>"))
	f.Fuzz(func(t *testing.T, kind, retry string, body []byte) {
		r := &http.Response{StatusCode: 503, Header: http.Header{"Content-Type": {kind}, "Retry-After": {retry}}, Body: io.NopCloser(bytes.NewReader(body))}
		p := readProblem(r)
		if p.Position < 0 || p.retryAfter < minRetry || p.retryAfter > maxRetry || p.Status != 503 {
			t.Fatalf("%+v", p)
		}
		for _, text := range []string{p.Type, p.Title, p.Detail} {
			if len(text) > maxText+4 || strings.ContainsAny(text, "\x00\n\x1b") {
				t.Fatalf("%q", text)
			}
		}
	})
}
