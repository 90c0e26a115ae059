package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wimcast/test/lab"
	"wimcast/test/rig"
)

// The whole-system tests of the main job: the real programs, a real WIM, and where
// the name says Room a room of network namespaces with real loss and a real snooping switch.

// build compiles the programs once for all tests.
var build = sync.OnceValues(func() (rig.Programs, error) {
	dir, err := os.MkdirTemp("", "wimcast-test-")
	if err != nil {
		return rig.Programs{}, err
	}
	scratch.add(dir)
	for _, name := range []string{"wimcastd", "wimcast"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), "../cmd/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
		if out, err := cmd.CombinedOutput(); err != nil {
			return rig.Programs{}, fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return rig.Programs{Daemon: filepath.Join(dir, "wimcastd"), Client: filepath.Join(dir, "wimcast")}, nil
})

// capture makes a real WIM of Go's own sources once for all tests, some 30 MB.
var capture = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wimcast-test-")
	if err != nil {
		return "", err
	}
	scratch.add(dir)
	image := filepath.Join(dir, "test.wim")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's sources: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src")
	out, err := exec.Command("wimlib-imagex", "capture", source, image, "Workstation", "sources of a language", "--compress=XPRESS", "--no-acls").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("capture %s: %w: %s", source, err, out)
	}
	return image, nil
})

// scratch is the directories to remove at the end.
var scratch leftovers

type leftovers struct {
	mu   sync.Mutex
	dirs []string
}

func (l *leftovers) add(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirs = append(l.dirs, dir)
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range scratch.dirs {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// stage is a daemon with an image, somewhere.
type stage struct {
	t        *testing.T
	ctx      context.Context
	programs rig.Programs
	dir      string
	image    string
	size     int64
	daemon   *rig.Daemon
	room     *lab.Room // nil on loopback
}

// patience bounds what a test waits for; far more than anything takes, on a busy machine too.
const patience = 6 * time.Minute

// onLoopback starts a daemon on this machine's loopback.
func onLoopback(t *testing.T, config rig.Config) *stage {
	t.Helper()
	s := prepare(t)
	s.start(rig.Loopback("server"), config)
	return s
}

// inRoom starts a daemon in a room of namespaces with so many clients.
func inRoom(t *testing.T, clients int, config rig.Config) *stage {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skipf("the network lab can't be had here: %v", err)
	}
	s := prepare(t)
	room, err := lab.New(s.ctx, lab.Config{Clients: clients})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = room.Close() })
	s.room = room
	if err := room.WaitSnooping(s.ctx); err != nil {
		t.Fatal(err)
	}
	s.start(room.Server(), config)
	return s
}

func prepare(t *testing.T) *stage {
	t.Helper()
	if _, err := exec.LookPath("wimlib-imagex"); err != nil {
		t.Skip("wimlib-imagex is missing: install wimtools (make setup does)")
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("the test took more than %v", patience))
	t.Cleanup(cancel)
	s := &stage{t: t, ctx: ctx, dir: t.TempDir()}
	var err error
	if s.programs, err = build(); err != nil {
		t.Fatal(err)
	}
	if s.image, err = capture(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.image)
	if err != nil {
		t.Fatal(err)
	}
	s.size = info.Size()
	return s
}

func (s *stage) start(place rig.Place, config rig.Config) {
	s.t.Helper()
	state := filepath.Join(s.dir, "server")
	if err := os.MkdirAll(state, 0o700); err != nil { // what a test has put there stays
		s.t.Fatal(err)
	}
	var err error
	if s.daemon, err = rig.StartDaemon(s.ctx, place, s.programs, state, config); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		s.daemon.Kill()
		if s.t.Failed() {
			s.t.Logf("daemon's log:\n%s", s.daemon.Log())
		}
	})
	if _, err := s.daemon.AddImage(s.ctx, s.image, "w11", "--version", "1"); err != nil {
		s.t.Fatal(err)
	}
}

// cli runs wimcast against the daemon; it must succeed.
func (s *stage) cli(args ...string) string {
	s.t.Helper()
	out, err := s.daemon.CLI(s.ctx, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// together is the configuration of a package whose cast begins once so many clients are there. On a busy machine they come seconds
// apart, and what the first has received by then is sent again for the last.
func together(clients int) string {
	return fmt.Sprintf("[package.\"w11\"]\nstart = \"scheduled\"\nmin_clients = %d\ndelay = \"30m\"", clients)
}

// file is where a client writes.
func (s *stage) file(name string) string { return filepath.Join(s.dir, name+".wim") }

// get starts a client, in the room's i-th namespace or on loopback.
func (s *stage) get(i int, args ...string) *rig.Get {
	s.t.Helper()
	var place rig.Place = rig.Loopback(fmt.Sprintf("pc%02d", i+1))
	if s.room != nil {
		place = s.room.Client(i)
	}
	return s.getAt(place, args...)
}

// getAt starts a client somewhere.
func (s *stage) getAt(place rig.Place, args ...string) *rig.Get {
	s.t.Helper()
	base := []string{"w11", "--bundle", s.daemon.Bundle(), "--output", s.file(place.Name())}
	g, err := rig.StartGet(s.ctx, place, s.programs, append(base, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.Kill)
	return g
}

// proven waits for a client, and holds its file against the image.
func (s *stage) proven(g *rig.Get) (rig.Result, rig.Totals) {
	s.t.Helper()
	r, totals := s.ended(g, 0)
	if got, want := sum(s.t, s.file(g.Place.Name())), sum(s.t, s.image); got != want {
		s.t.Errorf("%s: content differs", g.Place.Name())
	}
	if _, err := os.Stat(s.file(g.Place.Name()) + ".part"); err == nil {
		s.t.Errorf("%s: the part file is still there", g.Place.Name())
	}
	return r, totals
}

// checkpoint waits until a client has put on record what it has of a file: that is every 5 s.
func (s *stage) checkpoint(g *rig.Get, file string) {
	s.t.Helper()
	if err := g.Await(s.ctx, "a checkpoint", func(rig.Event, []rig.Event) bool {
		_, err := os.Stat(file + ".part.have")
		return err == nil
	}); err != nil {
		s.t.Fatal(err)
	}
}

// ended waits for a client and holds its exit code.
func (s *stage) ended(g *rig.Get, code int) (rig.Result, rig.Totals) {
	s.t.Helper()
	r, totals, err := g.Wait(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Code != code {
		s.t.Fatalf("%s: exit code %d (%s), want %d; events %v", g.Place.Name(), r.Code, r.Error, code, g.Events())
	}
	return r, totals
}

func sum(t *testing.T, name string) (h [32]byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// cast is what a session sent.
type cast struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Size    int64  `json:"size_bytes"`
	Clients []struct {
		Number uint32 `json:"number"`
		Name   string `json:"name"`
		State  string `json:"state"`
		Reason string `json:"reason"`
	} `json:"clients"`
	Sent struct {
		Source uint64 `json:"source_packets"`
		Parity uint64 `json:"parity_packets"`
		Bytes  uint64 `json:"bytes"`
	} `json:"sent"`
}

func (s *stage) sessions() []cast {
	s.t.Helper()
	var list []cast
	if err := s.daemon.Ask(s.ctx, &list, "session", "list"); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// packetsOverSource adds up what all sessions sent for an image.
func (s *stage) packetsOverSource() float64 {
	var sent uint64
	for _, c := range s.sessions() {
		sent += c.Sent.Source + c.Sent.Parity
	}
	return float64(sent) / float64((s.size+1407)/1408)
}

// TestCastRoomLoss casts to four clients at 0, 1 and 5 % loss, each client's own.
func TestCastRoomLoss(t *testing.T) {
	for _, loss := range []float64{0, 1, 5} {
		t.Run(fmt.Sprintf("%v%%", loss), func(t *testing.T) {
			// At this rate a client that gets no processor for 0.4 s still loses nothing.
			s := inRoom(t, 4, rig.Config{Multicast: `ceiling = "10 MB/s"`, Top: together(4)})
			for _, host := range s.room.Clients() {
				if err := host.SetLoss(s.ctx, loss); err != nil {
					t.Fatal(err)
				}
			}
			before, err := s.room.Server().Stats(s.ctx)
			if err != nil {
				t.Fatal(err)
			}
			started := time.Now()
			var gets []*rig.Get
			for i := range 4 {
				gets = append(gets, s.get(i))
			}
			for _, g := range gets {
				_, totals := s.proven(g)
				if totals.Unicast > 0 {
					t.Errorf("%s: %d bytes by unicast", g.Place.Name(), totals.Unicast)
				}
				if loss > 0 && (totals.Lost == 0 || totals.Repaired == 0) {
					t.Errorf("%s: %d packets lost, %d symbols repaired at %v %% loss", g.Place.Name(), totals.Lost, totals.Repaired, loss)
				}
			}
			took := time.Since(started)
			after, err := s.room.Server().Stats(s.ctx)
			if err != nil {
				t.Fatal(err)
			}
			ratio := s.packetsOverSource()
			t.Logf("loss %v %%: %.1f MB to 4 clients in %.1f s; packets sent / source %.3f; bytes on the server's wire / image %.3f",
				loss, float64(s.size)/1e6, took.Seconds(), ratio, float64(after.TxBytes-before.TxBytes)/float64(s.size))
			if limit := 1.15 + 3*loss/100; ratio > limit {
				t.Errorf("packets sent / source = %.3f, want at most %.3f", ratio, limit)
			}
		})
	}
}

// TestCastRoomLateJoin lets a client come when the others have half.
func TestCastRoomLateJoin(t *testing.T) {
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "5 MB/s"`})
	early := s.get(0)
	if err := early.AwaitProven(s.ctx, 0.5); err != nil {
		t.Fatal(err)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "500 kB/s"`}) // however long the late one takes to start
	late := s.get(1)
	if err := late.Await(s.ctx, "having joined", func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == "joined" })
	}); err != nil {
		t.Fatal(err)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "10 MB/s"`})
	s.proven(early)
	_, totals := s.proven(late)
	if totals.Multicast != s.size {
		t.Errorf("late client: %d bytes by multicast, want all %d", totals.Multicast, s.size)
	}
	if ratio := s.packetsOverSource(); ratio > 1.75 {
		t.Errorf("packets sent / source = %.3f for a client that joined half-way", ratio)
	}
}

// TestCastRoomKillAndResume kills a client with kill -9 and starts it again.
func TestCastRoomKillAndResume(t *testing.T) {
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "2 MB/s"`})
	stays, killed := s.get(0), s.get(1)
	s.checkpoint(killed, s.file("pc02"))
	killed.Kill()
	s.hurry(rig.Config{Multicast: `ceiling = "8 MB/s"`})
	if _, err := os.Stat(s.file("pc02")); err == nil {
		t.Error("the file is there although it wasn't proven")
	}
	again := s.get(1)
	s.proven(stays)
	_, totals := s.proven(again)
	if totals.Held == 0 {
		t.Error("nothing was held from the first try")
	}
	if _, ok := again.Happened("resumed"); !ok {
		t.Errorf("events: %v", again.Events())
	}
}

// TestCastRoomOneBadCable puts one client behind 20 % loss.
func TestCastRoomOneBadCable(t *testing.T) {
	s := inRoom(t, 4, rig.Config{})
	if err := s.room.Client(3).SetLoss(s.ctx, 20); err != nil {
		t.Fatal(err)
	}
	var gets []*rig.Get
	for i := range 4 {
		gets = append(gets, s.get(i))
	}
	for _, g := range gets {
		s.proven(g)
	}
}

// TestCastRoomPruned lets the switch prune a client: it falls back to unicast by
// itself and says why.
func TestCastRoomPruned(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 2, rig.Config{})
	if err := s.room.Client(1).SetPruned(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	hears, deaf := s.get(0), s.get(1)
	s.proven(hears)
	_, totals := s.proven(deaf)
	if totals.Unicast != s.size || totals.UnicastReason != "group_silent" {
		t.Errorf("pruned client: %+v", totals)
	}
	if text, ok := deaf.Happened("unicast"); !ok || !strings.Contains(text, "nothing of group") {
		t.Errorf("pruned client's events: %v", deaf.Events())
	}
}

// TestCastRoomMulticastOnlyPruned shows that a multicast-only package has no other way.
func TestCastRoomMulticastOnlyPruned(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 1, rig.Config{})
	s.cli("image", "set", "w11", "--multicast-only")
	if err := s.room.Client(0).SetPruned(s.ctx, true); err != nil {
		t.Fatal(err)
	}
	g := s.get(0)
	r, _ := s.ended(g, 5)
	if !strings.Contains(r.Error, "multicast-only") || !strings.Contains(r.Error, "snooping") {
		t.Errorf("error: %s", r.Error)
	}
	if _, err := os.Stat(s.file("pc01")); err == nil {
		t.Error("a file appeared")
	}
}

// TestCastRoomMulticastOnlyLater: a package becomes multicast-only while it is cast. The session that runs keeps its flags, and its client may still go
// unicast; who comes later may not.
func TestCastRoomMulticastOnlyLater(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "1 MB/s"`})
	first := s.get(0)
	if err := first.AwaitProven(s.ctx, 0.05); err != nil {
		t.Fatal(err)
	}
	s.cli("image", "set", "w11", "--multicast-only")
	for i := range 2 {
		if err := s.room.Client(i).SetPruned(s.ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	later := s.get(1)
	if _, totals := s.proven(first); totals.Unicast == 0 {
		t.Errorf("the first one: %+v", totals)
	}
	if r, totals := s.ended(later, 5); !strings.Contains(r.Error, "multicast-only") || totals.Unicast != 0 {
		t.Errorf("the later one: %s; %+v", r.Error, totals)
	}
}

// TestCastRoomServerKilled kills the daemon in mid-cast and starts it again: clients
// come back by themselves with what they have.
func TestCastRoomServerKilled(t *testing.T) {
	s := inRoom(t, 2, rig.Config{Multicast: `ceiling = "3 MB/s"`})
	gets := []*rig.Get{s.get(0), s.get(1)}
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.4); err != nil {
			t.Fatal(err)
		}
	}
	s.daemon.Kill()
	if err := gets[0].Await(s.ctx, "noticing that the server is gone", func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == "server_gone" })
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Configure(rig.Config{Multicast: `ceiling = "8 MB/s"`}); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	for _, g := range gets {
		_, totals := s.proven(g)
		if totals.Reconnects == 0 {
			t.Errorf("%s: never came back", g.Place.Name())
		}
	}
	if ratio := s.packetsOverSource(); ratio > 0.85 {
		t.Errorf("the new daemon sent %.3f of the image though clients had 0.4 of it", ratio)
	}
}

// TestCastRoomClear casts a package that isn't encrypted, which image list shows.
func TestCastRoomClear(t *testing.T) {
	s := inRoom(t, 2, rig.Config{})
	s.cli("image", "set", "w11", "--no-encrypt")
	if out := s.cli("image", "list"); !strings.Contains(out, "CLEAR") {
		t.Errorf("image list doesn't show CLEAR:\n%s", out)
	}
	if err := s.room.Client(0).SetLoss(s.ctx, 2); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*rig.Get{s.get(0), s.get(1)} {
		s.proven(g)
	}
}

// TestCastLoopback casts on loopback, as where there is no lab.
func TestCastLoopback(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "40 MB/s"`})
	gets := []*rig.Get{s.get(0, "--lose", "0.03"), s.get(1)}
	for _, g := range gets {
		s.proven(g)
	}
	out, err := exec.Command("wimlib-imagex", "verify", s.file("pc01")).CombinedOutput()
	if err != nil {
		t.Errorf("wimverify: %v: %s", err, out)
	}
}

// TestCastEvict evicts a client in mid-cast.
func TestCastEvict(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "4 MB/s"`})
	stays, goes := s.get(0), s.get(1)
	if err := goes.AwaitProven(s.ctx, 0.1); err != nil {
		t.Fatal(err)
	}
	s.cli("client", "evict", "pc02")
	s.ended(goes, 8)
	s.ended(s.get(1), 8)
	if err := stays.Await(s.ctx, "a new epoch", func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == "epoch" })
	}); err != nil {
		t.Error(err)
	}
}

// TestCastRefusals shows each refusal's exit code, and a sentence that says what to do.
func TestCastRefusals(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	t.Run("unknown package", func(t *testing.T) {
		g, err := rig.StartGet(s.ctx, rig.Loopback("pc01"), s.programs, "w12", "--bundle", s.daemon.Bundle(), "--output", s.file("x"))
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := g.Wait(s.ctx)
		if err != nil || r.Code != 4 || !strings.Contains(r.Error, "w12") {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("another site's bundle", func(t *testing.T) {
		other := onLoopback(t, rig.Config{})
		server := bundleServer(t, s)
		g, err := rig.StartGet(s.ctx, rig.Loopback("pc01"), s.programs, "w11", "--bundle", other.daemon.Bundle(), "--server", server, "--output", s.file("y"))
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := g.Wait(s.ctx)
		if err != nil || r.Code != 4 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("revoked bundle", func(t *testing.T) {
		bundle := filepath.Join(t.TempDir(), "guest.join")
		s.cli("bundle", "create", "guest", "--output", bundle)
		s.cli("bundle", "revoke", "guest")
		g, err := rig.StartGet(s.ctx, rig.Loopback("pc01"), s.programs, "w11", "--bundle", bundle, "--output", s.file("z"))
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := g.Wait(s.ctx)
		if err != nil || r.Code != 4 {
			t.Errorf("%+v, %v", r, err)
		}
		s.wrote("revoked")
	})
	t.Run("multicast not allowed", func(t *testing.T) {
		s.cli("image", "set", "w11", "--no-multicast")
		defer s.cli("image", "set", "w11", "--multicast")
		g := s.get(6)
		if _, totals := s.proven(g); totals.Multicast > 0 || totals.Unicast != s.size {
			t.Errorf("%+v", totals)
		}
		if told := fmt.Sprint(g.Events()); !strings.Contains(told, "isn't allowed by multicast") || !strings.Contains(told, "--multicast") {
			t.Errorf("isn't told why: %s", told)
		}
	})
	t.Run("file exists", func(t *testing.T) {
		if err := os.WriteFile(s.file("pc08"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.ended(s.get(7), 6)
		if b, _ := os.ReadFile(s.file("pc08")); string(b) != "precious" {
			t.Errorf("the file now holds %q", b)
		}
	})
	t.Run("contradictory flags", func(t *testing.T) {
		_, err := s.daemon.CLI(s.ctx, "image", "set", "w11", "--no-multicast", "--multicast-only")
		if err == nil || !strings.Contains(err.Error(), "multicast") {
			t.Errorf("error: %v", err)
		}
	})
}

// TestCastNoServer tries 30 s long to reach a server that isn't there.
func TestCastNoServer(t *testing.T) {
	t.Parallel()
	s := onLoopback(t, rig.Config{})
	g, err := rig.StartGet(s.ctx, rig.Loopback("pc01"), s.programs, "w11", "--bundle", s.daemon.Bundle(), "--server", "127.0.0.1:9", "--output", s.file("n"))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := g.Wait(s.ctx)
	if err != nil || r.Code != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// bundleServer returns the address that a stage's daemon listens at.
func bundleServer(t *testing.T, s *stage) string {
	t.Helper()
	var status struct {
		Listen string `json:"listen"`
	}
	for line := range strings.Lines(s.daemon.Log()) {
		if strings.Contains(line, `"msg":"ready"`) {
			if err := json.Unmarshal([]byte(line), &status); err != nil {
				t.Fatal(err)
			}
		}
	}
	return status.Listen
}

// TestCastImages walks through the life of a package, with bad input on the way.
func TestCastImages(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	if out := s.cli("image", "add", s.image, "--name", "w11", "--version", "1"); !strings.Contains(out, "already there") {
		t.Errorf("adding the same again: %s", out)
	}
	bad := filepath.Join(t.TempDir(), "bad.wim")
	for name, content := range map[string][]byte{"not a WIM": []byte(strings.Repeat("hello ", 100)), "empty": nil} {
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.daemon.CLI(s.ctx, "image", "add", bad); err == nil || !strings.Contains(err.Error(), "WIM") {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole, err := os.ReadFile(s.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.daemon.CLI(s.ctx, "image", "add", bad); err == nil {
		t.Error("a truncated WIM was added")
	}
	var list []struct {
		Name string `json:"name"`
	}
	if err := s.daemon.Ask(s.ctx, &list, "image", "list"); err != nil || len(list) != 1 {
		t.Errorf("packages: %v, %v; want w11 alone", list, err)
	}
	if out := s.cli("image", "show", "w11"); !strings.Contains(out, "Workstation") {
		t.Errorf("image show: %s", out)
	}
	if _, err := s.daemon.CLI(s.ctx, "image", "rename", "w11", "lab"); err == nil || !strings.Contains(err.Error(), "deployment w11 names it") {
		t.Errorf("renaming what a deployment names: %v", err)
	}
	s.cli("deployment", "remove", "w11")
	s.cli("image", "rename", "w11", "lab")
	if out := s.cli("image", "set", "lab", "--multicast-only", "--no-encrypt", "--comment", "for lab 12"); !strings.Contains(out, "clear, multicast-only") {
		t.Errorf("image set: %s", out)
	}
	if out := s.cli("image", "list"); !regexp.MustCompile(`lab +1 .* only +CLEAR .*for lab 12`).MatchString(out) {
		t.Errorf("image list: %s", out)
	}
	s.cli("image", "verify", "lab")
	s.cli("image", "remove", "lab")
	if _, err := s.daemon.CLI(s.ctx, "image", "show", "lab"); err == nil {
		t.Error("a removed package is still there")
	}
}

// TestCastRevoke revokes the bundle of a client that is receiving.
func TestCastRevoke(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "4 MB/s"`})
	bundle := filepath.Join(t.TempDir(), "guest.join")
	s.cli("bundle", "create", "guest", "--output", bundle)
	stays := s.get(0)
	goes, err := rig.StartGet(s.ctx, rig.Loopback("pc02"), s.programs, "w11", "--bundle", bundle, "--output", s.file("guest"))
	if err != nil {
		t.Fatal(err)
	}
	if err := goes.AwaitProven(s.ctx, 0.1); err != nil {
		t.Fatal(err)
	}
	if out := s.cli("bundle", "revoke", "guest"); !strings.Contains(out, "evicted: pc02") {
		t.Errorf("revoke: %s", out)
	}
	s.ended(goes, 8)
	if err := stays.Await(s.ctx, "a new epoch", func(_ rig.Event, events []rig.Event) bool {
		return slices.ContainsFunc(events, func(e rig.Event) bool { return e.Event == "epoch" })
	}); err != nil {
		t.Error(err)
	}
}

// TestCastDamagedLibrary changes a library file behind the daemon's back: the
// package goes out of service, and nobody gets bad bytes.
func TestCastDamagedLibrary(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	var largest string
	var size int64
	err := filepath.WalkDir(filepath.Join(s.daemon.Dir, "library"), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && !d.IsDir() && info.Size() > size {
			largest, size = path, info.Size()
		}
		return nil
	})
	if err != nil || size != s.size {
		t.Fatalf("the image's blob wasn't found (%s, %d bytes): %v", largest, size, err)
	}
	if err := os.Chmod(largest, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), size/2); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	g := s.get(0)
	r, _ := s.ended(g, 4)
	if !strings.Contains(r.Error, "out of service") {
		t.Errorf("error: %s", r.Error)
	}
	if _, err := os.Stat(s.file("pc01")); err == nil {
		t.Error("a file appeared")
	}
	if out := s.cli("image", "list"); !strings.Contains(out, "OUT OF SERVICE") {
		t.Errorf("image list:\n%s", out)
	}
}

// TestCastDiskFull fills the client's disk.
func TestCastDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	s := onLoopback(t, rig.Config{})
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("a small tmpfs can't be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, 0) })
	g, err := rig.StartGet(s.ctx, rig.Loopback("pc01"), s.programs, "w11", "--bundle", s.daemon.Bundle(), "--output", filepath.Join(small, "w11.wim"))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := g.Wait(s.ctx)
	if err != nil || r.Code != 6 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCastDaemon holds the daemon's manners: a second one on the same state, ports in
// use, a bad config, reload, and draining.
func TestCastDaemon(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "10 MB/s"`})
	t.Run("second on the same state", func(t *testing.T) {
		out, err := exec.CommandContext(s.ctx, s.programs.Daemon, "--config", filepath.Join(s.daemon.Dir, "wimcastd.toml")).CombinedOutput()
		if err == nil || len(out) == 0 {
			t.Errorf("it started: %s", out)
		}
	})
	t.Run("port in use", func(t *testing.T) {
		dir := t.TempDir()
		config := filepath.Join(dir, "c.toml")
		text := fmt.Sprintf("state = %q\nlisten = %q\n[multicast]\ninterface = \"lo\"\n", dir, bundleServer(t, s))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(s.ctx, s.programs.Daemon, "--config", config).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("set listen")) {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("no such interface", func(t *testing.T) {
		dir := t.TempDir()
		config := filepath.Join(dir, "c.toml")
		text := fmt.Sprintf("state = %q\nlisten = \"127.0.0.1:0\"\n[multicast]\ninterface = \"nosuch0\"\n", dir)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(s.ctx, s.programs.Daemon, "--config", config).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("nosuch0")) {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("unknown key", func(t *testing.T) {
		config := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(config, []byte("\n[multicast]\nceilling = \"1 MB/s\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(s.ctx, s.programs.Daemon, "--check", "--config", config).CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("line 3")) || !bytes.Contains(out, []byte("multicast.ceilling")) {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("reload and drain", func(t *testing.T) {
		if err := s.daemon.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		g := s.get(0)
		if err := g.AwaitProven(s.ctx, 0.2); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error, 1)
		go func() { stopped <- s.daemon.Stop() }()
		s.proven(g) // the running session may end
		if err := <-stopped; err != nil {
			t.Errorf("SIGTERM: %v", err)
		}
		if !strings.Contains(s.daemon.Log(), "reloaded") {
			t.Error("the log doesn't say that it reloaded")
		}
	})
}

// TestCastMetrics scrapes a daemon that casts.
func TestCastMetrics(t *testing.T) {
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "20 MB/s"`})
	s.proven(s.get(0, "--lose", "0.02"))
	var body string
	s.eventually("the server has counted the client's end", func() bool {
		body = page(t, s.daemon.Metrics())
		return strings.Contains(body, "wimcast_client_results_total{")
	})
	for _, want := range []string{
		`wimcast_client_proven_bytes_total{package="w11@1",path="multicast"} `, `wimcast_sent_packets_total{kind="source",package="w11@1"}`,
		`wimcast_client_results_total{package="w11@1",path="multicast",result="proven"} 1`, `wimcast_session_clients{session="s1",state="proven"} 1`,
		`wimcast_library_packages{state="in_service"} 1`, "wimcast_build_info",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}
