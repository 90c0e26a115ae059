package handler

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// pipes is a listener whose connections are pipes: nothing is kept on the way, and time
// may be virtual.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// studio is an API with events and nothing else, in virtual time.
type studio struct {
	t      *testing.T
	events *Events
	pipes  *pipes
	trust  *keyex.Authority
}

// inStudio runs test in virtual time; secure serves over TLS.
func inStudio(t *testing.T, secure bool, test func(*studio)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &studio{t: t, events: NewEvents(), pipes: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
		cfg := Config{Events: s.events, Log: zaptest.NewLogger(t, zaptest.WrapOptions(zap.AddStacktrace(zap.ErrorLevel))), Status: func() api.Status { return api.Status{} }}
		var config *tls.Config
		if secure {
			var err error
			if s.trust, err = keyex.OpenAuthority(dir, keyex.AuthorityConfig{}); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.trust.Close() }()
			cfg.Trust = s.trust.Trust()
			config = keyex.ServerTLS(cfg.Trust, nil, AdminRoles()...)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := New(cfg).Serve(ctx, s.pipes, config); err != nil {
				t.Error(err)
			}
		})
		test(s)
		cancel()
		serving.Wait()
	})
}

// reading is a reader of the stream: a connection, and what comes on it.
type reading struct {
	conn net.Conn
	body *bufio.Reader
}

// read opens a stream on a connection.
func (s *studio) read(conn net.Conn, last string) *reading {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://wimcastd/v1/events", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	go func() { _ = request.Write(conn) }()
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, request)
	if err != nil {
		s.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(answer.Body)
		s.t.Fatalf("%s %v: %s", answer.Status, answer.Header, text)
	}
	r := &reading{conn, bufio.NewReader(answer.Body)}
	if got := r.block(s.t); got != "retry: 2000\n" {
		s.t.Fatalf("it begins with %q", got)
	}
	return r
}

// block returns what comes up to the next empty line; "" at the end.
func (r *reading) block(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for {
		line, err := r.body.ReadString('\n')
		if err != nil {
			if out.Len() > 0 {
				t.Errorf("the stream breaks off behind %q: %v", out.String(), err)
			}
			return ""
		}
		if line == "\n" {
			return out.String()
		}
		out.WriteString(line)
	}
}

// event returns the next event; its three lines must say the same.
func (r *reading) event(t *testing.T) api.Event {
	t.Helper()
	text := r.block(t)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	var e api.Event
	if len(lines) != 3 || json.Unmarshal([]byte(strings.TrimPrefix(lines[2], "data: ")), &e) != nil ||
		lines[0] != "id: "+e.ID || lines[1] != "event: "+string(e.Kind) {
		t.Fatalf("no event: %q", text)
	}
	return e
}

func (s *studio) happen(texts ...string) {
	for _, text := range texts {
		s.events.ring.put(api.Event{Kind: api.Alarm, Time: time.Now(), Text: text})
	}
}

// open counts the open streams, once everything has come to rest.
func (s *studio) open() int {
	synctest.Wait()
	return int(s.events.streams.Load())
}

// TestStream: events come as they happen, a reader that comes back goes on where it was,
// and one that missed something is told.
func TestStream(t *testing.T) {
	inStudio(t, false, func(s *studio) {
		s.happen("before")
		r := s.read(s.pipes.dial(), "")
		s.happen("one")
		first := r.event(t)
		if first.Text != "one" || first.Kind != api.Alarm {
			t.Errorf("%+v", first)
		}
		began := time.Now()
		if got := r.block(t); got != ": here\n" || time.Since(began) != heartbeat {
			t.Errorf("after %v of silence: %q", time.Since(began), got)
		}
		_ = r.conn.Close()
		if n := s.open(); n != 0 {
			t.Errorf("%d streams are open, the only reader is gone", n)
		}

		s.happen("two", "three")
		r = s.read(s.pipes.dial(), first.ID)
		if a, b := r.event(t), r.event(t); a.Text != "two" || b.Text != "three" {
			t.Errorf("%+v, %+v", a, b)
		}
		_ = r.conn.Close()

		for _, unknown := range []string{"0badc0de-3", "nonsense", first.ID + "0000"} {
			r = s.read(s.pipes.dial(), unknown)
			gap := r.event(t)
			if gap.Kind != api.Gap || gap.Text == "" {
				t.Errorf("after %q: %+v, want a gap", unknown, gap)
			}
			if got := r.event(t); got.Text != "before" {
				t.Errorf("then %+v, want the oldest", got)
			}
			_ = r.conn.Close()
			r = s.read(s.pipes.dial(), gap.ID) // it may be cut off right behind it
			if got := r.event(t); got.Text != "before" {
				t.Errorf("after a gap: %+v, want the oldest", got)
			}
			_ = r.conn.Close()
		}

		for i := range ringLength {
			s.happen(fmt.Sprint(i))
		}
		r = s.read(s.pipes.dial(), first.ID)
		if gap, oldest := r.event(t), r.event(t); gap.Kind != api.Gap || oldest.Text != "0" {
			t.Errorf("%+v, then %+v", gap, oldest)
		}
		_ = r.conn.Close()
	})
}

// TestSlowReaderIsCutOff, and nobody else waits for it.
func TestSlowReaderIsCutOff(t *testing.T) {
	inStudio(t, false, func(s *studio) {
		quick := s.read(s.pipes.dial(), "")
		slow := s.read(s.pipes.dial(), "")
		defer func() { _ = slow.conn.Close() }()
		began := time.Now()
		for i := range 2 * ringLength {
			s.happen(fmt.Sprint(i))
			if got := quick.event(t); got.Text != fmt.Sprint(i) {
				t.Fatalf("%+v, want %d", got, i)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("%v have passed: somebody waited for the slow reader", d)
		}
		if n := s.open(); n != 2 {
			t.Fatalf("%d streams are open", n)
		}
		<-time.After(writeStall)
		if n := s.open(); n != 1 {
			t.Errorf("%d streams are open %v later", n, writeStall)
		}
		_ = quick.conn.Close()
	})
}

// TestReaderFallsBehind: one that takes something now and then, but less than happens, is
// cut off too, and learns of the gap when it comes back.
func TestReaderFallsBehind(t *testing.T) {
	inStudio(t, false, func(s *studio) {
		r := s.read(s.pipes.dial(), "")
		s.happen("one")
		synctest.Wait()
		for i := range 2 * ringLength {
			s.happen(fmt.Sprint(i))
		}
		last := r.event(t)
		for e := last; ; {
			text := r.block(t)
			if text == "" {
				break
			}
			if err := json.Unmarshal([]byte(text[strings.Index(text, "data: ")+6:]), &e); err != nil {
				t.Fatal(err)
			}
			last = e
		}
		_ = r.conn.Close()
		r = s.read(s.pipes.dial(), last.ID)
		if gap := r.event(t); gap.Kind != api.Gap {
			t.Errorf("after %+v: %+v, want a gap", last, gap)
		}
		_ = r.conn.Close()
	})
}

func TestStreamsAreLimited(t *testing.T) {
	inStudio(t, false, func(s *studio) {
		var all []*reading
		for range maxStreams {
			all = append(all, s.read(s.pipes.dial(), ""))
		}
		conn := s.pipes.dial()
		go func() { _, _ = io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: wimcastd\r\n\r\n") }()
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%+v, %v", answer, err)
		}
		_ = conn.Close()
		_ = all[0].conn.Close()
		if n := s.open(); n != maxStreams-1 {
			t.Errorf("%d streams are open", n)
		}
		all[0] = s.read(s.pipes.dial(), "")
		for _, r := range all {
			_ = r.conn.Close()
		}
	})
}

// TestRevokedReaderIsCutOff at the next sign of life, also while events come all the time.
func TestRevokedReaderIsCutOff(t *testing.T) {
	for _, busy := range []bool{false, true} {
		inStudio(t, true, func(s *studio) {
			b, err := s.trust.Issue(keyex.Request{Name: "ann", Role: keyex.Viewer, Servers: []string{"127.0.0.1:7601"}})
			if err != nil {
				t.Fatal(err)
			}
			credentials, err := b.Credentials()
			if err != nil {
				t.Fatal(err)
			}
			config := keyex.ClientTLS(credentials)
			config.NextProtos = nil // HTTP/1.1, as it is read here
			conn := tls.Client(s.pipes.dial(), config)
			r := s.read(conn, "")
			if _, err := s.trust.Revoke(b.Identity().Serial); err != nil {
				t.Fatal(err)
			}
			revoked := time.Now()
			stop := make(chan struct{})
			var making sync.WaitGroup
			if busy {
				making.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(10 * time.Millisecond):
							s.happen("something")
						}
					}
				})
			}
			for r.block(t) != "" {
				if time.Since(revoked) > time.Minute {
					t.Fatal("it is still being read")
				}
			}
			if d := time.Since(revoked); d > heartbeat {
				t.Errorf("cut off after %v", d)
			}
			close(stop)
			making.Wait()
			_ = conn.NetConn().Close()
		})
	}
}

// TestClientFollows: the client of package api reads what is streamed, and notices when nothing
// comes any more.
func TestClientFollows(t *testing.T) {
	p := newPoint(t)
	for _, client := range []*api.Client{api.NewClient(p.socket), p.remoteClient(keyex.Viewer)} {
		p.events.ring.put(api.Event{Kind: api.Alarm, Text: "old"})
		old := p.kept()[len(p.kept())-1]
		p.events.ring.put(api.Event{Kind: api.Alarm, Text: "new"})
		enough := errors.New("enough")
		var got []string
		err := client.Events(t.Context(), old.ID, func(e api.Event) error {
			if got = append(got, e.Text); len(got) == 2 {
				return enough
			}
			p.events.ring.put(api.Event{Kind: api.Alarm, Text: "newer"})
			return nil
		})
		if !errors.Is(err, enough) || !slices.Equal(got, []string{"new", "newer"}) {
			t.Errorf("%v, %v", got, err)
		}
	}
	full := newPoint(t)
	full.events.streams.Store(maxStreams)
	err := api.NewClient(full.socket).Events(t.Context(), "", func(api.Event) error { return nil })
	if problem, ok := errors.AsType[*api.Problem](err); !ok || problem.Status != http.StatusServiceUnavailable {
		t.Errorf("%v", err)
	}
}

// remoteClient returns a client of package api over HTTPS.
func (p *point) remoteClient(role keyex.Role) *api.Client {
	p.t.Helper()
	b := p.bundle("remote", role)
	credentials, err := b.Credentials()
	if err != nil {
		p.t.Fatal(err)
	}
	return api.NewRemoteClient(b.Servers, keyex.ClientTLS(credentials))
}
