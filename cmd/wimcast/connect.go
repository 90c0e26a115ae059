package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"wimcast/api"
	"wimcast/client/route"
	"wimcast/crypto/keyex"
	"wimcast/multicast"
)

// Ports of a distribution point, where a server is named without one.
const (
	controlPort = 7600 // clients: control channel and unicast
	adminPort   = 7601 // operators and viewers: the admin API over HTTPS
)

// place says where the distribution point is and who asks: the flags before the command.
type place struct {
	Socket string   `help:"Admin socket of a distribution point on this machine." env:"WIMCAST_SOCKET" placeholder:"PATH"`
	Server []string `help:"Distribution point elsewhere, host or host:port (default: what the bundle names)." env:"WIMCAST_SERVER" placeholder:"HOST"`
	Bundle string   `short:"b" help:"Bundle: a join bundle for get (default: room.join), an operator's or viewer's for all else." env:"WIMCAST_BUNDLE" placeholder:"FILE"`
}

// admin returns a client of the daemon. Why there can't be one is what its requests end in.
func (c *console) admin() *api.Client {
	client, err := c.place.connect()
	if err != nil {
		return api.NewBrokenClient(err)
	}
	return client
}

// connect goes over HTTPS where a bundle that may administer is named, and to a socket
// of this machine otherwise. A client's bundle may stand in the environment for get.
func (p *place) connect() (*api.Client, error) {
	switch {
	case p.Socket != "" && len(p.Server) > 0:
		return nil, errors.New("--socket is on this machine and --server is elsewhere: name one of them ($WIMCAST_SOCKET and $WIMCAST_SERVER count)")
	case p.Socket != "":
		return api.NewClient(p.Socket), nil
	case p.Bundle == "" && len(p.Server) > 0:
		return nil, errors.New("--server wants the bundle of an operator or a viewer as well: --bundle FILE; on the server: wimcast bundle create NAME --role operator")
	case p.Bundle == "":
		return api.NewClient(findSocket()), nil
	}
	bundle, err := keyex.ReadBundle(p.Bundle)
	if err != nil {
		return nil, err
	}
	if role := bundle.Identity().Role; role != keyex.Operator && role != keyex.Viewer {
		if len(p.Server) == 0 {
			return api.NewClient(findSocket()), nil
		}
		return nil, fmt.Errorf("%s is of role %s, which can't administer; on the server: wimcast bundle create NAME --role operator", p.Bundle, role)
	}
	return p.remote(bundle)
}

// remote is a client of the bundle's servers, or of those that were named, over HTTPS.
func (p *place) remote(bundle *keyex.Bundle) (*api.Client, error) {
	credentials, err := bundle.Credentials()
	if err != nil {
		return nil, err
	}
	servers := bundle.Servers
	if len(p.Server) > 0 {
		servers = withPort(p.Server, adminPort) // which may be a point
	} else {
		credentials = credentials.Site() // a point that was stolen mustn't be taken for it
	}
	return api.NewRemoteClient(servers, keyex.ClientTLS(credentials)), nil
}

// withPort adds the port to those that have none.
func withPort(servers []string, port int) []string {
	out := slices.Clone(servers)
	for i, s := range out {
		if _, _, err := net.SplitHostPort(s); err != nil {
			out[i] = net.JoinHostPort(strings.Trim(s, "[]"), strconv.Itoa(port))
		}
	}
	return out
}

// sockets are where a daemon's admin socket is looked for, in this order: wherever
// wimcastd puts it by itself.
func sockets() []string {
	list := []string{"/run/wimcast/admin.sock", "/var/lib/wimcast/admin.sock"}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		list = append(list, filepath.Join(dir, "wimcast", "admin.sock"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		list = append(list, filepath.Join(home, ".local", "state", "wimcast", "admin.sock"))
	}
	return list
}

// findSocket is the first socket that is there, else the first of all, so that an
// error names it.
func findSocket() string {
	for _, path := range sockets() {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return sockets()[0]
}

// onControlPort returns where servers take clients whose bundle names the admin API.
func onControlPort(servers []string) []string {
	out := make([]string, len(servers))
	for i, server := range servers {
		out[i] = server
		if host, _, err := net.SplitHostPort(server); err == nil {
			out[i] = net.JoinHostPort(host, strconv.Itoa(controlPort))
		}
	}
	return out
}

// waysOf are the servers that a client goes to, the best for where this machine stands now first: those that were named, else the bundle's
// points and servers.
func waysOf(bundle *keyex.Bundle, p *place) func() []route.Way {
	return func() []route.Way {
		points := bundle.Points
		if len(p.Server) > 0 {
			points = nil // somebody knows better
		}
		var own []netip.Prefix
		if interfaces, err := multicast.Interfaces(); err == nil {
			for _, i := range interfaces {
				own = append(own, i.Prefixes...)
			}
		}
		return route.Order(points, clientServers(bundle, p), own)
	}
}

// clientServers are the servers that a client goes to: those that were named, else the bundle's.
func clientServers(bundle *keyex.Bundle, p *place) []string {
	switch {
	case len(p.Server) > 0:
		return withPort(p.Server, controlPort)
	case bundle.Identity().Role == keyex.Operator:
		return onControlPort(bundle.Servers)
	}
	return bundle.Servers
}
