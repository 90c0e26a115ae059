package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
)

// TestRenewal: nothing before it is due; then the site is asked until it answers, one alarm for all that fails meanwhile.
func TestRenewal(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	asked, used, alarms := 0, 0, 0
	var answer, storing error
	r := &renewal{
		due: func() time.Time { return now },
		ask: func(context.Context) (api.PointRenewed, error) {
			asked++
			return api.PointRenewed{Server: "s", Bundle: "b"}, answer
		},
		use: func(server, bundle string) error {
			if server != "s" || bundle != "b" {
				t.Errorf("%q, %q", server, bundle)
			}
			used++
			return storing
		},
		raise: func(string) { alarms++ }, log: zap.NewNop(),
	}
	for i, step := range []struct {
		after                time.Duration
		answer, storing      error
		asked, used, alarmed int
	}{
		{after: -time.Second},
		{answer: errors.New("away"), asked: 1, alarmed: 1},
		{after: time.Hour, answer: errors.New("away"), asked: 2, alarmed: 1},
		{after: 2 * time.Hour, storing: errors.New("disk full"), asked: 3, used: 1, alarmed: 1},
		{after: 3 * time.Hour, asked: 4, used: 2, alarmed: 1},
		{after: 4 * time.Hour, answer: errors.New("away"), asked: 5, used: 2, alarmed: 2},
	} {
		answer, storing = step.answer, step.storing
		r.round(t.Context(), now.Add(step.after))
		if asked != step.asked || used != step.used || alarms != step.alarmed {
			t.Errorf("step %d: asked %d, used %d, %d alarms, want %+v", i, asked, used, alarms, step)
		}
	}
}

// TestRenewalRuns: it looks at once, at each tick, and ends with its context.
func TestRenewalRuns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ticks, looked, done := make(chan time.Time), make(chan bool), make(chan bool)
	r := &renewal{due: func() time.Time {
		looked <- true
		return time.Now().Add(time.Hour)
	}, log: zap.NewNop()}
	go func() {
		defer close(done)
		r.run(ctx, ticks)
	}()
	<-looked
	ticks <- time.Now()
	<-looked
	cancel()
	<-done
}
