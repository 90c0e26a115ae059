package main

import (
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/validation"
	"wimcast/multicast/wire"
)

type validationConfig struct {
	Schedule string `toml:"schedule"` // as cron has it, in local time; empty: never
	Rate     rate   `toml:"rate"`     // bytes/s that are read; 0: as fast as it goes
}

// defaultSchedule is Sunday night, when schools and offices cast least; defaultRate is a fifth of what one hard disk
// reads, 100 GB in an hour: a terabyte is through by the afternoon.
const (
	defaultSchedule = "0 3 * * 0"
	defaultRate     = 30e6
)

// validationCounts counts what came of validating.
type validationCounts struct {
	mu     sync.Mutex
	counts map[string]uint64
}

func (c *validationCounts) add(kind validation.Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]uint64{}
	}
	c.counts[string(kind)]++
}

// snapshot has every kind.
func (c *validationCounts) snapshot() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]uint64{}
	for _, kind := range validation.Kinds() {
		out[string(kind)] = c.counts[string(kind)]
	}
	return out
}

// newValidator wires validation to a daemon whose library and sessions are there.
func (d *distributionPoint) newValidator() (*validation.Validator, error) {
	v := validation.New(validation.Config{Library: d.library, Busy: d.casting, Report: d.validated})
	c := d.cfg.Validation
	if err := v.Set(c.Schedule, float64(c.Rate)); err != nil {
		return nil, fmt.Errorf("validation.schedule: %w", err)
	}
	return v, nil
}

// casting says whether a session sends.
func (d *distributionPoint) casting() bool {
	running, _ := d.sessions.Sessions()
	for i := range running {
		if running[i].State == wire.Casting {
			return true
		}
	}
	return false
}

// daemonItself is who does what nobody asked for, in the record.
const daemonItself = "wimcastd"

// validated hears of each result of the validator.
func (d *distributionPoint) validated(r validation.Result) {
	d.validations.add(r.Kind)
	action := api.HistoryAction{Who: daemonItself, Action: "validate image", Package: r.Package.Reference(), Digest: r.Package.Digest.String()}
	fields := []zap.Field{zap.String("package", r.Package.Reference()), zap.String("result", string(r.Kind)), zap.Duration("took", r.Took), zap.Error(r.Err)}
	switch r.Kind {
	case validation.Matches:
		d.log.Info("content validated", fields...)
	case validation.Refilled:
		action.Action, action.Detail = "refill image", "from "+r.Package.Again
		d.log.Info("content mended from where it came from", append(fields, zap.String("source", r.Package.Again))...)
	case validation.NotMended:
		action.Action, action.Detail, action.Error = "refill image", "from "+r.Package.Again, r.Err.Error()
		d.log.Error("content can't be mended; it stays out of service", append(fields, zap.String("source", r.Package.Again))...)
		d.events.Raise(fmt.Sprintf("package %s is out of service and can't be filled again from %s: %v; add the same file again", r.Package.Reference(), r.Package.Again, r.Err))
	default:
		action.Error = r.Err.Error()
		d.log.Error("content validation failed", fields...)
	}
	if d.history != nil {
		d.history.Action(action)
	}
}

// serviceChanged hears when a package goes out of service, whoever found out, and when it comes back.
func (d *distributionPoint) serviceChanged(c library.ServiceChange) {
	action := api.HistoryAction{Who: daemonItself, Action: "out of service", Package: c.Package.Reference(), Digest: c.Package.Digest.String(), Detail: c.Reason}
	if c.Reason == "" {
		action.Action = "back in service"
		d.log.Info("package is in service again", zap.String("package", c.Package.Reference()))
	} else {
		d.log.Error("package is out of service", zap.String("package", c.Package.Reference()), zap.String("reason", c.Reason))
		next := "or add the same file again"
		if c.Package.Pulled() && d.point.puller != nil {
			next = "or wait: what is damaged is pulled again"
			d.point.puller.Poke()
		}
		d.events.Raise(fmt.Sprintf("package %s is out of service: %s; next: wimcast image verify %q, %s", c.Package.Reference(), c.Reason, c.Package.Reference(), next))
		d.validator.Mend()
	}
	if d.fleet != nil {
		d.fleet.Poke()
	}
	if d.history != nil {
		d.history.Action(action)
	}
}

// oldestValidation is when the content was looked at that was looked at longest ago; zero without one.
func (d *distributionPoint) oldestValidation() (oldest time.Time) {
	for _, p := range d.library.List() {
		at := p.Validated
		if at.IsZero() { // by a daemon that didn't note it
			at = p.Added
		}
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
	}
	return oldest
}
