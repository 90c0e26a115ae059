package lab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// probeGroup has no members; nobody outside the lab uses it.
	probeGroup = "239.254.254.254"
	probeAddr  = probeGroup + ":9" // discard
	// probeInterval paces what polls the switch.
	probeInterval = 10 * time.Millisecond
)

// WaitSnooping waits until the switch delivers groups to their members only.
// New has done so; it is of use after the switch itself was changed. The
// server's cable must work.
func (r *Room) WaitSnooping(ctx context.Context) error {
	r.control.Lock()
	defer r.control.Unlock()
	err := r.waitForwarding(ctx)
	if err == nil {
		err = r.waitProbes(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for snooping: %w", err)
	}
	return nil
}

// waitForwarding waits until every port forwards: a veth has its carrier a
// moment after it is up.
func (r *Room) waitForwarding(ctx context.Context) error {
	return poll(ctx, func() (bool, error) {
		out, err := r.bridge.run(ctx, "", "bridge", "-j", "link", "show")
		if err != nil {
			return false, err
		}
		var ports []struct {
			State string `json:"state"`
		}
		if err := json.Unmarshal(out, &ports); err != nil {
			return false, fmt.Errorf("read ports: %w", err)
		}
		forwarding := 0
		for _, p := range ports {
			if p.State == "forwarding" {
				forwarding++
			}
		}
		return forwarding == len(r.hosts), nil
	})
}

// waitProbes sends packets to a group without members until one enters the
// switch and leaves it nowhere.
func (r *Room) waitProbes(ctx context.Context) error {
	const table = "table bridge probe"
	script := fmt.Sprintf(table+` {
	chain entered {
		type filter hook prerouting priority 0
		ip daddr %[1]s counter
	}
	chain left {
		type filter hook forward priority 0
		ip daddr %[1]s counter
	}
}`, probeGroup)
	if _, err := r.bridge.run(ctx, script, "nft", "-f", "-"); err != nil {
		return err
	}
	var entered, left uint64
	err := poll(ctx, func() (bool, error) {
		if err := r.Client(0).sendProbe(); err != nil {
			return false, err
		}
		nowEntered, nowLeft, err := r.readProbes(ctx)
		if err != nil {
			return false, err
		}
		snoops := nowEntered > entered && nowLeft == left
		entered, left = nowEntered, nowLeft
		return snoops, nil
	})
	if err != nil {
		return err
	}
	_, err = r.bridge.run(ctx, "delete "+table, "nft", "-f", "-")
	return err
}

func (h *Host) sendProbe() error {
	return h.Do(func() error {
		conn, err := net.Dial("udp4", probeAddr)
		if err != nil {
			return fmt.Errorf("send probe: %w", err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{0}); err != nil {
			return fmt.Errorf("send probe: %w", err)
		}
		return nil
	})
}

func (r *Room) readProbes(ctx context.Context) (entered, left uint64, err error) {
	out, err := r.bridge.run(ctx, "", "nft", "-j", "list", "table", "bridge", "probe")
	if err != nil {
		return 0, 0, err
	}
	var listing struct {
		Items []struct {
			Rule struct {
				Chain string `json:"chain"`
				Expr  []struct {
					Counter queueStats `json:"counter"`
				} `json:"expr"`
			} `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		return 0, 0, fmt.Errorf("read probe counters: %w", err)
	}
	for _, item := range listing.Items {
		for _, e := range item.Rule.Expr {
			switch item.Rule.Chain {
			case "entered":
				entered += e.Counter.Packets
			case "left":
				left += e.Counter.Packets
			}
		}
	}
	return entered, left, nil
}

// poll calls done until it says so, fails, or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// membership is one entry of the switch's table of groups.
type membership struct {
	Port   string `json:"port"`
	Group  string `json:"grp"`
	Source string `json:"src"`
}

func (r *Room) memberships(ctx context.Context) ([]membership, error) {
	out, err := r.bridge.run(ctx, "", "bridge", "-j", "mdb", "show", "dev", bridgeLink)
	if err != nil {
		return nil, err
	}
	var tables []struct {
		MDB []membership `json:"mdb"`
	}
	if err := json.Unmarshal(out, &tables); err != nil {
		return nil, fmt.Errorf("read memberships: %w", err)
	}
	var all []membership
	for _, t := range tables {
		all = append(all, t.MDB...)
	}
	return all, nil
}

// Members returns the hosts that the switch holds for members of a group, from
// whatever source.
func (r *Room) Members(ctx context.Context, group netip.Addr) ([]*Host, error) {
	r.control.Lock()
	defer r.control.Unlock()
	entries, err := r.memberships(ctx)
	if err != nil {
		return nil, fmt.Errorf("list members of %s: %w", group, err)
	}
	var members []*Host
	for _, h := range r.hosts {
		if slices.ContainsFunc(entries, func(m membership) bool { return m.Port == h.port && m.Group == group.String() }) {
			members = append(members, h)
		}
	}
	return members, nil
}

// WaitMember waits until the switch holds the host for a member of a group.
func (h *Host) WaitMember(ctx context.Context, group netip.Addr) error {
	err := poll(ctx, func() (bool, error) {
		members, err := h.room.Members(ctx, group)
		return slices.Contains(members, h), err
	})
	if err != nil {
		return fmt.Errorf("wait for %s in %s: %w", h.name, group, err)
	}
	return nil
}

// WaitLeft waits until the switch holds no host for a member of any IPv4 group. After a
// program that was in a group has ended, the switch asks around for some seconds before it believes
// that nobody else behind the port wants the group, and goes on delivering.
func (r *Room) WaitLeft(ctx context.Context) error {
	err := poll(ctx, func() (bool, error) {
		r.control.Lock()
		defer r.control.Unlock()
		entries, err := r.memberships(ctx)
		return !slices.ContainsFunc(entries, func(m membership) bool {
			group, err := netip.ParseAddr(m.Group)
			return err == nil && group.Is4()
		}), err
	})
	if err != nil {
		return fmt.Errorf("wait until the groups are left: %w", err)
	}
	return nil
}

// prunePort takes multicast off the host's port, or gives it back. The rule
// that drops its IGMP stands already or is gone.
func (h *Host) prunePort(ctx context.Context, on bool) error {
	// Unregistered groups are flooded to ports that want them; everything goes
	// to router ports (0 never, 1 when a query was heard there).
	flood, router := "on", "1"
	if on {
		flood, router = "off", "0"
	}
	if _, err := h.room.bridge.run(ctx, "", "ip", "link", "set", h.port, "type", "bridge_slave",
		"mcast_flood", flood, "mcast_router", router); err != nil {
		return err
	}
	if !on {
		return h.query()
	}
	return h.forgetPort(ctx)
}

// forgetPort makes the switch forget what the host is a member of.
func (h *Host) forgetPort(ctx context.Context) error {
	entries, err := h.room.memberships(ctx)
	if err != nil {
		return err
	}
	for _, m := range entries {
		group, err := netip.ParseAddr(m.Group)
		if m.Port != h.port || err != nil || !group.Is4() {
			continue
		}
		args := []string{"bridge", "mdb", "del", "dev", bridgeLink, "port", h.port, "grp", m.Group}
		if m.Source != "" {
			args = append(args, "src", m.Source)
		}
		if _, err := h.room.bridge.run(ctx, "", args...); err != nil {
			return err
		}
	}
	return nil
}

// query sends an IGMPv3 general query (RFC 3376, section 4.1) down the host's
// cable and no other, as the switch does when a port comes up.
func (h *Host) query() error {
	frame := append(net.HardwareAddr{0x01, 0, 0x5e, 0, 0, 1}, 0x02, 0, 0, 0, 0, 0xfe, 0x08, 0x00)
	ip := []byte{
		0x46, 0xc0, 0, 36, 0, 0, 0, 0, 1, unix.IPPROTO_IGMP, 0, 0, // 24-byte header, TTL 1
		10, 77, h.room.number, 254, 224, 0, 0, 1,
		0x94, 4, 0, 0, // router alert
	}
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	igmp := []byte{0x11, 1, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0} // answer within 0.1 s; robustness 2, interval 125 s
	binary.BigEndian.PutUint16(igmp[2:], checksum(igmp))
	frame = append(append(frame, ip...), igmp...)

	return h.room.bridge.do(func() error {
		device, err := net.InterfaceByName(h.port)
		if err != nil {
			return fmt.Errorf("query %s: %w", h.name, err)
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("query %s: %w", h.name, err)
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index}); err != nil {
			return fmt.Errorf("query %s: %w", h.name, err)
		}
		return nil
	})
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}
