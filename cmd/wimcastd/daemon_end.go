package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

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
