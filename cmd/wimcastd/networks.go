package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast"
	"wimcast/multicast/fault"
	"wimcast/session"
)

// lookEvery is how often interfaces are looked at: whether they are up, and have a carrier.
const lookEvery = time.Second

// anyGroup stands for a group where only its family counts.
var anyGroup = netip.AddrFrom4([4]byte{239, 195, 16, 1})

// network is an interface that groups go out on.
type network struct {
	which string // as configured
	name  string

	ifc   atomic.Pointer[multicast.Interface] // the latest picture of it while it was up
	up    atomic.Bool
	times atomic.Uint32             // that it came up: senders opened before then are opened anew
	came  atomic.Pointer[time.Time] // when it last came up; nil: it has been up since the start
}

// networks are all of them. A session's packets go out on each; they are read, sealed and repaired once. It is safe for
// concurrent use.
type networks struct {
	list []*network
	pool *groupPool
	ttl  int
	log  *zap.Logger
	// strangers are others who send to our groups.
	strangers *strangers

	mu      sync.Mutex
	failed  map[[2]string]uint64 // sends of closed senders, by interface and reason
	sent    map[string]uint64    // bytes of closed senders, by interface
	senders map[*multicast.Sender]string
}

// findNetworks finds the configured interfaces. All of them must be there at the start, and no two may be the same.
func findNetworks(cfg *multicastConfig, log *zap.Logger) (*networks, error) {
	n := &networks{
		pool: newGroupPool(cfg), ttl: cfg.TTL, log: log, failed: map[[2]string]uint64{}, sent: map[string]uint64{}, senders: map[*multicast.Sender]string{},
		strangers: &strangers{log: log},
	}
	for _, which := range cfg.interfaces() {
		ifc, err := multicast.FindInterface(which, anyGroup)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(n.list, func(o *network) bool { return o.name == ifc.Name }); i >= 0 {
			return nil, fmt.Errorf("%q and %q are the same interface, %s: name it once", n.list[i].which, which, ifc.Name)
		}
		one := &network{which: which, name: ifc.Name}
		one.ifc.Store(ifc)
		one.up.Store(true)
		n.list = append(n.list, one)
		n.sent[ifc.Name] = 0
	}
	return n, nil
}

// names lists the interfaces.
func (n *networks) names() string {
	var names []string
	for _, one := range n.list {
		names = append(names, one.name)
	}
	return strings.Join(names, ", ")
}

// addrs are the addresses of the interfaces.
func (n *networks) addrs() []netip.Addr {
	var out []netip.Addr
	for _, one := range n.list {
		out = append(out, one.ifc.Load().Addr(anyGroup))
	}
	return out
}

// mtu is the least of the interfaces', in bytes, and whose it is.
func (n *networks) mtu() (bytes int, name string) {
	for _, one := range n.list {
		if mtu := one.ifc.Load().MTU; bytes == 0 || mtu < bytes {
			bytes, name = mtu, one.name
		}
	}
	return bytes, name
}

// speed is the least of the interfaces', in bit/s. One that doesn't tell its speed is taken for unknownSpeed.
func (n *networks) speed() (least uint64) {
	for _, one := range n.list {
		speed := one.ifc.Load().Speed()
		if speed == 0 {
			speed = unknownSpeed
		}
		if least == 0 || speed < least {
			least = speed
		}
	}
	return least
}

// run looks at the interfaces until ctx ends.
func (n *networks) run(ctx context.Context, raise func(alarm string)) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, one := range n.list {
				n.look(one, raise)
			}
		}
	}
}

// look notes whether an interface is up.
func (n *networks) look(one *network, raise func(alarm string)) {
	ifc, err := multicast.FindInterface(one.name, anyGroup)
	if err == nil && !ifc.Running() {
		err = fmt.Errorf("%s has no carrier: look at its cable and the switch", one.name)
	}
	switch {
	case err != nil && one.up.Swap(false):
		n.log.Error("interface down", zap.String("interface", one.name), zap.Error(err))
		raise(fault.InterfaceDown(one.name, err).String())
	case err == nil && !one.up.Load():
		one.ifc.Store(ifc)
		one.times.Add(1)
		now := time.Now()
		one.came.Store(&now)
		one.up.Store(true)
		n.log.Info("interface is up again", zap.String("interface", one.name))
	}
}

// openGroup opens the next free group on every interface that is up.
func (n *networks) openGroup() (*session.Group, error) { return n.open(n.list) }

// open opens the next free group on some interfaces, where they are up.
func (n *networks) open(list []*network) (*session.Group, error) {
	group, err := n.pool.take()
	if err != nil {
		return nil, err
	}
	c := &caster{networks: n, group: group}
	var errs []error
	opened := false
	for _, one := range list {
		w := &way{network: one}
		c.ways = append(c.ways, w)
		if !one.up.Load() {
			errs = append(errs, fmt.Errorf("interface %s is down", one.name))
		} else if err := c.open(w); err != nil {
			errs = append(errs, err)
		} else {
			opened = true
		}
	}
	if !opened {
		return nil, errors.Join(append(errs, c.Close())...)
	}
	return &session.Group{Addr: group, Caster: c, Way: n.way}, nil
}

// way says which address packets for a client come from, and whether they get there.
func (n *networks) way(client netip.Addr) (source netip.Addr, reaches bool) {
	for _, one := range n.list {
		if ifc := one.ifc.Load(); ifc.Reaches(client) {
			return ifc.Addr(anyGroup), true
		}
	}
	if len(n.list) == 1 {
		source = n.list[0].ifc.Load().Addr(anyGroup) // the only one that it can be, routed
	}
	return source, n.ttl > 1
}

// caster sends a session's packets on every interface. It belongs to the session's goroutine.
type caster struct {
	networks *networks
	group    netip.AddrPort
	ways     []*way
}

// way is a session's sender on one interface.
type way struct {
	network *network
	sender  *multicast.Sender // nil while there is none
	times   uint32            // that the interface had come up when it was opened
	unwatch func()            // ends listening for strangers; nil while there is no sender
}

// open opens the sender of a way.
func (c *caster) open(w *way) error {
	w.times = w.network.times.Load()
	sender, err := multicast.NewSender(multicast.SenderConfig{Interface: w.network.ifc.Load(), Group: c.group, TTL: c.networks.ttl, Loopback: true})
	if err != nil {
		return err
	}
	w.sender, w.unwatch = sender, c.networks.strangers.watch(w.network.ifc.Load(), c.group)
	c.networks.mu.Lock()
	defer c.networks.mu.Unlock()
	c.networks.senders[sender] = w.network.name
	return nil
}

// shut closes the sender of a way, and keeps what it counted.
func (c *caster) shut(w *way) error {
	if w.sender == nil {
		return nil
	}
	n := c.networks
	n.mu.Lock()
	n.count(w.sender, w.network.name, n.failed, n.sent)
	delete(n.senders, w.sender)
	n.mu.Unlock()
	w.unwatch()
	err := w.sender.Close()
	w.sender, w.unwatch = nil, nil
	return err
}

// errDown says that nothing was sent at all.
var errDown = errors.New("every interface is down")

// Send implements session.Caster. What can't go out on one interface goes out on the others; it fails when nothing went out.
func (c *caster) Send(run []byte, segment int) error {
	var failed error
	sent := false
	for _, w := range c.ways {
		if !w.network.up.Load() {
			continue
		}
		err := error(nil)
		if w.times != w.network.times.Load() { // the interface was away: it may be another one of that name
			err = c.shut(w)
		}
		if w.sender == nil {
			err = errors.Join(err, c.open(w))
		}
		if w.sender != nil {
			if err = w.sender.Send(run, segment); err == nil {
				sent = true
			}
		}
		if err != nil {
			failed = errors.Join(failed, err)
		}
	}
	switch {
	case sent:
		return nil // what one interface lost is counted there, and repaired like any loss
	case failed == nil:
		return errDown
	}
	return failed
}

// Close implements session.Caster. It gives the group back.
func (c *caster) Close() error {
	var errs []error
	for _, w := range c.ways {
		errs = append(errs, c.shut(w))
	}
	c.networks.pool.giveBack(c.group)
	return errors.Join(errs...)
}

// count adds what a sender counted. The caller holds mu.
func (n *networks) count(s *multicast.Sender, name string, failed map[[2]string]uint64, sent map[string]uint64) {
	counters := s.Counters()
	for reason, times := range counters.Errors {
		failed[[2]string{name, string(reason)}] += times
	}
	sent[name] += counters.Bytes
}

// counters returns failed sends by interface and reason, and bytes sent by interface.
func (n *networks) counters() (failed map[[2]string]uint64, sent map[string]uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	failed, sent = maps.Clone(n.failed), maps.Clone(n.sent)
	for s, name := range n.senders {
		n.count(s, name, failed, sent)
	}
	return failed, sent
}

// states says which interfaces are up.
func (n *networks) states() map[string]bool {
	out := map[string]bool{}
	for _, one := range n.list {
		out[one.name] = one.up.Load()
	}
	return out
}
