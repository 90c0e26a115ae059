package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"wimcast/client"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
	"wimcast/session"
	"wimcast/unicast"
)

// getCommand receives an image.
type getCommand struct {
	Package   string  `arg:"" help:"Deployment; or name, name@version or digest of a package."`
	Output    string  `short:"o" help:"File to write (default: the package's name with .wim, here)." placeholder:"FILE"`
	Interface string  `help:"Network interface of the group, by name or address (default: the one that reaches the server)." placeholder:"NAME"`
	Name      string  `help:"Name to be shown by (default: the host name)."`
	Overwrite bool    `help:"Replace FILE if it exists."`
	Seed      string  `help:"Older version of the image, or another file with much of it: what fits isn't sent again." placeholder:"OLD.wim" type:"path"`
	NoUnicast bool    `help:"Never fetch by unicast, even where the package allows it."`
	Lose      float64 `hidden:"" help:"Throw away this share of the group's packets, 0 to 1: for tests and the demo."`
	ReadSlow  int64   `hidden:"" help:"Receive buffer in bytes: for tests."`
	Discard   bool    `hidden:"" help:"Prove every block and throw it away: for tests."`
}

// firstBundle is the bundle that is used when none is named: what the daemon's first
// start writes.
const firstBundle = "room.join"

// Event kinds of --json beside session's.
const (
	eventProgress = "progress"
	eventResult   = "result"
)

// getEvent is a line of `get --json`.
type getEvent struct {
	Time   time.Time               `json:"time"`
	Event  string                  `json:"event"`
	Text   string                  `json:"text,omitempty"`
	Proven int64                   `json:"proven_bytes,omitempty"`
	Size   int64                   `json:"size_bytes,omitempty"`
	Rate   float64                 `json:"rate_bytes_per_second,omitempty"`
	Path   string                  `json:"path,omitempty"`
	Result *getResult              `json:"result,omitempty"`
	Totals *session.ReceiverTotals `json:"totals,omitempty"`
}

type getResult struct {
	Package string  `json:"package"`
	File    string  `json:"file"`
	Digest  string  `json:"digest"`
	SHA256  string  `json:"sha256"`
	Size    int64   `json:"size_bytes"`
	Seconds float64 `json:"seconds"`
	Code    int     `json:"exit_code"`
	Error   string  `json:"error,omitempty"`
}

// Run implements the command.
func (g *getCommand) Run(ctx context.Context, c *console) error {
	screen := newScreen(c)
	output := g.Output
	if output == "" {
		output = fileName(g.Package)
	}
	if g.Discard {
		output = os.DevNull
	}
	result, err := g.receive(ctx, c, output, screen)
	screen.result(result, output, err)
	return err
}

// receive receives the image into the file output.
func (g *getCommand) receive(ctx context.Context, c *console, output string, screen *screen) (result session.Result, err error) {
	result.Package = g.Package
	name := cmp.Or(c.place.Bundle, firstBundle)
	bundle, err := keyex.ReadBundle(name)
	if err != nil {
		return result, &codedError{exitRefused, err}
	}
	credentials, err := bundle.Credentials()
	if err != nil {
		return result, &codedError{exitRefused, err}
	}
	if bundle.Exposed {
		name := printable(name)
		screen.event("notice", fmt.Sprintf("bundle %s can be read by others on this machine, and whoever reads it can join; next: chmod 600 %s", name, name))
	}
	servers := bundle.Servers
	if bundle.Identity().Role == keyex.Operator {
		servers = onControlPort(servers)
	}
	if len(c.place.Server) > 0 {
		servers = withPort(c.place.Server, controlPort)
	}
	target, err := g.target(output, screen)
	if err != nil {
		return result, &codedError{exitDisk, err}
	}
	defer func() { _ = target.Close() }()
	var seed session.Seed
	if g.Seed != "" {
		if seed, err = client.OpenSeed(g.Seed); err != nil {
			return result, &codedError{exitUsage, err}
		}
	}

	reach := &reacher{servers: nearestFirst(servers), credentials: credentials, which: g.Interface, lose: g.Lose, buffer: int(g.ReadSlow), screen: screen}
	cfg := session.ReceiverConfig{
		Package: g.Package, Machine: thisMachine(g.Name), Dial: reach.dial, Elsewhere: reach.elsewhere, MaxPayload: reach.maxPayload, Hear: reach.hear, Target: target, Seed: seed,
		Notify: func(e session.Event) { screen.event(string(e.Kind), e.Text) },
	}
	if !g.NoUnicast {
		cfg.Fetch = reach.fetch
	}
	receiver := session.NewReceiver(cfg)
	stop := screen.follow(receiver)
	result, err = receiver.Run(ctx)
	stop()
	return result, err
}

// closingTarget is a target that is closed at the end.
type closingTarget interface {
	session.Target
	io.Closer
}

// target opens what the image is written to.
func (g *getCommand) target(output string, screen *screen) (closingTarget, error) {
	if g.Discard {
		return &discard{}, nil
	}
	return client.OpenFile(output, client.Options{Overwrite: g.Overwrite, Notice: func(text string) { screen.event("notice", text) }})
}

// fileName makes a file's name of a package's.
func fileName(pkg string) string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) || r < ' ' {
			return '_'
		}
		return r
	}, pkg)
	return filepath.Clean(name) + ".wim"
}

// reacher opens the ways to a distribution point: control channel, group, unicast.
type reacher struct {
	servers     []string
	credentials *keyex.Credentials
	which       string // interface
	lose        float64
	buffer      int
	screen      *screen

	mu     sync.Mutex
	server netip.AddrPort // that answered
	local  netip.Addr     // our address towards it
	next   int            // of the bundle's servers
}

// dial tries the bundle's servers in order, beginning with the one that answered last.
func (r *reacher) dial(ctx context.Context) (session.Control, error) {
	var errs []error
	refused := 0
	for range r.servers {
		r.mu.Lock()
		name := r.servers[r.next%len(r.servers)]
		r.mu.Unlock()
		conn, err := r.dialOne(ctx, name)
		if err == nil {
			return conn, nil
		}
		if _, is := errors.AsType[*keyex.RefusedError](err); is {
			refused++
		}
		errs = append(errs, err)
		r.mu.Lock()
		r.next++
		r.mu.Unlock()
	}
	if refused == len(r.servers) {
		return nil, &refusedError{errors.Join(errs...)}
	}
	return nil, errors.Join(errs...)
}

// nearestFirst puts servers on this machine's own networks before others.
func nearestFirst(servers []string) []string {
	interfaces, err := multicast.Interfaces()
	if err != nil {
		return servers
	}
	far := func(name string) int {
		addr, err := netip.ParseAddrPort(name)
		if err == nil && slices.ContainsFunc(interfaces, func(i *multicast.Interface) bool { return i.Reaches(addr.Addr()) }) {
			return 0
		}
		return 1
	}
	out := slices.Clone(servers)
	slices.SortStableFunc(out, func(a, b string) int { return far(a) - far(b) })
	return out
}

// elsewhere has the next dial begin with another of the bundle's servers.
func (r *reacher) elsewhere() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
}

// refusedError says that every distribution point refused: trying again is no use.
type refusedError struct{ error }

// Unwrap returns what they said.
func (e *refusedError) Unwrap() error { return e.error }

// Final tells the session engine so.
func (*refusedError) Final() bool { return true }

func (r *reacher) dialOne(ctx context.Context, name string) (session.Control, error) {
	udp, err := net.ResolveUDPAddr("udp", name)
	if err != nil {
		return nil, fmt.Errorf("find distribution point %s: %w", name, err)
	}
	addr := netip.AddrPortFrom(udp.AddrPort().Addr().Unmap(), uint16(udp.Port))
	conn, err := keyex.Dial(ctx, addr, r.credentials)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.server, r.local = addr, conn.LocalAddr().Addr().Unmap()
	r.mu.Unlock()
	return conn, nil
}

// interfaceFor finds the interface to hear a group on: the one named, else the one that leads to the server.
func (r *reacher) interfaceFor(group netip.Addr) (*multicast.Interface, error) {
	r.mu.Lock()
	which := r.which
	if which == "" && r.local.IsValid() && !r.local.IsUnspecified() {
		which = r.local.String()
	}
	r.mu.Unlock()
	return multicast.FindInterface(which, group)
}

// Sizes of packets, in bytes.
const (
	ipUDP      = 20 + 8 // headers of IPv4 and UDP
	defaultMTU = 1500   // Ethernet's
)

// maxPayload is what a packet may carry on the interface: its MTU less the headers.
func (r *reacher) maxPayload() int {
	ifc, err := r.interfaceFor(netip.AddrFrom4([4]byte{239, 195, 16, 1}))
	if err != nil {
		return defaultMTU - ipUDP // joining the group will say why
	}
	return ifc.MTU - ipUDP
}

func (r *reacher) hear(group netip.AddrPort, source netip.Addr) (session.Hearer, error) {
	ifc, err := r.interfaceFor(group.Addr())
	if err != nil {
		return nil, err
	}
	receiver, err := multicast.NewReceiver(multicast.ReceiverConfig{Interface: ifc, Group: group, Source: source, ReadBuffer: r.buffer})
	if err != nil {
		return nil, err
	}
	if hint := receiver.ReadBufferAdvice(); hint != "" {
		r.screen.event("notice", hint)
	}
	if r.lose > 0 {
		return newLossy(receiver, r.lose), nil
	}
	return receiver, nil
}

func (r *reacher) fetch(offer session.UnicastOffer) (session.Fetcher, error) {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	return unicast.NewClient(unicast.ClientConfig{
		Address: netip.AddrPortFrom(server.Addr(), offer.Port).String(), TLS: keyex.ClientTLS(r.credentials), Token: offer.Token, Digest: offer.Digest, Size: offer.Size,
	})
}

// screen shows a person, or a program, how it goes.
type screen struct {
	c   *console
	tty bool

	mu   sync.Mutex
	bar  *progressbar.ProgressBar
	last time.Time
}

func newScreen(c *console) *screen {
	s := &screen{c: c}
	if f, ok := c.err.(*os.File); ok && !c.json {
		s.tty = term.IsTerminal(int(f.Fd()))
	}
	return s
}

func (s *screen) line(e getEvent) {
	e.Time = time.Now().UTC()
	b, err := json.Marshal(e)
	if err != nil {
		panic("wimcast: " + err.Error())
	}
	_, _ = fmt.Fprintf(s.c.out, "%s\n", b)
}

func (s *screen) event(kind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.c.json:
		s.line(getEvent{Event: kind, Text: text})
	case s.bar != nil:
		_ = s.bar.Clear()
		_, _ = fmt.Fprintf(s.c.err, "%s\n", text)
	default:
		_, _ = fmt.Fprintf(s.c.err, "%s %s\n", time.Now().Format(time.TimeOnly), text)
	}
}

// follow shows progress until the returned function is called.
func (s *screen) follow(r *session.Receiver) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(250 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				s.progress(r.Progress())
			}
		}
	})
	return func() { close(done); running.Wait() }
}

func (s *screen) progress(p session.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := "multicast"
	if p.OnUnicast {
		path = "unicast"
	}
	waits := waitsFor(&p.Waiting)
	switch {
	case waits != "" && !s.c.json && !s.tty && time.Since(s.last) >= 30*time.Second:
		s.last = time.Now()
		_, _ = fmt.Fprintf(s.c.err, "%s %s\n", s.last.Format(time.TimeOnly), waits)
	case p.Size == 0:
	case s.c.json:
		s.line(getEvent{Event: eventProgress, Proven: p.Proven, Size: p.Size, Rate: p.Rate, Path: path, Totals: &p.Totals})
	case s.tty:
		if s.bar == nil {
			s.bar = progressbar.NewOptions64(p.Size, progressbar.OptionSetWriter(s.c.err), progressbar.OptionShowBytes(true),
				progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
		}
		if waits == "" {
			waits = fmt.Sprintf("%s, %s, %d clients", p.Package, path, p.Clients)
		}
		s.bar.Describe(waits)
		_ = s.bar.Set64(p.Proven)
	case waits == "" && time.Since(s.last) >= 5*time.Second:
		s.last = time.Now()
		_, _ = fmt.Fprintf(s.c.err, "%s %s: %d %% proven, %s/s by %s\n", s.last.Format(time.TimeOnly), p.Package, p.Proven*100/p.Size, bytesText(p.Rate), path)
	}
}

// waitsFor says what a client waits for; "" for nothing.
func waitsFor(w *session.Waiting) string {
	switch {
	case w.Start && w.Minimum > 0:
		return fmt.Sprintf("waiting for the start: %d of %d clients, %v at most", w.Clients, w.Minimum, w.StartIn.Round(time.Second))
	case w.Start:
		return fmt.Sprintf("waiting for the start: %d clients, %v at most", w.Clients, w.StartIn.Round(time.Second))
	case w.Place > 0:
		return fmt.Sprintf("place %d in the queue: %s", w.Place, w.Reason)
	}
	return ""
}

func (s *screen) result(result session.Result, file string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Clear()
	}
	if s.c.json {
		r := &getResult{
			Package: result.Package, File: file, Digest: result.Digest.String(), SHA256: fmt.Sprintf("%x", result.SHA256), Size: result.Size,
			Seconds: result.Elapsed.Seconds(), Code: exitCode(err),
		}
		if err != nil {
			r.Error = err.Error()
		}
		s.line(getEvent{Event: eventResult, Result: r, Totals: &result.Totals})
		return
	}
	if err != nil {
		return
	}
	t := result.Totals
	seed := ""
	if t.Seed > 0 {
		seed = ", " + bytesText(float64(t.Seed)) + " seed"
	}
	_, _ = fmt.Fprintf(s.c.out, "%s proven: %s in %s (%s multicast, %s unicast, %s held%s), %d packets lost, %d symbols repaired, SHA-256 %x\n",
		file, bytesText(float64(result.Size)), result.Elapsed.Round(100*time.Millisecond), bytesText(float64(t.Multicast)), bytesText(float64(t.Unicast)),
		bytesText(float64(t.Held)), seed, t.Lost, t.Repaired, result.SHA256)
}

// bytesText writes a number of bytes as people read it.
func bytesText(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

var _ io.Writer = (*os.File)(nil)
