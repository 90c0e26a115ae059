package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// commandScript gives a command the /sys of its namespace (interface speeds
// are read there), marks it with its room's owner, and becomes it.
const commandScript = `mount -t sysfs sysfs /sys 2>/dev/null
` + ownerVariable + `=$1; export ` + ownerVariable + `; shift
exec "$@"`

// killDelay is how long Wait of a killed command waits for its output to end.
const killDelay = 2 * time.Second

// Host is the server or a client of a room.
type Host struct {
	room *Room
	name string // server, pc01, pc02 …
	addr netip.Addr
	ns   *namespace
	link string // its interface
	port string // its port's interface in the switch's namespace

	faults faults // guarded by room.control
	cable  cable  // guarded by room.control
}

func newHost(r *Room, i int) (*Host, error) {
	h := &Host{room: r, port: fmt.Sprintf("port%02d", i), link: hostLink, name: "server", addr: r.address(1)}
	if i == 0 && r.number > 0 {
		shared := r.config.Behind
		if shared == nil {
			shared = r.config.Beside.Server()
		}
		h.ns, h.link = shared.ns, fmt.Sprintf("eth%d", r.number)
		return h, nil
	}
	var err error
	if h.ns, err = newNamespace(); err != nil {
		return nil, err
	}
	if i > 0 {
		h.name = fmt.Sprintf("pc%02d", i)
		if r.number > 0 {
			h.name = fmt.Sprintf("pc%d%02d", r.number, i)
		}
		h.addr = r.address(byte(10 + i))
	}
	return h, nil
}

// build configures the host's end of the cable.
func (h *Host) build(ctx context.Context) error {
	batch := fmt.Sprintf("link set lo up\nlink set %[1]s up\naddr add %[2]s/24 brd + dev %[1]s\n", h.link, h.addr)
	if h.link == hostLink {
		gateway := h.room.gateway()
		if h.room.config.Behind != nil {
			gateway = h.room.Server().addr
		}
		batch += fmt.Sprintf("route add default via %s\n", gateway)
	}
	if _, err := h.ns.run(ctx, batch, "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := h.setOffloads(ctx); err != nil {
		return err
	}
	return h.plugQueues(ctx, rate{})
}

// Name returns server, pc01, pc02 and so on.
func (h *Host) Name() string { return h.name }

// Addr returns the host's address.
func (h *Host) Addr() netip.Addr { return h.addr }

// Interface returns the name of the host's network interface.
func (h *Host) Interface() string { return h.link }

// Namespace returns a path that names the host's namespace as long as the room
// stands, for nsenter --net and systemd-nspawn --network-namespace-path.
func (h *Host) Namespace() string { return h.ns.path() }

// Command returns a command that runs on the host, with the file system of the
// machine. It is a process group of its own: when ctx ends, the program and
// what it started are killed. A signal to its Process reaches the program
// itself. A name that isn't found makes it exit with status 127.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	wrapped := append([]string{
		"--net=" + h.ns.path(), "--",
		"unshare", "--mount", "--propagation", "slave", "--",
		"sh", "-c", commandScript, "sh", h.room.owner, name,
	}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", wrapped...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	return cmd
}

// Run runs a command on the host to its end and returns its standard output.
// The error of a command that fails ends in what it wrote to standard error.
func (h *Host) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := h.Command(ctx, name, args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("run %s on %s: %w: %s", name, h.name, err, strings.TrimSpace(stderr.String()))
	}
	return []byte(stdout.String()), err
}

// Do runs fn on a thread inside the host's namespace and returns its error.
// Sockets that fn opens belong to the host for good and may be used anywhere;
// goroutines that fn starts run outside.
func (h *Host) Do(fn func() error) error { return h.ns.do(fn) }
