package main

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
)

const (
	// renewLook is how often a point looks whether its credentials are to be renewed, and tries again. They have months left then.
	renewLook = time.Hour
	// renewTimeout bounds one try.
	renewTimeout = time.Minute
)

// renewal keeps the credentials of a point current: its site makes new ones before those that it has end.
type renewal struct {
	due    func() time.Time
	ask    func(context.Context) (api.PointRenewed, error)
	use    func(server, bundle string) error
	raise  func(alarm string)
	log    *zap.Logger
	failed bool
}

// run looks at once, and at each tick, until ctx ends.
func (r *renewal) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		r.round(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
	}
}

// round renews what is due. What fails is told once, and tried again at the next.
func (r *renewal) round(ctx context.Context, now time.Time) {
	due := r.due()
	if now.Before(due) {
		return
	}
	asking, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	renewed, err := r.ask(asking)
	if err == nil {
		err = r.use(renewed.Server, renewed.Bundle)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.log.Warn("the site doesn't renew this point's credentials; it is asked again", zap.Time("due_since", due), zap.Error(err))
		if !r.failed {
			r.raise(fmt.Sprintf("this point's credentials are to be renewed since %s, and its site doesn't: %v; when they have ended nobody can join here", due.UTC().Format(time.DateOnly), err))
		}
		r.failed = true
	default:
		r.failed = false
		r.log.Info("the site has renewed this point's credentials", zap.Time("until", renewed.Expires))
	}
}

// renewPoint keeps this point's credentials current, until ctx ends.
func (d *distributionPoint) renewPoint(ctx context.Context, site *siteClient) {
	ticker := time.NewTicker(renewLook)
	defer ticker.Stop()
	r := &renewal{
		due: d.pointTrust.renewAt, use: d.pointTrust.renewed, raise: d.events.Raise, log: d.log,
		ask: func(ctx context.Context) (api.PointRenewed, error) {
			client, err := site.get()
			if err != nil {
				return api.PointRenewed{}, err
			}
			return client.RenewPoint(ctx, d.pointName())
		},
	}
	r.run(ctx, ticker.C)
}
