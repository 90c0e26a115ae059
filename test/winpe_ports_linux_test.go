package test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"wimcast/test/rig"
)

// pxePorts belong to who answers PXE: DHCP, TFTP, and PXE's boot service.
var pxePorts = map[int]string{67: "DHCP", 68: "DHCP's clients", 69: "TFTP", 4011: "PXE"}

// socketsOf returns the local ports of a process's sockets of a kind: udp, udp6, tcp, tcp6.
func socketsOf(t *testing.T, pid int, kind string) []int {
	t.Helper()
	open := map[string]bool{}
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	list, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range list {
		name, err := os.Readlink(filepath.Join(fds, fd.Name()))
		if inode, ok := strings.CutPrefix(name, "socket:["); ok && err == nil {
			open[strings.TrimSuffix(inode, "]")] = true
		}
	}
	table, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, kind))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = table.Close() }()
	var ports []int
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !open[fields[9]] {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			t.Fatalf("%s: %v", fields[1], err)
		}
		ports = append(ports, int(n))
	}
	return ports
}

// TestWinPEPorts: a daemon that casts has no socket on a port of PXE, so that it can stand beside whoever answers that.
func TestWinPEPorts(t *testing.T) {
	s := onLoopback(t, rig.Config{})
	s.get(0)
	s.await("a session", func() bool { return len(s.sessions()) > 0 })
	found := 0
	for _, kind := range []string{"udp", "udp6", "tcp", "tcp6"} {
		for _, port := range socketsOf(t, s.daemon.Cmd().Process.Pid, kind) {
			found++
			if what := pxePorts[port]; what != "" {
				t.Errorf("the daemon has a socket on %s port %d: that is %s's", kind, port, what)
			}
		}
	}
	if found < 3 {
		t.Errorf("%d sockets of a daemon that casts: the search is broken", found)
	}
}

// TestWinPEDnsmasq: dnsmasq understands the configuration in the documentation.
func TestWinPEDnsmasq(t *testing.T) {
	text, err := os.ReadFile("../docs/winpe.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```dnsmasq\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/winpe.md has no configuration of dnsmasq")
	}
	dnsmasq, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Skip("dnsmasq isn't installed; next: apt-get install dnsmasq-base")
	}
	file := filepath.Join(t.TempDir(), "wimcast.conf")
	check := func(config string) error {
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), dnsmasq, "--test", "--conf-file="+file).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if err := check(string(block[1])); err != nil {
		t.Error(err)
	}
	if check(string(block[1])+"pxe-service=tag:!ipxe,ARM64_UEFI,wimcast\n") == nil {
		t.Error("dnsmasq takes anything: the test can't tell")
	}
}
