package booted

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wimcast/test/lab"
)

// ownerVariable makes the test program the process that a test kills; it names its directory.
const ownerVariable = "BOOTED_TEST_OWNER"

func TestMain(m *testing.M) {
	dir := os.Getenv(ownerVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := own(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// own boots a system, says its network namespace, and waits to be killed.
func own(ctx context.Context, dir string) error {
	room, err := lab.New(ctx, lab.Config{Clients: 1})
	if err != nil {
		return err
	}
	tree, err := Tree(ctx)
	if err != nil {
		return err
	}
	m, err := New(ctx, room.Server(), tree, dir)
	if err != nil {
		return err
	}
	s, err := m.Boot(ctx)
	if err != nil {
		return err
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", s.leader))
	if err != nil {
		return err
	}
	fmt.Println(namespace)
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// TestNothingOutlivesKilledOwner kills a test in whose room a system runs: its processes end, and with them their mounts; the next machine
// sweeps up its control groups.
func TestNothingOutlivesKilledOwner(t *testing.T) {
	machine(t) // it has the tree made
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), ownerVariable+"="+t.TempDir())
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner ended before its system was up: %v", err)
	}
	namespace := strings.TrimSpace(line)
	if len(inside(namespace)) < 3 {
		t.Fatal("nothing runs in the system")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("patience"))
	defer cancel()
	for left := inside(namespace); len(left) > 0; left = inside(namespace) {
		if ctx.Err() != nil {
			t.Fatalf("%v live on in %s", left, namespace)
		}
	}
	groups := func() (left []string) {
		for _, top := range cgroupTops {
			found, _ := filepath.Glob(filepath.Join(top, fmt.Sprintf("%s%d-*", cgroupPrefix, cmd.Process.Pid)))
			left = append(left, found...)
		}
		return left
	}
	for left := groups(); len(left) > 0; left = groups() {
		if ctx.Err() != nil {
			t.Fatalf("control groups %v are left", left)
		}
		sweep() // as the next machine does; a process that is just ending keeps its group
	}
}

// inside lists the processes in a network namespace.
func inside(namespace string) (found []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		if is, err := os.Readlink(link); err == nil && is == namespace {
			found = append(found, strings.Split(link, "/")[2])
		}
	}
	return found
}
