package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/api/handler"
	"wimcast/api/history"
	streams "wimcast/api/live"
	"wimcast/api/reports"
	"wimcast/crypto/keyex"
	"wimcast/crypto/pin"
	"wimcast/library"
	"wimcast/library/deployment"
	"wimcast/library/fleet"
	"wimcast/library/fleet/window"
	"wimcast/library/servicing"
	"wimcast/library/validation"
	"wimcast/metrics"
	"wimcast/multicast"
	"wimcast/session"
	"wimcast/unicast"
	"wimcast/unicast/clientlog"
)

// ceilingShare is how much of the interface's speed sessions get when the config
// names no ceiling.
const ceilingShare = 0.9

// unknownSpeed is what an interface is taken for that doesn't tell its speed: 1 Gbit/s.
const unknownSpeed = 1_000_000_000

// firstBundle is the join bundle that the first start writes.
const firstBundle = "room.join"

// distributionPoint is the daemon's parts, wired together.
type distributionPoint struct {
	cfg         config                 // as it was at the start
	live        atomic.Pointer[config] // with what reloads changed
	reloadsMu   sync.Mutex
	reloads     reloads
	log         *zap.Logger
	recent      *logRing // the latest of what it says; nil where nobody keeps it
	numbers     *numbers
	library     *library.Library
	deployed    *deployment.Store
	authority   *keyex.Authority // nil with an organisation's PKI, and at a point
	pointTrust  *pointTrust      // nil where the daemon is no point
	point       pointParts       // likewise empty
	trust       *keyex.Trust
	https       keyex.Results // of handshakes on the unicast port
	remote      keyex.Results // of handshakes of the admin API over HTTPS
	listener    *keyex.Listener
	sessions    *session.Server
	pins        *pin.Book
	unicast     *unicast.Server
	metrics     *metrics.Metrics
	history     *history.Store    // nil where none is kept
	clientLogs  *clientlog.Store  // nil where it couldn't be opened
	clientLog   *clientlog.Server // likewise
	updates     *servicing.Catalogue
	servicing   *servicing.Service
	fleet       *fleet.Site // nil where this daemon is no site
	networks    *networks
	queriers    *queriers
	drops       map[string]*multicast.Drops // of sockets, by their word in metrics; those that the kernel tells of
	upkeep      *upkeep
	validator   *validation.Validator
	validations validationCounts
	hours       *window.Gate              // of pulls
	pulls       func() []api.PointPackage // how packages are at this point; nil unless it is one
	page        webPage
	reports     *reports.Book // what points say of themselves; nil unless this is a site
	started     time.Time

	unicastListener, scrape    net.Listener
	adminSocket, adminListener net.Listener // the listener is nil without admin.listen
	events                     *handler.Events
	liveBook                   *streams.Book
	api                        *handler.API
	running                    sync.WaitGroup
	stop                       context.CancelFunc
	closing                    sync.Once
}

// newDaemon opens everything; what it opened it closes again on error.
func newDaemon(cfg config, log *zap.Logger) (d *distributionPoint, err error) {
	d = &distributionPoint{cfg: cfg, log: log, started: time.Now()}
	d.live.Store(&cfg)
	d.hours = d.newHours()
	d.noteReload(true)
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.networks, err = findNetworks(&cfg.Multicast, log); err != nil {
		return d, fmt.Errorf("multicast.interface: %w", err)
	}
	d.queriers = openQueriers(log)
	if err := giveUpCapabilities(); err != nil {
		log.Warn("the daemon keeps capabilities that it doesn't need", zap.Error(err))
	}
	payload, err := d.payload()
	if err != nil {
		return d, err
	}
	if err := os.MkdirAll(cfg.State, 0o750); err != nil {
		return d, fmt.Errorf("state: %w", err)
	}
	if err := d.openPointFile(); err != nil {
		return d, err
	}
	if err := d.openLibrary(); err != nil {
		return d, err
	}
	if d.deployed, err = deployment.Open(filepath.Join(cfg.State, deploymentsFile)); err != nil {
		return d, err
	}
	if err := errors.Join(d.checkFlags(&cfg), d.checkDeployments(&cfg)); err != nil {
		return d, err
	}
	if d.listener, err = d.listen(); err != nil {
		return d, err
	}
	port := d.listener.Addr().Port()
	if d.unicastListener, err = net.Listen("tcp", net.JoinHostPort(hostOf(cfg.Listen), strconv.Itoa(int(port)))); err != nil {
		return d, fmt.Errorf("listen for unicast: %w; another program has the port: set listen", err)
	}
	if err := d.writeFirstBundle(); err != nil {
		return d, err
	}
	d.openClientLogs()
	grants := &tokenGrants{}
	if d.unicast, err = unicast.NewServer(unicast.ServerConfig{
		Contents: &unicastContents{d.library}, Grants: grants, Slots: cfg.Unicast.Slots, BytesPerSecond: int64(cfg.Unicast.Budget),
		Logs: d.takesLogs(), ErrorLog: newForeignLog(log, "unicast"),
	}); err != nil {
		return d, err
	}
	d.openHistory()
	d.openDrops()
	d.numbers = openNumbers(cfg.State, d.recorded(), log)
	d.metrics = metrics.New(d.sources())
	d.events = handler.NewEvents()
	d.networks.strangers.raise = d.events.Raise
	if err := d.openFleet(); err != nil {
		return d, err
	}
	if err := d.openServicing(); err != nil {
		return d, err
	}
	d.pins = d.newPINs()
	d.sessions = session.NewServer(session.ServerConfig{
		Open: d.openPackage, Deployments: d.listDeployments, OpenGroup: d.networks.openGroup, Limits: cfg.limits(), Ceiling: d.ceilingOf(&cfg), MaxPayload: payload, HTTPSPort: port,
		Lock:   &pinLock{book: d.pins, require: func() []string { return d.config().PIN.Require }},
		Prober: &prober{networks: d.networks, queriers: d.queriers, allowed: func() bool { return d.config().Doctor.Probe }},
		Number: d.numbers.next, Observer: d.observer(), Watcher: d.events, Revoked: d.unicast.Release, Log: log,
	})
	grants.sessions = d.sessions
	d.liveBook = streams.New(streams.Config{Sessions: d.sessions, Describe: handler.SessionOf})
	d.upkeep = d.newUpkeep()
	if d.validator, err = d.newValidator(); err != nil {
		return d, err
	}
	d.library.Watch(d.serviceChanged)
	if err := d.openPuller(); err != nil {
		return d, err
	}
	if err := d.listenPage(); err != nil {
		return d, err
	}
	if err := d.listenAdmin(); err != nil {
		return d, err
	}
	d.openPage()
	return d, d.listenMetrics()
}

// config returns the configuration as it holds now.
func (d *distributionPoint) config() *config { return d.live.Load() }

// ceilingOf returns what all sessions together may send, in bytes/s.
func (d *distributionPoint) ceilingOf(c *config) float64 {
	if c.Multicast.Ceiling > 0 {
		return float64(c.Multicast.Ceiling)
	}
	return ceilingShare * float64(d.networks.speed()) / 8
}

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

// authorityDir is where the daemon's own CA is kept, in the state directory.
const authorityDir = "ca"

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

// listenMetrics opens the metrics port.
func (d *distributionPoint) listenMetrics() (err error) {
	if d.cfg.Metrics.Listen != "" {
		if d.scrape, err = net.Listen("tcp", d.cfg.Metrics.Listen); err != nil {
			return fmt.Errorf("metrics.listen: %w", err)
		}
	}
	return nil
}

// metricsListening is the address of the metrics, "" without.
func (d *distributionPoint) metricsListening() string {
	if d.scrape == nil {
		return ""
	}
	return d.scrape.Addr().String()
}

func (d *distributionPoint) free() uint64 {
	free, err := d.library.FreeBytes()
	if err != nil {
		return 0
	}
	return free
}

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

// start runs everything in the background; what ends by itself is sent.
func (d *distributionPoint) start(ctx context.Context) <-chan error {
	ctx, d.stop = context.WithCancel(ctx)
	ended := make(chan error, 4) // one for each that sends
	d.running.Go(func() { ended <- d.accept(ctx) })
	d.running.Go(func() { d.networks.run(ctx, d.events.Raise) })
	d.running.Go(func() { d.queriers.run(ctx) })
	d.running.Go(func() { d.liveBook.Run(ctx) })
	d.running.Go(func() {
		ticker := time.NewTicker(querierLook)
		defer ticker.Stop()
		d.watchQueriers(ctx, ticker.C)
	})
	d.running.Go(func() { d.servicing.Run(ctx) })
	if d.history != nil {
		d.running.Go(func() { d.history.Run(ctx, d.sessions.Sessions) })
	}
	d.running.Go(func() {
		ticker := time.NewTicker(upkeepInterval)
		defer ticker.Stop()
		d.upkeep.run(ctx, ticker.C)
	})
	d.running.Go(func() {
		ended <- d.unicast.Serve(ctx, d.unicastListener, keyex.ServerTLS(d.trust, &d.https, joiningRoles()...), 0)
	})
	d.running.Go(func() { d.validator.Run(ctx) })
	d.startPoint(ctx)
	if d.fleet != nil {
		d.running.Go(func() { d.fleet.Run(ctx) })
		d.running.Go(func() { d.reports.Run(ctx) })
	}
	d.serveAdmin(ctx, ended)
	d.servePage(ctx)
	if d.scrape != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", d.metrics.Handler())
		server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: newForeignLog(d.log, "metrics")}
		d.running.Go(func() { _ = server.Serve(d.scrape) })
		d.running.Go(func() { <-ctx.Done(); _ = server.Close() })
	}
	return ended
}

// accept serves each client's control channel in a goroutine of its own.
func (d *distributionPoint) accept(ctx context.Context) error {
	for {
		conn, err := d.listener.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = nil // closed because the daemon ends
			} else {
				err = fmt.Errorf("accept clients: %w", err)
			}
			return err
		}
		d.running.Go(func() {
			defer func() { _ = conn.Close() }()
			peer := peerOf(conn)
			err := d.sessions.Serve(ctx, peer, conn)
			d.log.Debug("control channel closed", zap.String("client", peer.Name), zap.Stringer("from", conn.RemoteAddr()), zap.Error(err))
		})
	}
}

// alive returns once every session has answered.
func (d *distributionPoint) alive() { d.sessions.Sessions() }

// leave ends the sessions as the policy has it: after they are done, for a bounded time, or at once.
func (d *distributionPoint) leave(signals <-chan os.Signal) {
	limit := time.Duration(d.config().Drain)
	if d.config().OnStop == stopHandOver {
		limit = 0
	}
	if limit == 0 {
		tell(d.log, daemon.SdNotifyStopping+"\nSTATUS=handing clients over")
		d.log.Info("stopping; clients go on with what they have, here or elsewhere")
		return
	}
	tell(d.log, fmt.Sprintf("%s\nSTATUS=waiting for running sessions, %v at most\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, limit, (limit+stopSlack).Microseconds()))
	d.log.Info("stopping", zap.Duration("drain", limit))
	d.drain(limit, signals)
}

// stopSlack is what closing may take beyond the drain.
const stopSlack = 15 * time.Second

// drain lets running sessions end, for a bounded time; a second signal cuts it short.
func (d *distributionPoint) drain(limit time.Duration, signals <-chan os.Signal) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := d.sessions.Drain(ctx); err != nil {
		d.log.Warn("sessions were still running; their clients wait and join again", zap.Error(err))
	}
}

// close ends everything. It may be called at any stage, more than once.
func (d *distributionPoint) close() {
	d.closing.Do(func() {
		if d.sessions != nil {
			d.sessions.Close()
		}
		if d.stop != nil {
			d.stop()
		}
		if d.listener != nil {
			_ = d.listener.Close()
		}
		for _, l := range []net.Listener{d.unicastListener, d.scrape, d.adminSocket, d.adminListener, d.page.listener} {
			if l != nil {
				_ = l.Close()
			}
		}
		if d.queriers != nil {
			d.queriers.close()
		}
		d.running.Wait()
		if d.numbers != nil {
			d.numbers.close()
		}
		if d.history != nil {
			if err := d.history.Close(); err != nil {
				d.log.Warn("closing the history failed", zap.Error(err))
			}
		}
		if err := d.closeServicing(); err != nil {
			d.log.Warn("closing the schedules failed", zap.Error(err))
		}
		if d.fleet != nil {
			_ = d.fleet.Close()
		}
		if d.clientLogs != nil {
			_ = d.clientLogs.Close()
		}
		if d.authority != nil {
			_ = d.authority.Close()
		}
		d.closePoint()
		if d.library != nil {
			if err := d.library.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
				d.log.Warn("closing the library failed", zap.Error(err))
			}
		}
	})
}

func (d *distributionPoint) sources() metrics.Sources {
	return metrics.Sources{
		History:     d.historyNumbers(),
		Version:     version,
		Logs:        d.logCounts,
		PINs:        d.pinCounts,
		Page:        d.pageLogins,
		Sessions:    func() (running, ended []session.SessionInfo) { return d.sessions.Sessions() },
		Viewers:     func() int { return d.liveBook.Viewers() },
		Totals:      d.totals,
		KernelDrops: d.kernelDrops,
		Reload:      d.lastReload,
		Schedules:   d.scheduleStates,
		Points:      d.pointCounts,
		Pulls:       d.pulled(),
		PullLimit:   d.pullLimit,
		Queue: func() map[string]int {
			out := map[string]int{}
			for _, limit := range session.QueueLimits() {
				out[limit] = 0
			}
			for _, q := range d.sessions.Queue() {
				out[q.Limit]++
			}
			return out
		},
		Handshakes: func() map[[2]string]uint64 {
			out := map[[2]string]uint64{}
			for reason, n := range d.listener.Stats().Handshakes {
				out[[2]string{"control", string(reason)}] = n
			}
			for reason, n := range d.https.Snapshot() {
				out[[2]string{"https", string(reason)}] = n
			}
			for reason, n := range d.remote.Snapshot() {
				out[[2]string{"admin", string(reason)}] = n
			}
			for reason, n := range d.page.handshakes.Snapshot() {
				out[[2]string{"page", string(reason)}] = n
			}
			return out
		},
		Unicast: func() (active, queued int, sent map[string]uint64) {
			s := d.unicast.Snapshot()
			sent = map[string]uint64{}
			for name, n := range s.SentBytes {
				sent[name] = uint64(n)
			}
			return s.Active, s.Queued, sent
		},
		Library: func() (states map[string]int, free uint64) {
			states = map[string]int{"in_service": 0, "out_of_service": 0}
			for _, p := range d.library.List() {
				if p.OutOfService != "" {
					states["out_of_service"]++
				} else {
					states["in_service"]++
				}
			}
			return states, d.free()
		},
		Validations:      d.validations.snapshot,
		OldestValidation: d.oldestValidation,
		Expiries:         d.expiries,
		Queriers:         d.seen,
		Interfaces: func() (up map[string]bool, sent map[string]uint64, failed map[[2]string]uint64) {
			failed, sent = d.networks.counters()
			return d.networks.states(), sent, failed
		},
	}
}
