package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"wimcast/client"
	"wimcast/client/apply"
	"wimcast/crypto/keyex"
	"wimcast/session"
)

// getCommand receives an image.
type getCommand struct {
	Package   string `arg:"" help:"Deployment; or name, name@version or digest of a package."`
	Output    string `short:"o" help:"File to write (default: the package's name with .wim, here)." placeholder:"FILE"`
	Interface string `help:"Network interface of the group, by name or address (default: the one that reaches the server)." placeholder:"NAME"`
	Name      string `help:"Name to be shown by (default: the host name)."`
	Overwrite bool   `help:"Replace FILE if it exists."`
	Seed      string `help:"Older version of the image, or another file with much of it: what fits isn't sent again." placeholder:"OLD.wim" type:"path"`
	NoUnicast bool   `help:"Never fetch by unicast, even where the package allows it."`
	PIN       string `name:"pin" env:"WIMCAST_PIN" help:"PIN of the room, where its bundle wants one (default: it is asked for at the terminal)." placeholder:"PIN"`
	SendLog   *bool  `negatable:"" help:"Send the log of this get to the distribution point however it ends, or never (default: when it fails)."`

	Apply      string `help:"Apply the image to this volume or folder once it is proven: by DISM on Windows, by wimlib elsewhere. Nothing is formatted." placeholder:"TARGET"`
	Index      string `help:"With --apply: which image of several, by index or name (default: the deployment's)." placeholder:"N"`
	ForceApply bool   `help:"With --apply: apply over what is in TARGET."`
	Keep       bool   `help:"With --apply: keep the received file in TARGET's work folder. A file named by --output is always kept."`
	// DISM is another program in its place, for tests on machines without it.
	DISM string `name:"dism" hidden:"" env:"WIMCAST_TEST_DISM"`

	Lose     float64 `hidden:"" help:"Throw away this share of the group's packets, 0 to 1: for tests and the demo."`
	ReadSlow int64   `hidden:"" help:"Receive buffer in bytes: for tests."`
	Discard  bool    `hidden:"" help:"Prove every block and throw it away: for tests."`

	key *session.Key // that was used before; nil: none was
}

// firstBundle is the bundle that is used when none is named: what the daemon's first
// start writes.
const firstBundle = "room.join"

// Event kinds of --json beside session's.
const (
	eventProgress = "progress"
	eventResult   = "result"
	eventBegun    = "begun" // of the log alone
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
	Share  float64                 `json:"share,omitempty"` // 0 to 1, of what is being applied
	Result *getResult              `json:"result,omitempty"`
	Totals *session.ReceiverTotals `json:"totals,omitempty"`

	Room       int `json:"room_clients,omitempty"` // of the whole cast, those that are done included
	RoomProven int `json:"room_proven,omitempty"`
}

type getResult struct {
	Package string  `json:"package"`
	File    string  `json:"file"`
	Digest  string  `json:"digest"`
	SHA256  string  `json:"sha256"`
	Size    int64   `json:"size_bytes"`
	Seconds float64 `json:"seconds"`
	appliedResult
	Code  int    `json:"exit_code"`
	Error string `json:"error,omitempty"`
}

// Run implements the command.
func (g *getCommand) Run(ctx context.Context, c *console) error {
	screen := newScreen(c)
	defer screen.close() // after a panic too
	return g.run(ctx, c, screen)
}

// run receives, and shows it on a screen.
func (g *getCommand) run(ctx context.Context, c *console, screen *screen) error {
	screen.journal.add(getEvent{Event: eventBegun, Text: fmt.Sprintf("wimcast %s on %s/%s: get %s", version, runtime.GOOS, runtime.GOARCH, g.Package)})
	screen.asked(g.Package)
	output := g.Output
	if output == "" {
		output = fileName(g.Package)
	}
	if g.Discard {
		output = os.DevNull
	}
	a, err := g.applies(&output, screen)
	var result outcome
	if err == nil {
		result, err = g.receive(ctx, c, output, screen, a)
	}
	screen.result(result, output, err)
	screen.journal.add(resultEvent(&result, output, err))
	g.shareLog(ctx, screen, &result, err)
	a.leave(err, screen)
	return screen.told(err)
}

// outcome is what a get ended with.
type outcome struct {
	session.Result
	Applied *apply.Result // nil where nothing was to be applied, or it didn't come to that
	Logs    []string      // files that say more of it; they go to the distribution point with the client's own log

	ways *reacher // nil where it didn't get that far
}

// resultEvent is the line that says how a get ended.
func resultEvent(result *outcome, file string, err error) getEvent {
	r := &getResult{
		Package: result.Package, File: file, Digest: result.Digest.String(), SHA256: fmt.Sprintf("%x", result.SHA256), Size: result.Size,
		Seconds: result.Elapsed.Seconds(), appliedResult: appliedTo(result), Code: exitCode(err),
	}
	if err != nil {
		r.Error = err.Error()
	}
	return getEvent{Event: eventResult, Result: r, Totals: &result.Totals}
}

// receive receives the image into the file output, and has it applied where that was asked for.
func (g *getCommand) receive(ctx context.Context, c *console, output string, screen *screen, a *applying) (result outcome, err error) {
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
	reach := &reacher{
		order: waysOf(bundle, &c.place), credentials: credentials, which: g.Interface, lose: g.Lose, buffer: int(g.ReadSlow), screen: screen,
	}
	result.ways = reach
	target, err := g.target(output, screen, a)
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

	ctx = screen.open(ctx)
	if g.key == nil {
		g.key = newKey(g.PIN, screen)
	}
	cfg := session.ReceiverConfig{
		Package: g.Package, Machine: thisMachine(g.Name), Dial: reach.dial, Elsewhere: reach.elsewhere, Taken: reach.taken, MaxPayload: reach.maxPayload, Hear: reach.hear, Target: target, Seed: seed,
		Key:    g.key,
		Notify: func(e session.Event) { screen.event(string(e.Kind), e.Text) },
	}
	if !g.NoUnicast {
		cfg.Fetch = reach.fetch
	}
	file, _ := target.(*client.File)
	if a != nil {
		cfg.Offered = func(o session.Offer) error { return a.offered(o, file) }
	}
	receiver := session.NewReceiver(cfg)
	stop := screen.follow(receiver)
	result.Result, err = receiver.Run(ctx)
	stop()
	if err == nil && a != nil {
		err = a.run(ctx, file, &result)
		a.tell(ctx, reach, &result, err)
	}
	return result, err
}

// closingTarget is a target that is closed at the end.
type closingTarget interface {
	session.Target
	io.Closer
}

// target opens what the image is written to. What is to be applied stays open when it is finished.
func (g *getCommand) target(output string, screen *screen, a *applying) (closingTarget, error) {
	if g.Discard {
		return &discard{}, nil
	}
	return client.OpenFile(output, client.Options{Overwrite: g.Overwrite || a.owns(), Held: a != nil, Notice: func(text string) { screen.event("notice", text) }})
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
