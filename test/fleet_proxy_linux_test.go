package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/test/lab"
)

// asked is a request for something that lies in a registry.
type asked struct {
	from   netip.Addr // the point's
	method string
	kind   string // "blobs", "manifests"; "" for all else
	ref    string // a digest or a tag
	whole  bool   // not for a range
}

// blob reports whether a blob is asked for: a chunk, a manifest of blocks or a document.
func (a asked) blob() bool { return a.kind == "blobs" && a.method == http.MethodGet }

// meddling is what the proxy does to an answer. The zero value does nothing.
type meddling struct {
	status int           // answers this, without asking the registry
	ref    string        // asks the registry for this digest or tag instead
	after  int64         // so many bytes of the body get through before what follows
	hold   chan struct{} // waits until something comes from it, or it is closed
	cut    bool          // ends the connection
	flip   bool          // changes a bit of the next byte
	rate   int64         // bytes/s of the body; 0 is no limit
}

// proxy stands between a registry and the points, and does what a bad network and a bad registry do.
type proxy struct {
	host     *lab.Host
	addr     string // host and port
	registry string
	client   *http.Client
	local    *httptest.Server // the same on loopback, for the test itself

	mu     sync.Mutex
	server *http.Server
	rule   func(asked) *meddling
	hit    chan struct{} // closed when the rule's fault first took effect
	once   bool
	bytes  map[netip.Addr]int64          // of blobs that went to a point
	got    map[netip.Addr]map[string]int // how often a chunk went there as a whole, by digest
	pushed map[netip.Addr]int64          // what came from there
}

// startProxy starts one on a host of the lab, before the registry at an address.
func startProxy(t *testing.T, host *lab.Host, registry string) *proxy {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = host.Do(func() error {
				conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
		MaxIdleConnsPerHost: 32, DisableCompression: true,
	}
	p := &proxy{host: host, addr: host.Addr().String() + ":0", registry: registry, client: &http.Client{Transport: transport}}
	p.clear()
	p.forget()
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
	p.local = httptest.NewServer(p)
	t.Cleanup(func() {
		p.away()
		p.local.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// listen is there, or there again.
func (p *proxy) listen() error {
	var listener net.Listener
	err := p.host.Do(func() (err error) {
		listener, err = net.Listen("tcp4", p.addr)
		return err
	})
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	p.addr = listener.Addr().String()
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
	return nil
}

// away is gone, with all connections.
func (p *proxy) away() {
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	_ = server.Close()
}

// set has a rule for each request from now on; it returns a channel that is closed once a fault took effect.
func (p *proxy) set(rule func(asked) *meddling) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule, p.hit, p.once = rule, make(chan struct{}), false
	return p.hit
}

// clear ends all rules.
func (p *proxy) clear() { p.set(func(asked) *meddling { return nil }) }

// forget begins to count anew.
func (p *proxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes, p.got, p.pushed = map[netip.Addr]int64{}, map[netip.Addr]map[string]int{}, map[netip.Addr]int64{}
}

// moved returns how many bytes of blobs went to a point.
func (p *proxy) moved(to netip.Addr) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes[to]
}

// document is more than a document or manifest of blocks has in these tests, in bytes, and less than a chunk but for a last one.
const document = 64 << 10

// fetched returns how often each chunk went to a point as a whole.
func (p *proxy) fetched(to netip.Addr) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.got[to])
}

// sent returns how many bytes a host pushed.
func (p *proxy) sent(from netip.Addr) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pushed[from]
}

// counted is the body of a request.
type counted struct {
	io.ReadCloser
	proxy *proxy
	from  netip.Addr
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.proxy.mu.Lock()
	c.proxy.pushed[c.from] += int64(n)
	c.proxy.mu.Unlock()
	return n, err
}

func (p *proxy) effect(hit chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if hit == p.hit && !p.once {
		p.once = true
		close(hit)
	}
}

// parseAsked says what a request is for.
func parseAsked(r *http.Request) asked {
	a := asked{method: r.Method, whole: r.Header.Get("Range") == ""}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.from = from.Addr().Unmap()
	}
	if parts := strings.Split(r.URL.Path, "/"); len(parts) > 3 {
		if kind := parts[len(parts)-2]; slices.Contains([]string{"blobs", "manifests"}, kind) {
			a.kind, a.ref = kind, parts[len(parts)-1]
		}
	}
	return a
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := parseAsked(r)
	p.mu.Lock()
	f, hit := p.rule(a), p.hit
	p.mu.Unlock()
	if f == nil {
		f = &meddling{}
	}
	if f.status != 0 {
		p.effect(hit)
		if f.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="wimcast tests"`)
		}
		http.Error(w, "a fault of the test's", f.status)
		return
	}
	path := r.URL.Path
	if f.ref != "" {
		p.effect(hit)
		path = strings.TrimSuffix(path, a.ref) + f.ref
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+p.registry+path, &counted{r.Body, p, a.from})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out.URL.RawQuery, out.ContentLength, out.Header = r.URL.RawQuery, r.ContentLength, r.Header.Clone()
	out.Host = r.Host // where an upload goes on is named by it
	answer, err := p.client.Do(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	if a.blob() && answer.StatusCode < http.StatusMultipleChoices {
		w = &toll{ResponseWriter: w, proxy: p, asked: a, left: answer.ContentLength, chunk: a.whole && answer.ContentLength > document}
	}
	if err := p.pass(r.Context(), w, answer.Body, f, hit); err != nil {
		panic(http.ErrAbortHandler) // the connection ends, short of what was announced
	}
}

// toll counts what goes to a point before it goes, so that who has it finds it counted.
type toll struct {
	http.ResponseWriter

	proxy *proxy
	asked asked
	left  int64
	chunk bool
}

// Unwrap is for http.ResponseController.
func (t *toll) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *toll) Write(b []byte) (int, error) {
	t.left -= int64(len(b))
	t.count(int64(len(b)), 1)
	n, err := t.ResponseWriter.Write(b)
	if err != nil {
		t.count(int64(n-len(b)), -1)
	}
	return n, err
}

// count adds bytes, and with the last of a chunk the chunk.
func (t *toll) count(bytes int64, chunks int) {
	t.proxy.mu.Lock()
	defer t.proxy.mu.Unlock()
	from := t.asked.from
	t.proxy.bytes[from] += bytes
	if t.chunk && t.left == 0 {
		if t.proxy.got[from] == nil {
			t.proxy.got[from] = map[string]int{}
		}
		t.proxy.got[from][t.asked.ref] += chunks
	}
}

var errCut = errors.New("cut")

// pass copies a body, with the fault's doing.
func (p *proxy) pass(ctx context.Context, w http.ResponseWriter, body io.Reader, f *meddling, hit chan struct{}) error {
	if f.hold == nil && !f.cut && !f.flip && f.rate == 0 {
		_, err := io.Copy(w, body)
		return err
	}
	if _, err := io.CopyN(w, body, f.after); err != nil {
		if errors.Is(err, io.EOF) { // it is shorter than that
			err = nil
		}
		return err
	}
	_ = http.NewResponseController(w).Flush()
	p.effect(hit)
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if f.cut {
		return errCut
	}
	if f.flip {
		var b [1]byte
		if _, err := io.ReadFull(body, b[:]); err != nil {
			return nil // it is shorter than that
		}
		b[0] ^= 1
		if _, err := w.Write(b[:]); err != nil {
			return err
		}
	}
	if f.rate == 0 {
		_, err := io.Copy(w, body)
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := io.CopyN(w, body, max(1, f.rate/50))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
