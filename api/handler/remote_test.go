package handler

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// TestWhoMay: operators may everything, viewers look, nobody else gets in.
func TestWhoMay(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(1000, 1, "one"), "w11", "1")
	const path, change = "/v1/images/w11", `{"comment":"changed"}`
	for says, tc := range map[string]struct {
		caller      *caller
		get, change int
	}{
		"operator": {p.over(keyex.Operator), http.StatusOK, http.StatusOK},
		"viewer":   {p.over(keyex.Viewer), http.StatusOK, http.StatusForbidden},
		"worker":   {p.over(keyex.Worker), http.StatusForbidden, http.StatusForbidden},
		"point":    {p.over(keyex.Point), http.StatusForbidden, http.StatusForbidden},
		"socket":   {p.local(), http.StatusOK, http.StatusOK},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if answer, _ := tc.caller.ask(method, path, ""); answer.StatusCode != tc.get {
				t.Errorf("%s: %s: %s", says, method, answer.Status)
			}
		}
		if answer, text := tc.caller.ask(http.MethodPatch, path, change); answer.StatusCode != tc.change {
			t.Errorf("%s: PATCH: %s: %s", says, answer.Status, text)
		}
	}
	for _, role := range []keyex.Role{keyex.WinPE, keyex.Client} {
		c := p.over(role)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := c.client.Do(request); err == nil {
			_ = answer.Body.Close()
			t.Errorf("role %s gets in: %s", role, answer.Status)
		}
		_, err = p.remoteClient(role).Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), "operator or viewer") {
			t.Errorf("role %s is told: %v", role, err)
		}
	}
	// Without a certificate, and without the socket.
	w := &recorded{header: http.Header{}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://wimcastd"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	p.api.ServeHTTP(w, request)
	if w.status != http.StatusForbidden {
		t.Errorf("a request of nobody gets %d", w.status)
	}
}

// TestWhoDidWhatIsLogged, for each request that changes something.
func TestWhoDidWhatIsLogged(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(1000, 1, "one"), "w11", "1")
	ann := p.bundle("ann", keyex.Operator)
	bob := p.bundle("bob", keyex.Viewer)
	const path, change = "/v1/images/w11", `{"comment":"x"}`
	p.with(ann).ask(http.MethodPatch, path, change)
	p.with(ann).ask(http.MethodGet, path, "")
	p.with(bob).ask(http.MethodPatch, path, change)
	p.local().ask(http.MethodPatch, path, change)
	var who []string
	for _, entry := range p.log.All() {
		if by, ok := entry.ContextMap()["by"].(string); ok {
			who = append(who, entry.Message+" by "+by)
		}
	}
	want := []string{
		"image changed by ann (operator, serial " + ann.Identity().Serial,
		"admin request failed by bob (viewer, serial " + bob.Identity().Serial,
		"image changed by ",
	}
	if len(who) != len(want) {
		t.Fatalf("logged: %q", who)
	}
	for i, w := range want {
		if !strings.HasPrefix(who[i], w) {
			t.Errorf("logged %q, want %q", who[i], w)
		}
	}
	if local := (api.Caller{UID: os.Getuid()}).String(); !strings.Contains(who[2], strings.TrimSuffix(strings.Fields(local)[1], ")")) || !strings.Contains(who[2], "uid") {
		t.Errorf("logged %q, want %q", who[2], local)
	}
}

// TestForeignPages: a page of somebody else's in a browser that holds a certificate can't
// act with it.
func TestForeignPages(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(1000, 1, "one"), "w11", "1")
	c := p.over(keyex.Operator)
	const path, change = "/v1/images/w11", `{"comment":"x"}`
	for says, header := range map[string][]string{
		"another site":   {"Sec-Fetch-Site", "cross-site"},
		"same site":      {"Sec-Fetch-Site", "same-site"},
		"another origin": {"Origin", "https://evil.example"},
	} {
		answer, text := c.ask(http.MethodPatch, path, change, header...)
		if answer.StatusCode != http.StatusForbidden || answer.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s: %s", says, answer.Status, text)
		}
	}
	answer, _ := c.ask(http.MethodPatch, path, change, "Sec-Fetch-Site", "same-origin")
	if answer.StatusCode != http.StatusOK {
		t.Errorf("of its own: %s", answer.Status)
	}
	for _, name := range []string{"Set-Cookie", "Access-Control-Allow-Origin"} {
		if v := answer.Header.Values(name); len(v) > 0 {
			t.Errorf("%s: %q", name, v)
		}
	}
	if answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", answer.Header)
	}
}

// TestUnknownPaths and methods get a problem too.
func TestUnknownPaths(t *testing.T) {
	c := newPoint(t).local()
	for _, tc := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodGet, "/", http.StatusNotFound, ""},
		{http.MethodGet, "/v1/nothing", http.StatusNotFound, ""},
		{http.MethodDelete, "/v1/images/", http.StatusNotFound, ""},
		{http.MethodPut, "/v1/images", http.StatusMethodNotAllowed, "GET, POST, HEAD"},
		{http.MethodOptions, "/v1/sessions/s1/stop", http.StatusMethodNotAllowed, "POST"},
		{http.MethodGet, "/v1/images/w11/verify", http.StatusMethodNotAllowed, "POST"},
	} {
		answer, text := c.ask(tc.method, tc.path, "")
		var problem api.Problem
		if err := json.Unmarshal(text, &problem); err != nil || problem.Status != tc.status || answer.StatusCode != tc.status ||
			answer.Header.Get("Content-Type") != "application/problem+json" || answer.Header.Get("Allow") != tc.allow {
			t.Errorf("%s %s: %s %v: %s", tc.method, tc.path, answer.Status, answer.Header, text)
		}
	}
}

// TestAdminBundlesNameTheAPI, all others the control channel.
func TestAdminBundlesNameTheAPI(t *testing.T) {
	p := newPoint(t)
	client := api.NewClient(p.socket)
	for role, want := range map[keyex.Role]string{keyex.Operator: "127.0.0.1:7601", keyex.Viewer: "127.0.0.1:7601", keyex.WinPE: "127.0.0.1:7600"} {
		issued, err := client.IssueBundle(t.Context(), api.BundleRequest{Name: "x", Role: string(role)})
		if err != nil {
			t.Fatal(err)
		}
		b, err := keyex.ParseBundle([]byte(issued.Text))
		if err != nil || !slices.Equal(b.Servers, []string{want}) {
			t.Errorf("%s: %v, %v; want %s", role, b, err, want)
		}
	}
}

// TestBodyThatStops: whoever sends a part and then nothing is cut off.
func TestBodyThatStops(t *testing.T) {
	inStudio(t, false, func(s *studio) {
		conn := s.pipes.dial()
		defer func() { _ = conn.Close() }()
		go func() {
			_, _ = io.WriteString(conn, "POST /v1/bundles HTTP/1.1\r\nHost: wimcastd\r\nContent-Length: 100\r\n\r\n{\"name\":")
		}()
		// The answer is a refusal, and then the connection ends; the test hangs if it doesn't.
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
			t.Errorf("%q, %v", answer, err)
		}
	})
}
