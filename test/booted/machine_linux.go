package booted

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"wimcast/test/lab"
)

// holdScript mounts the machine's file system, says so, and holds the mount namespace until its owner is gone. The /sys that a host of the
// lab has shows its interfaces, and hides the control groups, which a boot needs.
const holdScript = `
[ -n "$(ls /sys/fs/cgroup)" ] || umount /sys || exit 1
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4" || exit 1
echo mounted
exec cat >/dev/null
`

// Machine is a Debian file system of its own on a host of the lab. Its methods may be called from several goroutines.
type Machine struct {
	host   *lab.Host
	dir    string // upper, work, root, and the sockets of boots
	holder *exec.Cmd
	hold   io.Closer
	close  func() error

	mu    sync.Mutex
	boots int
}

// New lays a machine on the tree (see [Tree]); what is changed of it lies in dir, which must be empty and on a file system that an
// overlay can be on. The machine has the network of a host, whose room must outlive it. The caller closes it.
func New(ctx context.Context, host *lab.Host, tree, dir string) (*Machine, error) {
	sweep()
	m := &Machine{host: host, dir: dir}
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return nil, fmt.Errorf("make machine: %w", err)
		}
	}
	// Not bound to ctx: it is to outlive a test's context, so that what happened can be read.
	m.holder = host.Command(context.WithoutCancel(ctx), "sh", "-c", holdScript, "sh", tree, filepath.Join(dir, "upper"), filepath.Join(dir, "work"), m.root())
	var said strings.Builder
	m.holder.Stderr = &said
	hold, err := m.holder.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make machine: %w", err)
	}
	out, err := m.holder.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make machine: %w", err)
	}
	if err := m.holder.Start(); err != nil {
		return nil, fmt.Errorf("make machine: %w", err)
	}
	m.hold = hold
	m.close = sync.OnceValue(m.tearDown)
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "mounted\n" {
		_ = m.Close()
		return nil, fmt.Errorf("make machine: mount an overlay in %s: %s", dir, strings.TrimSpace(said.String()))
	}
	return m, nil
}

// Close lets go of the file system, once what runs in it has ended. It may be called more than once.
func (m *Machine) Close() error { return m.close() }

func (m *Machine) tearDown() error {
	err := m.hold.Close()
	if waitErr := m.holder.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("end machine: %w", waitErr))
	}
	return err
}

// root is the mount point of the machine's file system, in the holder's mount namespace.
func (m *Machine) root() string { return filepath.Join(m.dir, "root") }

// Path names a file of the machine for programs outside of it, as long as the machine isn't closed. What a booted system has
// mounted itself, /run and /tmp above all, isn't seen so: see [System.Path].
func (m *Machine) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.holder.Process.Pid), "root", m.root(), name)
}

// beside returns a command that runs outside of the machine and sees its file system.
func (m *Machine) beside(ctx context.Context, name string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(m.holder.Process.Pid)
	cmd := m.host.Command(ctx, "nsenter", append([]string{"--mount=/proc/" + pid + "/ns/mnt", "--", name}, args...)...)
	return cmd
}

// Chroot runs a program of the machine without booting it, and returns what it wrote, errors too.
func (m *Machine) Chroot(ctx context.Context, name string, args ...string) (string, error) {
	cmd := m.beside(ctx, "chroot", append([]string{m.root(), "/usr/bin/env", "-i", "PATH=" + path, "LC_ALL=C.UTF-8", name}, args...)...)
	return combined(cmd, name)
}

// Beside runs a program of this machine's that works on a file system, root, which it is given as the first of these words that is "ROOT".
func (m *Machine) Beside(ctx context.Context, name string, args ...string) (string, error) {
	words := make([]string, len(args))
	for i, word := range args {
		words[i] = strings.ReplaceAll(word, "ROOT", m.root())
	}
	return combined(m.beside(ctx, name, words...), name)
}

// path is where programs of the machine are.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// combined runs a command and returns all that it wrote; so does the error.
func combined(cmd *exec.Cmd, name string) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, tail(out, 4000))
	}
	return string(out), err
}
