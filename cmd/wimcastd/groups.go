package main

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"wimcast/session"
)

// groups is a pool of group addresses: prefixes that share no MAC address with each other.
type groups []netip.Prefix

// macBits is how many bits of a group are in its MAC address (RFC 1112, section 6.4).
const macBits = 23

// parseGroups reads prefixes of IPv4 multicast addresses, separated by commas or blanks. What shares a MAC address is refused: frames
// of the one group would reach the members of the other, and those of 224.0.0.0/24 every port of a switch.
func parseGroups(text string) (groups, error) {
	var pool groups
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		p, err := netip.ParsePrefix(field)
		if err != nil || !p.Addr().Is4() || !p.Addr().IsMulticast() {
			return nil, fmt.Errorf("%q is not a prefix of IPv4 multicast addresses such as \"239.195.16.0/22\"", field)
		}
		p = p.Masked()
		if p.Bits() <= 32-macBits-1 {
			other := addressOf(numberOf(p.Addr()) + 1<<macBits)
			return nil, fmt.Errorf("%s: %v and %v in it have the same MAC address, so that machines would hear each other's groups; choose a smaller one, such as 239.195.16.0/22", field, p.Addr(), other)
		}
		if low := lowest(p); low>>8 == 0 {
			return nil, fmt.Errorf("%s: %v in it has the MAC address of %v, and those of 224.0.0.x every switch sends to everybody; choose another, such as 239.195.16.0/22", field, p.Addr(), addressOf(0xe0000000+low))
		}
		for _, q := range pool {
			a, b := max(lowest(p), lowest(q)), min(highest(p), highest(q))
			if a > b {
				continue
			}
			x, y := sharing(p, a), sharing(q, a)
			if x == y {
				return nil, fmt.Errorf("%v and %v overlap: %v is in both; keep one", q, p, x)
			}
			return nil, fmt.Errorf("%v and %v: %v and %v in them have the same MAC address, so that machines would hear each other's groups; keep one", q, p, y, x)
		}
		pool = append(pool, p)
	}
	if len(pool) == 0 {
		return nil, fmt.Errorf("%q names no prefix such as \"239.195.16.0/22\"", text)
	}
	for i := range min(pool.size(), 3) { // no more than two of them in a row are left out
		if usable(pool.at(i)) {
			return pool, nil
		}
	}
	return nil, fmt.Errorf("%q has only addresses that end in 0 or 255, which aren't used as some machines take them for networks'; name a larger prefix", text)
}

// usable reports whether a group may be given to a session: some machines take addresses that end in 0 or 255 for networks'.
func usable(a netip.Addr) bool {
	last := a.As4()[3]
	return last != 0 && last != 255
}

func numberOf(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func addressOf(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// lowest and highest bound those bits of a prefix's addresses that are in their MAC addresses.
func lowest(p netip.Prefix) uint32  { return numberOf(p.Addr()) & (1<<macBits - 1) }
func highest(p netip.Prefix) uint32 { return lowest(p) + 1<<(32-p.Bits()) - 1 }

// sharing returns a prefix's address with such bits.
func sharing(p netip.Prefix, low uint32) netip.Addr {
	return addressOf(numberOf(p.Addr())&^(1<<macBits-1) | low)
}

// size is how many addresses the pool has.
func (g groups) size() (n int) {
	for _, p := range g {
		n += 1 << (32 - p.Bits())
	}
	return n
}

// at returns the pool's i-th address.
func (g groups) at(i int) netip.Addr {
	for _, p := range g {
		if n := 1 << (32 - p.Bits()); i >= n {
			i -= n
			continue
		}
		return addressOf(numberOf(p.Addr()) + uint32(i))
	}
	panic("wimcastd: a group beyond the pool")
}

// groupPool hands out groups and ports. A group is given out again only when it is back, so that no two sessions share one,
// whatever its port. It is safe for concurrent use.
type groupPool struct {
	text   string
	groups groups
	first  uint16 // ports
	last   uint16

	mu    sync.Mutex
	inUse map[netip.Addr]bool
	next  int
	port  uint16
}

func newGroupPool(cfg *multicastConfig) *groupPool {
	p := &groupPool{text: cfg.Groups, inUse: map[netip.Addr]bool{}}
	p.groups, _ = parseGroups(cfg.Groups) // checked with the config
	p.first, p.last, _ = cfg.ports()
	p.port = p.first
	return p
}

// take takes the next free group and the next port.
func (p *groupPool) take() (netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.groups.size() {
		p.next = (p.next + 1) % p.groups.size()
		addr := p.groups.at(p.next)
		if p.inUse[addr] || !usable(addr) {
			continue
		}
		p.inUse[addr] = true
		group := netip.AddrPortFrom(addr, p.port)
		if p.port++; p.port > p.last || p.port == 0 {
			p.port = p.first
		}
		return group, nil
	}
	return netip.AddrPort{}, fmt.Errorf("%w: all of %s; set multicast.groups to a larger prefix", session.ErrNoGroup, p.text)
}

// giveBack gives a group back.
func (p *groupPool) giveBack(group netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.inUse, group.Addr())
}
