package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/netutil"

	"wimcast/api"
	"wimcast/api/handler"
	"wimcast/crypto/keyex"
	"wimcast/library"
	"wimcast/library/deployment"
)

const (
	// adminPort is where operators' bundles look for the API over HTTPS when
	// admin.listen doesn't say.
	adminPort = 7601
	// adminConns bounds the connections over HTTPS, handshakes included: whoever can
	// reach the port mustn't use up the daemon's files.
	adminConns = 256
)

// listenAdmin opens the admin socket, and the HTTPS port where there shall be one.
func (d *distributionPoint) listenAdmin() (err error) {
	socket := d.cfg.Admin.Socket
	if conn, err := net.Dial("unix", socket); err == nil {
		_ = conn.Close()
		return fmt.Errorf("admin socket %s: another wimcastd answers there; stop it, or set admin.socket", socket)
	}
	_ = os.Remove(socket) // of a daemon that was killed
	if d.adminSocket, err = net.Listen("unix", socket); err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(socket, 0o660); err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	if d.cfg.Admin.Listen != "" {
		if d.adminListener, err = net.Listen("tcp", d.cfg.Admin.Listen); err != nil {
			return fmt.Errorf("admin.listen: %w", err)
		}
	}
	d.api = handler.New(handler.Config{
		Library: d.library, Deployments: d.deployed, Sessions: d.sessions, Live: d.liveBook, Authority: d.authority, Trust: d.trust, Events: d.events, History: d.history, Status: d.status, Doctor: d.doctor,
		Logs: d.clientLogs, PINs: d.pins, Updates: d.updates, Servicing: d.servicing, Added: d.servicing.Poke,
		Recheck: func() int { return d.listener.Recheck(nil) }, Servers: d.servers(), AdminServers: d.adminServers(), Point: d.pointName(), Points: d.pointTable,
		Site: d.fleet, Reports: d.reports, PointAdmin: d.pointAdmin(),
		MayBeMulticastOnly: func(name, version string) error { return d.config().checkMulticastOnly(name, version) },
		CheckRules:         func(one deployment.Deployment, p library.Package) error { return d.config().checkDeployment(&one, &p) },
		Deployed:           func() { d.adjust() }, Support: d.support(), Log: d.log, ErrorLog: newForeignLog(d.log, "admin"),
		PointStatus: d.pointAnswer(), PageLink: d.pageLink(), Prestage: handler.Prestage{Export: d.exporter(), Import: d.importer()},
	})
	return nil
}

// serveAdmin answers on the socket, and over HTTPS where there shall be.
func (d *distributionPoint) serveAdmin(ctx context.Context, ended chan<- error) {
	d.running.Go(func() { ended <- d.api.Serve(ctx, d.adminSocket, nil) })
	if l := d.adminListener; l != nil {
		secure := keyex.ServerTLS(d.trust, &d.remote, handler.AdminRoles()...)
		d.running.Go(func() { ended <- d.api.Serve(ctx, netutil.LimitListener(l, adminConns), secure) })
	}
}

func (d *distributionPoint) status() api.Status {
	return api.Status{
		Version: version, Started: d.started, Listen: d.listening(), Admin: d.adminListening(), Interface: d.networks.names(), Ceiling: d.ceilingOf(d.config()), Free: d.free(),
	}
}

// adminListening is where the API is over HTTPS; "" where it isn't.
func (d *distributionPoint) adminListening() string {
	if d.adminListener == nil {
		return ""
	}
	return d.adminListener.Addr().String()
}

// pointAdmin are the addresses of the API over HTTPS that points are given; none where it isn't served so.
func (d *distributionPoint) pointAdmin() []string {
	if d.adminListener == nil {
		return nil
	}
	return d.adminServers()
}

// adminServers are the addresses that bundles of operators and viewers name: where
// clients reach this server, with the port of the API over HTTPS.
func (d *distributionPoint) adminServers() []string {
	port := uint16(adminPort)
	var own netip.Addr
	if listening, err := netip.ParseAddrPort(d.adminListening()); err == nil {
		port, own = listening.Port(), listening.Addr().Unmap()
	}
	if own.IsValid() && !own.IsUnspecified() {
		return []string{netip.AddrPortFrom(own, port).String()}
	}
	var out []string
	for _, server := range d.servers() {
		if host, _, err := net.SplitHostPort(server); err == nil {
			out = append(out, net.JoinHostPort(host, fmt.Sprint(port)))
		}
	}
	return out
}
