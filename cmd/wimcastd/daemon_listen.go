package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
)

// payload is what a group's packets carry at most, in bytes: what the way to the clients takes, and every interface.
func (d *distributionPoint) payload() (int, error) {
	mtu := d.cfg.Multicast.MTU
	least, name := d.networks.mtu()
	switch {
	case least < leastMTU:
		return 0, fmt.Errorf("multicast.interface: the MTU of %s is %d bytes; %d is the least that a packet needs", name, least, leastMTU)
	case least < mtu:
		d.log.Warn("packets are made smaller for an interface", zap.String("interface", name), zap.Int("its_mtu", least), zap.Int("multicast.mtu", mtu))
		mtu = least
	}
	return mtu - ipUDP, nil
}

func hostOf(listen string) string {
	host, _, _ := net.SplitHostPort(listen)
	return host
}

// listen opens the control channel with the daemon's own CA, the organisation's PKI, or what a site gave its point.
func (d *distributionPoint) listen() (*keyex.Listener, error) {
	var err error
	switch pki := d.cfg.PKI; {
	case d.cfg.Point.Bundle != "":
		if err := d.openTrust(); err != nil {
			return nil, err
		}
	case pki.CA != "":
		if d.trust, err = keyex.LoadTrust(pki.CA, pki.Certificate, pki.Key, pki.CRL); err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
	default:
		if d.authority, err = keyex.OpenAuthority(filepath.Join(d.cfg.State, authorityDir), keyex.AuthorityConfig{ServerName: d.cfg.Name}); err != nil {
			return nil, err
		}
		d.trust = d.authority.Trust()
	}
	addr, err := d.cfg.listenAddr()
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l, err := keyex.Listen(addr, keyex.ServerConfig{
		Trust: d.trust, Roles: joiningRoles(),
		OnRefused: func(from netip.AddrPort, err error) {
			d.log.Warn("client refused", zap.Stringer("from", from), zap.Error(err))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("listen for clients: %w; when another program has the port: set listen", err)
	}
	return l, nil
}

// joiningRoles are the roles that may join and fetch by unicast: machines, and operators, who need no deployment.
func joiningRoles() []keyex.Role { return []keyex.Role{keyex.WinPE, keyex.Client, keyex.Operator} }

// listening is the address of the control channel.
func (d *distributionPoint) listening() string { return d.listener.Addr().String() }

// servers are the addresses that bundles name: the configured ones, else the interface's.
func (d *distributionPoint) servers() []string {
	if addresses := d.config().Addresses; len(addresses) > 0 {
		return addresses
	}
	hosts := d.networks.addrs()
	if h, err := netip.ParseAddr(hostOf(d.cfg.Listen)); err == nil && !h.IsUnspecified() {
		hosts = []netip.Addr{h}
	}
	var out []string
	for _, host := range hosts {
		out = append(out, netip.AddrPortFrom(host, d.listener.Addr().Port()).String())
	}
	return out
}

// writeFirstBundle makes the join bundle of the first start.
func (d *distributionPoint) writeFirstBundle() error {
	path := filepath.Join(d.cfg.State, firstBundle)
	if d.authority == nil {
		return nil
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	bundle, err := d.authority.Issue(keyex.Request{Name: "room", Role: keyex.WinPE, Servers: d.servers()})
	if err != nil {
		return err
	}
	if err := bundle.WriteFile(path); err != nil {
		return err
	}
	d.log.Info("join bundle written; it goes into the boot image", zap.String("file", path))
	return nil
}
