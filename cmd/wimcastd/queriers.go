package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast/fault"
	"wimcast/multicast/igmp"
	"wimcast/multicast/wire"
)

// queriers know when an IGMP querier was heard on each interface. The zero value knows nothing. Safe for concurrent use.
type queriers struct {
	listener *igmp.Listener // nil without the right to listen
	why      error          // why there is none
	since    time.Time
}

// openQueriers begins to listen, where the daemon may.
func openQueriers(log *zap.Logger) *queriers {
	l, err := igmp.Listen()
	if err != nil {
		log.Warn("IGMP queriers can't be heard, so the doctor can't tell whether there is one; it takes CAP_NET_RAW", zap.Error(err))
		return &queriers{why: err}
	}
	return &queriers{listener: l, since: time.Now()}
}

// run listens until ctx ends.
func (q *queriers) run(ctx context.Context) {
	if q.listener != nil {
		q.listener.Run(ctx)
	}
}

func (q *queriers) close() {
	if q.listener != nil {
		_ = q.listener.Close()
	}
}

// heard returns the latest query on an interface, and since when it was listened for there.
func (q *queriers) heard(one *network) (latest igmp.Query, ok bool, since time.Time) {
	if q.listener == nil {
		return latest, false, time.Time{}
	}
	latest, ok = q.listener.Heard(one.ifc.Load().Index)
	since = q.since
	if came := one.came.Load(); came != nil && came.After(since) {
		since = *came
	}
	return latest, ok, since
}

// state says what is known of an interface's querier at a time, and for how long: since it was heard, or since it was listened for in vain.
func (q *queriers) state(now time.Time, one *network) (wire.Querier, time.Duration) {
	latest, ok, since := q.heard(one)
	if q.listener == nil {
		return wire.QuerierUnknown, 0
	}
	return judgeQuerier(now, since, latest.At, ok)
}

// judgeQuerier says what is known from when listening began and the latest query, if there was one.
func judgeQuerier(now, since, latest time.Time, heard bool) (wire.Querier, time.Duration) {
	switch silent := now.Sub(latest); {
	case heard && silent <= igmp.Forgotten:
		return wire.QuerierHeard, silent
	case heard:
		return wire.QuerierNone, silent
	}
	if listened := now.Sub(since); listened >= igmp.QueryEvery {
		return wire.QuerierNone, listened
	}
	return wire.QuerierUnknown, now.Sub(since)
}

// seen returns when a querier was last heard, by interface, for metrics.
func (d *distributionPoint) seen() map[string]time.Time {
	out := map[string]time.Time{}
	if d.queriers == nil {
		return out
	}
	for _, one := range d.networks.list {
		if latest, ok, _ := d.queriers.heard(one); ok {
			out[one.name] = latest.At
		}
	}
	return out
}

// noQuerier is the fault of an interface whose querier isn't heard; false where one is, or it isn't known yet.
func (q *queriers) noQuerier(now time.Time, one *network) (fault.Fault, bool) {
	state, within := q.state(now, one)
	return fault.NoQuerier(one.name, within), state == wire.QuerierNone
}
