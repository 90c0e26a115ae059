package booted

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// bootWithin bounds a boot, which takes a second or two where nothing else runs.
const bootWithin = 5 * time.Minute

// System is a machine that booted.
type System struct {
	machine *Machine
	nspawn  *exec.Cmd
	console console
	leader  int // process 1 of the system, as its number is outside
	exited  chan struct{}
	err     error
}

// console keeps what a system wrote to its console.
type console struct {
	mu  sync.Mutex
	out []byte
}

// Write implements io.Writer.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, p...)
	return len(p), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.out)
}

// Boot boots the machine and returns once its systemd has started what there is to start. It must not be booted already. The caller powers it off.
func (m *Machine) Boot(ctx context.Context) (*System, error) {
	m.mu.Lock()
	m.boots++
	name := cgroupName(m.holder.Process.Pid, m.boots)
	m.mu.Unlock()
	notices := filepath.Join(m.dir, "notify")
	_ = os.Remove(notices)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notices, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	defer socket.Close()
	s := &System{machine: m, exited: make(chan struct{})}
	// Not bound to ctx: a system is powered off, and its room ends it where that fails.
	s.nspawn = m.beside(context.WithoutCancel(ctx), "sh", "-c", cgroupScript, "sh", name,
		"systemd-nspawn", "--quiet", "--boot", "--directory="+m.root(), "--machine="+name, "--hostname=server",
		"--register=no", "--keep-unit", "--console=pipe", "--notify-ready=yes", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--network-namespace-path="+m.host.Namespace(), "--capability=CAP_NET_ADMIN") // for a firewall
	s.nspawn.Env = append(os.Environ(), "NOTIFY_SOCKET="+notices)
	s.nspawn.Stdout, s.nspawn.Stderr = &s.console, &s.console
	if err := s.nspawn.Start(); err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	go func() {
		s.err = s.nspawn.Wait()
		removeCgroup(name)
		close(s.exited)
	}()
	ready := make(chan error, 1)
	go func() { ready <- s.awaitReady(socket) }()
	select {
	case err = <-ready:
	case <-s.exited:
		err = fmt.Errorf("it ended: %w", s.err)
	case <-time.After(bootWithin):
		err = fmt.Errorf("not ready in %v", bootWithin)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		s.Kill()
		return nil, fmt.Errorf("boot: %w: %s", err, tail([]byte(s.console.String()), 4000))
	}
	return s, nil
}

// awaitReady reads nspawn's notices until the system is up.
func (s *System) awaitReady(socket *net.UnixConn) error {
	buffer := make([]byte, 4096)
	for {
		n, err := socket.Read(buffer)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(buffer[:n])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch {
			case key == "X_NSPAWN_LEADER_PID":
				if s.leader, err = strconv.Atoi(value); err != nil {
					return fmt.Errorf("nspawn's notice: %q", line)
				}
			case key == "READY" && value == "1" && s.leader != 0:
				return nil
			}
		}
	}
}

// Kill ends the system as power loss does.
func (s *System) Kill() {
	if leader, err := os.FindProcess(s.leader); s.leader != 0 && err == nil {
		_ = leader.Kill() // and with process 1 all others of its namespace; nspawn ends then
	} else {
		_ = s.nspawn.Process.Kill()
	}
	<-s.exited
}

// PowerOff shuts the system down as its own command does, and waits until it is off.
func (s *System) PowerOff(ctx context.Context) error {
	if _, err := s.Run(ctx, "systemctl", "poweroff"); err != nil {
		select {
		case <-s.exited: // it was faster than its command
		default:
			return fmt.Errorf("power off: %w", err)
		}
	}
	select {
	case <-s.exited:
		if s.err != nil {
			return fmt.Errorf("power off: %w: %s", s.err, tail([]byte(s.console.String()), 2000))
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("power off: %w: %s", context.Cause(ctx), tail([]byte(s.console.String()), 2000))
	}
}

// Path names a file of the running system for programs outside of it.
func (s *System) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(s.leader), "root", name)
}

// Console returns what the system wrote to its console.
func (s *System) Console() string { return s.console.String() }

// Command returns a command that runs in the system, as root, in no service's control group.
func (s *System) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	all := append([]string{
		"--target", strconv.Itoa(s.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wdns=/", "--",
		"/usr/bin/env", "-i", "PATH=" + path, "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=cat", "DEBIAN_FRONTEND=noninteractive", name,
	}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", all...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // nsenter waits for a child that is the command
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// Run runs a command in the system to its end and returns all that it wrote, without the white space around; so does the error.
func (s *System) Run(ctx context.Context, name string, args ...string) (string, error) {
	out, err := combined(s.Command(ctx, name, args...), strings.Join(append([]string{name}, args...), " "))
	return strings.TrimSpace(out), err
}

// Show returns properties of a unit, by their names.
func (s *System) Show(ctx context.Context, unit string, properties ...string) (map[string]string, error) {
	out, err := s.Run(ctx, "systemctl", "show", unit, "--property="+strings.Join(properties, ","))
	if err != nil {
		return nil, err
	}
	shown := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		shown[key] = value
	}
	return shown, nil
}

// Mark is a place in the journal.
type Mark string

// Mark returns the journal's present end.
func (s *System) Mark(ctx context.Context) (Mark, error) {
	out, err := s.Run(ctx, "journalctl", "--quiet", "--lines=1", "--output=cat", "--show-cursor")
	if err != nil {
		return "", err
	}
	_, cursor, ok := strings.Cut(out, "-- cursor: ")
	if !ok {
		return "", errors.New("mark the journal: it tells no cursor: " + out)
	}
	return Mark(cursor), nil
}

// Journal returns a unit's messages since a mark, one a line, with systemd's own about it.
func (s *System) Journal(ctx context.Context, unit string, since Mark) (string, error) {
	args := []string{"--quiet", "--unit=" + unit, "--output=cat"}
	if since != "" {
		args = append(args, "--after-cursor="+string(since))
	}
	return s.Run(ctx, "journalctl", args...)
}

// Await waits until a unit's journal has a line since the mark that matches, and returns it.
func (s *System) Await(ctx context.Context, unit string, since Mark, line *regexp.Regexp) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := []string{"--quiet", "--follow", "--lines=all", "--unit=" + unit, "--output=cat"}
	if since != "" {
		args = append(args, "--after-cursor="+string(since))
	}
	cmd := s.Command(ctx, "journalctl", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // killed
	}()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	var seen []byte
	for lines.Scan() {
		if line.Match(lines.Bytes()) {
			return lines.Text(), nil
		}
		seen = append(append(seen, lines.Bytes()...), '\n')
	}
	err = context.Cause(ctx)
	if err == nil {
		err = errors.New("the journal ended")
	}
	return "", fmt.Errorf("journal of %s: no line %q: %w; it has: %s", unit, line, err, tail(seen, 4000))
}
