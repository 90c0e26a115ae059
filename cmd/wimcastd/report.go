package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/session"
)

const (
	// reportLook is how often a point looks whether anything has changed: so often it tells its site at most.
	reportLook = 2 * time.Second
	// reportEvery is how often it tells when nothing has: the site calls it out of reach after three that didn't come.
	reportEvery = 30 * time.Second
	// reportBack is the longest wait before another try while the site is away: not more than reportEvery, so that one which came back isn't
	// told of points out of reach for long.
	reportBack = reportEvery
	// reportTimeout bounds one try.
	reportTimeout = 15 * time.Second
	// Bounds of what a site takes; see api/reports.
	reportWord     = 256  // bytes of a name or a state
	reportText     = 1000 // bytes of a sentence
	reportPackages = 1000
	reportCasts    = 200
	reportETA      = 1e9 // seconds
)

// reporter tells the site how this point is. It holds up nothing: what it looks at are snapshots, and it waits for the site alone.
type reporter struct {
	look func() api.PointStatus // as it is now; Clock is set by the reporter
	send func(context.Context, api.PointStatus) error
	log  *zap.Logger
}

// run reports until ctx ends: what has changed at once, at most every two seconds, and all of it every half a minute. While the site is
// away it tries less and less often; what it then tells is how things are by then.
func (r *reporter) run(ctx context.Context) {
	ticker := time.NewTicker(reportLook)
	defer ticker.Stop()
	var told []byte           // what the site knows
	var last, again time.Time // the latest report that came there; no try before
	back := time.Duration(0)
	for {
		if now := time.Now(); !now.Before(again) {
			status := r.look()
			news := substance(status)
			if !bytes.Equal(news, told) || now.Sub(last) >= reportEvery {
				status.Clock = now.UTC().Round(0)
				if err := r.try(ctx, status); err != nil {
					if back == 0 && ctx.Err() == nil {
						r.log.Warn("the site can't be told how this point is; it is tried again", zap.Error(err))
					}
					back = min(max(2*back, reportLook), reportBack)
					again = time.Now().Add(back*3/4 + rand.N(back/4)) // #nosec G404 -- spreads points, no secret
					told = nil
				} else {
					if back > 0 {
						r.log.Info("the site is told again how this point is")
					}
					told, last, back = news, now, 0
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (r *reporter) try(ctx context.Context, status api.PointStatus) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return r.send(ctx, status)
}

// substance is what of a status is worth a report of its own: what changes all the time isn't.
func substance(s api.PointStatus) []byte {
	s.Free = 0
	text, err := json.Marshal(s)
	if err != nil {
		panic("wimcastd: a status that is no JSON: " + err.Error()) // tidy has seen to it
	}
	return text
}

// pointStatus is how this point is.
func (d *distributionPoint) pointStatus() api.PointStatus {
	limit, _ := d.pullLimit()
	s := api.PointStatus{Version: version, Started: d.started.UTC().Round(0), Free: d.free(), Limit: limit, Packages: []api.PointPackage{}, Casts: []api.PointCast{}}
	if d.pulls != nil {
		s.Packages = append(s.Packages, d.pulls()...)
	}
	running, _ := d.sessions.Sessions()
	for i := range running {
		s.Casts = append(s.Casts, castOf(&running[i]))
	}
	for _, p := range d.library.List() {
		if p.OutOfService != "" {
			s.OutOfService = append(s.OutOfService, api.PointFault{Package: p.Reference(), Reason: p.OutOfService})
		}
	}
	tidy(&s)
	return s
}

// castOf is a session in short.
func castOf(info *session.SessionInfo) api.PointCast {
	c := api.PointCast{
		Session: info.ID, Package: info.Package, Deployment: info.Deployment, State: info.State.String(), Clients: map[string]int{},
		Rate: info.Rate, RateReason: string(info.RateReason),
	}
	var progress []float64
	for i := range info.Clients {
		one := &info.Clients[i]
		c.Clients[string(one.State)]++
		switch one.State {
		case session.ClientReceiving, session.ClientUnicast, session.ClientProven:
			progress = append(progress, one.Progress)
		}
	}
	if len(progress) > 0 {
		slices.Sort(progress)
		c.Progress, c.Median, c.Most = progress[0], progress[len(progress)/2], progress[len(progress)-1]
	}
	return c
}

// tidy brings a status within what a site takes. Causes of errors come from registries and disks, and may say anything.
func tidy(s *api.PointStatus) {
	s.Packages = s.Packages[:min(len(s.Packages), reportPackages)]
	s.Casts = s.Casts[:min(len(s.Casts), reportCasts)]
	s.OutOfService = s.OutOfService[:min(len(s.OutOfService), reportPackages)]
	for i := range s.Packages {
		p := &s.Packages[i]
		p.Package, p.Error, p.Held = clip(p.Package, reportWord), clip(p.Error, reportText), clip(p.Held, reportText)
		p.Rate, p.ETA = number(p.Rate, math.MaxInt32*1000), number(p.ETA, reportETA)
		p.Since, p.Retry, p.Validated = p.Since.UTC().Round(0), p.Retry.UTC().Round(0), p.Validated.UTC().Round(0)
	}
	for i := range s.Casts {
		c := &s.Casts[i]
		c.Package, c.Deployment = clip(c.Package, reportWord), clip(c.Deployment, reportWord)
		c.Rate = number(c.Rate, math.MaxInt32*1000)
	}
	for i := range s.OutOfService {
		f := &s.OutOfService[i]
		f.Package, f.Reason = clip(f.Package, reportWord), clip(f.Reason, reportText)
	}
}

// clip takes control characters out of a text, and cuts it where it is too long.
func clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-len("...")], "") + "..."
	}
	return s
}

// number is v where it is one between 0 and most.
func number(v, most float64) float64 {
	if math.IsNaN(v) || v < 0 {
		return 0
	}
	return min(v, most)
}
