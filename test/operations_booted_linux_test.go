package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wimcast/test/booted"
	"wimcast/test/lab"
	"wimcast/test/rig"
)

// The packages on a machine that booted: a Debian under its own systemd, in the place of the room's server.
//
//	room    server 10.77.0.1 = the booted system      pc01 10.77.0.11 = a client, on this machine's file system

const (
	unit       = "wimcastd.service"
	configFile = "/etc/wimcast/wimcastd.toml"
	stateDir   = "/var/lib/wimcast"
	// bootedPatience bounds all steps on one system; they take one or two minutes where nothing else runs.
	bootedPatience = 15 * time.Minute
)

// machine is a booted system with a client beside it.
type machine struct {
	*stage
	disk   *booted.Machine
	system *booted.System
	bundle string // as clients have it
	last   booted.Mark
}

// onMachine lays a machine in the place of the room's server and boots it once before has done with it.
func onMachine(t *testing.T, before func(m *machine)) *machine {
	t.Helper()
	return onMachineAt(t, (*lab.Room).Server, before)
}

// onMachineAt does so in any place of the room, which has one client.
func onMachineAt(t *testing.T, at func(*lab.Room) *lab.Host, before func(m *machine)) *machine {
	t.Helper()
	if err := errors.Join(lab.Supported(), booted.Supported()); err != nil {
		t.Skipf("a system can't be booted here: %v", err)
	}
	m := &machine{stage: prepare(t)}
	ctx, cancel := context.WithTimeoutCause(context.Background(), bootedPatience, fmt.Errorf("the test took more than %v", bootedPatience))
	t.Cleanup(cancel)
	m.ctx = ctx
	tree, err := booted.Tree(ctx)
	m.must(err)
	m.room, err = lab.New(ctx, lab.Config{Clients: 1})
	m.must(err)
	t.Cleanup(func() { _ = m.room.Close() })
	layer := filepath.Join(m.dir, "layer")
	m.must(os.Mkdir(layer, 0o755))
	m.disk, err = booted.New(ctx, at(m.room), tree, layer)
	m.must(err)
	t.Cleanup(func() { _ = m.disk.Close() })
	image, err := os.ReadFile(m.image)
	m.must(err)
	m.must(os.WriteFile(m.disk.Path("/srv/w11.wim"), image, 0o644))
	before(m)
	m.boot()
	t.Cleanup(func() {
		if t.Failed() {
			journal, err := m.system.Journal(context.WithoutCancel(ctx), unit, "")
			t.Logf("the unit's journal (%v):\n%s", err, journal[max(0, len(journal)-20000):])
		}
		m.system.Kill()
	})
	return m
}

func (m *machine) boot() {
	m.t.Helper()
	var err error
	m.system, err = m.disk.Boot(m.ctx)
	m.must(err)
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// steps runs one step after the other on the same system: a boot and an installation for each would take longer than all of them, and
// a service's life is what is to be seen. Each begins with the service up and ends so unless it says otherwise; after one that fails no other has sense.
func (m *machine) steps(list []step) {
	outer := m.t
	defer func() { m.t = outer }()
	for _, s := range list {
		if !outer.Run(s.name, func(t *testing.T) {
			m.t = t
			s.run(m)
		}) {
			outer.FailNow()
		}
	}
}

type step struct {
	name string
	run  func(m *machine)
}

// run runs a command in the system; it must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.system.Run(m.ctx, args[0], args[1:]...)
	m.must(err)
	return out
}

// fails runs a command in the system that must fail, and returns what it wrote.
func (m *machine) fails(args ...string) string {
	m.t.Helper()
	out, err := m.system.Run(m.ctx, args[0], args[1:]...)
	if _, exited := errors.AsType[*exec.ExitError](err); !exited {
		m.t.Fatalf("%s: %v, want it to fail; it wrote %s", strings.Join(args, " "), err, out)
	}
	return out
}

// shows holds properties of the unit.
func (m *machine) shows(wanted map[string]string) {
	m.t.Helper()
	for key, want := range wanted {
		shown, err := m.system.Show(m.ctx, unit, key)
		m.must(err)
		if shown[key] != want {
			m.t.Errorf("%s of the unit is %q, want %q", key, shown[key], want)
		}
	}
}

// up holds that the service runs, and that systemd heard so from itself.
func (m *machine) up() {
	m.t.Helper()
	m.shows(map[string]string{"ActiveState": "active", "SubState": "running", "StatusText": "serving at 0.0.0.0:7600"})
}

// since marks the journal's end: awaits looks behind it.
func (m *machine) since() {
	m.t.Helper()
	var err error
	m.last, err = m.system.Mark(m.ctx)
	m.must(err)
}

// awaits waits for a line of the unit's journal that matches, since the mark.
func (m *machine) awaits(line string) string {
	m.t.Helper()
	found, err := m.system.Await(m.ctx, unit, m.last, regexp.MustCompile(line))
	m.must(err)
	return found
}

// edit changes the configuration as an administrator does: each odd word to the next one.
func (m *machine) edit(words ...string) {
	m.t.Helper()
	text, err := os.ReadFile(m.system.Path(configFile))
	m.must(err)
	config := string(text)
	for i := 0; i < len(words); i += 2 {
		if !strings.Contains(config, words[i]) {
			m.t.Fatalf("the configuration has no %q", words[i])
		}
		config = strings.Replace(config, words[i], words[i+1], 1)
	}
	m.must(os.WriteFile(m.system.Path(configFile), []byte(config), 0o644))
}

// ceiling sets multicast.ceiling in the configuration.
func (m *machine) ceiling(rate string) {
	m.t.Helper()
	text, err := os.ReadFile(m.system.Path(configFile))
	m.must(err)
	line := regexp.MustCompile(`(?m)^#?ceiling = .*$`).FindString(string(text))
	m.edit(line, fmt.Sprintf("ceiling = %q", rate))
}

// reload has the service take over its configuration, and waits until it says how that went.
func (m *machine) reload(says string) {
	m.t.Helper()
	m.since()
	m.run("systemctl", "reload", unit)
	m.awaits(says)
}

const reloaded = `"msg":"reloaded"`

// status asks the daemon for its status.
func (m *machine) status() (s struct {
	Version string  `json:"version"`
	Ceiling float64 `json:"ceiling_bytes_per_second"`
},
) {
	m.t.Helper()
	out, err := exec.CommandContext(m.ctx, "curl", "-sS", "--fail", "--unix-socket", m.system.Path("/run/wimcast/admin.sock"), "http://wimcastd/v1/status").Output()
	m.must(err)
	m.must(json.Unmarshal(out, &s))
	return s
}

// deploy adds the image, deploys it to every bundle, and brings the first bundle to the client.
func (m *machine) deploy() {
	m.t.Helper()
	m.run("wimcast", "image", "add", "/srv/w11.wim", "--name", "w11", "--version", "1")
	m.run("wimcast", "deployment", "create", "w11", "--image", "w11")
	bundle, err := os.ReadFile(m.system.Path(stateDir + "/room.join"))
	m.must(err)
	m.bundle = filepath.Join(m.dir, "room.join")
	m.must(os.WriteFile(m.bundle, bundle, 0o600))
}

// receives starts the client.
func (m *machine) receives() *rig.Get {
	m.t.Helper()
	place := m.room.Client(0)
	_ = os.Remove(m.file(place.Name())) // of a step before
	g, err := rig.StartGet(m.ctx, place, m.programs, "w11", "--bundle", m.bundle, "--output", m.file(place.Name()))
	m.must(err)
	m.t.Cleanup(g.Kill)
	return g
}

// inTheMiddle starts a slow cast and returns once the client has some of it.
func (m *machine) inTheMiddle() *rig.Get {
	m.t.Helper()
	g := m.receives()
	m.must(g.AwaitProven(m.ctx, 0.1))
	return g
}

// running lists the processes of the service's user.
func (m *machine) running() string {
	m.t.Helper()
	return m.run("find", "/proc", "-maxdepth", "1", "-user", "wimcast", "-printf", "%f ")
}

// looks holds mode and owner of files, as stat shows them.
func (m *machine) looks(wanted map[string]string) {
	m.t.Helper()
	for name, want := range wanted {
		if got := m.run("stat", "--format=%A %U:%G", name); got != want {
			m.t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}
