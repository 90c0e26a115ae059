//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"wimcast/test/lab"
)

// site is the room where the cases of one mode are measured.
type site struct {
	*bench
	room *lab.Room
	// Of the case that was set last.
	file string // the image
	size int64  // its bytes
	// cables is what each client's was set to.
	cables []cableState
}

// A run may take patience for each part of the image begun.
const (
	patience     = 2 * time.Minute
	patienceEach = 512 << 20
)

// begun is how much the server's wire has carried when a cast counts as begun: more than
// handshakes and announcements, less than a moment of data.
const begun = 128 << 10

// measurement is what one run gave.
type measurement struct {
	Goodput   float64 `json:"goodput_bytes_per_second"` // of the last client, from the first data on the wire
	Seconds   float64 `json:"seconds"`                  // from the first data on the wire until the last client is done
	All       float64 `json:"seconds_with_start"`       // from the start of the first program
	SenderCPU float64 `json:"sender_cpu_seconds_per_gib"`
	ClientCPU float64 `json:"client_cpu_seconds_per_gib"` // mean
	SenderMem int64   `json:"sender_peak_bytes"`
	ClientMem int64   `json:"client_peak_bytes"`             // largest
	Packets   float64 `json:"packets_over_source,omitempty"` // where the contender says
	Wire      float64 `json:"wire_over_image"`               // bytes of frames on the server's wire
	// Each is when each client was done, in seconds from the first data on the wire.
	Each []float64 `json:"seconds_of_clients,omitempty"`
	// Missed is what a late joiner missed, in packets for each that the image makes.
	Missed float64 `json:"missed_over_source,omitempty"`

	done time.Time   // when the last client had it all, where that is before the contender's end
	ends []time.Time // when each client did
	wire *wireWatch
}

// finish notes that the last client has it all.
func (m *measurement) finish() { m.done = time.Now() }

// end notes that a client has it all, the first time. Calls for different clients may come from different goroutines.
func (m *measurement) end(client int) {
	if m.ends[client].IsZero() {
		m.ends[client] = time.Now()
	}
}

// contender is a way to send a file.
type contender interface {
	name() string
	// run sends the site's file to the first clients of the room, and fills in CPU, memory and packets. It returns
	// when the last one has it all, or says so before by m.finish, with the paths of what was received,
	// and tells by started when everything is ready and the clock may run.
	run(ctx context.Context, c *testCase, m *measurement, started func()) (files []string, err error)
}

// cableState is what a client's cable does to packets.
type cableState struct {
	loss   float64       // percent
	bursts time.Duration // in place of it: how long after the first data the first one comes; 0 for none
}

// What bursts are.
const (
	burstLength = 100 // packets
	burstEvery  = 2 * time.Second
	burstFirst  = 100 * time.Millisecond // of the first client
)

// want returns what a case wants of a client's cable. Bursts come at another moment to each client.
func (c *testCase) want(client int) cableState {
	switch {
	case c.bursts:
		return cableState{bursts: burstFirst + burstEvery*time.Duration(client)/time.Duration(c.clients)}
	case c.one > 0 && client == c.clients-1:
		return cableState{loss: c.one}
	}
	return cableState{loss: c.loss}
}

// set makes image and network what a case wants. Cables that it doesn't use stay as they are.
func (s *site) set(ctx context.Context, c *testCase) error {
	size := c.size
	if size == 0 {
		size = s.bench.size
	}
	file, err := s.image(size, c.hosts())
	if err != nil {
		return err
	}
	s.file, s.size = file, size
	var errs []error
	for i, host := range s.room.Clients()[:c.hosts()] {
		want := c.want(i)
		if s.cables[i] == want {
			continue
		}
		s.cables[i] = want
		if want.bursts > 0 {
			errs = append(errs, host.SetBursts(ctx, burstLength, burstEvery, want.bursts))
		} else {
			errs = append(errs, host.SetLoss(ctx, want.loss))
		}
	}
	errs = append(errs, s.room.Server().SetRate(ctx, c.rate, 10*time.Millisecond))
	return errors.Join(errs...)
}

// leaveFast makes the switch ask for less long, 100 ms in place of two seconds, whether anybody still wants a
// group that a client left: runs wait for that (lab.Room.WaitLeft).
func leaveFast(ctx context.Context, room *lab.Room) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+room.Switch(), "--", "sh", "-c",
		"for bridge in $(ip -br link show type bridge | cut -d' ' -f1); do ip link set \"$bridge\" type bridge mcast_last_member_interval 5; done")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set the switch: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// measure runs a contender once.
func (s *site) measure(ctx context.Context, c *testCase, contender contender) (measurement, error) {
	limit := patience * time.Duration((s.size+patienceEach-1)/patienceEach)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
	defer cancel()
	m := measurement{ends: make([]time.Time, c.clients)}
	// The clients of the run before would go on receiving this one.
	if err := s.room.WaitLeft(ctx); err != nil {
		return m, err
	}
	wire, err := s.watchWire()
	if err != nil {
		return m, err
	}
	defer wire.close()
	m.wire = wire
	var began time.Time
	files, err := contender.run(ctx, c, &m, func() { began = time.Now(); wire.start() })
	if err != nil {
		return m, err
	}
	done := m.done
	if done.IsZero() {
		done = time.Now()
	}
	first, carried := wire.stop()
	if first.IsZero() {
		return m, errors.New("nothing was seen on the server's wire")
	}
	m.All, m.Seconds = done.Sub(began).Seconds(), done.Sub(first).Seconds()
	m.Goodput, m.Wire = float64(s.size)/m.Seconds, float64(carried)/float64(s.size)
	if !slices.ContainsFunc(m.ends, time.Time.IsZero) {
		for _, end := range m.ends {
			m.Each = append(m.Each, end.Sub(first).Seconds())
		}
	}
	for _, file := range files {
		if err := s.compare(file); err != nil {
			return m, err
		}
		if err := os.Remove(file); err != nil {
			return m, err
		}
	}
	return m, nil
}

// compare holds what was received against the image.
func (s *site) compare(file string) error {
	cmp := exec.Command("cmp", s.file, file)
	if out, err := cmp.CombinedOutput(); err != nil {
		return fmt.Errorf("received other bytes: %w: %s", err, out)
	}
	return nil
}

// perGiB turns the CPU time of a process into seconds per GiB of the image.
func (s *site) perGiB(d time.Duration) float64 {
	return d.Seconds() * (1 << 30) / float64(s.size)
}

// spentSoFar returns the CPU time that a running process used.
func spentSoFar(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name stands in parentheses and may have any character in it. Fields 14 and 15 are in
	// hundredths of a second, whatever the kernel's own clock (USER_HZ).
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read CPU time of process %d: unknown format", pid)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

// spent returns what an ended process used.
func spent(cmd *exec.Cmd) (cpu time.Duration, peak int64) {
	state := cmd.ProcessState
	if state == nil {
		return 0, 0
	}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		peak = usage.Maxrss << 10
	}
	return state.UserTime() + state.SystemTime(), peak
}

// clients adds up what the clients' processes used.
func (s *site) clients(m *measurement, commands []*exec.Cmd) {
	for _, cmd := range commands {
		cpu, peak := spent(cmd)
		m.ClientCPU += s.perGiB(cpu) / float64(len(commands))
		m.ClientMem = max(m.ClientMem, peak)
	}
}

// wireWatch notes when the server's wire begins to carry data.
type wireWatch struct {
	file    *os.File
	base    uint64
	first   time.Time
	stopped chan struct{}
	running sync.WaitGroup
}

// watchWire opens the counters of the server's network.
func (s *site) watchWire() (*wireWatch, error) {
	file, err := openCounters(s.room.Server())
	return &wireWatch{file: file, stopped: make(chan struct{})}, err
}

func (w *wireWatch) close() { _ = w.file.Close() }

// sent reads what the wire has carried. The counter counts a frame of GSO as one; bytes are right.
func (w *wireWatch) sent() uint64 { return counted(w.file, sentBytes) }

// Columns of a line of /proc/net/dev.
const (
	receivedBytes = 0
	sentBytes     = 8
)

// openCounters opens the counters of a host's network.
func openCounters(h *lab.Host) (file *os.File, err error) {
	err = h.Do(func() (err error) {
		file, err = os.Open("/proc/thread-self/net/dev")
		return err
	})
	return file, err
}

// counted reads a counter of the one interface that isn't lo; 0 where it can't be read.
func counted(file *os.File, column int) uint64 {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, counters, ok := strings.Cut(line, ":")
		if fields := strings.Fields(counters); ok && strings.TrimSpace(name) != "lo" && len(fields) > column {
			n, _ := strconv.ParseUint(fields[column], 10, 64)
			return n
		}
	}
	return 0
}

func (w *wireWatch) start() {
	w.base = w.sent()
	w.running.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-w.stopped:
				return
			case now := <-tick.C:
				if w.sent()-w.base > begun {
					w.first = now
					return
				}
			}
		}
	})
}

func (w *wireWatch) stop() (first time.Time, carried uint64) {
	close(w.stopped)
	w.running.Wait()
	return w.first, w.sent() - w.base
}

// carried waits until the wire has carried so many bytes since the start.
func (w *wireWatch) carried(ctx context.Context, bytes uint64) error {
	return until(ctx, func() (bool, error) { return w.sent()-w.base >= bytes, nil })
}

// output returns where a client's file goes.
func (s *site) output(client int, extension string) string {
	return filepath.Join(s.dir, fmt.Sprintf("client%d%s", client, extension))
}
