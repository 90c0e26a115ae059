//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"wimcast/test/rig"
)

// Names of the contenders.
const (
	wimcastName      = "wimcast"
	wimcastClearName = "wimcast clear"
	wimcastSetName   = "wimcast, ceiling set"
	pumpName         = "ceiling"
	pumpBareName     = "ceiling without hash"
	uftpName         = "uftp AES-256-GCM"
	udpcastName      = "udpcast"
	nginxName        = "nginx + curl"
)

var contenderNames = []string{pumpName, pumpBareName, wimcastName, wimcastSetName, wimcastClearName, uftpName, udpcastName, nginxName}

// contenders returns those that can run here, the ceiling first.
func contenders(s *site) []contender {
	all := []contender{
		&pumping{site: s, hash: true}, &pumping{site: s},
		&ours{site: s}, &ours{site: s, set: true}, &ours{site: s, clear: true},
	}
	for _, peer := range peers(s) {
		if missing := peer.missing(); missing != "" {
			s.say("%s is left out: %s isn't installed", peer.name(), missing)
			continue
		}
		all = append(all, peer)
	}
	return all
}

// ours is wimcast, by its own two programs.
type ours struct {
	*site
	clear bool
	set   bool // the ceiling is what the cable carries
}

func (o *ours) name() string {
	switch {
	case o.clear:
		return wimcastClearName
	case o.set:
		return wimcastSetName
	}
	return wimcastName
}

// daemon starts a daemon that has the image, and has done nothing yet.
func (o *ours) daemon(ctx context.Context, c *testCase, dir string) (*rig.Daemon, error) {
	config := rig.Config{}
	switch {
	case o.set: // the ceiling counts UDP payload, the cable frames
		config.Multicast = fmt.Sprintf("ceiling = \"%.3f Mbit/s\"", float64(c.rate)/1e6*payloadBytes/frameBytes)
	case c.light:
		config.Multicast = fmt.Sprintf("ceiling = \"%g Mbit/s\"", lightRate/1e6)
	}
	d, err := rig.StartDaemon(ctx, o.room.Server(), o.programs, dir, config)
	if err != nil {
		return nil, err
	}
	if _, err = d.AddImage(ctx, o.file, "bench"); err == nil && o.clear {
		_, err = d.CLI(ctx, "image", "set", "bench", "--no-encrypt")
	}
	// A daemon that has just hashed an image has used CPU and memory for that.
	if err = errors.Join(err, d.Stop()); err != nil {
		return nil, err
	}
	return d, d.Start(ctx)
}

func (o *ours) run(ctx context.Context, c *testCase, m *measurement, started func()) ([]string, error) {
	dir, err := os.MkdirTemp(o.dir, "server-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d, err := o.daemon(ctx, c, dir)
	if err != nil {
		return nil, err
	}
	defer d.Kill()
	if c.light {
		return nil, o.runLight(ctx, c, d, m, started)
	}
	var files []string
	var gets []*rig.Get
	var ending sync.WaitGroup
	defer func() {
		for _, g := range gets {
			g.Kill()
		}
	}()
	started()
	for i := range c.clients {
		if c.late && i == c.clients-1 {
			if err := m.wire.carried(ctx, uint64(o.size)/2*frameBytes/symbolBytes); err != nil {
				return nil, err
			}
		}
		file := o.output(i, ".wim")
		g, err := rig.StartGet(ctx, o.room.Client(i), o.programs, "bench", "--bundle", d.Bundle(), "--output", file)
		if err != nil {
			return nil, err
		}
		gets, files = append(gets, g), append(files, file)
		ending.Go(func() {
			<-g.Done()
			m.end(i)
		})
	}
	var commands []*exec.Cmd
	var last rig.Totals
	for _, g := range gets {
		r, totals, err := g.Wait(ctx)
		if err != nil {
			return nil, err
		}
		last = totals
		if r.Code != 0 {
			return nil, fmt.Errorf("a client ended with %d: %s", r.Code, r.Error)
		}
		commands = append(commands, g.Cmd())
	}
	m.finish()
	ending.Wait()
	o.clients(m, commands)
	sent, err := packetsSent(ctx, d)
	if err != nil {
		return nil, err
	}
	source := float64((o.size + symbolBytes - 1) / symbolBytes)
	m.Packets = sent / source
	if c.late {
		// It heard or lost everything after what it missed: it is the last one to be done.
		m.Missed = max(0, min(sent-float64(last.Packets)-float64(last.Lost), source)) / source
	}
	d.Kill()
	cpu, peak := spent(d.Cmd())
	m.SenderCPU, m.SenderMem = o.perGiB(cpu), peak
	return files, nil
}

// packetsSent asks a daemon how many packets its only session sent to the group.
func packetsSent(ctx context.Context, d *rig.Daemon) (float64, error) {
	var sessions []struct {
		Sent struct {
			Source   float64 `json:"source_packets"`
			Parity   float64 `json:"parity_packets"`
			Manifest float64 `json:"manifest_packets"`
			Control  float64 `json:"control_packets"`
		} `json:"sent"`
	}
	if err := d.Ask(ctx, &sessions, "session", "list"); err != nil {
		return 0, err
	}
	if len(sessions) != 1 {
		return 0, fmt.Errorf("session list: %d sessions, want one", len(sessions))
	}
	sent := sessions[0].Sent
	return sent.Source + sent.Parity + sent.Manifest + sent.Control, nil
}

// pumping is the ceiling.
type pumping struct {
	*site
	hash bool
}

func (p *pumping) name() string {
	if p.hash {
		return pumpName
	}
	return pumpBareName
}

func (p *pumping) run(ctx context.Context, c *testCase, m *measurement, started func()) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	server := p.room.Server()
	group := netip.MustParseAddrPort("239.195.19.200:63999")
	common := []string{
		"-group", group.String(), "-server", netip.AddrPortFrom(server.Addr(), 7601).String(),
		fmt.Sprintf("-hash=%v", p.hash),
	}
	if c.light {
		common = append(common, "-sockets", fmt.Sprint(c.clients))
	}
	var files []string
	var clients []*exec.Cmd
	defer func() { stopAll(clients) }()
	for i := range c.hosts() {
		host := p.room.Client(i)
		args := append([]string{"pump-receive", "-interface", host.Interface(), "-size", fmt.Sprint(p.size)}, common...)
		if !c.light {
			files = append(files, p.output(i, ".pump"))
			args = append(args, "-file", files[i])
		}
		cmd := host.Command(ctx, self, args...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		clients = append(clients, cmd)
	}
	// The kernel takes its time to report a membership, and what comes before nobody repairs.
	for i := range c.hosts() {
		if err := p.room.Client(i).WaitMember(ctx, group.Addr()); err != nil {
			return nil, err
		}
	}
	started()
	if c.light {
		common = append(common, "-rate", fmt.Sprint(int64(lightRate)))
	}
	send := server.Command(ctx, self, append([]string{"pump-send", "-interface", server.Interface(), "-file", p.file, "-receivers", fmt.Sprint(c.hosts())}, common...)...)
	send.Stderr = os.Stderr
	if err := send.Run(); err != nil {
		return nil, fmt.Errorf("pump: %w", err)
	}
	if err := waitAll(clients, m); err != nil {
		return nil, err
	}
	m.finish()
	cpu, peak := spent(send)
	m.SenderCPU, m.SenderMem, m.Packets = p.perGiB(cpu), peak, 1
	p.clients(m, clients)
	if c.light {
		m.ClientCPU /= float64(c.clients)
	}
	return files, nil
}

// waitAll waits for the processes of clients, which must end well.
func waitAll(commands []*exec.Cmd, m *measurement) error {
	errs := make([]error, len(commands))
	var waiting sync.WaitGroup
	for i, cmd := range commands {
		waiting.Go(func() {
			if err := cmd.Wait(); err != nil {
				errs[i] = fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
			}
			m.end(i)
		})
	}
	waiting.Wait()
	return errors.Join(errs...)
}

// stopAll ends processes that may still run.
func stopAll(commands []*exec.Cmd) {
	for _, cmd := range commands {
		if cmd.Process != nil && cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
}
