//go:build linux

// Package rig runs the real programs for whole-system tests and the demo: a
// daemon with a state directory of its own, and clients whose events it follows.
// It runs them wherever a Place says: on hosts of the lab, or on this machine's loopback.
package rig

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Place is where programs run. *lab.Host is one.
type Place interface {
	Name() string
	Addr() netip.Addr
	Interface() string
	Command(ctx context.Context, name string, args ...string) *exec.Cmd
}

// Loopback is a place on this machine: all of it shares 127.0.0.1.
type Loopback string

// Name returns the place's name.
func (l Loopback) Name() string { return string(l) }

// Addr returns 127.0.0.1.
func (Loopback) Addr() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// Interface returns lo.
func (Loopback) Interface() string { return "lo" }

// Command returns a command in a process group of its own, killed with ctx.
func (Loopback) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// Programs are the binaries under test.
type Programs struct {
	Daemon, Client string // paths of wimcastd and wimcast
}

// Daemon is a running wimcastd.
type Daemon struct {
	Place    Place
	Dir      string // its state
	programs Programs
	config   string
	log      Output
	cmd      *exec.Cmd
	exited   chan struct{}
	err      error
}

// readyWithin bounds a daemon's start, which takes a fraction of a second where nothing else runs.
const readyWithin = time.Minute

// Config is what a daemon's configuration says beside where it is: lines of TOML.
type Config struct {
	Top       string // keys outside of tables
	Multicast string // of [multicast]
	Admin     string // of [admin]
	Page      string // of [page]; none: plain HTTP on a port of loopback
	Tables    string // more tables, whole
}

// StartDaemon starts a daemon with its state in dir and waits until it is ready.
func StartDaemon(ctx context.Context, place Place, programs Programs, dir string, c Config) (*Daemon, error) {
	d := &Daemon{Place: place, Dir: dir, programs: programs, config: filepath.Join(dir, "wimcastd.toml")}
	if err := d.Configure(c); err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	return d, d.Start(ctx)
}

// Configure writes the daemon's configuration; it counts from the next start or SIGHUP on.
func (d *Daemon) Configure(c Config) error {
	listen := "0.0.0.0:7600"
	if d.Place.Addr().IsLoopback() {
		listen = "127.0.0.1:0" // several may run side by side
	}
	text := fmt.Sprintf("state = %q\nlisten = %q\n%s\n[multicast]\ninterface = %q\n%s\n[admin]\n%s\n[metrics]\nlisten = \"127.0.0.1:0\"\n[page]\n%s\n%s\n",
		d.Dir, listen, c.Top, d.Place.Interface(), c.Multicast, c.Admin, cmp.Or(c.Page, `listen = "127.0.0.1:0"`), c.Tables)
	return os.WriteFile(d.config, []byte(text), 0o600)
}

// Start starts the daemon again on the same state.
func (d *Daemon) Start(ctx context.Context) error {
	d.cmd = d.Place.Command(ctx, d.programs.Daemon, "--config", d.config)
	d.cmd.Stderr = &d.log
	d.exited = make(chan struct{})
	from := d.log.Len()
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.exited)
	}()
	deadline := time.After(readyWithin)
	for {
		changed := d.log.Changed() // before the look: what comes after it isn't missed
		if strings.Contains(d.log.From(from), `"msg":"ready"`) {
			return nil
		}
		select {
		case <-changed:
		case <-d.exited:
			return fmt.Errorf("start daemon: it ended: %w: %s", d.err, d.log.From(from))
		case <-deadline:
			return fmt.Errorf("start daemon: not ready in %v: %s", readyWithin, d.log.From(from))
		}
	}
}

// Log returns what the daemon logged so far.
func (d *Daemon) Log() string { return d.log.From(0) }

// Metrics returns where the latest start of the daemon serves its metrics: a URL.
func (d *Daemon) Metrics() string {
	log := d.Log()
	_, address, _ := strings.Cut(log[strings.LastIndex(log, `"msg":"ready"`):], `"metrics":"`)
	address, _, _ = strings.Cut(address, `"`)
	return "http://" + address + "/metrics"
}

// Bundle returns the path of the first join bundle.
func (d *Daemon) Bundle() string { return filepath.Join(d.Dir, "room.join") }

// Kill ends the daemon as power loss does.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill()
	<-d.exited
}

// Stop asks the daemon to end and waits for it.
func (d *Daemon) Stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	<-d.exited
	return d.err
}

// Signal sends a signal.
func (d *Daemon) Signal(s os.Signal) error { return d.cmd.Process.Signal(s) }

// Cmd returns the daemon's process.
func (d *Daemon) Cmd() *exec.Cmd { return d.cmd }

// Exited is closed once the daemon has ended.
func (d *Daemon) Exited() <-chan struct{} { return d.exited }

// CLI runs wimcast against the daemon's admin socket and returns its standard output.
func (d *Daemon) CLI(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, d.programs.Client, append([]string{"--socket", filepath.Join(d.Dir, "admin.sock")}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("wimcast %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.Bytes(), nil
}

// AddImage adds an image as a package, and deploys it by the same name to every bundle. It returns what the adding said.
func (d *Daemon) AddImage(ctx context.Context, file, name string, args ...string) ([]byte, error) {
	out, err := d.CLI(ctx, append([]string{"image", "add", file, "--name", name}, args...)...)
	if err != nil {
		return out, err
	}
	_, err = d.CLI(ctx, "deployment", "create", name, "--image", name)
	return out, err
}

// Ask runs wimcast --json against the daemon and decodes its answer.
func (d *Daemon) Ask(ctx context.Context, answer any, args ...string) error {
	out, err := d.CLI(ctx, append([]string{"--json"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("wimcast %s: %w in %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Event is a line of `wimcast get --json`.
type Event struct {
	Event  string  `json:"event"`
	Text   string  `json:"text"`
	Proven int64   `json:"proven_bytes"`
	Size   int64   `json:"size_bytes"`
	Rate   float64 `json:"rate_bytes_per_second"`
	Path   string  `json:"path"`
	Totals *Totals `json:"totals"`
	Result *Result `json:"result"`
}

// Totals is what a client counted.
type Totals struct {
	Multicast, Unicast, Held, Seed   int64
	Packets, Lost                    uint64
	KernelDrops, DiskDrops, Repaired uint64
	Duplicate, Rejected, NACKs       uint64
	Rejoins, Reconnects              int
	UnicastReason                    string
}

// Result is how a client ended.
type Result struct {
	Package string  `json:"package"`
	File    string  `json:"file"`
	SHA256  string  `json:"sha256"`
	Size    int64   `json:"size_bytes"`
	Seconds float64 `json:"seconds"`
	Code    int     `json:"exit_code"`
	Error   string  `json:"error"`

	Index   int      `json:"applied_index"`
	Applied float64  `json:"apply_seconds"`
	Updates bool     `json:"updates_installed"`
	Logs    []string `json:"logs"`
}

// Get is a running `wimcast get`.
type Get struct {
	Place Place

	cmd    *exec.Cmd
	exited chan struct{}
	errOut Output

	mu     sync.Mutex
	events []Event
	last   Event // the latest progress
	ended  Event // the result line
	wake   chan struct{}
	code   int
}

// StartGet starts `wimcast get --json` at a place.
func StartGet(ctx context.Context, place Place, programs Programs, args ...string) (*Get, error) {
	return startClient(ctx, place, programs, append([]string{"get", "--name", place.Name()}, args...))
}

// startClient starts a command that receives and tells of it as `get --json` does.
func startClient(ctx context.Context, place Place, programs Programs, args []string) (*Get, error) {
	g := &Get{Place: place, exited: make(chan struct{}), wake: make(chan struct{})}
	all := append([]string{"--json"}, args...)
	g.cmd = place.Command(ctx, programs.Client, all...)
	g.cmd.Stderr = &g.errOut
	out, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start get: %w", err)
	}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start get: %w", err)
	}
	go func() {
		decoder := json.NewDecoder(out)
		for {
			var e Event
			if decoder.Decode(&e) != nil {
				break
			}
			g.take(e)
		}
		_ = g.cmd.Wait() // the exit code says it
		g.mu.Lock()
		g.code = g.cmd.ProcessState.ExitCode()
		g.mu.Unlock()
		close(g.exited)
	}()
	return g, nil
}

func (g *Get) take(e Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e.Event {
	case "progress":
		g.last = e
	case "result":
		g.ended = e
	default:
		g.events = append(g.events, e)
	}
	close(g.wake)
	g.wake = make(chan struct{})
}

// Await waits until what it is given is true of the client's state.
func (g *Get) Await(ctx context.Context, what string, is func(progress Event, events []Event) bool) error {
	for {
		g.mu.Lock()
		ok, wake := is(g.last, g.events), g.wake
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-wake:
		case <-g.exited:
			return fmt.Errorf("%s ended before %s: exit code %d: %s", g.Place.Name(), what, g.Code(), g.Stderr())
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for %s: %w", g.Place.Name(), what, context.Cause(ctx))
		}
	}
}

// AwaitProven waits until the client has proven a share of the image.
func (g *Get) AwaitProven(ctx context.Context, share float64) error {
	return g.Await(ctx, fmt.Sprintf("%.0f %% proven", 100*share), func(p Event, _ []Event) bool {
		return p.Size > 0 && float64(p.Proven) >= share*float64(p.Size)
	})
}

// Progress returns the latest progress.
func (g *Get) Progress() Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Events returns what has happened so far.
func (g *Get) Events() []Event {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Event(nil), g.events...)
}

// Happened returns the text of the first event of a kind.
func (g *Get) Happened(kind string) (text string, ok bool) {
	for _, e := range g.Events() {
		if e.Event == kind {
			return e.Text, true
		}
	}
	return "", false
}

// Kill ends the client as power loss does.
func (g *Get) Kill() {
	_ = g.cmd.Process.Kill()
	<-g.exited
}

// Wait waits for the client's end and returns its result and totals; the error is
// that of ctx only.
func (g *Get) Wait(ctx context.Context) (Result, Totals, error) {
	select {
	case <-g.exited:
	case <-ctx.Done():
		return Result{}, Totals{}, fmt.Errorf("%s: waiting for the end: %w; events %v", g.Place.Name(), context.Cause(ctx), g.Events())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var r Result
	var t Totals
	if g.ended.Result != nil {
		r = *g.ended.Result
	}
	if g.ended.Totals != nil {
		t = *g.ended.Totals
	}
	if r.Code != g.code {
		r.Code, r.Error = g.code, strings.TrimSpace(r.Error+" "+g.errOut.From(0))
	}
	return r, t, nil
}

// Cmd returns the client's process.
func (g *Get) Cmd() *exec.Cmd { return g.cmd }

// Done is closed when the client has ended.
func (g *Get) Done() <-chan struct{} { return g.exited }

// Code returns the exit code once the client has ended.
func (g *Get) Code() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.code
}

// Stderr returns what the client wrote to standard error.
func (g *Get) Stderr() string { return strings.TrimSpace(g.errOut.From(0)) }
