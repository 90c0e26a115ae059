package main

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/metrics"
	"wimcast/multicast"
	"wimcast/session"
)

// Constants of what metrics tell.
const (
	// shortLived is how long a bundle may be good for and still not be told of: who made it for so short a time wants it to end.
	// It is what the alert rule holds ends against.
	shortLived = 30 * 24 * time.Hour
	// endedTold is how long a bundle that has ended is told of: the room that stands still with it has been noticed by then.
	endedTold = 14 * 24 * time.Hour
	// bundlesTold bounds how many are told of, those that end first: with a bundle for each machine there may be thousands.
	bundlesTold = 100
)

// openDrops has the kernel's drops counted at the sockets that the daemon hears clients and queriers on. Those that other senders to a group are heard
// on are left out: they listen a moment now and then, and one packet is all that they need.
func (d *distributionPoint) openDrops() {
	d.drops = map[string]*multicast.Drops{}
	sockets := map[string]syscall.Conn{"control": d.listener}
	if d.queriers.listener != nil {
		sockets["igmp"] = d.queriers.listener
	}
	for name, conn := range sockets {
		drops, err := multicast.NewDrops(conn)
		if err != nil {
			d.log.Warn("what the kernel drops at a socket isn't counted", zap.String("socket", name), zap.Error(err))
			continue
		}
		d.drops[name] = drops
	}
}

// kernelDrops counts what the kernel threw away, by socket.
func (d *distributionPoint) kernelDrops() map[string]uint64 {
	out := make(map[string]uint64, len(d.drops))
	for name, drops := range d.drops {
		out[name] = drops.Count()
	}
	return out
}

// totals are the counters of packages that were cast, and of those that are deployed: they are told of from the daemon's start, at 0, as nobody sees
// the increase of what isn't there before. What was dropped is of the sessions and of the control channel.
func (d *distributionPoint) totals() (packages map[string]session.PackageTotals, dropped map[string]uint64) {
	packages, dropped = d.sessions.Totals()
	for reason, n := range d.listener.Stats().Dropped {
		dropped["control_"+string(reason)] += n
	}
	for _, one := range d.deployed.List() {
		p, err := d.library.Get(one.Image)
		if err != nil {
			continue // it isn't there: at a point it may come yet
		}
		if _, cast := packages[p.Reference()]; !cast {
			packages[p.Reference()] = session.PackageTotals{}
		}
	}
	return packages, dropped
}

// expiries says when credentials end, by kind and name.
func (d *distributionPoint) expiries() map[[2]string]time.Time {
	server, ca := d.trust.Expiry()
	ends := map[[2]string]time.Time{{"server", d.serverTitle()}: server, {"ca", "ca"}: ca}
	if d.pointTrust != nil {
		ends[[2]string{"point", d.pointName()}] = d.pointTrust.bundle().Identity().NotAfter
	}
	if d.authority != nil {
		maps.Copy(ends, bundleEnds(d.authority.Issued(), time.Now()))
	}
	return ends
}

// bundleEnds says when the bundles and point files that were made end, by kind (bundle, point) and name. Of one name the latest counts: who
// makes it anew replaces the other. Those taken back, made for a short time, or ended long ago are left out.
func bundleEnds(issued []keyex.Issued, now time.Time) map[[2]string]time.Time {
	ends := map[[2]string]time.Time{}
	for i := range issued {
		one := &issued[i]
		if one.Role == keyex.Server || !one.Revoked.IsZero() || one.NotAfter.Sub(one.NotBefore) <= shortLived+time.Hour { // made valid from an hour before
			continue
		}
		who := [2]string{"bundle", one.Name}
		if one.Role == keyex.Point {
			who[0] = "point"
		}
		if one.NotAfter.After(ends[who]) {
			ends[who] = one.NotAfter
		}
	}
	var told [][2]string
	for who, end := range ends {
		if now.Sub(end) > endedTold {
			delete(ends, who)
			continue
		}
		told = append(told, who)
	}
	slices.SortFunc(told, func(a, b [2]string) int { return cmp.Or(ends[a].Compare(ends[b]), slices.Compare(a[:], b[:])) })
	for _, who := range told[min(len(told), bundlesTold):] {
		delete(ends, who)
	}
	return ends
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
