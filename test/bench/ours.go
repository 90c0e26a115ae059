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

	"wimcast/test/rig"
)

// Names of the contenders.
const (
	wimcastName      = "wimcast"
	wimcastClearName = "wimcast clear"
	pumpName         = "ceiling"
	pumpBareName     = "ceiling without hash"
	uftpName         = "uftp AES-256-GCM"
	udpcastName      = "udpcast"
	nginxName        = "nginx + curl"
)

var contenderNames = []string{pumpName, pumpBareName, wimcastName, wimcastClearName, uftpName, udpcastName, nginxName}

// contenders returns those that can run here, the ceiling first.
func contenders(s *site) []contender {
	all := []contender{
		&pumping{site: s, hash: true}, &pumping{site: s},
		&ours{site: s}, &ours{site: s, clear: true},
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
}

func (o *ours) name() string {
	if o.clear {
		return wimcastClearName
	}
	return wimcastName
}

func (o *ours) run(ctx context.Context, c *testCase, m *measurement, started func()) ([]string, error) {
	dir, err := os.MkdirTemp(o.dir, "server-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d, err := rig.StartDaemon(ctx, o.room.Server(), o.programs, dir, rig.Config{})
	if err != nil {
		return nil, err
	}
	defer d.Kill()
	if _, err := d.CLI(ctx, "image", "add", o.file, "--name", "bench"); err != nil {
		return nil, err
	}
	if o.clear {
		if _, err := d.CLI(ctx, "image", "set", "bench", "--no-encrypt"); err != nil {
			return nil, err
		}
	}
	// A daemon that has just hashed an image has used CPU and memory for that.
	if err := d.Stop(); err != nil {
		return nil, err
	}
	if err := d.Start(ctx); err != nil {
		return nil, err
	}
	var files []string
	var gets []*rig.Get
	defer func() {
		for _, g := range gets {
			g.Kill()
		}
	}()
	started()
	for i := range c.clients {
		file := o.output(i, ".wim")
		g, err := rig.StartGet(ctx, o.room.Client(i), o.programs, "bench", "--bundle", d.Bundle(), "--output", file)
		if err != nil {
			return nil, err
		}
		gets, files = append(gets, g), append(files, file)
	}
	var commands []*exec.Cmd
	for _, g := range gets {
		r, _, err := g.Wait(ctx)
		if err != nil {
			return nil, err
		}
		if r.Code != 0 {
			return nil, fmt.Errorf("a client ended with %d: %s", r.Code, r.Error)
		}
		commands = append(commands, g.Cmd())
	}
	m.finish()
	o.clients(m, commands)
	var sessions []struct {
		Sent struct {
			Source   float64 `json:"source_packets"`
			Parity   float64 `json:"parity_packets"`
			Manifest float64 `json:"manifest_packets"`
			Control  float64 `json:"control_packets"`
		} `json:"sent"`
	}
	if err := d.Ask(ctx, &sessions, "session", "list"); err != nil || len(sessions) == 0 {
		return nil, fmt.Errorf("session list: %d sessions: %w", len(sessions), err)
	}
	sent := sessions[0].Sent
	m.Packets = (sent.Source + sent.Parity + sent.Manifest + sent.Control) / float64((o.size+1407)/1408)
	d.Kill()
	cpu, peak := spent(d.Cmd())
	m.SenderCPU, m.SenderMem = o.perGiB(cpu), peak
	return files, nil
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
	var files []string
	var clients []*exec.Cmd
	defer func() { stopAll(clients) }()
	for i := range c.clients {
		host := p.room.Client(i)
		file := p.output(i, ".pump")
		cmd := host.Command(ctx, self, append([]string{"pump-receive", "-interface", host.Interface(), "-file", file, "-size", fmt.Sprint(p.size)}, common...)...)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		clients, files = append(clients, cmd), append(files, file)
	}
	// The kernel takes its time to report a membership, and what comes before nobody repairs.
	for i := range c.clients {
		if err := p.room.Client(i).WaitMember(ctx, group.Addr()); err != nil {
			return nil, err
		}
	}
	started()
	send := server.Command(ctx, self, append([]string{"pump-send", "-interface", server.Interface(), "-file", p.file, "-receivers", fmt.Sprint(c.clients)}, common...)...)
	send.Stderr = os.Stderr
	if err := send.Run(); err != nil {
		return nil, fmt.Errorf("pump: %w", err)
	}
	if err := waitAll(clients); err != nil {
		return nil, err
	}
	m.finish()
	cpu, peak := spent(send)
	m.SenderCPU, m.SenderMem, m.Packets = p.perGiB(cpu), peak, 1
	p.clients(m, clients)
	return files, nil
}

// waitAll waits for processes, which must end well.
func waitAll(commands []*exec.Cmd) error {
	var errs []error
	for _, cmd := range commands {
		if err := cmd.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err))
		}
	}
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
