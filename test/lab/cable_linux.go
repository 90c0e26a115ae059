package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

const (
	// plainQueue is the length of the queue of a cable without a rate limit, in
	// packets: veth delivers at once, so that nothing ever waits in it. It is
	// there to count.
	plainQueue = 100_000
	// burstTime is how much a limited cable may send at once, as time at its
	// rate; a tbf with less falls short of its rate.
	burstTime = time.Millisecond
)

// rate limits a cable; the zero rate doesn't.
type rate struct {
	bits  int64         // a second
	queue time.Duration // how long a packet may wait
}

// cable is the two queues of a host's cable: its interface's and its port's.
// What their predecessors counted is kept in sent and received.
type cable struct {
	plugged        bool
	sent, received queueStats
}

// queueStats is what tc tells of a queue. Unlike an interface it counts
// the packets inside an offloaded frame, headers included.
type queueStats struct {
	Bytes   uint64 `json:"bytes"`
	Packets uint64 `json:"packets"`
	Drops   uint64 `json:"drops"`
}

func (s queueStats) plus(o queueStats) queueStats {
	return queueStats{s.Bytes + o.Bytes, s.Packets + o.Packets, s.Drops + o.Drops}
}

// SetRate limits the host's cable, each way for itself, to bits per second with
// a drop-tail queue that holds a packet for at most queue; 0 bits ends the
// limit. Loss set on the host comes before the queue.
func (h *Host) SetRate(ctx context.Context, bits int64, queue time.Duration) error {
	if bits < 0 || (bits > 0 && (bits < 64_000 || queue <= 0 || queue > time.Minute)) {
		return fmt.Errorf("set rate: %s: %d bit/s, queue %v: want at least 64000 and a queue of up to a minute", h.name, bits, queue)
	}
	h.room.control.Lock()
	defer h.room.control.Unlock()
	if err := h.plugQueues(ctx, rate{bits: bits, queue: queue}); err != nil {
		return fmt.Errorf("set rate: %s: %w", h.name, err)
	}
	return nil
}

// plugQueues replaces both queues of the cable. What goes through between
// reading the old ones and plugging the new isn't counted.
func (h *Host) plugQueues(ctx context.Context, r rate) error {
	for _, end := range []struct {
		ns      *namespace
		device  string
		counted *queueStats
	}{
		{h.ns, h.link, &h.cable.sent},
		{h.room.bridge, h.port, &h.cable.received},
	} {
		batch := ""
		if h.cable.plugged {
			last, err := readQueue(ctx, end.ns, end.device)
			if err != nil {
				return err
			}
			*end.counted = end.counted.plus(last)
			batch = fmt.Sprintf("qdisc del dev %s root\n", end.device)
		}
		batch += fmt.Sprintf("qdisc add dev %s root %s\n", end.device, r.qdisc(h.room.config.MTU))
		if _, err := end.ns.run(ctx, batch, "tc", "-batch", "-"); err != nil {
			return err
		}
	}
	h.cable.plugged = true
	return nil
}

// qdisc returns the queue in tc's words.
func (r rate) qdisc(mtu int) string {
	if r.bits == 0 {
		return fmt.Sprintf("pfifo limit %d", plainQueue)
	}
	perSecond := float64(r.bits) / 8
	burst := max(int64(perSecond*burstTime.Seconds()), 2*int64(mtu+14))
	limit := max(int64(perSecond*r.queue.Seconds()), int64(mtu+14)) + burst
	return fmt.Sprintf("tbf rate %dbit burst %d limit %d", r.bits, burst, limit)
}

func readQueue(ctx context.Context, n *namespace, device string) (queueStats, error) {
	out, err := n.run(ctx, "", "tc", "-s", "-j", "qdisc", "show", "dev", device, "root")
	if err != nil {
		return queueStats{}, err
	}
	var queues []queueStats
	if err := json.Unmarshal(out, &queues); err != nil || len(queues) == 0 {
		return queueStats{}, fmt.Errorf("read queue of %s: unknown format: %s", device, strings.TrimSpace(string(out)))
	}
	return queues[0], nil
}

// Stats counts what a host's cable carried since the room was built. Frames are
// as on a wire of the room's MTU, in both Frames modes; bytes include the 14 of
// the Ethernet header, not preamble and checksum.
type Stats struct {
	TxPackets, TxBytes uint64 // sent by the host
	RxPackets, RxBytes uint64 // that reached the host

	Lost       uint64 // packets to the host that SetLoss or SetBursts took
	LostUplink uint64 // packets from the host that SetUplinkLoss took
	QueueDrops uint64 // packets that found a limited cable's queue full, both ways
	Pruned     uint64 // IGMP messages that SetPruned kept from the switch
	Swallowed  uint64 // frames that SetBlackhole took, both ways
}

// Stats returns the host's counts.
func (h *Host) Stats(ctx context.Context) (Stats, error) {
	h.room.control.Lock()
	defer h.room.control.Unlock()
	s, err := h.stats(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("read counters: %s: %w", h.name, err)
	}
	return s, nil
}

func (h *Host) stats(ctx context.Context) (Stats, error) {
	sent, err := readQueue(ctx, h.ns, h.link)
	if err != nil {
		return Stats{}, err
	}
	received, err := readQueue(ctx, h.room.bridge, h.port)
	if err != nil {
		return Stats{}, err
	}
	sent, received = sent.plus(h.cable.sent), received.plus(h.cable.received)
	s := Stats{
		TxPackets: sent.Packets, TxBytes: sent.Bytes,
		RxPackets: received.Packets, RxBytes: received.Bytes,
		QueueDrops: sent.Drops + received.Drops,
	}
	atPort, err := h.readCounters(ctx, h.room.bridge)
	if err != nil {
		return Stats{}, err
	}
	s.LostUplink = atPort[counterUplink].Packets
	s.Pruned = atPort[counterPruned].Packets
	s.Swallowed = atPort[counterSwallowed].Packets
	s.Lost = atPort[counterLost].Packets
	if h.room.config.Frames == FramesWhole {
		// There loss is counted behind the cable, without Ethernet headers.
		atHost, err := h.readCounters(ctx, h.ns)
		if err != nil {
			return Stats{}, err
		}
		lost := atHost[counterLost]
		s.Lost = lost.Packets
		s.RxPackets -= min(s.RxPackets, lost.Packets)
		s.RxBytes -= min(s.RxBytes, lost.Bytes+14*lost.Packets)
	}
	return s, nil
}

// readCounters reads the host's nftables counters, by the fault's name.
func (h *Host) readCounters(ctx context.Context, n *namespace) (map[string]queueStats, error) {
	out, err := n.run(ctx, "", "nft", "-j", "list", "counters", "netdev")
	if err != nil {
		return nil, err
	}
	var listing struct {
		Items []struct {
			Counter struct {
				Name string `json:"name"`
				queueStats
			} `json:"counter"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	counters := map[string]queueStats{}
	for _, item := range listing.Items {
		if name, ok := strings.CutSuffix(item.Counter.Name, "_"+h.port); ok {
			counters[name] = item.Counter.queueStats
		}
	}
	return counters, nil
}
