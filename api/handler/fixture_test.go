package handler

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wimcast/api"
	"wimcast/api/history"
	"wimcast/api/live"
	"wimcast/api/reports"
	"wimcast/crypto/keyex"
	"wimcast/crypto/pin"
	"wimcast/library"
	"wimcast/library/deployment"
	"wimcast/library/fleet"
	"wimcast/library/registry"
	"wimcast/library/servicing"
	"wimcast/multicast/wire"
	"wimcast/session"
	"wimcast/test/noise"
	"wimcast/unicast/clientlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// point is a distribution point without a network: a real library, authority and
// session server, and the API on a socket and over HTTPS on loopback.
type point struct {
	t         *testing.T
	dir       string
	library   *library.Library
	deployed  *deployment.Store
	authority *keyex.Authority
	sessions  *session.Server
	events    *Events
	live      *live.Book
	history   *history.Store
	updates   *servicing.Catalogue
	servicing *servicing.Service
	logs      *clientlog.Store
	pins      *pin.Book
	reports   *reports.Book
	wanted    map[string][]reports.Wanted // of points
	site      *fleet.Site
	api       *API
	log       *observer.ObservedLogs
	socket    string
	remote    string // address of HTTPS
	clients   sync.WaitGroup
	rules     session.Rules // of sessions that start
}

func newPoint(t *testing.T) *point {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	p := &point{t: t, dir: t.TempDir(), events: NewEvents(), log: logs}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.library, err = library.Open(filepath.Join(p.dir, "library"))
	must(err)
	p.deployed, err = deployment.Open(filepath.Join(p.dir, "deployments.json"))
	must(err)
	p.updates, err = servicing.OpenCatalogue(filepath.Join(p.dir, "updates"))
	must(err)
	p.servicing, err = servicing.New(servicing.Config{Dir: filepath.Join(p.dir, "servicing"), Catalogue: p.updates, Images: serviced{p.library}})
	must(err)
	p.pins = pin.New(p.events.Raise)
	p.reports = reports.New(reports.Config{
		File: filepath.Join(p.dir, "fleet.json"), Points: func() map[string][]reports.Wanted { return p.wanted }, Log: zap.NewNop(),
		Arrived: func(point string, pkg api.PointPackage) {
			p.events.PackageAtPoint(api.PackageArrived, point, pkg.Package, "in service")
		},
	})
	p.logs, err = clientlog.Open(filepath.Join(p.dir, "logs"), 0, 64<<20)
	must(err)
	// Nothing runs that would ask it.
	repository, err := registry.Open(registry.Config{Repository: "127.0.0.1:1/wimcast", PlainHTTP: true})
	must(err)
	p.site, err = fleet.New(fleet.Config{
		Dir: filepath.Join(p.dir, "fleet"), Library: p.library, Repository: repository, Busy: func() bool { return false }, Revoked: func() []string { return nil },
	})
	must(err)
	p.authority, err = keyex.OpenAuthority(filepath.Join(p.dir, "ca"), keyex.AuthorityConfig{})
	must(err)
	p.history, err = history.Open(filepath.Join(p.dir, "history.db"), history.Config{})
	must(err)
	p.sessions = session.NewServer(session.ServerConfig{Open: p.open, OpenGroup: openGroup, Ceiling: 1e6, Watcher: p.events, Observer: p.history})
	p.live = live.New(live.Config{Sessions: p.sessions, Describe: SessionOf})
	p.api = New(p.config(zap.New(core)))
	p.socket = filepath.Join(p.dir, "admin.sock")
	local, err := net.Listen("unix", p.socket)
	must(err)
	remote, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	p.remote = remote.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { p.history.Run(ctx, p.sessions.Sessions) })
	serving.Go(func() { p.live.Run(ctx) })
	for l, secure := range map[net.Listener]*tls.Config{local: nil, remote: keyex.ServerTLS(p.authority.Trust(), nil, AdminRoles()...)} {
		serving.Go(func() {
			if err := p.api.Serve(ctx, l, secure); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		p.sessions.Close()
		p.clients.Wait()
		_ = p.history.Close()
		_ = p.servicing.Close()
		_ = p.updates.Close()
		_ = p.logs.Close()
		_ = p.site.Close()
		_ = p.authority.Close()
		_ = p.library.Close()
	})
	return p
}

func (p *point) config(log *zap.Logger) Config {
	return Config{
		Library: p.library, Deployments: p.deployed, Sessions: p.sessions, Authority: p.authority, Trust: p.authority.Trust(), Events: p.events, Live: p.live, History: p.history, Log: log,
		Logs: p.logs, PINs: p.pins, Reports: p.reports, Updates: p.updates, Servicing: p.servicing, Site: p.site, PointAdmin: []string{"127.0.0.1:7601"},
		Doctor: func(context.Context) api.Doctor {
			return api.Doctor{Side: "server", Host: "s", Findings: []api.Finding{
				{State: api.FindingOK, Check: "space", Text: "much"}, {State: api.FindingFail, Check: "querier", Text: "none", Next: "turn one on", Fault: "no_querier"},
			}}
		},
		Status: func() api.Status {
			return api.Status{Version: "test", Listen: "127.0.0.1:7600", Admin: p.remote, Interface: "lo"}
		},
		Recheck: func() int { return 0 }, Servers: []string{"127.0.0.1:7600"}, AdminServers: []string{"127.0.0.1:7601"},
	}
}

func (p *point) open(_ context.Context, ref string, _ session.Peer) (*session.Package, error) {
	found, err := p.library.Get(ref)
	if err != nil {
		return nil, err
	}
	content, err := p.library.OpenContent(ref)
	if err != nil {
		return nil, err
	}
	return &session.Package{Name: found.Reference(), Encrypt: true, Unicast: true, Content: content, Rules: p.rules}, nil
}

// nowhere is a group that nobody hears.
type nowhere struct{}

func (nowhere) Send([]byte, int) error { return nil }
func (nowhere) Close() error           { return nil }

func openGroup() (*session.Group, error) {
	return &session.Group{Addr: netip.MustParseAddrPort("239.195.16.1:63000"), Caster: nowhere{}}, nil
}

// member is a client of a session, as far as its control channel goes.
type member struct {
	in     chan []byte // to the server
	out    chan wire.Message
	closed chan struct{}
	once   sync.Once
	number uint32
}

func (m *member) Send(b []byte) error {
	message, err := wire.Parse(b)
	if err != nil {
		return err
	}
	select {
	case m.out <- message:
	default: // like a full socket
	}
	return nil
}

func (m *member) Receive(buf []byte) (int, error) {
	select {
	case b := <-m.in:
		return copy(buf, b), nil
	case <-m.closed:
		return 0, io.EOF
	}
}

func (m *member) Close() error { m.once.Do(func() { close(m.closed) }); return nil }

func (m *member) say(message wire.Message) { m.in <- message.Append(nil) }

// join brings a client into the session of a package, with a bundle of its own.
func (p *point) join(name, pkg string) *member {
	p.t.Helper()
	m := p.ask(name, pkg)
	p.hear(m, func(message wire.Message) bool {
		welcome, ok := message.(*wire.Welcome)
		if ok {
			m.number = welcome.Client
		}
		return ok
	})
	return m
}

// queue has a client join a session that is full.
func (p *point) queue(name, pkg string) {
	p.t.Helper()
	p.hear(p.ask(name, pkg), func(message wire.Message) bool {
		_, ok := message.(*wire.Queued)
		return ok
	})
}

// ask has a client ask for a place.
func (p *point) ask(name, pkg string) *member {
	p.t.Helper()
	holder := p.bundle(name, keyex.WinPE).Identity()
	m := &member{in: make(chan []byte, 8), out: make(chan wire.Message, 64), closed: make(chan struct{})}
	peer := session.Peer{Name: holder.Name, Role: string(holder.Role), Serial: holder.Serial, Addr: netip.MustParseAddrPort("127.0.0.1:50000")}
	p.clients.Go(func() { _ = p.sessions.Serve(context.Background(), peer, m) })
	p.t.Cleanup(func() { _ = m.Close() })
	m.say(&wire.Join{NoUnicast: name == "pc03", Request: 1, Nonce: [16]byte{1}, MaxPayload: 1472, Machine: wire.Machine{Host: name}, Package: pkg})
	return m
}

// hear waits for a message to a client.
func (p *point) hear(m *member, is func(wire.Message) bool) {
	p.t.Helper()
	for {
		select {
		case message := <-m.out:
			if is(message) {
				return
			}
		case <-time.After(time.Minute):
			p.t.Fatal("no answer to a join")
		}
	}
}

func (p *point) bundle(name string, role keyex.Role) *keyex.Bundle {
	p.t.Helper()
	marks := keyex.Marks{Alone: strings.HasPrefix(name, "own")}
	b, err := p.authority.Issue(keyex.Request{Name: name, Role: role, Marks: marks, Servers: []string{p.remote}})
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// caller makes requests in one way.
type caller struct {
	t      *testing.T
	client *http.Client
	base   string
}

// over returns a caller over HTTPS with a new bundle of a role.
func (p *point) over(role keyex.Role) *caller {
	p.t.Helper()
	return p.with(p.bundle("somebody", role))
}

func (p *point) with(b *keyex.Bundle) *caller {
	p.t.Helper()
	credentials, err := b.Credentials()
	if err != nil {
		p.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: keyex.ClientTLS(credentials), ForceAttemptHTTP2: true}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &caller{p.t, &http.Client{Transport: transport, Timeout: 20 * time.Second}, "https://" + p.remote}
}

// local returns a caller on the socket.
func (p *point) local() *caller {
	var d net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", p.socket) }}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &caller{p.t, &http.Client{Transport: transport, Timeout: 20 * time.Second}, "http://wimcastd"}
}

// ask makes a request and returns the answer with its whole body.
func (c *caller) ask(method, path, body string, header ...string) (*http.Response, []byte) {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := c.client.Do(request)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer, text
}

func testWIM(size int, seed uint64, name string) []byte { return noise.WIM(size, seed, name) }

// add adds a package to the library.
func (p *point) add(content []byte, name, version string) library.Package {
	p.t.Helper()
	added, _, err := p.library.Add(p.t.Context(), bytes.NewReader(content), library.AddOptions{Name: name, Version: version, Size: int64(len(content))})
	if err != nil {
		p.t.Fatal(err)
	}
	return added
}
