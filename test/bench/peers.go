//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"wimcast/test/lab"
)

// peer is a contender of others, which may be missing.
type peer interface {
	contender
	missing() string // the program that isn't installed, or ""
}

// peers returns all of them, with the settings that served each best.
func peers(s *site) []peer {
	return []peer{&uftp{s}, &udpcast{s}, &nginx{s}}
}

// firstMissing returns the first program that isn't installed.
func firstMissing(programs ...string) string {
	for _, name := range programs {
		if program(name) == "" {
			return name
		}
	}
	return ""
}

// program returns the path of a program, also where the caller's PATH has no directories of
// root's, or "".
func program(name string) string {
	for _, candidate := range []string{name, filepath.Join("/usr/sbin", name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// A peer that stands still is killed: after hung for each 128 MiB begun, and the time that a limited cable
// takes to carry the image to each client by itself.
const (
	hung     = 30 * time.Second
	hungEach = 128 << 20
)

// bounded ends a context when a peer counts as hung.
func (s *site) bounded(ctx context.Context, c *testCase) (context.Context, context.CancelFunc) {
	limit := hung * time.Duration((s.size+hungEach-1)/hungEach)
	if c.rate > 0 {
		limit += time.Duration(float64(c.clients) * float64(s.size) * 8 / float64(c.rate) * float64(time.Second))
	}
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("hung: not done after %v", limit))
}

// process is a program of a peer that was started.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}
	err    error     // once it exited
	at     time.Time // when

	mu   sync.Mutex
	text bytes.Buffer // what it wrote, guarded by mu
}

// Write keeps what the program writes.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

// wrote returns what the program wrote so far.
func (p *process) wrote() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// launch starts a program on a host.
func launch(ctx context.Context, host *lab.Host, name string, args ...string) (*process, error) {
	cmd := host.Command(ctx, program(name), args...)
	p := &process{name: name + " on " + host.Name(), cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err, p.at = cmd.Wait(), time.Now()
		close(p.exited)
	}()
	return p, nil
}

// alive returns nil while the program runs, else an error with the last of what it wrote.
func (p *process) alive() error {
	select {
	case <-p.exited:
		return p.failure(errors.New("ended early"))
	default:
		return nil
	}
}

// wait waits until the program ends by itself, which must be well. The error of one that was killed
// because its context ended is the context's.
func (p *process) wait(ctx context.Context) error {
	<-p.exited
	if err := context.Cause(ctx); err != nil {
		return p.failure(err)
	}
	if p.err != nil {
		return p.failure(p.err)
	}
	return nil
}

func (p *process) failure(err error) error {
	text := strings.TrimSpace(p.wrote())
	const tail = 300
	if len(text) > tail {
		text = "… " + text[len(text)-tail:]
	}
	return fmt.Errorf("%s: %w: %s", p.name, err, strings.Join(strings.Fields(text), " "))
}

// end asks the program to end and waits.
func (p *process) end(s os.Signal) {
	_ = p.cmd.Process.Signal(s)
	<-p.exited
}

// killEach ends programs that may still run.
func killEach(processes []*process) {
	for _, p := range processes {
		p.end(os.Kill)
	}
}

// commandsOf returns the commands of ended programs.
func commandsOf(processes []*process) []*exec.Cmd {
	var commands []*exec.Cmd
	for _, p := range processes {
		commands = append(commands, p.cmd)
	}
	return commands
}

// until looks every so often whether something is so.
func until(ctx context.Context, so func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := so(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// removeAfter removes what a failed run left, which would take memory from the next.
func removeAfter(err error, files []string) {
	if err == nil {
		return
	}
	for _, file := range files {
		_ = os.Remove(file)
	}
}
