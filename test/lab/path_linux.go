package lab

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// SetMaxPacket drops IPv4 packets of more than so many bytes on their way to the host, as a path with a smaller MTU does whose
// routers say nothing: the interfaces keep theirs. 0 ends it.
func (h *Host) SetMaxPacket(ctx context.Context, bytes int) error {
	if bytes != 0 && (bytes < 576 || bytes > 65535) {
		return fmt.Errorf("set largest packet: %s: %d bytes: want 576 to 65535, or 0", h.name, bytes)
	}
	return h.change(ctx, "set largest packet", func(f *faults) { f.maxPacket = bytes })
}

// SetDeafToSources makes the switch deaf to what the host says in IGMPv3 of single sources, as one that knows IGMPv2 only: joins for any source get through.
// It forgets what the host was a member of: groups that were left a moment ago would still be delivered.
func (h *Host) SetDeafToSources(ctx context.Context, on bool) error {
	if err := h.change(ctx, "make deaf to sources", func(f *faults) { f.sourceDeaf = on }); err != nil || !on {
		return err
	}
	h.room.control.Lock()
	defer h.room.control.Unlock()
	if err := h.forgetPort(ctx); err != nil {
		return fmt.Errorf("make deaf to sources: %s: %w", h.name, err)
	}
	return nil
}

// SetFirewall gives the host a firewall that drops what comes in and matches an nftables expression, such as "ip daddr 224.0.0.0/4 meta l4proto udp";
// "" removes it. Packets still come in at the host's card.
func (h *Host) SetFirewall(ctx context.Context, match string) error {
	h.room.control.Lock()
	defer h.room.control.Unlock()
	script := "add table inet firewall\ndelete table inet firewall\n"
	if match != "" {
		script += "add table inet firewall\nadd chain inet firewall input { type filter hook input priority 0; }\nadd rule inet firewall input " + match + " drop\n"
	}
	if _, err := h.ns.run(ctx, script, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("set firewall: %s: %w", h.name, err)
	}
	return nil
}

// SetMemory has the switch forget a member of a group that doesn't answer the querier for so long; it begins with 260 s, as RFC 3376,
// section 8.4, has it for a querier that asks every 125 s.
func (r *Room) SetMemory(ctx context.Context, long time.Duration) error {
	if long < time.Second {
		return fmt.Errorf("set memory of the switch: %v: want 1s or more", long)
	}
	r.control.Lock()
	defer r.control.Unlock()
	if _, err := r.bridge.run(ctx, "", "ip", "link", "set", bridgeLink, "type", "bridge", "mcast_membership_interval", strconv.FormatInt(long.Milliseconds()/10, 10)); err != nil {
		return fmt.Errorf("set memory of the switch: %w", err)
	}
	return nil
}

// SetQuerier has the switch ask for members every so often, 1 s to 10 min, or not at all with 0. Without a querier this switch sends groups to every
// port, as it can't know the members; others forget them after 260 s and send groups nowhere.
func (r *Room) SetQuerier(ctx context.Context, every time.Duration) error {
	if every != 0 && (every < time.Second || every > 10*time.Minute) {
		return fmt.Errorf("set querier: every %v: want 1s to 10m, or 0", every)
	}
	r.control.Lock()
	defer r.control.Unlock()
	script := fmt.Sprintf("link set %s type bridge mcast_querier 0\n", bridgeLink)
	if every != 0 {
		hundredths := every.Milliseconds() / 10
		script = fmt.Sprintf("link set %[1]s type bridge mcast_query_interval %[2]d mcast_startup_query_interval %[2]d\n", bridgeLink, hundredths) +
			script + fmt.Sprintf("link set %s type bridge mcast_querier 1\n", bridgeLink)
	}
	if _, err := r.bridge.run(ctx, script, "ip", "-batch", "-"); err != nil {
		return fmt.Errorf("set querier: %w", err)
	}
	return nil
}
