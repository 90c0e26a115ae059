package main

import (
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"wimcast/api/history"
	"wimcast/metrics"
	"wimcast/session"
)

// historyFile is the record of what was cast, in the state directory.
const historyFile = "history.db"

// openHistory opens the record. Where that fails the daemon goes on without: a record
// isn't worth an outage.
func (d *distributionPoint) openHistory() {
	cfg := d.cfg.History
	if !cfg.Record {
		return
	}
	h, err := history.Open(filepath.Join(d.cfg.State, historyFile), history.Config{Keep: time.Duration(cfg.Keep), MaxRows: cfg.MaxRows, Log: d.log})
	if err != nil {
		d.log.Error("no history: nothing is recorded until the daemon starts again", zap.Error(err))
		return
	}
	d.history = h
}

// observers hand on what sessions tell.
type observers []session.Observer

var _ session.Observer = observers(nil)

// ClientEnded implements session.Observer.
func (o observers) ClientEnded(s session.SessionInfo, c session.ClientInfo) {
	for _, each := range o {
		each.ClientEnded(s, c)
	}
}

// SessionEnded implements session.Observer.
func (o observers) SessionEnded(s session.SessionInfo) {
	for _, each := range o {
		each.SessionEnded(s)
	}
}

// ClientApplied implements session.Observer.
func (o observers) ClientApplied(a session.Applied) {
	for _, each := range o {
		each.ClientApplied(a)
	}
}

// observer is who hears of sessions.
func (d *distributionPoint) observer() session.Observer {
	if d.history == nil {
		return d.metrics
	}
	return observers{d.metrics, d.history}
}

// historyNumbers returns where metrics get the record's; nil where none is kept.
func (d *distributionPoint) historyNumbers() func() metrics.HistoryNumbers {
	if d.history == nil {
		return nil
	}
	return func() metrics.HistoryNumbers {
		s := d.history.Stats()
		return metrics.HistoryNumbers{Records: s.Rows, Oldest: s.Oldest, Dropped: s.Dropped, Failed: s.Failed}
	}
}
