package clientlog

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/crypto/keyex"
)

// shelf opens a store in a directory of its own.
func shelf(t *testing.T, keep time.Duration, max int64) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "logs")
	s, err := Open(dir, keep, max)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

// put stores a report with one file.
func put(t *testing.T, s *Store, now time.Time, address, machine string, size int) Entry {
	t.Helper()
	e, err := s.Add(now, Entry{Address: address, Certificate: "room"}, int64(size)+3*diskBlock, func(e *Entry, create func(string, io.Reader) error) error {
		e.Report.Machine = machine
		return create(OwnLog, bytes.NewReader(make([]byte, size)))
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// left lists what is in the directory.
func left(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, d := range list {
		names = append(names, d.Name())
	}
	return names
}

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func TestReportsStay(t *testing.T) {
	s, dir := shelf(t, 0, 1<<20)
	first, second := put(t, s, noon, "10.0.0.1", "pc01", 10), put(t, s, noon.Add(time.Minute), "10.0.0.2", "../../etc/pa\x1b[2Jsswd", 20)
	// A killed process leaves this.
	if err := os.Mkdir(filepath.Join(dir, unborn+"0011"), 0o700); err != nil {
		t.Fatal(err)
	}
	broken := "20261126T120000Z-pc03-00000000"
	if err := os.Mkdir(filepath.Join(dir, broken), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	list := again.List()
	if len(list) != 2 || list[0].ID != second.ID || list[1].ID != first.ID || !list[1].Received.Equal(noon) {
		t.Fatalf("%+v", list)
	}
	if names := left(t, dir); len(names) != 2 {
		t.Errorf("left are %q", names)
	}
	if strings.ContainsAny(second.ID, "/\\\x1b[") || !idPattern.MatchString(second.ID) {
		t.Errorf("the hostile name became %q", second.ID)
	}
	if text, err := again.File(second.ID, OwnLog); err != nil || len(text) != 20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	for _, bad := range [][2]string{{first.ID, "entry.json"}, {first.ID, "../" + first.ID + "/client.log"}, {"..", OwnLog}, {"x", OwnLog}} {
		if _, err := again.File(bad[0], bad[1]); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := again.Remove(first.ID); err != nil {
		t.Error(err)
	}
	if err := again.Remove(first.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("removed twice: %v", err)
	}
	if names := left(t, dir); len(names) != 1 {
		t.Errorf("left are %q", names)
	}
}

func TestReportsGo(t *testing.T) {
	s, dir := shelf(t, time.Hour, 10*diskBlock*4)
	put(t, s, noon, "10.0.0.1", "old", 1)
	put(t, s, noon.Add(50*time.Minute), "10.0.0.1", "pc01", 1)
	if err := s.Expire(noon.Add(61 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if list := s.List(); len(list) != 1 || list[0].Report.Machine != "pc01" {
		t.Fatalf("%+v", list)
	}
	// One address floods; the others' reports stay.
	for i := range 100 {
		put(t, s, noon.Add(62*time.Minute), "10.0.0.66", fmt.Sprintf("flood%d", i), diskBlock)
	}
	names := map[string]int{}
	for _, e := range s.List() {
		names[e.Address]++
	}
	if names["10.0.0.1"] != 1 || names["10.0.0.66"] == 0 || len(left(t, dir)) != names["10.0.0.1"]+names["10.0.0.66"] {
		t.Errorf("kept by address: %v, directories %d", names, len(left(t, dir)))
	}
	var total int64
	for _, e := range s.List() {
		total += e.size()
	}
	if total > 10*diskBlock*4 {
		t.Errorf("%d bytes are kept", total)
	}
	if _, err := s.Add(noon, Entry{}, 1<<30, nil); !errors.Is(err, errTooLarge) {
		t.Errorf("more than all: %v", err)
	}
	before := len(s.List())
	s.Set(0, 0)
	if _, err := s.Add(noon, Entry{}, 1, nil); !errors.Is(err, ErrOff) || len(s.List()) != before {
		t.Errorf("switched off: %v, %d of %d are left", err, len(s.List()), before)
	}
}

// TestHalfAReport: what breaks off leaves nothing.
func TestHalfAReport(t *testing.T) {
	s, dir := shelf(t, 0, 1<<20)
	cause := errors.New("cable pulled")
	_, err := s.Add(noon, Entry{}, 1000, func(_ *Entry, create func(string, io.Reader) error) error {
		if err := create(OwnLog, strings.NewReader("all of it")); err != nil {
			return err
		}
		return create("dism.log", io.MultiReader(strings.NewReader("half of"), &failing{cause}))
	})
	if !errors.Is(err, cause) || len(left(t, dir)) != 0 || len(s.List()) != 0 {
		t.Errorf("%v; left are %q", err, left(t, dir))
	}
	if s.coming != 0 {
		t.Errorf("%d bytes are still reserved", s.coming)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestLimiter(t *testing.T) {
	var l limiter
	pc, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for i := range burst {
		if wait := l.allow(noon, pc); wait != 0 {
			t.Fatalf("report %d waits %v", i, wait)
		}
	}
	if wait := l.allow(noon, pc); wait != every {
		t.Errorf("one more waits %v, want %v", wait, every)
	}
	if wait := l.allow(noon, other); wait != 0 {
		t.Errorf("another address waits %v", wait)
	}
	if wait := l.allow(noon.Add(every), pc); wait != 0 {
		t.Errorf("later it waits %v", wait)
	}
	if wait := l.allow(noon.Add(every), pc); wait == 0 {
		t.Error("and then another one at once")
	}
	addr := netip.MustParseAddr("10.1.0.0")
	for range 3 * maxAddresses {
		l.allow(noon, addr)
		addr = addr.Next()
	}
	if len(l.full) > maxAddresses {
		t.Errorf("%d addresses are remembered", len(l.full))
	}
}

// desk is a server over HTTPS on loopback, and the bundles that it knows.
type desk struct {
	t         *testing.T
	server    *Server
	store     *Store
	dir       string
	authority *keyex.Authority
	address   string

	said chan string // what was refused, and why
}

func newDesk(t *testing.T, max int64) *desk {
	t.Helper()
	d := &desk{t: t, said: make(chan string, 100)}
	d.store, d.dir = shelf(t, 0, max)
	var err error
	if d.authority, err = keyex.OpenAuthority(filepath.Join(t.TempDir(), "ca"), keyex.AuthorityConfig{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.authority.Close() })
	trust := d.authority.Trust()
	d.server = NewServer(ServerConfig{
		Store: d.store, Judge: func(r *http.Request) (keyex.Identity, error) { return trust.Judge(r.TLS, keyex.WinPE, keyex.Client) },
		Refused: func(_ string, result Result, err error) {
			d.said <- fmt.Sprintf("%s: %v", result, err)
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.address = l.Addr().String()
	h := &http.Server{Handler: d.server, ErrorLog: log.New(io.Discard, "", 0)}
	var serving sync.WaitGroup
	secure := keyex.ServerTLS(trust, nil)
	secure.NextProtos = []string{"http/1.1"} // as unicast has it
	serving.Go(func() { _ = h.Serve(tls.NewListener(l, secure)) })
	t.Cleanup(func() {
		_ = h.Close()
		serving.Wait()
	})
	return d
}

func (d *desk) with(role keyex.Role) *tls.Config {
	d.t.Helper()
	b, err := d.authority.Issue(keyex.Request{Name: "lab12", Role: role, Servers: []string{d.address}})
	if err != nil {
		d.t.Fatal(err)
	}
	c, err := b.Credentials()
	if err != nil {
		d.t.Fatal(err)
	}
	return keyex.ClientTLS(c)
}

func TestSend(t *testing.T) {
	d := newDesk(t, 64<<20)
	long := strings.Repeat("a line of the log\n", MaxLog/10)
	id, err := Send(t.Context(), []string{"127.0.0.1:1", d.address}, d.with(keyex.WinPE), Report{
		Machine: "pc17", Version: "1.2.3", System: "windows/amd64", Package: "w11@1", ExitCode: 6, Error: strings.Repeat("long ", 1000), Serial: "SN",
	}, []File{{OwnLog, []byte(long)}, {`X:\windows\Logs\DISM\dism.log`, []byte("dism says\n")}, {"two.log", nil}, {"three.log", nil}})
	if err != nil {
		t.Fatal(err)
	}
	list := d.store.List()
	if len(list) != 1 || list[0].ID != id || !strings.Contains(id, "-pc17-") {
		t.Fatalf("%s: %+v", id, list)
	}
	e := list[0]
	if e.Certificate != "lab12" || e.Role != "winpe" || e.Address != "127.0.0.1" || e.Report.ExitCode != 6 || len(e.Report.Error) != maxField || len(e.Files) != 3 {
		t.Errorf("%+v", e)
	}
	own, err := d.store.File(id, OwnLog)
	if err != nil || len(own) > MaxLog || len(own) < MaxLog-100 || !strings.HasSuffix(long, string(own)) || !strings.HasPrefix(string(own), "a line") {
		t.Errorf("%d bytes of the log's end, %v", len(own), err)
	}
	if dism, err := d.store.File(id, "dism.log"); err != nil || string(dism) != "dism says\n" {
		t.Errorf("%q, %v", dism, err)
	}
	if _, err := Send(t.Context(), []string{d.address}, d.with(keyex.Viewer), Report{}, nil); err == nil || !strings.Contains(err.Error(), "wrong_role") {
		t.Errorf("a viewer: %v", err)
	}
	if n := d.server.Counts(); n[ResultStored] != 1 || n[ResultRefused] != 1 {
		t.Errorf("%v", n)
	}
}

// TestHostileReports: bodies that no client of ours sends. Nothing of them stays, and each has its word.
func TestHostileReports(t *testing.T) {
	d := newDesk(t, 64<<20)
	secure := d.with(keyex.WinPE)
	secure.NextProtos = []string{"http/1.1"}
	transport := &http.Transport{TLSClientConfig: secure}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	good, err := json.Marshal(Report{Machine: "pc01"})
	if err != nil {
		t.Fatal(err)
	}
	type part struct {
		name, file string
		data       []byte
	}
	for _, tt := range []struct {
		name   string
		parts  []part
		kind   string
		status int
		result Result
	}{
		{name: "another type", kind: "text/plain", status: 400, result: ResultMalformed},
		{name: "nothing", status: 400, result: ResultMalformed},
		{name: "no report first", parts: []part{{"file", OwnLog, nil}}, status: 400, result: ResultMalformed},
		{name: "no JSON", parts: []part{{"report", "", []byte("{")}}, status: 400, result: ResultMalformed},
		{name: "long text", parts: []part{{"report", "", []byte(`{"machine":"` + strings.Repeat("x", maxField+1) + `"}`)}}, status: 400, result: ResultMalformed},
		{name: "large report", parts: []part{{"report", "", bytes.Repeat([]byte(" "), maxReport+1)}}, status: 413, result: ResultTooLarge},
		{name: "exit code", parts: []part{{"report", "", []byte(`{"exit_code":-1}`)}}, status: 400, result: ResultMalformed},
		{name: "another part", parts: []part{{"report", "", good}, {"x", OwnLog, nil}}, status: 400, result: ResultMalformed},
		{name: "twice", parts: []part{{"report", "", good}, {"file", "a/b.log", nil}, {"file", `c\b.log`, nil}}, status: 400, result: ResultMalformed},
		{name: "large log", parts: []part{{"report", "", good}, {"file", OwnLog, make([]byte, MaxLog+1)}}, status: 413, result: ResultTooLarge},
		{name: "many files", parts: []part{{"report", "", good}, {"file", "a", nil}, {"file", "b", nil}, {"file", "c", nil}}, status: 413, result: ResultTooLarge},
		{name: "huge", parts: []part{{"report", "", good}, {"file", "a", make([]byte, maxBody)}}, status: 413, result: ResultTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.server.mu.Lock()
			d.server.limits, d.server.results = limiter{}, map[Result]uint64{}
			d.server.mu.Unlock()
			var body bytes.Buffer
			w := multipart.NewWriter(&body)
			for _, p := range tt.parts {
				var out io.Writer
				var err error
				if p.file == "" {
					out, err = w.CreateFormField(p.name)
				} else {
					out, err = w.CreateFormFile(p.name, p.file)
				}
				if err != nil {
					t.Fatal(err)
				}
				_, _ = out.Write(p.data)
			}
			_ = w.Close()
			kind := tt.kind
			if kind == "" {
				kind = w.FormDataContentType()
			}
			answer, err := client.Post("https://"+d.address+Path, kind, &body)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != tt.status || d.server.Counts()[tt.result] != 1 {
				t.Errorf("%d, %v; want %d, %s", answer.StatusCode, d.server.Counts(), tt.status, tt.result)
			}
			if names := left(t, d.dir); len(names) != 0 {
				t.Errorf("left are %q", names)
			}
		})
	}
}

// TestSilentServer: a server that takes the connection and says nothing doesn't hold the client up.
func TestSilentServer(t *testing.T) {
	d := newDesk(t, 64<<20)
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections; nobody accepts them
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	late := errors.New("time is up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, late)
	defer cancel()
	started := time.Now()
	if _, err := Send(ctx, []string{l.Addr().String(), d.address}, d.with(keyex.WinPE), Report{}, nil); !errors.Is(err, late) {
		t.Errorf("%v", err)
	}
	if took := time.Since(started); took > SendTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

// TestClientDiesHalfWay: the connection ends within a report.
func TestClientDiesHalfWay(t *testing.T) {
	d := newDesk(t, 64<<20)
	body, kind, err := encode(Report{Machine: "pc01"}, []File{{OwnLog, make([]byte, 500_000)}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&tls.Dialer{Config: d.with(keyex.WinPE)}).DialContext(t.Context(), "tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", Path, kind, len(body), body[:len(body)/2])
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*tls.Conn).NetConn().Close()
	select {
	case said := <-d.said:
		if !strings.HasPrefix(said, string(ResultBroken)) {
			t.Error(said)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%v", d.server.Counts())
	}
	if names := left(t, d.dir); len(names) != 0 {
		t.Errorf("left are %q", names)
	}
}

// TestPlaces: one address can't have all the places, nor all addresses more than there are.
func TestPlaces(t *testing.T) {
	store, _ := shelf(t, 0, 1<<20)
	s := NewServer(ServerConfig{Store: store, Judge: func(*http.Request) (keyex.Identity, error) { return keyex.Identity{}, nil }})
	addr := netip.MustParseAddr("10.0.0.1")
	for i := range underWay {
		if no := s.begin(noon, addr); no != nil {
			t.Fatalf("place %d: %v", i, no)
		}
		if i%perAddress == perAddress-1 {
			if no := s.begin(noon, addr); no == nil || no.retry == 0 {
				t.Errorf("%v has %d places and gets another one", addr, perAddress)
			}
			addr = addr.Next()
		}
	}
	if no := s.begin(noon, addr); no == nil {
		t.Error("a place more than there are")
	}
	first := netip.MustParseAddr("10.0.0.1")
	s.end(first)
	if no := s.begin(noon, addr); no != nil {
		t.Errorf("a place is free again: %v", no)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Path, nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 漢\ttab": "plain é 漢\ttab", "\x1b[2J": "?[2J", "a\r\nb": "a??b", "\u202egpj.exe": "?gpj.exe", "\u009b31m": "?31m", "bad \xff byte": "bad ? byte", "\u2028": "?",
	} {
		if got := Harmless(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
