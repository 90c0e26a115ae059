package live

import (
	"slices"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// TestChange: what is told of a second is what it changed, and nothing more.
func TestChange(t *testing.T) {
	have := []byte{0xf0}
	one := api.LiveClient{Number: 1, Name: "pc01", State: "receiving", Proven: 0.5, Map: have}
	two := api.LiveClient{Number: 2, Name: "pc02", State: "receiving", Cause: "network", Reason: "slow for 1s"}
	three := api.LiveClient{Number: 3, Name: "pc03"}
	with := func(c api.LiveClient, f func(*api.LiveClient)) api.LiveClient { f(&c); return c }
	numbers := func(list []api.LiveClient) (out []uint32) {
		for _, c := range list {
			out = append(out, c.Number)
		}
		return out
	}
	for name, tc := range map[string]struct {
		look          uint64
		before, after []api.LiveClient
		changed, gone []uint32
	}{
		"the first":        {1, nil, []api.LiveClient{one, two}, []uint32{1, 2}, nil},
		"nothing":          {2, []api.LiveClient{one, two}, []api.LiveClient{one, two}, nil, nil},
		"a map":            {2, []api.LiveClient{one}, []api.LiveClient{with(one, func(c *api.LiveClient) { c.Map = []byte{0xf1} })}, []uint32{1}, nil},
		"a figure":         {2, []api.LiveClient{one}, []api.LiveClient{with(one, func(c *api.LiveClient) { c.Proven = 0.6 })}, []uint32{1}, nil},
		"words, not now":   {2, []api.LiveClient{two}, []api.LiveClient{with(two, func(c *api.LiveClient) { c.Reason = "slow for 2s" })}, nil, nil},
		"words, its turn":  {3, []api.LiveClient{two}, []api.LiveClient{with(two, func(c *api.LiveClient) { c.Reason = "slow for 2s" })}, []uint32{2}, nil},
		"slow no more":     {2, []api.LiveClient{two}, []api.LiveClient{with(two, func(c *api.LiveClient) { c.Reason = "" })}, []uint32{2}, nil},
		"one comes":        {2, []api.LiveClient{one, three}, []api.LiveClient{one, two, three}, []uint32{2}, nil},
		"the first goes":   {2, []api.LiveClient{one, two, three}, []api.LiveClient{two, three}, nil, []uint32{1}},
		"the last goes":    {2, []api.LiveClient{one, three}, []api.LiveClient{one}, nil, []uint32{3}},
		"all go, one came": {2, []api.LiveClient{one, three}, []api.LiveClient{two}, []uint32{2}, []uint32{1, 3}},
	} {
		changed, gone, known := change(tc.look, tc.before, tc.after)
		if !slices.Equal(numbers(changed), tc.changed) || !slices.Equal(gone, tc.gone) || !slices.Equal(numbers(known), numbers(tc.after)) || changed == nil {
			t.Errorf("%s: changed %v, gone %v, known %v", name, numbers(changed), gone, numbers(known))
		}
	}
	changed, _, known := change(2, []api.LiveClient{one}, []api.LiveClient{with(one, func(c *api.LiveClient) { c.Proven = 0.6 })})
	if changed[0].Map != nil || known[0].Map == nil {
		t.Errorf("a map that is what it was: told %v, known %v", changed[0].Map, known[0].Map)
	}
}

// TestSeries: samples are differences, the oldest goes when ten minutes are full, and they come in order.
func TestSeries(t *testing.T) {
	var s series
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	p := session.Pulse{Reason: session.RateLoss, Target: 112_345_678}
	if s.add(now, p); len(s.all()) != 0 || len(s.latest()) != 0 {
		t.Errorf("of one look: %+v", s.all())
	}
	for i := range samplesKept + 5 {
		now = now.Add(time.Second)
		p.Sent.SourceBytes += 90_000_000
		p.Sent.ParityBytes += 10_000_000
		p.Sent.SourcePackets += 90
		p.Sent.ParityPackets += 10
		p.Opened, p.Lost, p.Proven = p.Opened+990, p.Lost+10, p.Proven+2e6
		s.add(now, p)
		if got := s.latest(); len(got) != 1 || !got[0].Time.Equal(now) {
			t.Fatalf("sample %d: %+v", i, got)
		}
	}
	want := api.LiveSample{Time: now, Rate: 100e6, Target: 112e6, Reason: "loss", Parity: 0.1, Loss: 0.01, Proven: 2e6}
	all := s.all()
	if len(all) != samplesKept || all[samplesKept-1] != want {
		t.Errorf("%d samples, the last %+v, want %+v", len(all), all[len(all)-1], want)
	}
	for i := range all[1:] {
		if d := all[i+1].Time.Sub(all[i].Time); d != time.Second {
			t.Fatalf("%v between samples %d and %d", d, i, i+1)
		}
	}
}

// TestFiguresAreShort: what is told has the digits that count, and nothing is whole before it is.
func TestFiguresAreShort(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 0.4: 0, 7.6: 8, 123: 123, 1234: 1230, 112_345_678: 112_000_000, 99_960: 100_000} {
		if got := digits(v); got != want {
			t.Errorf("%v is %v, want %v", v, got, want)
		}
	}
	for v, want := range map[float64]float64{0: 0, 1: 1, 0.99999: 0.9999, 0.1: 0.1, 0.12345: 0.1234, 2: 1, -1: 0} {
		if got := steps(v); got != want {
			t.Errorf("%v is %v, want %v", v, got, want)
		}
	}
	if share(1, 0) != 0 || share(1, 4) != 0.25 {
		t.Error("shares")
	}
}
