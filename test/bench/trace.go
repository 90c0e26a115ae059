//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"wimcast/api"
	"wimcast/test/lab"
	"wimcast/test/noise"
	"wimcast/test/rig"
)

// A trace is what the rate does over time, in the room: the daemon's own word of it, what gets to a client, and
// what a TCP flow beside gets. All are of frames on the wire, so that the link is their measure.

const (
	traceClients = 4
	traceLast    = 18 * time.Second
	traceTurn    = 6 * time.Second // when something happens, and again
	traceEvery   = 100 * time.Millisecond
	traceQueue   = 10 * time.Millisecond
	traceLink    = 200e6     // bits/s
	traceSlow    = 50e6      // bits/s
	traceSize    = 480 << 20 // of the image, bytes: more than the link carries meanwhile
	traceLoss    = 5         // percent
)

// sample is one moment of a trace, in bytes/s of frames.
type sample struct {
	at                           time.Duration
	link, rate, sent, heard, tcp float64
}

// traced is a scenario: where the link is that limits, and what happens at each turn.
type traced struct {
	title  string
	server bool // the link is the server's cable, which tells the server when its queue is full; else each client's
	turns  []func(context.Context, *tracing) error
}

var scenarios = []traced{
	{"The cables of all four clients carry 200, 50, 200 Mbit/s (dashed), queue of 10 ms", false, []func(context.Context, *tracing) error{
		func(ctx context.Context, t *tracing) error { return t.limit(ctx, traceSlow) },
		func(ctx context.Context, t *tracing) error { return t.limit(ctx, traceLink) },
	}},
	{"5 % random loss at each of the four from 6 s on", false, []func(context.Context, *tracing) error{
		func(ctx context.Context, t *tracing) (err error) {
			for _, pc := range t.room.Clients()[:traceClients] {
				err = errors.Join(err, pc.SetLoss(ctx, traceLoss))
			}
			return err
		},
	}},
	{"The server's cable carries 200 Mbit/s; beside one TCP flow (CUBIC, orange) from 6 s to 12 s", true, []func(context.Context, *tracing) error{
		func(_ context.Context, t *tracing) error { return t.startTCP() },
	}},
}

// tracing is a scenario under way.
type tracing struct {
	of       *traced
	room     *lab.Room
	link     float64 // bits/s
	flow     net.Conn
	received atomic.Int64 // bytes by TCP
}

func (t *tracing) limit(ctx context.Context, bits int64) error {
	t.link = float64(bits)
	if t.of.server {
		return t.room.Server().SetRate(ctx, bits, traceQueue)
	}
	var errs []error
	for _, pc := range t.room.Clients()[:traceClients] {
		errs = append(errs, pc.SetRate(ctx, bits, traceQueue))
	}
	return errors.Join(errs...)
}

// startTCP sends what goes, by the kernel's congestion control, to a host that isn't of the cast.
func (t *tracing) startTCP() error {
	sink, server := t.room.Client(traceClients), t.room.Server()
	var listener net.Listener
	err := sink.Do(func() (err error) {
		listener, err = net.Listen("tcp4", net.JoinHostPort(sink.Addr().String(), "7700"))
		return err
	})
	if err != nil {
		return err
	}
	go func() {
		defer func() { _ = listener.Close() }()
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		buf := make([]byte, 1<<16)
		for {
			n, err := conn.Read(buf)
			t.received.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	if err := server.Do(func() (err error) {
		t.flow, err = net.Dial("tcp4", net.JoinHostPort(sink.Addr().String(), "7700"))
		return err
	}); err != nil {
		return err
	}
	flow := t.flow
	time.AfterFunc(traceTurn, func() { _ = flow.Close() }) // at the next turn
	go func() { _, _ = io.Copy(flow, endless{}) }()
	return nil
}

// endless is a reader without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// traces draws every scenario into a file.
func (b *bench) traces(ctx context.Context) error {
	room, err := newRoom(ctx, traceClients+1, lab.NICLike)
	if err != nil {
		return err
	}
	defer func() { _ = room.Close() }()
	file := filepath.Join(b.dir, "trace.wim")
	if err := noise.WriteFile(file, traceSize, 7); err != nil {
		return err
	}
	var all [][]sample
	for i := range scenarios {
		b.say("tracing: %s", scenarios[i].title)
		samples, err := b.traceOne(ctx, room, file, &scenarios[i])
		if err != nil {
			return fmt.Errorf("trace %q: %w", scenarios[i].title, err)
		}
		all = append(all, samples)
	}
	return os.WriteFile(b.trace, []byte(drawTraces(all)), 0o644)
}

// traceOne casts to the room and looks at the rate meanwhile.
func (b *bench) traceOne(ctx context.Context, room *lab.Room, file string, of *traced) ([]sample, error) {
	if err := room.WaitLeft(ctx); err != nil {
		return nil, err
	}
	t := &tracing{of: of, room: room}
	for _, pc := range room.Clients() {
		if err := errors.Join(pc.SetLoss(ctx, 0), pc.SetRate(ctx, 0, 0)); err != nil {
			return nil, err
		}
	}
	if err := t.limit(ctx, traceLink); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "server-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d, err := rig.StartDaemon(ctx, room.Server(), b.programs, dir, rig.Config{})
	if err != nil {
		return nil, err
	}
	defer d.Kill()
	if _, err := d.AddImage(ctx, file, "bench"); err != nil {
		return nil, err
	}
	for i := range traceClients {
		g, err := rig.StartGet(ctx, room.Client(i), b.programs, "bench", "--bundle", d.Bundle(), "--discard", "--no-unicast")
		if err != nil {
			return nil, err
		}
		defer g.Kill()
	}
	heard, err := openCounters(room.Client(0))
	if err != nil {
		return nil, err
	}
	defer func() { _ = heard.Close() }()
	wire, err := openCounters(room.Server())
	if err != nil {
		return nil, err
	}
	defer func() { _ = wire.Close() }()
	admin := api.NewClient(filepath.Join(d.Dir, "admin.sock"))
	tick := time.NewTicker(traceEvery)
	defer tick.Stop()
	var samples []sample
	var began, last time.Time
	var sent, bytes, tcp float64
	turn := 0
	for {
		var now time.Time
		select {
		case now = <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		sessions, err := admin.Sessions(ctx)
		if err != nil {
			return nil, err
		}
		if len(sessions) == 0 || sessions[0].State == "waiting" || sessions[0].Rate == 0 && began.IsZero() {
			continue
		}
		sentNow, bytesNow, tcpNow := float64(counted(wire, sentBytes)), float64(counted(heard, receivedBytes)), float64(t.received.Load())
		if began.IsZero() {
			began, last, sent, bytes, tcp = now, now, sentNow, bytesNow, tcpNow
			continue
		}
		at := now.Sub(began)
		if at > traceLast {
			return samples, nil
		}
		period := now.Sub(last).Seconds()
		samples = append(samples, sample{
			at: at, link: t.link / 8, rate: sessions[0].Rate * frameBytes / payloadBytes, sent: (sentNow - sent) / period, heard: (bytesNow - bytes) / period, tcp: (tcpNow - tcp) / period,
		})
		last, sent, bytes, tcp = now, sentNow, bytesNow, tcpNow
		if turn < len(of.turns) && at >= time.Duration(turn+1)*traceTurn {
			if err := of.turns[turn](ctx, t); err != nil {
				return nil, err
			}
			turn++
		}
	}
}

// drawTraces draws a panel for each scenario.
func drawTraces(all [][]sample) string {
	const left, width, height, gap, top, most = 64, 640, 130, 50, 52, 1.5 * traceLink / 8
	var svg strings.Builder
	for panel, samples := range all {
		at := float64(top + panel*(height+gap))
		x := func(d time.Duration) float64 { return left + d.Seconds()/traceLast.Seconds()*width }
		y := func(rate float64) float64 { return at + height - min(rate, most)/most*height }
		line := func(style string, of func(sample) float64) {
			fmt.Fprintf(&svg, `<polyline fill="none" %s points="`, style)
			for _, s := range samples {
				fmt.Fprintf(&svg, "%.1f,%.1f ", x(s.at), y(of(s)))
			}
			svg.WriteString("\"/>\n")
		}
		fmt.Fprintf(&svg, "<text x=\"%d\" y=\"%.0f\">%s</text>\n<rect class=\"grid\" x=\"%d\" y=\"%.0f\" width=\"%d\" height=\"%d\" fill=\"none\"/>\n",
			left, at-8, escape(scenarios[panel].title), left, at, width, height)
		fmt.Fprintf(&svg, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">25 MB/s</text>\n<text x=\"%d\" y=\"%.0f\" text-anchor=\"end\">%v</text>\n",
			left-6, y(traceLink/8)+4, left+width, at+height+16, traceLast)
		line(`stroke="#999" stroke-dasharray="4 3"`, func(s sample) float64 { return s.link })
		if !scenarios[panel].server {
			line(`stroke="#3fa65c"`, func(s sample) float64 { return s.sent })
		}
		line(`stroke="#8fc1f0"`, func(s sample) float64 { return s.heard })
		if scenarios[panel].server {
			line(`stroke="#e0861a"`, func(s sample) float64 { return s.tcp })
		}
		line(`stroke="#1f6fd0" stroke-width="1.5"`, func(s sample) float64 { return s.rate })
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" role=\"img\">\n<title>The rate over time, in the network lab</title>\n%s%s%s</svg>\n",
		left+width+20, top+len(all)*(height+gap), style,
		fmt.Sprintf("<text x=\"%d\" y=\"20\">dark blue: the rate that the session aims at; green: what it sends; light blue: what gets to pc01; of frames</text>\n", left), svg.String())
}
