package main

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wimcast/api"
	"wimcast/api/reports"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// desk is a site as a reporter sees it, in virtual time.
type desk struct {
	mu     sync.Mutex
	status api.PointStatus
	err    error // of the next tries
	tries  int
	got    []api.PointStatus
	at     []time.Duration // since the start
	start  time.Time
}

func (d *desk) look() api.PointStatus { d.mu.Lock(); defer d.mu.Unlock(); return d.status }

func (d *desk) send(_ context.Context, s api.PointStatus) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	if d.err != nil {
		return d.err
	}
	d.got, d.at = append(d.got, s), append(d.at, time.Since(d.start))
	return nil
}

// told is when reports came, and what they said.
func (d *desk) told() ([]time.Duration, []api.PointStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.at), slices.Clone(d.got)
}

func (d *desk) set(f func()) { d.mu.Lock(); defer d.mu.Unlock(); f() }

// reporting runs a reporter in virtual time.
func reporting(t *testing.T, f func(d *desk, logs *observer.ObservedLogs)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		d := &desk{start: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { (&reporter{look: d.look, send: d.send, log: zap.New(core)}).run(ctx); close(done) }()
		synctest.Wait()
		f(d, logs)
		cancel()
		<-done
	})
}

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// TestReporter: at once, on each change but not more often than every two seconds, else every half a minute.
func TestReporter(t *testing.T) {
	reporting(t, func(d *desk, _ *observer.ObservedLogs) {
		pass(65 * time.Second)
		at, _ := d.told()
		if want := []time.Duration{0, 30 * time.Second, 60 * time.Second}; !slices.Equal(at, want) {
			t.Fatalf("with nothing new: %v", at)
		}
		for range 100 { // ten seconds of changes
			d.set(func() { d.status.Limit++ })
			pass(100 * time.Millisecond)
		}
		if at, _ = d.told(); len(at)-3 != 5 {
			t.Errorf("%d reports in 10 s of changes", len(at)-3)
		}
		pass(reportLook)
		was, _ := d.told()
		d.set(func() { d.status.Free++ })
		pass(10 * time.Second)
		at, got := d.told()
		if len(at) != len(was) {
			t.Errorf("space that changes is worth a report")
		}
		if last := got[len(got)-1]; last.Clock.IsZero() || time.Since(last.Clock) > time.Minute {
			t.Errorf("%+v", last)
		}
	})
}

// TestReporterBacksOff: a site that is away is tried less and less often, is logged once, and is told at once how things are when it is back.
func TestReporterBacksOff(t *testing.T) {
	reporting(t, func(d *desk, logs *observer.ObservedLogs) {
		d.set(func() { d.err, d.status.Limit = errors.New("no route"), 1 })
		pass(10 * time.Minute)
		d.set(func() {
			if d.tries < 20 || d.tries > 40 {
				t.Errorf("%d tries in 10 minutes", d.tries)
			}
		})
		d.set(func() { d.err, d.status.Limit = nil, 2 })
		pass(reportBack + reportLook)
		_, got := d.told()
		if last := got[len(got)-1]; last.Limit != 2 {
			t.Errorf("told %+v", last)
		}
		if logs.Len() != 2 || logs.All()[0].Level != zap.WarnLevel || logs.All()[1].Level != zap.InfoLevel {
			t.Errorf("logged %v", logs.All())
		}
		was, _ := d.told()
		d.set(func() { d.status.Limit = 3 })
		pass(reportLook)
		if at, _ := d.told(); len(at) != len(was)+1 {
			t.Errorf("it isn't as quick as before")
		}
	})
}

// TestReporterIsNotHeldUp by a site that takes the connection and says nothing.
func TestReporterIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		r := &reporter{
			look: func() api.PointStatus { return api.PointStatus{} }, log: zap.NewNop(),
			send: func(ctx context.Context, _ api.PointStatus) error { tries++; <-ctx.Done(); return ctx.Err() },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		r.run(ctx)
		if tries < 5 {
			t.Errorf("%d tries", tries)
		}
	})
}

// TestTidy: whatever a point says, its site takes it.
func TestTidy(t *testing.T) {
	long := strings.Repeat("ä\x1b[2J\xff\u2028", 1000)
	s := api.PointStatus{Version: "1", Clock: time.Now(), Started: time.Now(), Casts: make([]api.PointCast, 300)}
	for i := range 1200 {
		s.Packages = append(s.Packages, api.PointPackage{Package: string(rune('a'+i%26)) + strings.Repeat("x", i/26), State: "failed", Error: long, Held: long, Rate: math.NaN(), ETA: math.Inf(1)})
	}
	s.Packages = append(s.Packages[:5:5], s.Packages[26:60]...)
	for i := range s.Casts {
		s.Casts[i] = api.PointCast{Session: "s", Package: long, Deployment: long, Rate: math.Inf(1)}
	}
	s.OutOfService = []api.PointFault{{Package: long, Reason: long}}
	tidy(&s)
	book := reports.New(reports.Config{File: filepath.Join(t.TempDir(), "x"), Points: func() map[string][]reports.Wanted { return map[string][]reports.Wanted{"north": nil} }, Log: zap.NewNop()})
	if err := book.Put("north", s); err != nil {
		t.Error(err)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
	if got := clip("a\nb", 10); got != "a b" {
		t.Errorf("%q", got)
	}
	if got := clip("äöüäöü", 8); got != "äö..." {
		t.Errorf("%q", got)
	}
}

// TestCastOf counts clients by state, and takes progress of those who have some.
func TestCastOf(t *testing.T) {
	info := &session.SessionInfo{ID: "s7", Package: "w11@1", Deployment: "lab", State: wire.Casting, Rate: 5, RateReason: "loss"}
	for i, state := range []session.ClientState{session.ClientReceiving, session.ClientReceiving, session.ClientProven, session.ClientWaiting, session.ClientFailed} {
		info.Clients = append(info.Clients, session.ClientInfo{State: state, Progress: float64(i+1) / 10})
	}
	c := castOf(info)
	if c.Session != "s7" || c.State != "casting" || c.Clients["receiving"] != 2 || c.Clients["proven"] != 1 || len(c.Clients) != 4 || c.Progress != 0.1 || c.Median != 0.2 || c.Most != 0.3 {
		t.Errorf("%+v", c)
	}
}
