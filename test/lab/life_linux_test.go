package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"wimcast/test/lab"
)

// processesIn returns the processes in a namespace, named as /proc has it:
// net:[4026531840].
func processesIn(t *testing.T, namespace string) []int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	must(t, err)
	var pids []int
	for _, link := range links {
		if name, err := os.Readlink(link); err != nil || name != namespace {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		must(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// waitEmpty waits until a namespace has no process.
func waitEmpty(t *testing.T, namespace string) {
	t.Helper()
	ctx := within(t, time.Minute)
	for len(processesIn(t, namespace)) > 0 {
		if ctx.Err() != nil {
			t.Fatalf("processes %v live on in %s", processesIn(t, namespace), namespace)
		}
	}
}

// sleepers leaves a program and its child running on a host; the shell says
// its namespace.
const sleepers = `sleep 1000 & setsid sleep 1000 & readlink /proc/self/ns/net; wait`

func startSleepers(t *testing.T, h *lab.Host) (*exec.Cmd, string) {
	t.Helper()
	cmd := h.Command(t.Context(), "sh", "-c", sleepers)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	return cmd, strings.TrimSpace(line)
}

func TestCloseEndsEveryProcess(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	cmd, namespace := startSleepers(t, room.Client(0))
	if len(processesIn(t, namespace)) == 0 {
		t.Fatal("nothing runs on the host")
	}
	must(t, room.Close())
	if left := processesIn(t, namespace); len(left) != 0 {
		t.Errorf("processes %v outlived the room", left)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the command ended well, want it killed")
	}
	must(t, room.Close())
}

// ownerVariable makes the test program the process that a test kills.
const ownerVariable = "LAB_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVariable) == "" {
		os.Exit(m.Run())
	}
	if err := own(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// own builds a room with programs in it, says its namespace, and waits to be
// killed.
func own(ctx context.Context) error {
	room, err := lab.New(ctx, lab.Config{Clients: 1})
	if err != nil {
		return err
	}
	cmd := room.Client(0).Command(ctx, "sh", "-c", sleepers)
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	return room.Close()
}

// startOwner runs own in a process of its own.
func startOwner(t *testing.T) (cmd *exec.Cmd, namespace string) {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	must(t, err)
	cmd = exec.Command(self)
	cmd.Env = append(os.Environ(), ownerVariable+"=1")
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	must(t, err)
	t.Cleanup(func() { _ = hold.Close() })
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner ended before it had a room: %v", err)
	}
	return cmd, strings.TrimSpace(line)
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	must(t, cmd.Process.Kill())
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

func TestReaperFollowsKilledOwner(t *testing.T) {
	cmd, namespace := startOwner(t)
	if len(processesIn(t, namespace)) < 3 {
		t.Fatal("the owner's programs don't run")
	}
	kill(t, cmd)
	waitEmpty(t, namespace)
}

func TestNewSweepsWhenReaperDiedToo(t *testing.T) {
	cmd, namespace := startOwner(t)
	reaper := child(t, cmd.Process.Pid, "room-reaper")
	must(t, syscall.Kill(reaper, syscall.SIGKILL))
	kill(t, cmd)
	if len(processesIn(t, namespace)) < 3 {
		t.Fatal("the programs ended by themselves: nothing is left to sweep")
	}
	newRoom(t, lab.Config{Clients: 1})
	waitEmpty(t, namespace)
}

// child returns the child of a process whose command line contains a word.
func child(t *testing.T, parent int, word string) int {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, name := range names {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "cmdline"))
		if fields[1] == strconv.Itoa(parent) && bytes.Contains(line, []byte(word)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			must(t, err)
			return pid
		}
	}
	t.Fatalf("process %d has no child %s", parent, word)
	return 0
}

func TestCancelKillsProcessGroup(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cmd := room.Client(0).Command(ctx, "sh", "-c", "sleep 1000 & readlink /proc/self/ns/net; wait")
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("the command ended well, want it killed")
	}
	waitEmpty(t, strings.TrimSpace(line))
}

func TestSignalReachesProgram(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	cmd := room.Client(0).Command(t.Context(), "sh", "-c", `trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done`)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, want the program's own 7", code)
	}
}

func TestHosts(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 12, MTU: 9000})
	if got := fmt.Sprintf("%s %s %s %s", room.Server().Name(), room.Server().Addr(), room.Client(0).Name(), room.Client(11).Addr()); got != "server 10.77.0.1 pc01 10.77.0.22" {
		t.Errorf("hosts are %s", got)
	}
	if len(room.Clients()) != 12 {
		t.Errorf("%d clients, want 12", len(room.Clients()))
	}
	for _, h := range room.Clients() {
		must(t, h.Do(func() error {
			device, err := net.InterfaceByName(h.Interface())
			if err != nil {
				return err
			}
			addrs, err := device.Addrs()
			if err == nil && (len(addrs) != 1 || addrs[0].String() != h.Addr().String()+"/24" || device.MTU != 9000) {
				err = fmt.Errorf("%s has %v, MTU %d", h.Name(), addrs, device.MTU)
			}
			return err
		}))
	}
	// The file system of interfaces is the host's own.
	out, err := room.Client(3).Run(t.Context(), "sh", "-c", "ls /sys/class/net; exit 0")
	must(t, err)
	if got := string(out); got != "eth0\nlo\n" {
		t.Errorf("/sys/class/net has %q", got)
	}
	if _, err := room.Client(3).Run(t.Context(), "sh", "-c", "echo because >&2; exit 3"); err == nil || !strings.HasSuffix(err.Error(), "because") {
		t.Errorf("the error is %v, want it to end in what the program said", err)
	}
	want := errors.New("own error")
	if err := room.Client(0).Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Do returned %v", err)
	}
}
