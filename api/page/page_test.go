package page

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// desk is the page in front of an API that notes who asked what.
type desk struct {
	*Page
	t   *testing.T
	log *observer.ObservedLogs
	now time.Time

	streams chan struct{} // closed once one runs

	mu    sync.Mutex
	asked []string
}

func newDesk(t *testing.T, secure bool) *desk {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	d := &desk{t: t, log: logs, now: time.Unix(1_800_000_000, 0), streams: make(chan struct{})}
	d.Page = New(Config{
		API: d.api(), Secure: secure, Names: func() []string { return []string{"dp1.example.net"} }, Now: func() time.Time { return d.now }, Log: zap.New(core),
		Judge: func(cs *tls.ConnectionState) (keyex.Identity, error) {
			if len(cs.PeerCertificates) == 1 {
				return keyex.Identity{Name: "bob", Role: keyex.Viewer}, nil
			}
			return keyex.Identity{}, errors.New("revoked")
		},
	})
	return d
}

func (d *desk) api() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := api.CallerOf(r.Context())
		d.mu.Lock()
		d.asked = append(d.asked, fmt.Sprintf("%s %s by %v %v, TLS %v, cookies %d", r.Method, r.URL.Path, ok, who, r.TLS != nil, len(r.Cookies())))
		d.mu.Unlock()
		if strings.HasSuffix(r.URL.Path, "/live") {
			close(d.streams)
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "{}")
	})
}

// ask makes a request; header are names and values.
func (d *desk) ask(method, target, body string, header ...string) *http.Response {
	d.t.Helper()
	r := httptest.NewRequestWithContext(d.t.Context(), method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:7603"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result()
}

// open logs in and returns the cookie as a header.
func (d *desk) open() string {
	d.t.Helper()
	token, _ := d.Link(api.Caller{Name: "ann", UID: 1000})
	answer := d.ask(http.MethodPost, "/login", `{"token":"`+token+`"}`)
	if answer.StatusCode != http.StatusNoContent || len(answer.Cookies()) != 1 {
		d.t.Fatalf("login: %s, %v", answer.Status, answer.Cookies())
	}
	c := answer.Cookies()[0]
	return c.Name + "=" + c.Value
}

// detail is what a problem says.
func detail(answer *http.Response) string {
	var p api.Problem
	_ = json.NewDecoder(answer.Body).Decode(&p)
	return p.Detail
}

// TestLinkOpensOnce, within its time, and no other does.
func TestLinkOpensOnce(t *testing.T) {
	d := newDesk(t, false)
	token, expires := d.Link(api.Caller{Name: "ann", UID: 1000})
	if len(token) < 40 || expires.Sub(d.now) != tokenLife {
		t.Errorf("token %q until %v", token, expires)
	}
	login := func(token string) int {
		return d.ask(http.MethodPost, "/login", `{"token":"`+token+`"}`).StatusCode
	}
	if got := login(token); got != http.StatusNoContent {
		t.Errorf("the first time: %d", got)
	}
	if got := login(token); got != http.StatusForbidden {
		t.Errorf("the second time: %d", got)
	}
	late, _ := d.Link(api.Caller{Name: "ann"})
	d.now = d.now.Add(tokenLife)
	for says, bad := range map[string]string{"too old": late, "made up": strings.Repeat("A", len(token)), "empty": "", "long": strings.Repeat("A", 500)} {
		if got := login(bad); got != http.StatusForbidden {
			t.Errorf("%s: %d", says, got)
		}
	}
	if n := d.Logins(); n[LoginAccepted] != 1 || n[LoginRefused] != 5 || n[LoginLimited] != 0 {
		t.Errorf("counted %v", n)
	}
	for _, entry := range d.log.All() {
		text, err := json.Marshal(entry.ContextMap())
		if err != nil || strings.Contains(string(text), token) || strings.Contains(string(text), late) {
			t.Errorf("the log has a token: %s, %v", text, err)
		}
	}
}

// TestCookie is kept from scripts and other sites, opens the routes for its time, and no longer.
func TestCookie(t *testing.T) {
	for _, secure := range []bool{false, true} {
		d := newDesk(t, secure)
		token, _ := d.Link(api.Caller{Name: "ann"})
		c := d.ask(http.MethodPost, "/login", `{"token":"`+token+`"}`).Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure != secure || c.Path != "/" || c.Domain != "" || strings.HasPrefix(c.Name, "__Host-") != secure {
			t.Errorf("secure %v: %+v", secure, c)
		}
		ask := func() int {
			return d.ask(http.MethodGet, "/v1/status", "", "Cookie", c.Name+"="+c.Value).StatusCode
		}
		if got := ask(); got != http.StatusOK {
			t.Errorf("with the cookie: %d", got)
		}
		if d.asked[0] != "GET /v1/status by true link of ann (viewer, on the web page, from 192.0.2.1:1234), TLS false, cookies 0" {
			t.Errorf("the API is asked %q", d.asked[0])
		}
		d.now = d.now.Add(sessionLife)
		if got := ask(); got != http.StatusUnauthorized {
			t.Errorf("after its time: %d", got)
		}
	}
	d := newDesk(t, false)
	if got := d.ask(http.MethodGet, "/v1/status", "", "Cookie", cookieName+"="+strings.Repeat("A", 43)); got.StatusCode != http.StatusUnauthorized || !strings.HasSuffix(detail(got), "wimcast page") {
		t.Errorf("a made-up cookie: %s", got.Status)
	}
	cookie := d.open()
	d.ask(http.MethodPost, "/logout", "", "Cookie", cookie)
	if got := d.ask(http.MethodGet, "/v1/status", "", "Cookie", cookie).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", got)
	}
}

// TestStreamsEndWithTheCookie: who signs out, or is pushed out, sees nothing more.
func TestStreamsEndWithTheCookie(t *testing.T) {
	d := newDesk(t, false)
	cookie := d.open()
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.ask(http.MethodGet, "/v1/sessions/s1/live", "", "Cookie", cookie)
	}()
	<-d.streams
	d.ask(http.MethodPost, "/logout", "", "Cookie", cookie)
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the stream goes on")
	}
}

func (d *desk) asks() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// TestOnlyTheList: whoever is in can GET what the page needs, and nothing else.
func TestOnlyTheList(t *testing.T) {
	d := newDesk(t, false)
	cookie := d.open()
	for _, path := range routes() {
		if strings.HasSuffix(path, "/live") {
			continue // it would stream
		}
		path = strings.NewReplacer("{ref}", "w11@1", "{id}", "s1").Replace(path)
		if got := d.ask(http.MethodGet, path, "", "Cookie", cookie); got.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s", path, got.Status)
		}
		before := len(d.asks())
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
			if got := d.ask(method, path, "{}", "Cookie", cookie); got.StatusCode < 400 {
				t.Errorf("%s %s: %s", method, path, got.Status)
			}
		}
		if len(d.asks()) != before {
			t.Errorf("%s: the API was asked: %q", path, d.asks()[before:])
		}
	}
	before := len(d.asks())
	for _, target := range []string{
		"GET /v1/bundles", "GET /v1/pins", "GET /v1/logs", "GET /v1/history/actions", "GET /v1/worker/job", "GET /v1/openapi.json", "POST /v1/page/tokens", "POST /v1/sessions/s1/stop",
		"POST /v1/clients/pc01/evict", "DELETE /v1/images/w11", "GET /v1/images/w11/../../bundles", "GET /v1/images/%2e%2e/bundles", "GET /metrics", "GET /static/index.html", "POST /", "GET /login",
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := d.ask(method, path, "{}", "Cookie", cookie); got.StatusCode < 300 || got.StatusCode == http.StatusOK {
			t.Errorf("%s: %s", target, got.Status)
		}
	}
	if got := d.asks()[before:]; len(got) > 0 {
		t.Errorf("the API was asked: %q", got)
	}
}

// TestHeaders of every answer.
func TestHeaders(t *testing.T) {
	d := newDesk(t, false)
	for _, target := range []string{"GET /", "GET /style.css", "GET /js/main.js", "GET /v1/status", "POST /login", "GET /nothing", "DELETE /"} {
		method, path, _ := strings.Cut(target, " ")
		h := d.ask(method, path, "{}").Header
		policy := h.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(policy+";", directive+";") {
				t.Errorf("%s: the policy %q lacks %q", target, policy, directive)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: the policy is wide: %q", target, policy)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s: %q", target, name, got)
			}
		}
		want := "no-store"
		if f, isFile := d.files[path]; isFile && method == http.MethodGet {
			want = "no-cache"
			if h.Get("ETag") != f.etag {
				t.Errorf("%s: ETag %q", target, h.Get("ETag"))
			}
		}
		if got := h.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", target, got, want)
		}
	}
	etag := d.ask(http.MethodGet, "/", "").Header.Get("ETag")
	if got := d.ask(http.MethodGet, "/", "", "If-None-Match", etag).StatusCode; got != http.StatusNotModified {
		t.Errorf("what the browser has: %d", got)
	}
}

// TestHost: a name that others can have resolve to our address isn't ours.
func TestHost(t *testing.T) {
	for _, tc := range []struct {
		host             string
		loopback, secure bool
	}{
		{"127.0.0.1:7603", true, true},
		{"127.0.0.1:8080", true, true}, // ssh -L
		{"localhost:7603", true, true},
		{"LOCALHOST", true, true},
		{"[::1]:7603", true, true},
		{"dp1.example.net:7603", true, true},
		{"10.1.2.3:7603", false, true},
		{"[2001:db8::1]:7603", false, true},
		{"evil.example:7603", false, false},
		{"127.0.0.1.evil.example", false, false},
		{"localhost.evil.example:7603", false, false},
		{"", false, false},
		{"127.0.0.1:7603@evil.example", false, false},
	} {
		for secure, want := range map[bool]bool{false: tc.loopback, true: tc.secure} {
			d := newDesk(t, secure)
			answer := d.ask(http.MethodGet, "/", "", "Host", tc.host)
			if got := answer.StatusCode == http.StatusOK; got != want {
				t.Errorf("%q, secure %v: %s", tc.host, secure, answer.Status)
			}
		}
	}
}

// TestForeignPages can't log somebody in, or out.
func TestForeignPages(t *testing.T) {
	d := newDesk(t, false)
	token, _ := d.Link(api.Caller{Name: "ann"})
	for says, header := range map[string][]string{
		"another site": {"Sec-Fetch-Site", "cross-site"}, "same site": {"Sec-Fetch-Site", "same-site"}, "another origin": {"Origin", "https://evil.example"},
	} {
		if got := d.ask(http.MethodPost, "/login", `{"token":"`+token+`"}`, header...).StatusCode; got != http.StatusForbidden {
			t.Errorf("%s: %d", says, got)
		}
	}
	if got := d.ask(http.MethodPost, "/login", `{"token":"`+token+`"}`, "Sec-Fetch-Site", "same-origin").StatusCode; got != http.StatusNoContent {
		t.Errorf("its own: %d; a foreign try has used the token up", got)
	}
}

// TestTriesAreLimited by address, and one that has used them up doesn't keep others out.
func TestTriesAreLimited(t *testing.T) {
	d := newDesk(t, false)
	var last *http.Response
	for range triesAtOnce + 1 {
		last = d.ask(http.MethodPost, "/login", `{"token":"x"}`)
	}
	if last.StatusCode != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" || d.Logins()[LoginLimited] != 1 {
		t.Errorf("%s, %v", last.Status, d.Logins())
	}
	d.now = d.now.Add(tryEvery)
	if got := d.ask(http.MethodPost, "/login", `{"token":"x"}`).StatusCode; got != http.StatusForbidden {
		t.Errorf("later: %d", got)
	}
	var l limit
	for i := range 3 * maxAddresses {
		l.allow(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), d.now)
	}
	if len(l.spent) > maxAddresses {
		t.Errorf("%d addresses are kept", len(l.spent))
	}
	if l.allow(netip.MustParseAddr("10.9.9.9"), d.now) {
		t.Error("beyond what is told apart there is no limit")
	}
	v6 := func(text string) bool { return (&l).allow(netip.MustParseAddr(text), d.now.Add(time.Hour)) }
	for range triesAtOnce {
		v6("2001:db8::1")
	}
	if v6("2001:db8::2") || !v6("2001:db8:1::1") {
		t.Error("an IPv6 network isn't one address")
	}
}

// TestSecretsAreBounded, the oldest goes.
func TestSecretsAreBounded(t *testing.T) {
	d := newDesk(t, false)
	first, _ := d.Link(api.Caller{Name: "ann"})
	for range maxTokens {
		d.Link(api.Caller{Name: "ann"})
	}
	if n := len(d.tokens.keys); n != maxTokens || d.tokens.find(first, d.now, false) != nil {
		t.Errorf("%d tokens, the first among them: %v", n, d.tokens.find(first, d.now, false))
	}
}

// TestCertificates open the page over HTTPS, where the verifier admits them, and not over HTTP.
func TestCertificates(t *testing.T) {
	ask := func(d *desk, certificates int) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/v1/status", http.NoBody)
		r.Host, r.TLS = "10.1.2.3:7603", &tls.ConnectionState{HandshakeComplete: true}
		for range certificates {
			r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, nil)
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		return w
	}
	d := newDesk(t, true)
	for certificates, want := range map[int]int{0: http.StatusUnauthorized, 1: http.StatusOK, 2: http.StatusForbidden} {
		if w := ask(d, certificates); w.Code != want {
			t.Errorf("%d certificates: %d, want %d", certificates, w.Code, want)
		}
	}
	if got := d.asks(); len(got) != 1 || !strings.Contains(got[0], "TLS true") {
		t.Errorf("the API, which judges the certificate itself, is asked %q", got)
	}
}
