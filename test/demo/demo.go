//go:build linux

// Package demo shows the main job on one machine: a real WIM, cast to four clients,
// of which one joins late, one is killed half-way and started again, and one can't hear
// the group; a few percent of the packets get lost. As root it happens in the network
// lab, with real drops and a switch that really prunes; otherwise on loopback, with loss at the client's socket.
package demo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"wimcast/test/lab"
	"wimcast/test/rig"
)

// Options of Run.
type Options struct {
	Programs rig.Programs
	Cache    string // directory where the captured image is kept for the next run
	Out      io.Writer
	Terminal bool // Out can move its cursor
}

// How the demo goes.
const (
	clients   = 4
	lossShare = 3.0         // percent
	linkSpeed = 200_000_000 // bit/s of the server's cable in the lab
	linkQueue = 10 * time.Millisecond
	ceiling   = "25 MB/s" // on loopback, where no cable limits
	lateAt    = 0.25      // of the first client's progress
	killAt    = 0.5
	within    = 2 * time.Minute
)

// client is one of the four, and what happens to it.
type client struct {
	name   string
	fate   string
	place  rig.Place
	deaf   bool
	get    *rig.Get
	file   string
	result rig.Result
	totals rig.Totals
	verify string
}

// show is one run of the demo.
type show struct {
	Options
	dir     string
	image   string
	room    *lab.Room // nil on loopback
	server  rig.Place
	clients []*client
	daemon  *rig.Daemon
	started time.Time

	// Of the goroutine that watches: the session as last polled.
	rate  string
	asked time.Time
	sent  uint64
}

// Run runs the demo; nil means that every client ended with the image, proven by wimcast and
// by wimverify.
func Run(ctx context.Context, o Options) error {
	s := &show{Options: o}
	var err error
	if s.image, err = s.capture(ctx); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "wimcast-demo-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("the demo took more than %v", within))
	defer cancel()
	if err := s.build(ctx); err != nil {
		return err
	}
	if s.room != nil {
		defer func() { _ = s.room.Close() }()
	}
	if err := s.serve(ctx); err != nil {
		return err
	}
	defer s.daemon.Kill()
	stop := s.watch()
	err = s.cast(ctx)
	stop()
	if err != nil {
		return fmt.Errorf("%w\ndaemon's log:\n%s", err, tail(s.daemon.Log(), 20))
	}
	took := time.Since(s.started)
	s.wimverify(ctx)
	return s.report(ctx, took)
}

func (s *show) say(format string, args ...any) { _, _ = fmt.Fprintf(s.Out, format+"\n", args...) }

// build makes the room.
func (s *show) build(ctx context.Context) error {
	fates := []string{"from the start", "joins late", "killed half-way", "can't hear the group"}
	for i, fate := range fates {
		s.clients = append(s.clients, &client{name: fmt.Sprintf("pc%02d", i+1), fate: fate, deaf: i == 3})
	}
	if reason := lab.Supported(); reason != nil {
		s.say("room: loopback, as the network lab can't be had (%v); %.0f %% of the packets are thrown away at the clients' sockets", reason, lossShare)
		s.server = rig.Loopback("server")
		for _, c := range s.clients {
			c.place = rig.Loopback(c.name)
		}
		return nil
	}
	room, err := lab.New(ctx, lab.Config{Clients: clients})
	if err != nil {
		return err
	}
	s.room, s.server = room, room.Server()
	for i, c := range s.clients {
		host := room.Client(i)
		c.place = host
		if err := host.SetLoss(ctx, lossShare); err != nil {
			return err
		}
		if c.deaf {
			if err := host.SetPruned(ctx, true); err != nil {
				return err
			}
		}
	}
	if err := room.Server().SetRate(ctx, linkSpeed, linkQueue); err != nil {
		return err
	}
	if err := room.WaitSnooping(ctx); err != nil {
		return err
	}
	s.say("room: 5 network namespaces on a bridge that snoops IGMP; the server's cable carries %d Mbit/s, every client's loses %.0f %%, the switch prunes %s",
		linkSpeed/1_000_000, lossShare, s.clients[3].name)
	return nil
}

// serve starts the daemon and adds the image.
func (s *show) serve(ctx context.Context) error {
	var config rig.Config
	if s.room == nil {
		config.Multicast = fmt.Sprintf("ceiling = %q", ceiling)
	}
	state := filepath.Join(s.dir, "server")
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	var err error
	if s.daemon, err = rig.StartDaemon(ctx, s.server, s.Programs, state, config); err != nil {
		return err
	}
	out, err := s.daemon.AddImage(ctx, s.image, "demo", "--version", "1", "--comment", "captured from this machine")
	if err != nil {
		return err
	}
	_, _ = s.Out.Write(out)
	out, err = s.daemon.CLI(ctx, "image", "list")
	if err != nil {
		return err
	}
	_, _ = s.Out.Write(out)
	return nil
}

// start starts a client.
func (s *show) start(ctx context.Context, c *client) error {
	dir := filepath.Join(s.dir, c.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	c.file = filepath.Join(dir, "demo.wim")
	args := []string{"demo", "--bundle", s.daemon.Bundle(), "--output", c.file}
	if s.room == nil {
		share := lossShare / 100
		if c.deaf {
			share = 1
		}
		args = append(args, "--lose", fmt.Sprint(share))
	}
	var err error
	c.get, err = rig.StartGet(ctx, c.place, s.Programs, args...)
	return err
}

// cast is the story.
func (s *show) cast(ctx context.Context) error {
	s.started = time.Now()
	for _, i := range []int{0, 2, 3} {
		if err := s.start(ctx, s.clients[i]); err != nil {
			return err
		}
	}
	first, late, victim := s.clients[0], s.clients[1], s.clients[2]
	if err := first.get.AwaitProven(ctx, lateAt); err != nil {
		return err
	}
	if err := s.start(ctx, late); err != nil {
		return err
	}
	if err := victim.get.AwaitProven(ctx, killAt); err != nil {
		return err
	}
	victim.get.Kill()
	if err := s.start(ctx, victim); err != nil {
		return err
	}
	for _, c := range s.clients {
		var err error
		if c.result, c.totals, err = c.get.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// watch shows live progress until the returned function is called.
func (s *show) watch() (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	every := 2 * time.Second
	if s.Terminal {
		every = 300 * time.Millisecond
	}
	running.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				if s.Terminal {
					s.say("\r\x1b[K%s", s.line())
				}
				return
			case <-ticker.C:
				s.poll()
				if s.Terminal {
					_, _ = fmt.Fprintf(s.Out, "\r\x1b[K%s", s.line())
				} else {
					s.say("%s", s.line())
				}
			}
		}
	})
	return func() { close(done); running.Wait() }
}

// poll asks the daemon what the session does.
func (s *show) poll() {
	var sessions []session
	if s.daemon.Ask(context.Background(), &sessions, "session", "list") == nil && len(sessions) > 0 {
		// What goes out, not what the rate law would allow: the server's own cable is the limit here.
		now, sent := time.Now(), sessions[0].Sent.Bytes
		if s.asked.IsZero() {
			s.asked = s.started
		}
		s.rate = fmt.Sprintf("%4.1f MB/s (%s)", float64(sent-s.sent)/now.Sub(s.asked).Seconds()/1e6, sessions[0].Reason)
		s.asked, s.sent = now, sent
	}
}

// line is the room at a glance.
func (s *show) line() string {
	parts := []string{fmt.Sprintf("%5.1f s", time.Since(s.started).Seconds()), s.rate}
	for _, c := range s.clients {
		text := "not started"
		if get := c.get; get != nil {
			p := get.Progress()
			text = "joining"
			if p.Size > 0 {
				text = fmt.Sprintf("%3d%% %s", p.Proven*100/p.Size, p.Path)
			}
			select {
			case <-get.Done():
				text = "proven"
				if get.Code() != 0 {
					text = fmt.Sprintf("ended (%d)", get.Code())
				}
			default:
			}
		}
		parts = append(parts, c.name+" "+text)
	}
	return strings.Join(parts, " | ")
}

// wimverify holds every received file against wimlib's own opinion.
func (s *show) wimverify(ctx context.Context) {
	for _, c := range s.clients {
		if c.result.Code != 0 || c.result.File == "" {
			c.verify = "-"
			continue
		}
		c.verify = "good"
		if out, err := exec.CommandContext(ctx, "wimlib-imagex", "verify", c.file).CombinedOutput(); err != nil {
			c.verify = fmt.Sprintf("BAD: %v: %s", err, tail(string(out), 1))
		}
	}
}

// report prints what each client received, and says whether all is well.
func (s *show) report(ctx context.Context, took time.Duration) error {
	want, err := fileSum(s.image)
	if err != nil {
		return err
	}
	var errs []error
	t := tabwriter.NewWriter(s.Out, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "\nCLIENT\tFATE\tEXIT\tMULTICAST MB\tUNICAST MB\tHELD MB\tLOST\tREPAIRED\tSECONDS\tSHA-256\tWIMVERIFY\t")
	for _, c := range s.clients {
		sum := "same"
		if got, err := fileSum(c.file); err != nil || got != want {
			sum = "DIFFERS"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%d\t%.1f\t%.1f\t%.1f\t%d\t%d\t%.1f\t%s\t%s\t\n", c.name, c.fate, c.result.Code, mb(c.totals.Multicast),
			mb(c.totals.Unicast), mb(c.totals.Held), c.totals.Lost, c.totals.Repaired, c.result.Seconds, sum, c.verify)
		if c.result.Code != 0 || sum != "same" || c.verify != "good" {
			errs = append(errs, fmt.Errorf("%s: exit code %d, content %s, wimverify %s: %s", c.name, c.result.Code, sum, c.verify, c.result.Error))
		}
	}
	_ = t.Flush()
	victim, deaf := s.clients[2], s.clients[3]
	if victim.totals.Held == 0 {
		errs = append(errs, fmt.Errorf("%s began from zero after it was killed", victim.name))
	}
	why, ok := deaf.get.Happened("unicast")
	if !ok || deaf.totals.Unicast == 0 {
		errs = append(errs, fmt.Errorf("%s can't hear the group but didn't go unicast", deaf.name))
	}
	s.say("\n%s said: %s", deaf.name, why)
	if text, ok := victim.get.Happened("resumed"); ok {
		s.say("%s said: %s", victim.name, text)
	}
	if err := s.overhead(ctx, took); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// session is what the demo wants of `wimcast session list --json`.
type session struct {
	ID     string `json:"id"`
	Size   int64  `json:"size_bytes"`
	Reason string `json:"rate_reason"`
	Sent   struct {
		Source   uint64 `json:"source_packets"`
		Parity   uint64 `json:"parity_packets"`
		Manifest uint64 `json:"manifest_packets"`
		Control  uint64 `json:"control_packets"`
		Bytes    uint64 `json:"bytes"`
	} `json:"sent"`
}

// overhead says what the group paid.
func (s *show) overhead(ctx context.Context, took time.Duration) error {
	var sessions []session
	if err := s.daemon.Ask(ctx, &sessions, "session", "list"); err != nil {
		return err
	}
	if len(sessions) == 0 {
		return errors.New("the daemon knows of no session")
	}
	size := sessions[0].Size
	symbols := (size + 1407) / 1408
	var source, parity, bytes uint64
	for _, one := range sessions {
		source += one.Sent.Source
		parity += one.Sent.Parity
		bytes += one.Sent.Bytes
	}
	s.say("room done in %.1f s. the group carried %d source and %d parity packets for an image of %d: %.3f of it (late join and restart included); %.3f bytes of payload a byte of image",
		took.Seconds(), source, parity, symbols, float64(source+parity)/float64(symbols), float64(bytes)/float64(size))
	if s.room != nil {
		stats, err := s.room.Server().Stats(ctx)
		if err != nil {
			return err
		}
		s.say("the server's wire carried %.1f MB, unicast to %s included: %.2f of what four separate downloads would take",
			mb(int64(stats.TxBytes)), s.clients[3].name, float64(stats.TxBytes)/float64(clients*size))
	}
	return nil
}

func mb(n int64) float64 { return float64(n) / 1e6 }

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func fileSum(name string) (sum [32]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
