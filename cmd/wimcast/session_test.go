package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// TestSlowLine: what a person reads of a slow client: what it takes, where it loses, what came of it.
func TestSlowLine(t *testing.T) {
	at := time.Date(2026, 11, 24, 14, 2, 0, 0, time.Local)
	s := &api.Session{Floor: 20e6, Grace: 10, Median: 0.5}
	for cause, want := range map[string]string{
		"network":        "pc17  6.1 MB/s  network 4.2% → demoted 14:02 (floor 20.0 MB/s, grace 10s)",
		"receive_buffer": "pc17  6.1 MB/s  receive_buffer 4.2% → demoted 14:02 (floor 20.0 MB/s, grace 10s)",
		"disk":           "pc17  6.1 MB/s  disk 4.2% → demoted 14:02 (floor 20.0 MB/s, grace 10s)",
	} {
		m := &api.Member{Name: "pc17", Slow: &api.Slow{Takes: 6.1e6, Wanted: 20e6, Cause: cause, Lost: 0.042, Acted: at, Action: "demoted"}}
		if got := slowLine(s, m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	m := &api.Member{Name: "pc17", Slow: &api.Slow{Takes: 1e6, Wanted: 5e6, Cause: "network", Seconds: 3.21}}
	if got := slowLine(s, m); got != "pc17  1.0 MB/s  network 0.0% → slow for 3.2s (half the median 5.0 MB/s, grace 10s)" {
		t.Errorf("before the grace: %q", got)
	}
	m.Slow = &api.Slow{Cause: "sleeping", Since: time.Now().Add(-time.Minute)}
	if got := slowLine(s, m); !strings.HasPrefix(got, "pc17  sleeping: unheard for ") {
		t.Errorf("asleep: %q", got)
	}
}

// TestShowMuted: who is muted is shown to whoever looks at the session.
func TestShowMuted(t *testing.T) {
	var b strings.Builder
	showSession(&b, &api.Session{ID: "s1", Clients: []api.Member{{Name: "pc01", State: "receiving"}, {Name: "pc02", State: "receiving", Muted: true}}})
	for line := range strings.Lines(b.String()) {
		if is := strings.Contains(line, "muted"); is != strings.Contains(line, "pc02") {
			t.Errorf("%q", line)
		}
	}
	if !strings.Contains(b.String(), "receiving, muted") {
		t.Errorf("%s", b.String())
	}
}

// TestScreenWaits: a client that waits tells for what, how many are there, and how long at most.
func TestScreenWaits(t *testing.T) {
	for _, tc := range []struct {
		waiting session.Waiting
		want    string
	}{
		{session.Waiting{Start: true, Minimum: 24, Clients: 7, StartIn: 12*time.Minute + 300*time.Millisecond}, "waiting for the start: 7 of 24 clients, 12m0s at most"},
		{session.Waiting{Start: true, Clients: 7, StartIn: 90 * time.Second}, "waiting for the start: 7 clients, 1m30s at most"},
		{session.Waiting{Place: 3, Reason: "the session of w11@1 has all of its 2 clients (session.max_clients)"}, "place 3 in the queue: the session of w11@1 has all of its 2 clients (session.max_clients)"},
	} {
		var b strings.Builder
		newScreen(&console{out: io.Discard, err: &b}).progress(session.Progress{Waiting: tc.waiting, Size: 1000})
		if got := b.String(); !strings.HasSuffix(got, " "+tc.want+"\n") {
			t.Errorf("screen %q, want %q", got, tc.want)
		}
	}
}
