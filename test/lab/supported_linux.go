package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// tools are the programs that the lab runs, with their Debian packages.
var tools = [...]struct{ name, pkg string }{
	{"ip", "iproute2"},
	{"bridge", "iproute2"},
	{"tc", "iproute2"},
	{"nft", "nftables"},
	{"ethtool", "ethtool"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
	{"mount", "mount"},
	{"find", "findutils"},
}

// Supported returns nil where a room can be built, else an error that says
// what is missing and how to get it. It tries: a scratch namespace gets a
// bridge, a cable, a queue and a drop rule.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("network lab: not root: run it as root, or with sudo")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool.name); err != nil {
			return fmt.Errorf("network lab: %s isn't there: apt-get install %s", tool.name, tool.pkg)
		}
	}
	n, err := newNamespace()
	if err != nil {
		return fmt.Errorf("network lab: %w: this root has no right to (a container without CAP_SYS_ADMIN?)", err)
	}
	defer n.file.Close()
	ctx := context.Background()
	for _, try := range []struct {
		what, stdin string
		args        []string
	}{
		{"a bridge with IGMP snooping", "", strings.Fields("ip link add br0 type bridge mcast_snooping 1")},
		{"a cable (veth)", "", strings.Fields("ip link add port00 type veth peer name eth0")},
		{"a rate limit (tbf)", "", strings.Fields("tc qdisc add dev port00 root tbf rate 1mbit burst 3000 limit 9000")},
		{"random drops on both sides of a port (nftables)", `table netdev room {
	chain up {
		type filter hook ingress device port00 priority 0
		numgen random mod 1000000 < 1 counter drop
	}
	chain down {
		type filter hook egress device port00 priority 0
		numgen random mod 1000000 < 1 counter drop
	}
}`, strings.Fields("nft -f -")},
	} {
		if _, err := n.run(ctx, try.stdin, try.args...); err != nil {
			return fmt.Errorf("network lab: this kernel has no %s: %w", try.what, err)
		}
	}
	return nil
}

// run runs a tool inside the namespace and returns its standard output. The
// error ends in what the tool wrote to standard error.
func (n *namespace) run(ctx context.Context, stdin string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.path(), "--"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}
