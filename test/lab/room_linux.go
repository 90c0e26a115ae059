package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Frames says how a sender's offloaded 64 KB frames travel. Compare figures
// only within one of the two.
type Frames uint8

const (
	// NICLike cuts every frame to the MTU as it leaves its sender, as a network
	// card does, and lets the receiver's kernel join packets again (GRO).
	NICLike Frames = iota
	// FramesWhole lets offloaded frames pass the cables uncut, except on the
	// cable of a host with loss. It is kind to programs that use UDP_SEGMENT
	// and to TCP: no wire has such frames.
	FramesWhole
)

// MaxClients bounds a room: the addresses of 10.77.0.0/24 from .11 to .250.
const MaxClients = 240

const (
	defaultMTU = 1500 // bytes of IP, as on Ethernet
	hostLink   = "eth0"
	bridgeLink = "br0"
	// buildTime bounds New: the largest room takes a few seconds, and a switch
	// that doesn't snoop by then never will.
	buildTime = time.Minute
)

// address is one of the room's own network.
func (r *Room) address(host byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, r.number, host}) }

// gateway is the switch's own address: the querier's and the default route of
// every host. It forwards nothing.
func (r *Room) gateway() netip.Addr { return r.address(254) }

// Config describes a room.
type Config struct {
	Clients int    // how many clients, 1 to MaxClients
	Frames  Frames // default NICLike
	MTU     int    // of every cable, bytes of IP; 0 means 1500
	// Beside is a room whose server this one shares, on another interface: its clients are on a network and a switch of their own,
	// 10.77.1.0/24, and are named pc101, pc102 …. It must be closed before that one. nil: a server of its own.
	Beside *Room
	// Behind is a client of another room that is this one's server, on another interface, and the router between the two: their hosts reach
	// each other through it, groups don't. The room's network is 10.77.N.0/24 and its clients are named pcN01, pcN02 …, with N rising from 1 with
	// each room beside or behind another. It must be closed before that one.
	Behind *Host
}

func (c Config) check() error {
	switch {
	case c.Clients < 1 || c.Clients > MaxClients:
		return fmt.Errorf("build room: %d clients: want 1 to %d", c.Clients, MaxClients)
	case c.Beside != nil && c.Behind != nil:
		return errors.New("build room: beside one room and behind another host: want one of the two")
	case c.Frames != NICLike && c.Frames != FramesWhole:
		return fmt.Errorf("build room: unknown frames mode %d", c.Frames)
	case c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535):
		return fmt.Errorf("build room: MTU %d: want 576 to 65535", c.MTU)
	}
	return nil
}

// other returns the room that this one shares a host with, or nil.
func (c Config) other() *Room {
	if c.Behind != nil {
		return c.Behind.room
	}
	return c.Beside
}

// Room is a server and its clients on one switch. Its methods, and those of
// its hosts, may be called from several goroutines.
type Room struct {
	config  Config
	number  byte          // 0; from 1 on beside or behind another room
	joined  *atomic.Int32 // how many rooms are joined to the first one, which all of them share
	owner   string
	bridge  *namespace
	hosts   []*Host // the server first
	reaper  *reaper
	control sync.Mutex // one change to switch and cables at a time
	close   func() error
}

// New builds a room and returns it once the switch snoops: from then on a group
// reaches its members only. The caller closes it. ctx bounds the building, which
// ends after a minute at the latest.
func New(ctx context.Context, config Config) (*Room, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	if err := Supported(); err != nil {
		return nil, err
	}
	if config.MTU == 0 {
		config.MTU = defaultMTU
	}
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("build room: %w", err)
	}
	marker, err := owner()
	if err != nil {
		return nil, fmt.Errorf("build room: %w", err)
	}
	r := &Room{config: config, owner: marker, joined: new(atomic.Int32)}
	if other := config.other(); other != nil {
		r.joined = other.joined
		r.number = byte(r.joined.Add(1))
	}
	r.close = sync.OnceValue(r.tearDown)
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	if err := r.build(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("build room: %w", err), r.Close())
	}
	return r, nil
}

// Close ends every process in the room and removes it. It may be called more
// than once.
func (r *Room) Close() error { return r.close() }

func (r *Room) tearDown() error {
	var err error
	if r.reaper != nil {
		err = r.reaper.reap()
	}
	for _, n := range r.namespaces() {
		err = errors.Join(err, n.file.Close())
	}
	return err
}

// Server returns the server's host.
func (r *Room) Server() *Host { return r.hosts[0] }

// Client returns client i; the first is 0, its name is pc01.
func (r *Room) Client(i int) *Host { return r.hosts[1+i] }

// Clients returns all clients in order.
func (r *Room) Clients() []*Host { return slices.Clone(r.hosts[1:]) }

// Switch returns a path that names the switch's namespace, for nsenter --net.
func (r *Room) Switch() string { return r.bridge.path() }

func (r *Room) namespaces() []*namespace {
	var all []*namespace
	if r.bridge != nil {
		all = append(all, r.bridge)
	}
	for _, h := range r.hosts {
		if h.link == hostLink { // else it is another room's
			all = append(all, h.ns)
		}
	}
	return all
}

func (r *Room) build(ctx context.Context) (err error) {
	if r.bridge, err = newNamespace(); err != nil {
		return err
	}
	for i := range r.config.Clients + 1 {
		h, err := newHost(r, i)
		if err != nil {
			return err
		}
		r.hosts = append(r.hosts, h)
	}
	if r.reaper, err = startReaper(r.namespaces()); err != nil {
		return err
	}
	for _, n := range r.namespaces() {
		if err := n.silence(); err != nil {
			return err
		}
	}
	if err := r.buildSwitch(ctx); err != nil {
		return err
	}
	for _, h := range r.hosts {
		if err := h.build(ctx); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	if err := r.route(ctx); err != nil {
		return err
	}
	return r.WaitSnooping(ctx)
}

// route makes the host that the room lies behind the router between the two rooms.
func (r *Room) route(ctx context.Context) error {
	router := r.config.Behind
	if router == nil {
		return nil
	}
	forward := func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) }
	if err := router.Do(forward); err != nil {
		return fmt.Errorf("route: %s: %w", router.name, err)
	}
	for _, h := range router.room.hosts {
		if h == router {
			continue
		}
		if _, err := h.ns.run(ctx, "", "ip", "route", "add", r.address(0).String()+"/24", "via", router.addr.String()); err != nil {
			return fmt.Errorf("route: %s: %w", h.name, err)
		}
	}
	return nil
}

// buildSwitch makes the bridge, a port for each host and the cables. An
// elected querier makes the bridge snoop, and it elects itself a query response
// interval after it was told to be one: 0.1 s here (units of 10 ms) instead of
// the default 10 s. The interval must be set before, in a command of its own.
func (r *Room) buildSwitch(ctx context.Context) error {
	var batch strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&batch, format+"\n", args...) }
	line("link set lo up")
	line("link add %s mtu %d type bridge mcast_snooping 1 mcast_igmp_version 3 mcast_query_use_ifaddr 1"+
		" mcast_query_response_interval 10", bridgeLink, r.config.MTU)
	line("addr add %s/24 dev %s", r.gateway(), bridgeLink)
	for _, h := range r.hosts {
		line("link add %s mtu %d type veth peer name %s mtu %d netns %s", h.port, r.config.MTU, h.link, r.config.MTU, h.ns.path())
		line("link set %s master %s up", h.port, bridgeLink)
	}
	line("link set %s up", bridgeLink)
	line("link set %s type bridge mcast_querier 1", bridgeLink)
	_, err := r.bridge.run(ctx, batch.String(), "ip", "-batch", "-")
	return err
}

// silence turns off IPv6, whose chatter would stand in every count, and the IP firewall's hooks in
// the bridge (br_netfilter), which no switch has: they cost as much as the bridging itself.
func (n *namespace) silence() error {
	return n.do(func() error {
		for name, value := range map[string]string{
			"ipv6/conf/all/disable_ipv6":      "1",
			"ipv6/conf/default/disable_ipv6":  "1",
			"bridge/bridge-nf-call-iptables":  "0",
			"bridge/bridge-nf-call-ip6tables": "0",
			"bridge/bridge-nf-call-arptables": "0",
		} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("turn off what a lab's cable doesn't have: %w", err)
			}
		}
		return nil
	})
}
