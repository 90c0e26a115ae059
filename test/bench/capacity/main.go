//go:build linux

// Capacity measures how much one daemon carries at a time, in a room of network namespaces:
//
//	go run ./test/bench/capacity [-runs N]
//
// clients: one session with more and more clients. sessions: more and more of them at a time, four clients each. unicast: more and
// more downloads at a time. Clients of the first two are light (package light): all of them one process, each with a control channel and
// a socket of its own. Those of unicast are whole ones that keep nothing. Everything shares this machine's
// cores, so the processor that the daemon takes has the network's work up to every client's socket in it, and a server with a network card takes less.
//
// Needs root. It prints one table in Markdown; docs/operations.md has it, and says when it was measured.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"wimcast/test/bench/light"
	"wimcast/test/lab"
	"wimcast/test/noise"
	"wimcast/test/rig"
)

// What is measured.
const (
	imageBytes = 4 << 20 // of each image; noise
	// sessionClients is how many clients each of several sessions has.
	sessionClients = 4
	// castCeiling is what all sessions send with together: at what two busy cores still take the packets of so many light clients.
	castCeiling = "8 Mbit/s"
	runFor      = 20 * time.Minute // bounds all of it
)

// kase is a row of the table.
type kase struct {
	name              string
	clients, sessions int
	unicast           bool
}

// figures are what a run of it gave.
type figures struct {
	handshakes float64 // seconds until all had their control channel; of light clients
	seconds    float64 // from the start until the last had proven all
	cpu        float64 // seconds of the daemon's processor time in that
	memory     int64   // the daemon's resident peak, bytes
	rate       float64 // bytes of images proven, of all clients together, a second
}

func cases() []kase {
	var all []kase
	for _, n := range []int{50, 100, 200} {
		all = append(all, kase{name: fmt.Sprintf("1 session, %d clients", n), clients: n, sessions: 1})
	}
	for _, n := range []int{4, 16, 32} {
		all = append(all, kase{name: fmt.Sprintf("%d sessions, %d clients each", n, sessionClients), clients: sessionClients, sessions: n})
	}
	for _, n := range []int{1, 4, 16, 64} {
		all = append(all, kase{name: fmt.Sprintf("%d unicast downloads", n), clients: n, unicast: true})
	}
	return all
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "light" {
		end(lights(os.Args[2:]))
		return
	}
	runs := flag.Int("runs", 3, "how often each row is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, runFor)
	defer cancel()
	end(measure(ctx, *runs))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// lights is the light clients of some sessions, as a process of its own.
func lights(args []string) error {
	flags := flag.NewFlagSet("light", flag.ContinueOnError)
	bundle := flags.String("bundle", "", "join bundle")
	networkInterface := flags.String("interface", "", "interface of the group")
	clients := flags.Int("clients", 1, "clients of each session")
	sessions := flags.Int("sessions", 1, "sessions")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// Each group of clients says that it is ready and waits for a line: this passes them on.
	var waiting, running sync.WaitGroup
	starts := make([]*os.File, *sessions)
	errs := make([]error, *sessions)
	for i := range *sessions {
		in, start, err := os.Pipe()
		if err != nil {
			return err
		}
		ready, out, err := os.Pipe()
		if err != nil {
			return err
		}
		starts[i] = start
		waiting.Go(func() { _, _ = bufio.NewReader(ready).ReadString('\n') })
		running.Go(func() {
			errs[i] = light.Run(context.Background(), light.Config{
				Bundle: *bundle, Package: fmt.Sprintf("d%02d", i), Interface: *networkInterface, Clients: *clients, First: i * *clients,
			}, in, out)
			_ = out.Close() // one that failed isn't waited for
		})
	}
	waiting.Wait()
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	for _, start := range starts {
		if _, err := fmt.Fprintln(start); err != nil {
			return err
		}
	}
	running.Wait()
	return errors.Join(errs...)
}

// measure runs all cases in turn, some times, and prints medians.
func measure(ctx context.Context, runs int) error {
	dir, err := os.MkdirTemp("", "wimcast-capacity-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	programs, err := build(ctx, dir)
	if err != nil {
		return err
	}
	image := filepath.Join(dir, "image.wim")
	if err := noise.WriteFile(image, imageBytes, 1); err != nil {
		return err
	}
	room, err := lab.New(ctx, lab.Config{Clients: 1})
	if err != nil {
		return err
	}
	defer func() { _ = room.Close() }()
	if err := room.WaitSnooping(ctx); err != nil {
		return err
	}
	all := cases()
	got := make([][]figures, len(all))
	for range runs {
		for i, c := range all {
			f, err := c.run(ctx, room, programs, filepath.Join(dir, "state"), image)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(os.Stderr, "%s: %+v\n", c.name, f)
			got[i] = append(got[i], f)
		}
	}
	fmt.Println("| at a time | handshakes, s | transfer, s | all clients together, MB/s | daemon's processor, s | daemon's memory, MiB |")
	fmt.Println("|---|---:|---:|---:|---:|---:|")
	for i, c := range all {
		handshakes := column(got[i], func(f figures) float64 { return f.handshakes }, 1)
		if c.unicast {
			handshakes = ""
		}
		fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", c.name, handshakes,
			column(got[i], func(f figures) float64 { return f.seconds }, 1), column(got[i], func(f figures) float64 { return f.rate / 1e6 }, 1),
			column(got[i], func(f figures) float64 { return f.cpu }, 1), column(got[i], func(f figures) float64 { return float64(f.memory >> 20) }, 0))
	}
	return nil
}

// column is the median of a figure, with its smallest and largest.
func column(runs []figures, of func(figures) float64, digits int) string {
	var v []float64
	for _, f := range runs {
		v = append(v, of(f))
	}
	slices.Sort(v)
	text := func(x float64) string { return strconv.FormatFloat(x, 'f', digits, 64) }
	return fmt.Sprintf("%s (%s–%s)", text(v[len(v)/2]), text(v[0]), text(v[len(v)-1]))
}

func build(ctx context.Context, dir string) (p rig.Programs, err error) {
	p = rig.Programs{Daemon: filepath.Join(dir, "wimcastd"), Client: filepath.Join(dir, "wimcast")}
	for _, path := range []string{p.Daemon, p.Client} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/"+filepath.Base(path))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("build %s: %w: %s", path, err, out)
		}
	}
	return p, nil
}

func (c kase) run(ctx context.Context, room *lab.Room, programs rig.Programs, state, image string) (f figures, err error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return f, err
	}
	defer func() { _ = os.RemoveAll(state) }()
	d, err := rig.StartDaemon(ctx, room.Server(), programs, state, rig.Config{
		Multicast: fmt.Sprintf("ceiling = %q", castCeiling), Tables: fmt.Sprintf("[unicast]\nslots = %d", max(c.clients, 4)),
	})
	if err != nil {
		return f, err
	}
	defer d.Kill()
	if _, err := d.CLI(ctx, "image", "add", image, "--name", "noise", "--version", "1"); err != nil {
		return f, err
	}
	if c.unicast {
		if _, err := d.CLI(ctx, "image", "set", "noise", "--no-multicast"); err != nil {
			return f, err
		}
	}
	for i := range max(c.sessions, 1) {
		if _, err := d.CLI(ctx, "deployment", "create", fmt.Sprintf("d%02d", i), "--image", "noise"); err != nil {
			return f, err
		}
	}
	host := room.Client(0)
	if c.unicast {
		f, err = c.downloads(ctx, host, d, programs)
	} else {
		f, err = c.cast(ctx, host, d)
	}
	if err != nil {
		return f, err
	}
	f.rate = float64(imageBytes) * float64(c.clients*max(c.sessions, 1)) / f.seconds
	f.memory, err = peak(d.Cmd().Process.Pid)
	return f, err
}

// cast has light clients receive.
func (c kase) cast(ctx context.Context, host *lab.Host, d *rig.Daemon) (f figures, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, err
	}
	cmd := host.Command(ctx, self, "light", "-bundle", d.Bundle(), "-interface", host.Interface(), "-clients", fmt.Sprint(c.clients), "-sessions", fmt.Sprint(c.sessions))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return f, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return f, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return f, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // again, after a run that succeeded
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return f, fmt.Errorf("light clients: not ready: %w", err)
	}
	f.handshakes = time.Since(began).Seconds()
	before, err := spent(d.Cmd().Process.Pid)
	if err != nil {
		return f, err
	}
	began = time.Now()
	if _, err := fmt.Fprintln(in); err != nil {
		return f, err
	}
	if err := cmd.Wait(); err != nil {
		return f, fmt.Errorf("light clients: %w", err)
	}
	f.seconds = time.Since(began).Seconds()
	after, err := spent(d.Cmd().Process.Pid)
	f.cpu = after - before
	return f, err
}

// downloads has whole clients fetch by unicast, all at once.
func (c kase) downloads(ctx context.Context, host *lab.Host, d *rig.Daemon, programs rig.Programs) (f figures, err error) {
	before, err := spent(d.Cmd().Process.Pid)
	if err != nil {
		return f, err
	}
	began := time.Now()
	errs := make([]error, c.clients)
	var running sync.WaitGroup
	for i := range c.clients {
		running.Go(func() {
			cmd := host.Command(ctx, programs.Client, "get", "d00", "--bundle", d.Bundle(), "--name", fmt.Sprintf("pc%02d", i), "--discard", "--no-send-log")
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("%w: %s", err, out)
			}
		})
	}
	running.Wait()
	f.seconds = time.Since(began).Seconds()
	after, err := spent(d.Cmd().Process.Pid)
	f.cpu = after - before
	return f, errors.Join(errors.Join(errs...), err)
}

// ticks is how many clock ticks of /proc make a second; USER_HZ is 100 on every Linux that Go runs on.
const ticks = 100

// spent is a process's user and system time so far, in seconds (proc(5), stat, fields 14 and 15).
func spent(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // from field 3 on
	var sum float64
	for _, i := range []int{14 - 3, 15 - 3} {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum / ticks, nil
}

// peak is the most memory of a process that was resident, in bytes.
func peak(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("the kernel tells no VmHWM")
}
