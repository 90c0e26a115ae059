package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"wimcast/api/support"
)

// machineParts tell of the machine what bears on casts: its network above all.
func machineParts(state string) []support.Part {
	parts := []support.Part{
		support.JSON("machine/system.json", "kernel and distribution", aboutSystem),
		support.JSON("machine/disk.json", "space where the state is", func(context.Context) (any, error) { return aboutDisk(state) }),
		file("machine/memory.txt", "memory of the machine", "/proc/meminfo"),
		file("machine/load.txt", "load of the machine", "/proc/loadavg"),
		file("machine/limits.txt", "limits of the daemon", "/proc/self/limits"),
		file("machine/process.txt", "the daemon as a process", "/proc/self/status"),
		file("machine/cgroups.txt", "the daemon's control groups", "/proc/self/cgroup"),
		support.JSON("network/interfaces.json", "interfaces and their addresses", aboutInterfaces),
		proc("network/routes.txt", "the way to groups and clients", "/proc/net/route", dotted(1), dotted(2), dotted(7)),
		proc("network/memberships.txt", "groups that this machine is a member of", "/proc/net/igmp", dotted(0)),
		proc("network/sockets.txt", "UDP sockets with their queues and drops", "/proc/net/udp", endpoint(1), endpoint(2)),
		file("network/counters.txt", "IP, UDP and TCP of the machine", "/proc/net/snmp"),
		file("network/more-counters.txt", "multicast octets and drops among them", "/proc/net/netstat"),
		file("network/traffic.txt", "bytes, errors and drops of interfaces", "/proc/net/dev"),
		{Name: "network/settings.txt", About: "settings of the kernel that casts depend on", Make: writeSettings},
	}
	return parts
}

func file(name, about, path string) support.Part {
	return support.Part{Name: name, About: about, Make: func(_ context.Context, w io.Writer) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}}
}

// rewrite makes a column of a table of the kernel's readable.
type rewrite struct {
	column int
	text   func(string) string
}

// dotted is an address of IPv4 as the kernel prints it, a number in its own byte order.
func dotted(column int) rewrite {
	return rewrite{column, func(s string) string {
		n, err := strconv.ParseUint(s, 16, 32)
		if err != nil || len(s) != 8 {
			return s
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(n))
		return netip.AddrFrom4(b).String()
	}}
}

func endpoint(column int) rewrite {
	return rewrite{column, func(s string) string {
		host, port, ok := strings.Cut(s, ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil {
			return s
		}
		return net.JoinHostPort(dotted(column).text(host), fmt.Sprint(n))
	}}
}

// proc is a table of the kernel's with readable addresses.
func proc(name, about, path string, columns ...rewrite) support.Part {
	return support.Part{Name: name, About: about, Make: func(_ context.Context, w io.Writer) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			for _, c := range columns {
				if c.column < len(fields) {
					fields[c.column] = c.text(fields[c.column])
				}
			}
			if _, err := fmt.Fprintln(w, strings.Join(fields, "\t")); err != nil {
				return err
			}
		}
		return nil
	}}
}

func aboutSystem(context.Context) (any, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	release := map[string]string{}
	text, err := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			release[strings.ToLower(key)] = strings.Trim(value, `"`)
		}
	}
	return map[string]any{
		"kernel": unix.ByteSliceToString(name.Release[:]), "build": unix.ByteSliceToString(name.Version[:]), "machine_type": unix.ByteSliceToString(name.Machine[:]), "host": unix.ByteSliceToString(name.Nodename[:]),
		"distribution": release,
	}, err
}

func aboutDisk(path string) (any, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	block := uint64(s.Bsize)
	return map[string]any{
		"bytes": s.Blocks * block, "free_bytes": s.Bavail * block, "files": s.Files, "free_files": s.Ffree, "file_system": fmt.Sprintf("0x%x", s.Type),
	}, nil
}

func aboutInterfaces(context.Context) (any, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, i := range all {
		var addrs []string
		if list, err := i.Addrs(); err == nil {
			for _, a := range list {
				addrs = append(addrs, a.String())
			}
		}
		one := map[string]any{"name": i.Name, "index": i.Index, "mtu": i.MTU, "flags": i.Flags.String(), "addresses": addrs, "mac": i.HardwareAddr.String()}
		for _, key := range []string{"speed", "duplex", "operstate", "tx_queue_len"} {
			if text, err := os.ReadFile(filepath.Join("/sys/class/net", i.Name, key)); err == nil {
				one[key] = strings.TrimSpace(string(text))
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// settings are what casts depend on.
func settings() []string {
	return []string{
		"net/core/rmem_max", "net/core/rmem_default", "net/core/wmem_max", "net/core/wmem_default", "net/core/netdev_max_backlog", "net/core/optmem_max", "net/ipv4/igmp_max_memberships",
		"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/conf/all/force_igmp_version", "net/ipv4/ip_forward", "net/ipv4/udp_mem", "net/ipv4/udp_rmem_min",
		"net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_count", "kernel/random/entropy_avail", "vm/dirty_ratio", "vm/swappiness", "fs/file-nr",
	}
}

func writeSettings(_ context.Context, w io.Writer) error {
	for _, name := range settings() {
		text, err := os.ReadFile(filepath.Join("/proc/sys", name))
		value := strings.TrimSpace(string(text))
		if err != nil {
			value = "(" + err.Error() + ")"
		}
		if _, err := fmt.Fprintf(w, "%s = %s\n", strings.ReplaceAll(name, "/", "."), value); err != nil {
			return err
		}
	}
	return nil
}
