package main

import (
	"strings"
	"testing"
	"time"

	"wimcast/api"
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
