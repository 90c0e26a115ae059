//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"wimcast/test/lab"
)

// udpcast is udpcast (udpcast.linux.lu), in clear text because it knows no other. Without repeated hellos and a
// second of patience every fourth lossy start hangs, with them one in ten; its forward error correction
// is slow: it goes without.
type udpcast struct{ *site }

func (*udpcast) name() string    { return udpcastName }
func (*udpcast) missing() string { return firstMissing("udp-sender", "udp-receiver") }

// standstill is how long no byte arrives anywhere until udpcast counts as hung.
const standstill = 10 * time.Second

// udpcastPort is where its receivers listen, as /proc/net/udp says it: 9000.
const udpcastPort = ":2328 "

func (u *udpcast) run(ctx context.Context, c *testCase, m *measurement, started func()) (_ []string, err error) {
	var files []string
	ctx, cancel := u.bounded(ctx, c)
	defer cancel()
	var receivers []*process
	defer func() { killEach(receivers) }()
	for i := range c.clients {
		host, file := u.room.Client(i), u.output(i, ".udpcast")
		receiver, err := launch(ctx, host, "udp-receiver", "--interface", host.Interface(), "--nokbd", "--no-progress",
			"--rcvbuf", "16777216", "--file", file)
		if err != nil {
			return nil, err
		}
		receivers, files = append(receivers, receiver), append(files, file)
	}
	defer func() { removeAfter(err, files) }()
	for i, receiver := range receivers {
		err := until(ctx, func() (bool, error) {
			listens, err := listensUDP(u.room.Client(i), udpcastPort)
			return listens, errors.Join(err, receiver.alive())
		})
		if err != nil {
			return nil, err
		}
	}
	started()
	server := u.room.Server()
	sender, err := launch(ctx, server, "udp-sender", "--interface", server.Interface(), "--nokbd", "--no-progress",
		"--full-duplex", "--rexmit-hello-interval", "200", "--min-receivers", fmt.Sprint(c.clients), "--min-wait", "1", "--file", u.file)
	if err != nil {
		return nil, err
	}
	defer sender.end(os.Kill)
	// A receiver writes from front to end; when it has it all it stays for half a second.
	var arrived int64
	since := time.Now()
	err = until(ctx, func() (bool, error) {
		var sum int64
		for i, file := range files {
			info, err := os.Stat(file)
			switch {
			case err == nil:
				sum += info.Size()
			case !errors.Is(err, fs.ErrNotExist):
				return false, err
			}
			if err == nil && info.Size() == u.size {
				m.end(i)
			} else if err := receivers[i].alive(); err != nil {
				return false, err
			}
		}
		if sum != arrived {
			arrived, since = sum, time.Now()
		}
		if time.Since(since) > standstill {
			return false, fmt.Errorf("hung: nothing arrived for %v", standstill)
		}
		return sum == u.size*int64(len(files)), nil
	})
	if err != nil {
		return nil, err
	}
	m.finish()
	for _, p := range append(receivers, sender) {
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	}
	cpu, peak := spent(sender.cmd)
	m.SenderCPU, m.SenderMem = u.perGiB(cpu), peak
	u.clients(m, commandsOf(receivers))
	return files, nil
}

// listensUDP reports whether a program on a host has a UDP port.
func listensUDP(host *lab.Host, port string) (bool, error) {
	var table []byte
	err := host.Do(func() (err error) {
		table, err = os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/udp", syscall.Gettid()))
		return err
	})
	return strings.Contains(string(table), port), err
}
