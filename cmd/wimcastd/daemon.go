package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

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

// authorityDir is where the daemon's own CA is kept, in the state directory.
const authorityDir = "ca"

func (d *distributionPoint) free() uint64 {
	free, err := d.library.FreeBytes()
	if err != nil {
		return 0
	}
	return free
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

// stopSlack is what closing may take beyond the drain.
const stopSlack = 15 * time.Second
