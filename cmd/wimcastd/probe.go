package main

import (
	"errors"
	"net/netip"
	"time"

	"wimcast/session"
)

// doctorConfig says what the doctor of a client may have done.
type doctorConfig struct {
	Probe bool `toml:"probe"` // probe bursts for clients that ask
}

// prober opens the way for probe bursts.
type prober struct {
	networks *networks
	queriers *queriers
	allowed  func() bool
}

var _ session.Prober = (*prober)(nil)

// Allowed implements session.Prober.
func (p *prober) Allowed() bool { return p.allowed() }

// near returns the network that a client is on; nil for one that is routed.
func (p *prober) near(client netip.Addr) *network {
	for _, one := range p.networks.list {
		if one.ifc.Load().Reaches(client) {
			return one
		}
	}
	return nil
}

// Network implements session.Prober. All that is routed counts as one network.
func (p *prober) Network(client netip.Addr) string {
	one := p.near(client)
	if one == nil {
		return "of other routers"
	}
	for _, prefix := range one.ifc.Load().Prefixes {
		if prefix.Masked().Contains(client) {
			return prefix.Masked().String()
		}
	}
	return one.name
}

// Open implements session.Prober. A burst goes out on the client's network only; for one that is routed on every one.
func (p *prober) Open(client netip.Addr) (*session.ProbeWay, error) {
	list := p.networks.list
	way := &session.ProbeWay{}
	if one := p.near(client); one != nil {
		list = []*network{one}
		way.Querier, way.QuerierFor = p.queriers.state(time.Now(), one)
	}
	group, err := p.networks.open(list)
	if err != nil {
		return nil, err
	}
	for _, one := range list {
		if most := one.ifc.Load().MTU - ipUDP; way.MaxPayload == 0 || most < way.MaxPayload {
			way.MaxPayload = most
		}
	}
	if way.MaxPayload <= 0 {
		return nil, errors.Join(errors.New("the interface's MTU has no room for a packet"), group.Caster.Close())
	}
	way.Group = *group
	return way, nil
}
