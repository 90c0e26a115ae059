//go:build linux

// Bench measures wimcast beside its peers and its ceiling, in one run on one machine:
//
//	go run ./test/bench [-quick] [-json] [-runs N] [-only REGEXP] [-markdown FILE] | -trace FILE
//
// It builds a room in network namespaces (package lab) and sends the same random file to 1, 4 and 8
// clients, with and without loss, by each contender in turn: wimcast encrypted and clear; a bare
// pump that does nothing but move, open and hash the same packets (the ceiling); and, where they are installed,
// uftp, udpcast, and HTTPS by nginx and curl. Files lie in memory. Only ratios inside one run mean anything.
//
// Needs root. Progress goes to standard error, the tables (or, with -json, one object) to standard output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"wimcast/test/bench/light"
	"wimcast/test/bench/pump"
	"wimcast/test/lab"
	"wimcast/test/noise"
	"wimcast/test/rig"
)

// options are the command line's.
type options struct {
	quick    bool
	json     bool
	runs     int
	only     *regexp.Regexp
	markdown string
	trace    string
}

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "pump-send", "pump-receive":
			end(runPump(os.Args[1], os.Args[2:]))
		case "light":
			end(runLight(os.Args[2:]))
		}
	}
	var o options
	only := flag.String("only", "", "measure only the cases whose name matches, as in 'NIC-like/8 clients/1 %/wimcast'")
	flag.BoolVar(&o.quick, "quick", false, "64 MiB, fewer cases: under three minutes")
	flag.BoolVar(&o.json, "json", false, "print one JSON object in place of tables")
	flag.IntVar(&o.runs, "runs", 0, "runs of each case (default 3)")
	flag.StringVar(&o.markdown, "markdown", "", "write the tables as Markdown to this file too, and plots beside it")
	flag.StringVar(&o.trace, "trace", "", "measure nothing, but draw what the rate does over time into this file (SVG)")
	flag.Parse()
	o.only = regexp.MustCompile(*only)
	if o.runs == 0 {
		o.runs = 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	end(run(ctx, o))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runPump is one end of the ceiling, as a process of its own.
func runPump(which string, args []string) error {
	var c pump.Config
	var group, server string
	flags := flag.NewFlagSet(which, flag.ExitOnError)
	flags.StringVar(&c.Interface, "interface", "", "")
	flags.StringVar(&group, "group", "", "")
	flags.StringVar(&server, "server", "", "")
	flags.StringVar(&c.File, "file", "", "")
	flags.Int64Var(&c.Size, "size", 0, "")
	flags.IntVar(&c.Receivers, "receivers", 1, "")
	flags.BoolVar(&c.Hash, "hash", true, "")
	flags.IntVar(&c.Sockets, "sockets", 1, "")
	flags.Int64Var(&c.Rate, "rate", 0, "")
	_ = flags.Parse(args)
	var err1, err2 error
	c.Group, err1 = netip.ParseAddrPort(group)
	c.Server, err2 = netip.ParseAddrPort(server)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if which == "pump-send" {
		return pump.Send(c)
	}
	return pump.Receive(c)
}

// runLight is the light clients, as a process of its own.
func runLight(args []string) error {
	var c light.Config
	flags := flag.NewFlagSet("light", flag.ExitOnError)
	flags.StringVar(&c.Bundle, "bundle", "", "")
	flags.StringVar(&c.Package, "package", "", "")
	flags.StringVar(&c.Interface, "interface", "", "")
	flags.IntVar(&c.Clients, "clients", 1, "")
	_ = flags.Parse(args)
	return light.Run(context.Background(), c, os.Stdin, os.Stdout)
}

// bench is what all cases share.
type bench struct {
	options
	dir      string // in memory
	programs rig.Programs
	size     int64 // of the image where a case doesn't say
	results  []*result
}

func run(ctx context.Context, o options) error {
	if err := lab.Supported(); err != nil {
		return fmt.Errorf("the network lab can't be had here: %w", err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "wimcast-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{options: o, dir: dir, size: fullSize}
	if o.quick {
		b.size = quickSize
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if o.trace != "" {
		return b.traces(ctx)
	}
	for _, room := range b.plan() {
		if err := b.inRoom(ctx, room); err != nil {
			return err
		}
	}
	return b.report()
}

// prepare builds the programs.
func (b *bench) prepare(ctx context.Context) error {
	b.say("building")
	for _, program := range []struct {
		path *string
		name string
	}{{&b.programs.Daemon, "wimcastd"}, {&b.programs.Client, "wimcast"}} {
		*program.path = filepath.Join(b.dir, program.name)
		cmd := exec.CommandContext(ctx, "go", "build", "-o", *program.path, "wimcast/cmd/"+program.name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", program.name, err, out)
		}
	}
	return nil
}

// image returns the path of an image of a size, which is made first where there is none. An error that wraps errNoRoom
// says that memory can't hold it and what some clients receive of it.
func (b *bench) image(size int64, clients int) (string, error) {
	file := filepath.Join(b.dir, fmt.Sprintf("image-%d.wim", size>>20))
	needed := size * int64(clients+1) // received, and in the library
	if _, err := os.Stat(file); err != nil {
		needed += size
	}
	if free, err := freeSpace(b.dir); err != nil || free < needed+needed/16 {
		return "", errors.Join(fmt.Errorf("%w: %d MiB for %d clients", errNoRoom, needed>>20, clients), err)
	}
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	b.say("making an image of %d MiB", size>>20)
	return file, noise.WriteFile(file, size, 7)
}

var errNoRoom = errors.New("memory has no room for the files")

// freeSpace returns how many bytes the file system of a directory can still take.
func freeSpace(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("look for free space: %w", err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

// newRoom builds a room whose switch snoops, and forgets quickly.
func newRoom(ctx context.Context, clients int, mode lab.Frames) (*lab.Room, error) {
	room, err := lab.New(ctx, lab.Config{Clients: clients, Frames: mode})
	if err != nil {
		return nil, err
	}
	if err = room.WaitSnooping(ctx); err == nil {
		err = leaveFast(ctx, room)
	}
	if err != nil {
		return nil, errors.Join(err, room.Close())
	}
	return room, nil
}

// inRoom measures some cases in a room of their own.
func (b *bench) inRoom(ctx context.Context, plan roomPlan) error {
	cases, clients := plan.cases, 0
	for _, c := range cases {
		clients = max(clients, c.hosts())
	}
	room, err := newRoom(ctx, clients, plan.mode)
	if err != nil {
		return err
	}
	defer func() { _ = room.Close() }()
	site := &site{bench: b, room: room, cables: make([]cableState, clients)}
	contenders := contenders(site)
	// Round by round, so that the machine's moods meet everybody alike.
	for round := range b.runs {
		for i := range cases {
			c := &cases[i]
			switch err := site.set(ctx, c); {
			case errors.Is(err, errNoRoom):
				b.say("%s is left out: %v", c.name(), err)
				continue
			case err != nil:
				return err
			}
			for _, contender := range contenders {
				if !b.wants(c, contender.name()) {
					continue
				}
				r := b.resultOf(c, contender.name())
				m, err := site.measure(ctx, c, contender)
				if err != nil {
					if ctx.Err() != nil {
						return err
					}
					r.failures = append(r.failures, err.Error())
					b.say("%d  %-58s failed: %v", round+1, c.name()+"/"+contender.name(), err)
					continue
				}
				r.runs = append(r.runs, m)
				b.say("%d  %-58s %6.1f MB/s  %5.2f s  sender %5.2f  client %5.2f s/GiB  packets %.3f", round+1, c.name()+"/"+contender.name(),
					m.Goodput/1e6, m.Seconds, m.SenderCPU, m.ClientCPU, m.Packets)
			}
		}
	}
	return nil
}

func (b *bench) resultOf(c *testCase, contender string) *result {
	i := slices.IndexFunc(b.results, func(r *result) bool { return r.testCase.name() == c.name() && r.contender == contender })
	if i < 0 {
		b.results = append(b.results, &result{testCase: *c, contender: contender})
		i = len(b.results) - 1
	}
	return b.results[i]
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
