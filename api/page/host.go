package page

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// admits reports whether a request's Host is one of this page's. A page elsewhere can have its own name resolve to our address (DNS
// rebinding), and would then be of our origin to a browser; it can't have its name be ours. An address can't be made to resolve.
func (p *Page) admits(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	switch {
	case err == nil && p.cfg.Secure:
		return true
	case err == nil:
		return addr.Unmap().IsLoopback()
	case name == "localhost":
		return true
	}
	for _, own := range p.cfg.Names() {
		if strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}
