package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"wimcast/crypto"
	"wimcast/library"
	"wimcast/multicast"
	"wimcast/multicast/wire"
	"wimcast/session"
	"wimcast/unicast"
)

// openPackage opens a package for a client that joins.
func (d *distributionPoint) openPackage(_ context.Context, ref string, _ session.Peer) (*session.Package, error) {
	p, err := d.library.Get(ref)
	switch {
	case errors.Is(err, library.ErrNotFound):
		return nil, &session.RefusedError{Code: wire.UnknownPackage, Text: err.Error()}
	case err != nil:
		return nil, err
	case p.OutOfService != "":
		return nil, &session.RefusedError{Code: wire.OutOfService, Text: fmt.Sprintf("package %s is out of service (%s); on the server: wimcast image verify %q", p.Reference(), p.OutOfService, p.Reference())}
	case !p.Flags.AllowMulticast:
		return nil, &session.RefusedError{Code: wire.MulticastOff, Text: fmt.Sprintf("package %s isn't allowed by multicast; on the server: wimcast image set %q --multicast", p.Reference(), p.Reference())}
	}
	content, err := d.library.OpenContent(p.Reference())
	if err != nil {
		return nil, refusal(err)
	}
	return &session.Package{
		Name: p.Reference(), Encrypt: p.Flags.Encrypt, Unicast: !p.Flags.MulticastOnly, Content: content, Rules: d.config().rules(p.Name, p.Version),
	}, nil
}

// refusal tells a client what opening content says about it.
func refusal(err error) error {
	if _, ok := errors.AsType[*library.DamagedError](err); ok {
		return &session.RefusedError{Code: wire.OutOfService, Text: err.Error()}
	}
	return err
}

// groupPool hands out groups and ports; no two sessions share either.
type groupPool struct {
	cfg multicastConfig
	ifc *multicast.Interface

	mu     sync.Mutex
	inUse  map[netip.Addr]bool
	next   netip.Addr
	prefix netip.Prefix
	port   uint16
	first  uint16
	last   uint16
	failed map[[2]string]uint64 // of closed senders
	open_  map[*multicast.Sender]bool
}

func newGroupPool(cfg multicastConfig, ifc *multicast.Interface) *groupPool {
	p := &groupPool{cfg: cfg, ifc: ifc, inUse: map[netip.Addr]bool{}, failed: map[[2]string]uint64{}, open_: map[*multicast.Sender]bool{}}
	p.prefix, _ = cfg.prefix() // checked with the config
	p.first, p.last, _ = cfg.ports()
	p.next, p.port = p.prefix.Addr(), p.first
	return p
}

// open opens a sender on the next free group.
func (p *groupPool) open() (*session.Group, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	addr, err := p.take()
	if err != nil {
		return nil, err
	}
	group := netip.AddrPortFrom(addr, p.port)
	sender, err := multicast.NewSender(multicast.SenderConfig{Interface: p.ifc, Group: group, TTL: p.cfg.TTL, Loopback: true})
	if err != nil {
		return nil, err
	}
	p.inUse[addr], p.open_[sender] = true, true
	if p.port++; p.port > p.last || p.port == 0 {
		p.port = p.first
	}
	g := &session.Group{Addr: group, Source: sender.Source().Addr(), Caster: &pooled{Sender: sender, pool: p, addr: addr}}
	if p.cfg.TTL == 1 {
		g.Reaches = p.ifc.Reaches
	}
	return g, nil
}

// take finds a free address, beginning after the one given out last.
func (p *groupPool) take() (netip.Addr, error) {
	for range 1 << min(32-p.prefix.Bits(), 16) {
		p.next = p.next.Next()
		if !p.prefix.Contains(p.next) {
			p.next = p.prefix.Addr()
		}
		if a := p.next.As4(); !p.inUse[p.next] && a[3] != 0 && a[3] != 255 {
			return p.next, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w: all of %s; set multicast.groups to a larger prefix", session.ErrNoGroup, p.cfg.Groups)
}

// pooled gives its group back when closed.
type pooled struct {
	*multicast.Sender
	pool *groupPool
	addr netip.Addr
}

// Close implements session.Caster.
func (s *pooled) Close() error {
	s.pool.mu.Lock()
	delete(s.pool.inUse, s.addr)
	delete(s.pool.open_, s.Sender)
	s.pool.addErrors(s.pool.failed, s.Sender)
	s.pool.mu.Unlock()
	return s.Sender.Close()
}

func (p *groupPool) addErrors(to map[[2]string]uint64, s *multicast.Sender) {
	for reason, n := range s.Counters().Errors {
		to[[2]string{p.ifc.Name, string(reason)}] += n
	}
}

// errors counts failed sends by interface and reason.
func (p *groupPool) errors() map[[2]string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := maps.Clone(p.failed)
	for s := range p.open_ {
		p.addErrors(out, s)
	}
	return out
}

// tokenGrants lets unicast ask the sessions what a token is good for.
type tokenGrants struct{ sessions *session.Server }

// Grant implements what unicast.ServerConfig wants.
func (g *tokenGrants) Grant(token [32]byte) (unicast.Grant, error) {
	grant, ok := g.sessions.Grant(token)
	if !ok {
		return unicast.Grant{}, errors.New("no such token")
	}
	return unicast.Grant{Digest: grant.Digest, Client: grant.Client}, nil
}

// unicastContents lets unicast read the library.
type unicastContents struct{ library *library.Library }

// Lookup implements what unicast.ServerConfig wants. Content that only multicast-only
// packages hold is never served.
func (c *unicastContents) Lookup(digest crypto.Hash) (unicast.Package, error) {
	var found *library.Package
	for _, p := range c.library.List() {
		if p.Digest != digest {
			continue
		}
		if found == nil || found.Flags.MulticastOnly && !p.Flags.MulticastOnly {
			found = &p
		}
	}
	switch {
	case found == nil:
		return unicast.Package{}, unicast.ErrUnknown
	case found.Flags.MulticastOnly:
		return unicast.Package{Name: found.Reference(), MulticastOnly: true}, nil
	case found.OutOfService != "":
		return unicast.Package{}, unicast.ErrOutOfService
	}
	return unicast.Package{Name: found.Reference()}, nil
}

// Open implements what unicast.ServerConfig wants.
func (c *unicastContents) Open(digest crypto.Hash) (unicast.Content, error) {
	content, err := c.library.OpenDigest(digest)
	if _, ok := errors.AsType[*library.DamagedError](err); ok {
		return nil, fmt.Errorf("%w: %w", unicast.ErrOutOfService, err)
	}
	if err != nil {
		return nil, err
	}
	return unicastContent{content}, nil
}

type unicastContent struct{ *library.Content }

func (c unicastContent) Manifest() []byte { return c.Content.Manifest().Marshal() }
