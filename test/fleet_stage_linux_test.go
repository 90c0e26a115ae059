package test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wimcast/library/release"
	"wimcast/test/lab"
	"wimcast/test/registry"
	"wimcast/test/rig"
)

// fleet is a site, a registry and points with a room each:
//
//	                ┌─ site      10.77.0.1
//	                ├─ registry  10.77.0.11
//	switch ─────────┼─ proxy     10.77.0.12, what the registry is reached by
//	                ├─ north     10.77.0.13 ── 10.77.1.1 ── switch ─┬─ pc101
//	                │                                               └─ pc102
//	                ├─ south     10.77.0.14 ── 10.77.2.1 ── switch ─── …
//	                └─ east      10.77.0.15 ── 10.77.3.1 ── switch ─── …
//
// Of its stage the daemon is the site's.
type fleet struct {
	*stage
	registry *registry.Server
	proxy    *proxy
	points   []*point
	bundles  int // that were made
}

// point is a distribution point with its room.
type point struct {
	name   string
	host   *lab.Host // in the middle
	room   *lab.Room // behind it
	file   string    // the point file
	daemon *rig.Daemon
	hours  string // [[point.hours]] of its configuration
	place  rig.Place
}

// pointNames are the points' in the order of their hosts.
var pointNames = []string{"north", "south", "east"}

// fleetPatience bounds a test of a fleet; far more than any takes.
const fleetPatience = 8 * time.Minute

// named is a host with a name of its own, which has a program listen on one of its networks.
type named struct {
	*lab.Host        // the one in the middle
	name      string // its own
	link      string // the interface that it casts on
	addr      netip.Addr
}

func (n named) Name() string      { return n.name }
func (n named) Interface() string { return n.link }
func (n named) Addr() netip.Addr  { return n.addr }

// Who may come into the registry.
const (
	registryUser     = "wimcast"
	registryPassword = "pass-3f9c"
)

// withFleet starts registry, proxy and site, and builds rooms for so many points. The points are added and started by the test.
func withFleet(t *testing.T, points, clients int) *fleet {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	t.Parallel() // a fleet waits for its points to ask
	s := prepare(t)
	ctx, cancel := context.WithTimeoutCause(context.Background(), fleetPatience, fmt.Errorf("the test took more than %v", fleetPatience))
	t.Cleanup(cancel)
	s.ctx = ctx
	build := func(config lab.Config) *lab.Room {
		room, err := lab.New(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = room.Close() })
		return room
	}
	s.room = build(lab.Config{Clients: 2 + points})
	f := &fleet{stage: s}
	for i := range points {
		p := &point{name: pointNames[i], host: s.room.Client(2 + i)}
		p.room = build(lab.Config{Clients: clients, Behind: p.host})
		p.place = named{p.host, p.name, p.room.Server().Interface(), p.room.Server().Addr()}
		p.file = filepath.Join(s.dir, p.name+".point")
		f.points = append(f.points, p)
	}
	var err error
	host := s.room.Client(0)
	f.registry, err = registry.Start(ctx, filepath.Join(s.dir, "registry"), registry.Options{
		Place: host, Htpasswd: map[string]string{registryUser: registryPassword},
	})
	if errors.Is(err, registry.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.registry.Stop()
		if t.Failed() {
			for line := range strings.Lines(f.registry.Log()) {
				if !strings.Contains(line, "level=info") && !strings.Contains(line, "blob unknown") {
					t.Logf("registry: %s", line)
				}
			}
		}
	})
	f.proxy = startProxy(t, s.room.Client(1), f.registry.Addr)
	f.login(registryPassword)
	f.startSite()
	return f
}

// credentials is the file with which all come into the registry.
func (f *fleet) credentials() string { return filepath.Join(f.dir, "registry.conf") }

// login writes the credentials' file.
func (f *fleet) login(password string) {
	f.t.Helper()
	text := fmt.Sprintf("username = %q\npassword = %q\n", registryUser, password)
	if err := os.WriteFile(f.credentials(), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// tables are those of a configuration that site and points share.
func (f *fleet) tables() string {
	return fmt.Sprintf("[registry]\nrepository = %q\nplain_http = true\ncredentials = %q\n", f.proxy.addr+"/wimcast", f.credentials())
}

func (f *fleet) startSite() {
	f.t.Helper()
	state := filepath.Join(f.dir, "site")
	if err := os.Mkdir(state, 0o700); err != nil {
		f.t.Fatal(err)
	}
	server := f.room.Server()
	config := rig.Config{Admin: fmt.Sprintf("listen = \"%s:7601\"", server.Addr()), Tables: f.tables()}
	var err error
	if f.daemon, err = rig.StartDaemon(f.ctx, server, f.programs, state, config); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		f.daemon.Kill()
		if f.t.Failed() {
			f.t.Logf("site's log:\n%s", f.daemon.Log())
		}
	})
}

// config is a point's configuration.
func (f *fleet) config(p *point) rig.Config {
	return rig.Config{
		Multicast: `ceiling = "20 MB/s"`,
		Tables:    f.tables() + fmt.Sprintf("[point]\nbundle = %q\npoll = \"5s\"\n", p.file) + p.hours,
	}
}

// addPoint adds a point at the site.
func (f *fleet) addPoint(p *point, args ...string) {
	f.t.Helper()
	room := p.room.Server().Addr()
	prefix, err := room.Prefix(24)
	if err != nil {
		f.t.Fatal(err)
	}
	base := []string{"point", "add", p.name, "--subnet", prefix.String(), "--address", room.String() + ":7600", "-o", p.file}
	f.cli(append(base, args...)...)
}

// startPoint starts a point's daemon for the first time.
func (f *fleet) startPoint(p *point) { f.startProgram(p, f.programs.Daemon) }

// startProgram starts a daemon of that program at a point for the first time.
func (f *fleet) startProgram(p *point, daemon string) {
	f.t.Helper()
	state := filepath.Join(f.dir, p.name)
	if err := os.Mkdir(state, 0o700); err != nil {
		f.t.Fatal(err)
	}
	var err error
	if p.daemon, err = rig.StartDaemon(f.ctx, p.place, rig.Programs{Daemon: daemon, Client: f.programs.Client}, state, f.config(p)); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		p.daemon.Kill()
		if f.t.Failed() {
			f.t.Logf("log of %s:\n%s", p.name, p.daemon.Log())
		}
	})
}

// enlist adds points and starts their daemons.
func (f *fleet) enlist(args ...string) {
	f.t.Helper()
	for _, p := range f.points {
		f.addPoint(p, args...)
		f.startPoint(p)
	}
}

// at returns the stage as seen from a point.
func (f *fleet) at(p *point) *stage {
	s := *f.stage
	s.daemon = p.daemon
	return &s
}

// writePointFile replaces a point's file.
func (f *fleet) writePointFile(p *point, file *release.PointFile) {
	f.t.Helper()
	text, err := file.Marshal()
	if err == nil {
		err = os.WriteFile(p.file, text, 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// configure writes a point's configuration anew and has the daemon read it.
func (f *fleet) configure(p *point) {
	f.t.Helper()
	if err := p.daemon.Configure(f.config(p)); err != nil {
		f.t.Fatal(err)
	}
	if err := p.daemon.Signal(syscall.SIGHUP); err != nil {
		f.t.Fatal(err)
	}
}

// restart kills a point's daemon and starts it again.
func (f *fleet) restart(p *point) {
	f.t.Helper()
	p.daemon.Kill()
	if err := p.daemon.Start(f.ctx); err != nil {
		f.t.Fatal(err)
	}
}
