package test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/lab"
	"wimcast/test/prometheus"
	"wimcast/test/rig"
)

// The alert rules as they are shipped, but for their times, judged by a real Prometheus that scrapes daemons which cast: each alert is made to
// fire by what it is for.

// faster is how many times shorter the rules' times are: "for: 1m" is 3 s. Fleets report every 30 s, which no configuration changes, so theirs are longer;
// an hour becomes 15 s where that is what is waited for.
const (
	faster        = 20
	fasterFleet   = 6
	fasterTickets = 240
)

// watched is a Prometheus and what it scrapes. Safe for concurrent use.
type watched struct {
	*prometheus.Server

	mu      sync.Mutex
	targets []prometheus.Target
}

// watch starts a Prometheus with the rules, their times shortened.
func watch(t *testing.T, times int) *watched {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(hasten(readFile(t, rulesFile), times)), 0o600); err != nil {
		t.Fatal(err)
	}
	return &watched{Server: prometheus.ForTest(t, prometheus.Options{Every: 500 * time.Millisecond, Rules: []string{file}})}
}

// scrape has a daemon scraped, or found again after a restart, as instance. Its switch asks for members as often as the rules want it by now.
func (w *watched) scrape(s *stage, instance string) {
	s.t.Helper()
	if err := s.room.SetQuerier(s.ctx, time.Second); err != nil {
		s.t.Fatal(err)
	}
	w.mu.Lock()
	w.targets = slices.DeleteFunc(w.targets, func(t prometheus.Target) bool { return t.Instance == instance })
	w.targets = append(w.targets, prometheus.Target{URL: s.daemon.Metrics(), Instance: instance, At: s.daemon.Place})
	err := w.SetTargets(w.targets...)
	w.mu.Unlock()
	if err == nil {
		err = w.AwaitUp(s.ctx, instance)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// firing returns the alerts of an instance that fire.
func (w *watched) firing(ctx context.Context, instance string) (map[string]prometheus.Alert, error) {
	alerts, err := w.Alerts(ctx)
	if err != nil {
		return nil, err
	}
	on := map[string]prometheus.Alert{}
	for _, a := range alerts {
		if a.Labels["instance"] == instance && a.State == "firing" {
			on[a.Labels["alertname"]] = a
		}
	}
	return on, nil
}

// quiet holds that an alert doesn't fire; without a name that none does.
func (w *watched) quiet(s *stage, instance, name string) {
	s.t.Helper()
	on, err := w.firing(s.ctx, instance)
	if err != nil {
		s.t.Fatal(err)
	}
	for fires, a := range on {
		if name == "" || name == fires {
			s.t.Errorf("%s fires already: %+v", fires, a)
		}
	}
}

// fires waits for an alert, and holds its texts: the summary says where, and all are whole.
func (w *watched) fires(s *stage, instance, name string, labels ...string) {
	s.t.Helper()
	began := time.Now()
	var a prometheus.Alert
	w.until(s, instance, name+" fires", func(on map[string]prometheus.Alert) (ok bool) {
		a, ok = on[name]
		return ok
	})
	s.t.Logf("%s fired after %.1f s: %s", name, time.Since(began).Seconds(), a.Annotations["summary"])
	for i := 0; i < len(labels); i += 2 {
		if a.Labels[labels[i]] != labels[i+1] {
			s.t.Errorf("%s: label %s is %q, want %q", name, labels[i], a.Labels[labels[i]], labels[i+1])
		}
	}
	if !strings.HasPrefix(a.Annotations["summary"], instance+": ") || !strings.Contains(a.Annotations["description"], "next: ") {
		s.t.Errorf("%s: texts %v", name, a.Annotations)
	}
	for _, text := range a.Annotations {
		if strings.Contains(text, "error expanding") || strings.Contains(text, "<no value>") {
			s.t.Errorf("%s: %s", name, text)
		}
	}
}

// resolves waits until an alert doesn't fire any more.
func (w *watched) resolves(s *stage, instance, name string) {
	s.t.Helper()
	w.until(s, instance, name+" is resolved", func(on map[string]prometheus.Alert) bool {
		_, still := on[name]
		return !still
	})
}

func (w *watched) until(s *stage, instance, what string, is func(map[string]prometheus.Alert) bool) {
	s.t.Helper()
	var on map[string]prometheus.Alert
	if err := w.Await(s.ctx, what, func() (ok bool, err error) {
		if on, err = w.firing(s.ctx, instance); err != nil {
			return false, err
		}
		return is(on), nil
	}); err != nil {
		s.t.Fatalf("%s: %v; what fires: %v", instance, err, on)
	}
}

// small puts a file system of so many bytes, in mount's words, at a folder, and returns the folder.
func (s *stage) small(dir, size string) string {
	s.t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		s.t.Skipf("a small file system can't be had here: %v", err)
	}
	s.t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill takes all room of a file system, but for nothing, until the returned function gives it back.
func (s *stage) fill(dir string) (empty func()) {
	s.t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for b := make([]byte, 1<<20); len(b) > 0; {
		if _, err := f.Write(b); err != nil {
			b = b[:len(b)/2] // the rest that is no whole megabyte
		}
	}
	return func() { _ = os.Remove(name) }
}

// roomWith builds a room with one client; before prepares the daemon's state, or the program.
func roomWith(t *testing.T, before func(*stage), config rig.Config) *stage {
	t.Helper()
	s := prepare(t)
	room, err := lab.New(s.ctx, lab.Config{Clients: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	s.room = room
	before(s)
	s.start(room.Server(), config)
	return s
}

// all does something with each client's host.
func (s *stage) all(do func(*lab.Host) error) {
	s.t.Helper()
	for _, host := range s.room.Clients() {
		if err := do(host); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestOperationsAlerts makes each alert fire by its fault.
func TestOperationsAlerts(t *testing.T) {
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	t.Parallel() // it mostly waits
	w := watch(t, faster)
	t.Run("server", func(t *testing.T) { alertsOfServer(t, w) })
	t.Run("stall", func(t *testing.T) { alertsOfStall(t, w) })
	t.Run("network", func(t *testing.T) { alertsOfNetwork(t, w) })
	t.Run("memory", func(t *testing.T) { alertsOfMemory(t, w) })
	t.Run("applying", func(t *testing.T) { alertsOfApplying(t, w) })
	t.Run("clients", func(t *testing.T) { alertsOfClients(t, w) })
	t.Run("fleet", func(t *testing.T) { alertsOfFleet(t, w) })
	t.Run("clock", alertsOfClock)
}

// alertsOfServer: its querier goes, its content rots, its disk is full, its configuration is bad, its cable is out, its socket is flooded, it is killed.
func alertsOfServer(t *testing.T, w *watched) {
	t.Parallel()
	const here = "server"
	s := roomWith(t, func(s *stage) { s.small(filepath.Join(s.dir, "server"), "256m") }, rig.Config{Multicast: `ceiling = "300 kB/s"`})
	w.scrape(s, here)
	casting := s.get(0)
	if err := casting.AwaitProven(s.ctx, 0.02); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AwaitQuery(s.ctx, `wimcast_igmp_querier_last_seen_timestamp_seconds{instance="server"}`); err != nil {
		t.Fatal(err)
	}
	checkScrape(t, s)
	w.quiet(s, here, "")

	// While the querier's silence grows, the others have their turn.
	if err := s.room.SetQuerier(s.ctx, 0); err != nil {
		t.Fatal(err)
	}

	h := sum(t, s.image)
	blob := filepath.Join(s.daemon.Dir, "library", "blobs", "sha256", hex.EncodeToString(h[:]))
	flip(t, blob, blob, 1_000_000)
	if _, err := s.daemon.CLI(s.ctx, "image", "verify", "w11"); err == nil {
		t.Error("verify finds nothing wrong with an image that has a wrong bit")
	}
	w.fires(s, here, "WimcastContentBad", "severity", "page", "state", "out_of_service")

	w.quiet(s, here, "WimcastHistoryUnwritten")
	empty := s.fill(s.daemon.Dir)
	casting.Kill() // its end, and the next try, are for the history
	again := s.get(0)
	w.fires(s, here, "WimcastHistoryUnwritten", "severity", "warn")
	empty()
	again.Kill()
	s.cli("image", "add", s.image, "--name", "w11", "--version", "1")
	w.resolves(s, here, "WimcastContentBad")
	w.resolves(s, here, "WimcastHistoryUnwritten")

	w.fires(s, here, "WimcastQuerierLost", "interface", "eth0", "severity", "warn")
	if err := s.room.SetQuerier(s.ctx, time.Second); err != nil {
		t.Fatal(err)
	}
	w.resolves(s, here, "WimcastQuerierLost")

	// Somebody writes nonsense into the configuration, and has it taken over.
	w.quiet(s, here, "WimcastConfigurationBad")
	if err := errors.Join(s.daemon.Configure(rig.Config{Multicast: `ceiling = "as fast as it goes"`}), s.daemon.Signal(syscall.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	w.fires(s, here, "WimcastConfigurationBad", "severity", "warn")
	s.hurry(rig.Config{Multicast: `ceiling = "300 kB/s"`})
	w.resolves(s, here, "WimcastConfigurationBad")

	// Somebody pulls the cable.
	w.quiet(s, here, "WimcastInterfaceDown")
	if err := s.room.Server().SetLink(s.ctx, false); err != nil {
		t.Fatal(err)
	}
	w.fires(s, here, "WimcastInterfaceDown", "interface", "eth0", "severity", "page")
	if err := s.room.Server().SetLink(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	w.resolves(s, here, "WimcastInterfaceDown")

	// A daemon that gets no processor, while all talk at once.
	if err := s.daemon.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var conn net.Conn
	if err := s.room.Client(0).Do(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(s.ctx, "udp", s.room.Server().Addr().String()+":7600")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 40_000 { // 8 MiB of buffer hold fewer
		_, _ = conn.Write(make([]byte, 200))
	}
	w.fires(s, here, "WimcastDown", "severity", "page") // it hangs
	if err := s.daemon.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.resolves(s, here, "WimcastDown")
	if _, err := w.AwaitQuery(s.ctx, `wimcast_kernel_dropped_packets_total{instance="server",socket="control"} > 0`); err != nil {
		t.Error(err)
	}

	s.daemon.Kill()
	w.fires(s, here, "WimcastDown", "severity", "page") // it is gone
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	w.scrape(s, here)
	w.resolves(s, here, "WimcastDown")
}

// checkScrape has promtool look at what the daemon serves. It knows Go's own names to be older than its rules.
func checkScrape(t *testing.T, s *stage) {
	t.Helper()
	out, err := s.room.Server().Run(s.ctx, "curl", "-sSf", s.daemon.Metrics())
	if err != nil {
		t.Fatal(err)
	}
	said, err := prometheus.Promtool(s.ctx, strings.NewReader(string(out)), "check", "metrics")
	if strings.Contains(said, "wimcast_") || err != nil && !strings.Contains(said, "go_") {
		t.Errorf("promtool check metrics: %v: %s", err, said)
	}
}

// alertsOfStall: packets of full size get lost in mid-cast, so that status comes and content doesn't, neither by multicast nor over TCP.
func alertsOfStall(t *testing.T, w *watched) {
	t.Parallel()
	const here = "stall"
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "300 kB/s"`})
	w.scrape(s, here)
	gets := []*rig.Get{s.get(0), s.get(1)}
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.03); err != nil {
			t.Fatal(err)
		}
	}
	w.quiet(s, here, "")
	s.all(func(h *lab.Host) error { return h.SetMaxPacket(s.ctx, 1300) })
	w.fires(s, here, "WimcastStalled", "package", "w11@1", "deployment", "w11", "severity", "page")
	s.all(func(h *lab.Host) error { return h.SetMaxPacket(s.ctx, 0) })
	w.resolves(s, here, "WimcastStalled")
	s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`})
	for _, g := range gets {
		s.proven(g)
	}
}

// alertsOfNetwork: a room's links lose packets, then the switch stops forwarding the group.
func alertsOfNetwork(t *testing.T, w *watched) {
	t.Parallel()
	const here = "network"
	s := inRoom(t, 5, rig.Config{Multicast: `ceiling = "300 kB/s"`, Top: together(5)})
	w.scrape(s, here)
	var gets []*rig.Get
	for i := range 5 {
		gets = append(gets, s.get(i))
	}
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.02); err != nil {
			t.Fatal(err)
		}
	}
	w.quiet(s, here, "")
	s.all(func(h *lab.Host) error { return h.SetLoss(s.ctx, 10) })
	w.fires(s, here, "WimcastRepairHigh", "package", "w11@1", "severity", "warn")
	s.all(func(h *lab.Host) error { return h.SetLoss(s.ctx, 0) })
	w.resolves(s, here, "WimcastRepairHigh")
	w.quiet(s, here, "")
	s.all(func(h *lab.Host) error { return h.SetPruned(s.ctx, true) })
	w.fires(s, here, "WimcastFallbackStorm", "severity", "page")
	for _, g := range gets {
		s.proven(g) // by unicast
	}
	w.quiet(s, here, "WimcastClientsFailing")
}

// fillInMidCast waits until all who are to come receive, without an alert, fills file systems, and has the rest of the cast go fast.
func (w *watched) fillInMidCast(s *stage, instance string, gets []*rig.Get, dirs []string) {
	s.t.Helper()
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.02); err != nil {
			s.t.Fatal(err)
		}
	}
	w.quiet(s, instance, "")
	for _, dir := range dirs {
		s.fill(dir)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`, Top: together(len(gets))})
}

// lackedDisk waits for clients that end for their disk.
func (s *stage) lackedDisk(gets []*rig.Get) {
	s.t.Helper()
	for _, g := range gets {
		if r, _, err := g.Wait(s.ctx); err != nil || r.Code != 6 {
			s.t.Errorf("%s: exit code %d (%s), want 6 (disk); %v", g.Place.Name(), r.Code, r.Error, err)
		}
	}
}

// alertsOfClients: the disks of two machines are full, one gets its image.
func alertsOfClients(t *testing.T, w *watched) {
	t.Parallel()
	const here = "clients"
	s := inRoom(t, 3, rig.Config{Multicast: `ceiling = "300 kB/s"`, Top: together(3)})
	w.scrape(s, here)
	gets := []*rig.Get{s.get(0)}
	var full []string
	for i := 1; i < 3; i++ {
		dir := s.small(filepath.Join(s.dir, fmt.Sprintf("disk%d", i)), "64m")
		full = append(full, dir)
		gets = append(gets, s.get(i, "--output", filepath.Join(dir, "w11.wim")))
	}
	w.fillInMidCast(s, here, gets, full)
	s.proven(gets[0])
	s.lackedDisk(gets[1:])
	w.fires(s, here, "WimcastClientsFailing", "package", "w11@1", "severity", "page")
}

// alertsOfApplying: two machines have their image, and the volumes that it is to be applied to are full by then.
func alertsOfApplying(t *testing.T, w *watched) {
	t.Parallel()
	const here = "applying"
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "300 kB/s"`, Top: together(2)})
	w.scrape(s, here)
	var gets []*rig.Get
	var volumes []string
	for i := range 2 {
		dir := s.small(filepath.Join(s.dir, fmt.Sprintf("volume%d", i)), "256m")
		volumes = append(volumes, dir)
		gets = append(gets, s.get(i, "--apply", dir, "--index", "1"))
	}
	w.fillInMidCast(s, here, gets, volumes)
	s.lackedDisk(gets)
	w.fires(s, here, "WimcastApplyFailing", "package", "w11@1", "severity", "page")
	w.quiet(s, here, "WimcastClientsFailing")
}

// alertsOfFleet: a registry that refuses a point, and a point that is switched off.
func alertsOfFleet(t *testing.T, w *watched) {
	const here = "site"
	f := withFleet(t, 1, 1) // beside the others
	slow := watch(t, fasterFleet)
	p := f.points[0]
	f.enlist()
	first := f.noisy("first", 4<<20)
	f.cli("image", "add", first, "--name", "w11", "--version", "1")
	f.cli("image", "distribute", "w11@1", "--to", p.name)
	f.arrived(p, "w11@1", 0)
	w.scrape(f.stage, here)
	slow.scrape(f.stage, here)
	w.quiet(f.stage, here, "WimcastPackageFailing")
	f.proxy.set(withoutContent())
	f.sendSecond(p, f.noisy("second", 4<<20))
	w.fires(f.stage, here, "WimcastPackageFailing", "point", p.name, "severity", "warn")
	f.proxy.clear()
	f.arrived(p, "w11@2", 0)
	w.resolves(f.stage, here, "WimcastPackageFailing")

	slow.quiet(f.stage, here, "")
	p.daemon.Kill()
	slow.fires(f.stage, here, "WimcastPointOutOfReach", "point", p.name, "severity", "warn")
	if err := p.daemon.Start(f.ctx); err != nil {
		t.Fatal(err)
	}
	slow.resolves(f.stage, here, "WimcastPointOutOfReach")
}

// withoutContent is a registry that has lost the content of what comes next, and not the documents before it: the point learns what it shall have, and
// finds none of it.
func withoutContent() func(asked) *meddling {
	const documents = 3 // assignments, release, manifest of blocks
	var mu sync.Mutex
	known := map[string]bool{}
	return func(a asked) *meddling {
		mu.Lock()
		defer mu.Unlock()
		if !a.blob() || a.from == siteAddr || known[a.ref] {
			return nil
		}
		if len(known) < documents {
			known[a.ref] = true
			return nil
		}
		return &meddling{status: http.StatusNotFound}
	}
}

// alertsOfClock: a site that was set up eleven months ago and gave out its bundle then, and whose clock is an hour slow by now.
func alertsOfClock(t *testing.T) {
	t.Parallel()
	const here = "clock"
	w := watch(t, fasterTickets)
	shifted := func(s *stage, name string, by time.Duration) string {
		program := filepath.Join(s.dir, name)
		if err := shiftClock(s.programs.Daemon, program, by); err != nil {
			t.Fatal(err)
		}
		return program
	}
	s := roomWith(t, func(s *stage) {
		state := filepath.Join(s.dir, "server")
		if err := os.MkdirAll(state, 0o700); err != nil {
			t.Fatal(err)
		}
		then := s.programs
		then.Daemon = shifted(s, "wimcastd-then", -340*24*time.Hour)
		old, err := rig.StartDaemon(s.ctx, s.room.Server(), then, state, rig.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Stop(); err != nil {
			t.Fatal(err)
		}
		s.programs.Daemon = shifted(s, "wimcastd-slow", -time.Hour)
	}, rig.Config{Top: together(2)}) // the other never comes; half an hour is what the first waits at most
	w.scrape(s, here)
	w.quiet(s, here, "WimcastWaitingTooLong")
	g := s.get(0)
	w.fires(s, here, "WimcastWaitingTooLong", "package", "w11@1", "severity", "warn")
	w.fires(s, here, "WimcastCredentialEnding", "kind", "bundle", "name", "room", "severity", "ticket")
	var sessions []api.Session
	if err := s.daemon.Ask(s.ctx, &sessions, "session", "list"); err != nil || len(sessions) != 1 {
		t.Fatalf("sessions %+v: %v", sessions, err)
	}
	s.cli("session", "start", sessions[0].ID)
	s.proven(g)
	w.resolves(s, here, "WimcastWaitingTooLong")
	s.cli("bundle", "create", "room", "--output", filepath.Join(s.dir, "new.join"))
	w.resolves(s, here, "WimcastCredentialEnding")
}
