package unicast

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"wimcast/crypto"
)

func TestServerRanges(t *testing.T) {
	h := newHouse(t, nil)
	b := h.shelf.add("w11@1", 3*crypto.BlockSize+1000)
	token := h.desk.give("pc01", b.digest).hex()
	path, tag, size := "/v1/content/"+b.digest.String(), `"`+b.digest.String()+`"`, len(b.data)
	browser := h.browser(t)
	for name, c := range map[string]struct {
		method string
		header []string
		status int
		body   []byte
		ranges string // Content-Range
	}{
		"all":             {"GET", nil, 200, b.data, ""},
		"head":            {"HEAD", nil, 200, nil, ""},
		"one byte":        {"GET", []string{"Range", "bytes=0-0"}, 206, b.data[:1], fmt.Sprintf("bytes 0-0/%d", size)},
		"middle":          {"GET", []string{"Range", "bytes=180224-360447"}, 206, b.data[180224:360448], fmt.Sprintf("bytes 180224-360447/%d", size)},
		"to the end":      {"GET", []string{"Range", "bytes=500000-"}, 206, b.data[500000:], fmt.Sprintf("bytes 500000-%d/%d", size-1, size)},
		"suffix":          {"GET", []string{"Range", "bytes=-10"}, 206, b.data[size-10:], fmt.Sprintf("bytes %d-%d/%d", size-10, size-1, size)},
		"over the end":    {"GET", []string{"Range", "bytes=541000-9999999"}, 206, b.data[541000:], fmt.Sprintf("bytes 541000-%d/%d", size-1, size)},
		"behind the end":  {"GET", []string{"Range", "bytes=9999999-"}, 416, nil, fmt.Sprintf("bytes */%d", size)},
		"nonsense":        {"GET", []string{"Range", "bytes=5-2"}, 416, nil, ""},
		"same content":    {"GET", []string{"Range", "bytes=0-9", "If-Range", tag}, 206, b.data[:10], fmt.Sprintf("bytes 0-9/%d", size)},
		"other content":   {"GET", []string{"Range", "bytes=0-9", "If-Range", `"other"`}, 200, b.data, ""},
		"known already":   {"GET", []string{"If-None-Match", tag}, 304, nil, ""},
		"if it were else": {"GET", []string{"If-Match", `"other"`}, 412, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, body := do(t, browser, h.request(t, c.method, path, token, c.header...))
			if r.StatusCode != c.status || r.Header.Get("Content-Range") != c.ranges {
				t.Fatalf("%s, Content-Range %q", r.Status, r.Header.Get("Content-Range"))
			}
			if c.status >= 400 {
				checkProblem(t, r, body)
				return
			}
			if !bytes.Equal(body, c.body) || r.Header.Get("ETag") != tag {
				t.Errorf("%d bytes, want %d; ETag %s", len(body), len(c.body), r.Header.Get("ETag"))
			}
			if c.method == "HEAD" && r.ContentLength != int64(size) {
				t.Errorf("length %d, want %d", r.ContentLength, size)
			}
			if r.TLS.Version != 0x0304 || r.ProtoMajor != 1 {
				t.Errorf("TLS %x, HTTP %d", r.TLS.Version, r.ProtoMajor)
			}
		})
	}
	t.Run("several", func(t *testing.T) {
		r, body := do(t, browser, h.request(t, "GET", path, token, "Range", "bytes=0-9,300000-300099"))
		kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if r.StatusCode != 206 || err != nil || kind != "multipart/byteranges" {
			t.Fatalf("%s, %q", r.Status, kind)
		}
		parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for _, want := range [][]byte{b.data[:10], b.data[300000:300100]} {
			part, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(part); !bytes.Equal(got, want) {
				t.Errorf("part of %d bytes, want %d", len(got), len(want))
			}
		}
	})
	r, body := do(t, browser, h.request(t, "GET", "/v1/manifest/"+b.digest.String(), token))
	if r.StatusCode != 200 || !bytes.Equal(body, b.manifest) || r.Header.Get("ETag") != tag {
		t.Errorf("manifest: %s, %d bytes", r.Status, len(body))
	}
	snap := h.server.Snapshot()
	if snap.SentBytes["w11@1"] < int64(2*size+len(b.manifest)) || snap.Results[ResultSent] != 12 || snap.Results[ResultRange] != 3 {
		t.Errorf("%+v", snap)
	}
}

// checkProblem holds an error against RFC 9457 and returns it.
func checkProblem(t *testing.T, r *http.Response, body []byte) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || r.Header.Get("Content-Type") != problemType {
		t.Fatalf("%s: %q of type %q: %v", r.Status, body, r.Header.Get("Content-Type"), err)
	}
	if p.Status != r.StatusCode || p.Type == "" || p.Title == "" || p.Detail == "" {
		t.Errorf("%s: %+v", r.Status, p)
	}
	if r.Header.Get("ETag") != "" {
		t.Errorf("%s: an error with ETag", r.Status)
	}
	return p
}

func TestServerRefuses(t *testing.T) {
	h := newHouse(t, nil)
	open, other := h.shelf.add("open@1", 10), h.shelf.add("other@1", 11)
	closed, damaged := h.shelf.add("closed@1", 12), h.shelf.add("damaged@1", 13)
	closed.pkg.MulticastOnly = true
	damaged.open = fmt.Errorf("open damaged@1: %w", ErrOutOfService)
	faulty, lost := h.shelf.add("faulty@1", 14), crypto.Hash{1, 2, 3}
	faulty.open = errors.New("some fault with a path in it")
	evicted := h.desk.give("pc09", open.digest)
	h.desk.take(evicted)
	give := func(d crypto.Hash) string { return h.desk.give("pc01", d).hex() }
	content := func(d crypto.Hash) string { return "/v1/content/" + d.String() }
	manifest := func(d crypto.Hash) string { return "/v1/manifest/" + d.String() }
	browser := h.browser(t)
	for name, c := range map[string]struct {
		method, path, token string
		status              int
		kind                string
	}{
		"no token":                  {"GET", content(open.digest), "", 401, typeToken},
		"not a token":               {"GET", content(open.digest), "zz", 401, typeToken},
		"short token":               {"GET", content(open.digest), "00ff", 401, typeToken},
		"unknown token":             {"GET", content(open.digest), strings.Repeat("a5", 32), 401, typeToken},
		"evicted":                   {"GET", content(open.digest), evicted.hex(), 401, typeToken},
		"evicted, manifest":         {"GET", manifest(open.digest), evicted.hex(), 401, typeToken},
		"other content":             {"GET", content(other.digest), give(open.digest), 403, typeOtherContent},
		"other manifest":            {"GET", manifest(other.digest), give(open.digest), 403, typeOtherContent},
		"multicast-only":            {"GET", content(closed.digest), strings.Repeat("a5", 32), 403, typeMulticastOnly},
		"multicast-only, manifest":  {"GET", manifest(closed.digest), strings.Repeat("a5", 32), 403, typeMulticastOnly},
		"multicast-only, no token":  {"GET", content(closed.digest), "", 403, typeMulticastOnly},
		"multicast-only, bad token": {"GET", content(closed.digest), give(open.digest), 403, typeMulticastOnly},
		"unknown content":           {"GET", content(lost), give(lost), 404, typeUnknown},
		"unknown, no token":         {"GET", content(lost), "", 401, typeToken},
		"out of service":            {"GET", content(damaged.digest), give(damaged.digest), 503, typeOutOfService},
		"fault":                     {"GET", content(faulty.digest), give(faulty.digest), 500, typeInternal},
		"not a digest":              {"GET", "/v1/content/abc", give(open.digest), 404, typeUnknown},
		"no such path":              {"GET", "/etc/passwd", give(open.digest), 404, typeUnknown},
		"root":                      {"GET", "/", "", 404, typeUnknown},
		"writing":                   {"PUT", content(open.digest), give(open.digest), 405, "about:blank"},
	} {
		t.Run(name, func(t *testing.T) {
			r, body := do(t, browser, h.request(t, c.method, c.path, c.token))
			if p := checkProblem(t, r, body); p.Status != c.status || p.Type != c.kind {
				t.Errorf("%+v", p)
			}
			if (r.StatusCode == 401) != (r.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("%s, WWW-Authenticate %q", r.Status, r.Header.Get("WWW-Authenticate"))
			}
			if bytes.Contains(body, []byte("path in it")) {
				t.Error("the server tells what it shouldn't")
			}
		})
	}
	r, body := do(t, browser, h.request(t, "HEAD", content(closed.digest), ""))
	if r.StatusCode != 403 || len(body) != 0 {
		t.Errorf("HEAD: %s", r.Status)
	}
	if snap := h.server.Snapshot(); snap.Results[ResultMulticastOnly] != 5 || snap.Results[ResultUnauthorized] != 7 || len(snap.SentBytes) != 0 {
		t.Errorf("%+v", snap)
	}
	// The package became multicast-only, and a session that began before goes on.
	if r, body := do(t, browser, h.request(t, "GET", content(closed.digest), give(closed.digest))); r.StatusCode != 200 || !bytes.Equal(body, closed.data) {
		t.Errorf("with the token of a session: %s, %d bytes", r.Status, len(body))
	}
}

func TestServerQueues(t *testing.T) {
	h := newHouse(t, func(c *ServerConfig) { c.Slots = 1 })
	b := h.shelf.add("w11@1", 2*crypto.BlockSize)
	var tokens [4]Token
	for i := range tokens {
		tokens[i] = h.desk.give("pc0"+strconv.Itoa(i), b.digest)
	}
	browser := h.browser(t)
	ask := func(i, position int) {
		t.Helper()
		r, body := do(t, browser, h.request(t, "GET", "/v1/content/"+b.digest.String(), tokens[i].hex(), "Range", "bytes=0-99"))
		if position == 0 {
			if r.StatusCode != 206 || !bytes.Equal(body, b.data[:100]) {
				t.Fatalf("client %d: %s", i, r.Status)
			}
			return
		}
		if p := checkProblem(t, r, body); r.StatusCode != 503 || p.Type != typeQueued || p.Position != position {
			t.Fatalf("client %d: %+v, want position %d", i, p, position)
		}
		if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || seconds < 1 {
			t.Fatalf("Retry-After %q", r.Header.Get("Retry-After"))
		}
	}
	ask(0, 0)
	ask(1, 1)
	ask(2, 2)
	ask(0, 0) // holds its slot over requests
	ask(2, 2)
	if snap := h.server.Snapshot(); snap.Active != 1 || snap.Queued != 2 || snap.Slots != 1 ||
		fmt.Sprint(snap.Clients[0].Client, snap.Clients[1].Client, snap.Clients[2].Client) != "pc00pc01pc02" ||
		snap.Clients[0].Sent != 200 || snap.Clients[2].Position != 2 {
		t.Fatalf("%+v", snap)
	}
	h.server.Release(tokens[0])
	ask(2, 2) // 1 is before it
	ask(3, 3)
	ask(1, 0)
	ask(2, 1)
	h.server.Release(tokens[2])
	ask(3, 1)
	r, _ := do(t, browser, h.request(t, "HEAD", "/v1/content/"+b.digest.String(), tokens[3].hex()))
	if r.StatusCode != 200 {
		t.Errorf("a HEAD needs a slot: %s", r.Status)
	}
	if _, err := gather(t, h.fetcher(t, b, tokens[3]), 0, 2); err == nil {
		t.Error("the client got a slot that isn't free")
	} else if queued, is := errors.AsType[*QueuedError](err); !is || queued.Position != 1 || queued.RetryAfter < 1e9 {
		t.Errorf("the client says %v", err)
	}
}

// stuck starts a transfer that its client doesn't read, and returns when the
// server has begun to send it.
func stuck(t *testing.T, h *house, b *book, token Token) *http.Response {
	t.Helper()
	response, err := h.browser(t).Do(h.request(t, "GET", "/v1/content/"+b.digest.String(), token.hex()))
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != 200 {
		t.Fatal(response.Status)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// bigSize is more than socket buffers take.
const bigSize = 16 << 20

// ended waits for a stuck transfer to end and reads what came of it.
func ended(t *testing.T, b *book, response *http.Response) {
	t.Helper()
	<-b.closed
	if n, err := io.Copy(io.Discard, response.Body); err == nil || n >= bigSize {
		t.Errorf("all %d bytes came (%v)", n, err)
	}
}

func TestServerEndsStalledTransfer(t *testing.T) {
	h := newHouse(t, func(c *ServerConfig) { c.WriteStall = 50e6 })
	b := h.shelf.add("w11@1", bigSize)
	response := stuck(t, h, b, h.desk.give("pc01", b.digest))
	ended(t, b, response)
	if snap := h.server.Snapshot(); snap.Results[ResultStalled] != 1 {
		t.Errorf("%+v", snap.Results)
	}
}

// A client whose connection broke without a word comes again.
func TestServerSupersedes(t *testing.T) {
	h := newHouse(t, func(c *ServerConfig) { c.Slots = 1 })
	b := h.shelf.add("w11@1", bigSize)
	token := h.desk.give("pc01", b.digest)
	old := stuck(t, h, b, token)
	r, body := do(t, h.browser(t), h.request(t, "GET", "/v1/content/"+b.digest.String(), token.hex(), "Range", "bytes=5-9"))
	if r.StatusCode != 206 || !bytes.Equal(body, b.data[5:10]) {
		t.Fatal(r.Status)
	}
	<-b.closed
	ended(t, b, old)
	if snap := h.server.Snapshot(); snap.Results[ResultSuperseded] != 1 || snap.Results[ResultSent] != 1 || snap.Active != 1 {
		t.Errorf("%+v", snap)
	}
}

func TestServerReleaseEndsTransfer(t *testing.T) {
	h := newHouse(t, nil)
	b := h.shelf.add("w11@1", bigSize)
	token := h.desk.give("pc01", b.digest)
	response := stuck(t, h, b, token)
	h.server.Release(token)
	ended(t, b, response)
	if snap := h.server.Snapshot(); snap.Results[ResultRevoked] != 1 || snap.Active != 0 {
		t.Errorf("%+v", snap)
	}
}

// An eviction ends a transfer at its next chunk, and the next request too.
func TestServerEviction(t *testing.T) {
	h := newHouse(t, nil)
	b := h.shelf.add("w11@1", bigSize)
	token := h.desk.give("pc09", b.digest)
	b.onRead = func(off int64) error {
		if off >= 4<<20 {
			h.desk.take(token)
		}
		return nil
	}
	got, err := gather(t, h.fetcher(t, b, token), 0, crypto.BlockCount(bigSize))
	if !errors.Is(err, ErrRefused) || len(got) == 0 || len(got) > 5<<20 || !bytes.Equal(got, b.data[:len(got)]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if snap := h.server.Snapshot(); snap.Results[ResultRevoked] != 1 || snap.Results[ResultUnauthorized] != 1 {
		t.Errorf("%+v", snap.Results)
	}
}

// The file turns out to be damaged in the middle of a transfer: it breaks, and
// the library refuses from then on.
func TestServerDamage(t *testing.T) {
	h := newHouse(t, nil)
	b := h.shelf.add("w11@1", 8<<20)
	b.onRead = func(off int64) error {
		if off < 3<<20 {
			return nil
		}
		h.shelf.mu.Lock()
		defer h.shelf.mu.Unlock()
		b.open = ErrOutOfService
		return errors.New("block 17 doesn't fit its hash")
	}
	got, err := gather(t, h.fetcher(t, b, h.desk.give("pc01", b.digest)), 0, crypto.BlockCount(8<<20))
	if !errors.Is(err, ErrOutOfService) || !bytes.Equal(got, b.data[:len(got)]) || len(got) == 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if snap := h.server.Snapshot(); snap.Results[ResultFailed] != 1 || snap.Results[ResultOutOfService] != 1 {
		t.Errorf("%+v", snap.Results)
	}
}

func TestNewServerChecks(t *testing.T) {
	for _, c := range []ServerConfig{{Slots: -1}, {BytesPerSecond: 1000}, {BytesPerSecond: -1}} {
		c.Contents, c.Grants = &shelf{}, &desk{}
		if _, err := NewServer(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}
