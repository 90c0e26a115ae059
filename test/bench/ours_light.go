//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"wimcast/test/rig"
)

// runLight sends to light clients (package light): all of them one process on the first client's host. Only the
// daemon's CPU is measured, from the moment when all have their control channels: they join, receive and prove.
func (o *ours) runLight(ctx context.Context, c *testCase, d *rig.Daemon, m *measurement, started func()) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	host := o.room.Client(0)
	cmd := host.Command(ctx, self, "light", "-bundle", d.Bundle(), "-package", "bench", "-interface", host.Interface(), "-clients", fmt.Sprint(c.clients))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // again, after a run that succeeded
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("light clients: not ready: %w", err)
	}
	daemon := d.Cmd().Process.Pid
	before, err := spentSoFar(daemon)
	if err != nil {
		return err
	}
	started()
	if _, err := fmt.Fprintln(in); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("light clients: %w", err)
	}
	m.finish()
	after, err := spentSoFar(daemon)
	if err != nil {
		return err
	}
	m.SenderCPU = o.perGiB(after - before)
	sent, err := packetsSent(ctx, d)
	if err != nil {
		return err
	}
	m.Packets = sent / float64((o.size+symbolBytes-1)/symbolBytes)
	d.Kill()
	_, m.SenderMem = spent(d.Cmd())
	cpu, peak := spent(cmd)
	m.ClientCPU, m.ClientMem = o.perGiB(cpu)/float64(c.clients), peak
	return nil
}
