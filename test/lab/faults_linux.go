package lab

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

// faults is what is wrong with a host's cable and port.
type faults struct {
	loss       loss // towards the host
	uplink     loss // from the host
	pruned     bool
	blackhole  bool
	maxPacket  int  // bytes of IP that pass the port towards the host; 0: all
	sourceDeaf bool // joins for one source don't get to the switch
}

// loss is a share of packets in parts per million, or bursts.
type loss struct {
	ppm    int
	bursts bursts
}

// bursts are runs of consecutive packets that are lost; none without a length.
type bursts struct {
	length       int
	every, first time.Duration
}

func (l loss) any() bool { return l.ppm > 0 || l.bursts.length > 0 }

func newLoss(percent float64) (loss, error) {
	if math.IsNaN(percent) || percent < 0 || percent > 100 {
		return loss{}, fmt.Errorf("loss of %v %%: want 0 to 100", percent)
	}
	return loss{ppm: int(math.Round(percent * 1e4))}, nil
}

// match returns the nftables expression that is true for a lost packet. The throw comes first: it
// is all that most packets cost.
func (l loss) match() string {
	return fmt.Sprintf("numgen random mod 1000000 < %d ip protocol != igmp", l.ppm)
}

// SetLoss loses percent of the IPv4 packets on their way to the host, each by
// its own throw; 0 ends it. ARP and IGMP are spared, so that the room stays a
// room.
func (h *Host) SetLoss(ctx context.Context, percent float64) error {
	l, err := newLoss(percent)
	if err != nil {
		return fmt.Errorf("set loss: %s: %w", h.name, err)
	}
	return h.change(ctx, "set loss", func(f *faults) { f.loss = l })
}

const (
	// burstPacket is the least length of a packet that bursts take, bytes of IP: what
	// carries data. A burst at the first words of a conversation would take all of them.
	burstPacket = 1000
	// burstWithin is how long a burst may take.
	burstWithin = 100 * time.Millisecond
	// burstIdle is the silence after which a new stream of packets begins.
	burstIdle = time.Second
	// burstFirst is the least pause before the first: to the kernel less than a tick is for ever.
	burstFirst = 10 * time.Millisecond
)

// SetBursts loses length consecutive packets on their way to the host at a time, in place of
// SetLoss: the first burst begins first after a stream of packets began, the others
// every so often after the one before. Streams have at most a second of
// silence in them. A burst ends after a tenth of a second, however few packets came.
// Packets of less than 1,000 bytes are spared and don't count. A length of 0 ends it.
func (h *Host) SetBursts(ctx context.Context, length int, every, first time.Duration) error {
	b := bursts{length, every, first}
	if length < 0 || length > 1000 || length > 0 && (every < 10*burstWithin || every > time.Minute || first < burstFirst || first > time.Minute) {
		return fmt.Errorf("set bursts: %s: %d packets every %v, the first after %v: want up to 1000, every 1s to 1m, the first after 10ms at least", h.name, length, every, first)
	}
	return h.change(ctx, "set bursts", func(f *faults) { f.loss = loss{bursts: b} })
}

// SetUplinkLoss loses percent of the IPv4 packets that the host sends; 0 ends
// it. ARP and IGMP are spared.
func (h *Host) SetUplinkLoss(ctx context.Context, percent float64) error {
	l, err := newLoss(percent)
	if err != nil {
		return fmt.Errorf("set uplink loss: %s: %w", h.name, err)
	}
	return h.change(ctx, "set uplink loss", func(f *faults) { f.uplink = l })
}

// SetBlackhole makes the switch swallow everything to and from the host while
// its link stays up.
func (h *Host) SetBlackhole(ctx context.Context, on bool) error {
	return h.change(ctx, "set blackhole", func(f *faults) { f.blackhole = on })
}

// SetLink plugs the host's cable in or pulls it out: its interface keeps its
// address and loses its carrier, the switch forgets its memberships and asks
// again when it is back.
func (h *Host) SetLink(ctx context.Context, up bool) error {
	h.room.control.Lock()
	defer h.room.control.Unlock()
	state := "down"
	if up {
		state = "up"
	}
	if _, err := h.room.bridge.run(ctx, "", "ip", "link", "set", h.port, state); err != nil {
		return fmt.Errorf("set link %s: %s: %w", state, h.name, err)
	}
	return nil
}

// SetPruned makes the switch deaf to the host's IGMP: it forgets the host's
// groups and hears of no other, so that no multicast reaches the host, while
// unicast does. Undone, it asks the host for its groups at once.
func (h *Host) SetPruned(ctx context.Context, on bool) error {
	if err := h.change(ctx, "prune", func(f *faults) { f.pruned = on }); err != nil {
		return err
	}
	h.room.control.Lock()
	defer h.room.control.Unlock()
	if err := h.prunePort(ctx, on); err != nil {
		return fmt.Errorf("prune: %s: %w", h.name, err)
	}
	return nil
}

// change applies a change of faults: rules and offloads follow.
func (h *Host) change(ctx context.Context, operation string, set func(*faults)) error {
	h.room.control.Lock()
	defer h.room.control.Unlock()
	before := h.faults
	set(&h.faults)
	err := h.setOffloads(ctx)
	if err == nil {
		err = h.setRules(ctx)
	}
	if err != nil {
		h.faults = before
		return fmt.Errorf("%s: %s: %w", operation, h.name, err)
	}
	return nil
}

// cutAtHost reports whether the host's own frames are cut as they leave it.
func (h *Host) cutAtHost() bool {
	return h.room.config.Frames == NICLike || h.faults.uplink.ppm > 0
}

// setOffloads says where frames are cut and joined. Cutting comes before the
// place where a packet can be lost (setRules), joining after it:
//
//	NICLike      host cuts → port loses (egress) → host joins (GRO)
//	FramesWhole  port cuts, when there is loss → host loses (ingress)
//
// A port without TCP segmentation is also what makes veth offer its frames to
// the host's GRO.
func (h *Host) setOffloads(ctx context.Context) error {
	cutAtPort := h.room.config.Frames == NICLike || h.faults.loss.any()
	join := onOff(h.room.config.Frames == NICLike)
	if _, err := h.ns.run(ctx, "", "ethtool", "-K", h.link, "tx-udp-segmentation", onOff(!h.cutAtHost()),
		"tso", onOff(!h.cutAtHost()), "gro", join); err != nil {
		return err
	}
	_, err := h.room.bridge.run(ctx, "", "ethtool", "-K", h.port, "tx-udp-segmentation", onOff(!cutAtPort),
		"tso", onOff(!cutAtPort), "gro", "off")
	return err
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// The counters of a port, by the fault that counts there.
const (
	counterLost      = "lost"
	counterUplink    = "uplink"
	counterPruned    = "pruned"
	counterSwallowed = "swallowed"
)

// setRules replaces the host's rules in one transaction. A chain stands only
// while it has rules, so that a cable without faults costs nothing.
func (h *Host) setRules(ctx context.Context) error {
	var up, down, host []string
	f := h.faults
	if f.blackhole {
		drop := fmt.Sprintf("counter name %s_%s drop", counterSwallowed, h.port)
		up, down = append(up, drop), append(down, drop)
	}
	if f.maxPacket > 0 {
		down = append(down, fmt.Sprintf("ip length > %d drop", f.maxPacket))
	}
	if f.sourceDeaf {
		// The type of a report's first record (RFC 3376, section 4.2.12): 2 and 4 are joins for any source.
		up = append(up, "ip protocol igmp @th,64,8 != { 2, 4 } drop")
	}
	if f.pruned {
		up = append(up, fmt.Sprintf("ip protocol igmp counter name %s_%s drop", counterPruned, h.port))
	}
	if f.uplink.ppm > 0 {
		up = append(up, fmt.Sprintf("%s counter name %s_%s drop", f.uplink.match(), counterUplink, h.port))
	}
	sets := ""
	if f.loss.any() {
		rules := []string{fmt.Sprintf("%s counter name %s_%s drop", f.loss.match(), counterLost, h.port)}
		if f.loss.bursts.length > 0 {
			sets, rules = h.burstSets(), h.burstRules()
		}
		if h.room.config.Frames == NICLike {
			down = append(down, rules...)
		} else {
			host = rules
		}
	}
	script := h.counters(counterUplink, counterPruned, counterSwallowed, counterLost) + sets +
		chain("up_"+h.port, "ingress", h.port, up) + chain("down_"+h.port, "egress", h.port, down)
	if _, err := h.room.bridge.run(ctx, script, "nft", "-f", "-"); err != nil {
		return err
	}
	if h.room.config.Frames == NICLike {
		return nil
	}
	_, err := h.ns.run(ctx, h.counters(counterLost)+sets+chain("down_"+h.port, "ingress", h.link, host), "nft", "-f", "-")
	return err
}

// counters declares counters; those that are there keep their values.
func (h *Host) counters(names ...string) string {
	var b strings.Builder
	b.WriteString("add table netdev room\n")
	for _, name := range names {
		fmt.Fprintf(&b, "add counter netdev room %s_%s\n", name, h.port)
	}
	return b.String()
}

// The sets of a host's bursts have one element for a while: stream while packets come, pause
// from one burst's beginning to the next's, burst while one may last, bucket with what it may still take.
const (
	setStream = "stream"
	setPause  = "pause"
	setBurst  = "burst"
	setBucket = "bucket"
)

// burstSets declares the sets; those that are there are emptied.
func (h *Host) burstSets() string {
	var b strings.Builder
	for _, name := range []string{setStream, setPause, setBurst, setBucket} {
		// The size has room for elements that have timed out and weren't swept yet.
		fmt.Fprintf(&b, "add set netdev room %[1]s_%[2]s { type ether_type; size 64; flags dynamic,timeout; }\nflush set netdev room %[1]s_%[2]s\n", name, h.port)
	}
	return b.String()
}

// burstRules keeps bursts by the kernel's clock. The key of all sets is one that all packets share.
func (h *Host) burstRules() []string {
	const key = "meta protocol"
	set := func(name string) string { return "@" + name + "_" + h.port }
	add := func(name string, timeout time.Duration, limit string) string {
		return fmt.Sprintf("%s { %s timeout %dms %s }", set(name), key, timeout.Milliseconds(), limit)
	}
	b := h.faults.loss.bursts
	return []string{
		key + " != ip accept",
		"ip protocol igmp accept",
		fmt.Sprintf("meta length < %d accept", burstPacket),
		// A new stream: its first pause.
		key + " != " + set(setStream) + " add " + add(setPause, b.first, ""),
		"update " + add(setStream, burstIdle, ""),
		// The pause is over: a burst, and the next pause.
		key + " != " + set(setPause) + " add " + add(setBurst, burstWithin, ""),
		"add " + add(setPause, b.every, ""),
		// While it lasts it takes so many packets and no more: a day is longer than any test.
		fmt.Sprintf("%s %s add %s counter name %s_%s drop", key, set(setBurst),
			add(setBucket, 2*burstWithin, fmt.Sprintf("limit rate 1/day burst %d packets", b.length)), counterLost, h.port),
	}
}

// chain is the script that replaces a chain, or removes it without rules.
func chain(name, hook, device string, rules []string) string {
	declare := fmt.Sprintf("add chain netdev room %s { type filter hook %s device %s priority 0; }\n", name, hook, device)
	script := declare + fmt.Sprintf("delete chain netdev room %s\n", name)
	if len(rules) == 0 {
		return script
	}
	var b strings.Builder
	b.WriteString(script + declare)
	for _, rule := range rules {
		fmt.Fprintf(&b, "add rule netdev room %s %s\n", name, rule)
	}
	return b.String()
}
