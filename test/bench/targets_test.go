//go:build linux

package main

import (
	"encoding/json"
	"math"
	"regexp"
	"strings"
	"testing"

	"wimcast/test/lab"
)

// timed is a result of one run with these times of its clients.
func timed(c testCase, contender string, each ...float64) *result {
	m := measurement{Each: each, Packets: 1}
	for _, s := range each {
		m.Seconds = max(m.Seconds, s)
	}
	m.Goodput = 1 / m.Seconds
	return &result{testCase: c, contender: contender, runs: []measurement{m}}
}

func near(t *testing.T, what string, got ratios, c testCase, want float64) {
	t.Helper()
	value, ok := got.get(&c)
	if want == 0 {
		if ok {
			t.Errorf("%s: %v, want none", what, value)
		}
		return
	}
	if math.Abs(value-want) > 1e-3 {
		t.Errorf("%s: %v, want %v", what, value, want)
	}
}

func TestMixedOverClean(t *testing.T) {
	clean, mixed := testCase{clients: 3}, testCase{clients: 3, one: 10}
	large := testCase{clients: 3, size: largeSize}
	c := compareResults([]*result{
		timed(large, wimcastName, 9, 9, 9), timed(clean, wimcastName, 1, 1.5, 2), timed(mixed, wimcastName, 2.2, 2.1, 2.6),
		timed(clean, uftpName, 1, 1, 1), timed(mixed, uftpName, 1, 1, 1),
	}, 1)
	near(t, "others", c.MixedOthers, mixed, 1.1)
	near(t, "the one", c.MixedOne, mixed, 1.3)
	near(t, "goodput / ceiling of nobody", c.GoodputCeiling, mixed, 0)
	// Contenders that say no times of their clients have no such ratio.
	c = compareResults([]*result{made(clean, wimcastName, 1), made(mixed, wimcastName, 1)}, 1)
	near(t, "others unknown", c.MixedOthers, mixed, 0)
}

func TestLateSent(t *testing.T) {
	late := testCase{clients: 8, late: true}
	r := &result{testCase: late, contender: wimcastName, runs: []measurement{
		{Seconds: 1, Packets: 1.53, Missed: 0.5}, {Seconds: 1, Packets: 1.4, Missed: 0.4}, {Seconds: 1, Packets: 2, Missed: 0.5},
	}}
	c := compareResults([]*result{r}, 1)
	near(t, "packets / (image + missed)", c.Late, late, 1.02)
	near(t, "ideal", c.Ideal, late, 0)
}

func TestCeilingIsOfTheSameImage(t *testing.T) {
	clean, large := testCase{clients: 8}, testCase{clients: 8, size: largeSize}
	lossy := testCase{clients: 8, size: largeSize, loss: 1}
	light := testCase{clients: 8, light: true, size: lightSize}
	results := []*result{
		made(clean, pumpName, 100), made(large, pumpName, 50), made(light, pumpName, 20),
		made(clean, wimcastName, 80), made(large, wimcastName, 45), made(lossy, wimcastName, 40), made(light, wimcastName, 30),
	}
	c := compareResults(results, 1)
	near(t, "clean", c.GoodputCeiling, clean, 0.8)
	near(t, "1 GiB", c.GoodputCeiling, large, 0.9)
	near(t, "1 GiB, 1 %", c.GoodputCeiling, lossy, 0.8)
	near(t, "light", c.SenderCeiling, light, 1.5)
}

func TestRoomTimes(t *testing.T) {
	limited, flat := testCase{clients: 4, rate: limitedRate, loss: 1}, testCase{clients: 32, rate: flatRate, size: flatSize}
	alone := flat
	alone.clients = 1
	const size = 100 << 20
	link := linkSeconds(size, limitedRate) * idealPackets(4, 0.01)
	c := compareResults([]*result{
		timed(limited, wimcastName, 1.1*link), timed(limited, wimcastSetName, 1.03*link), timed(limited, nginxName, 4*link),
		timed(alone, wimcastName, 4), timed(flat, wimcastName, 4.1), timed(flat, udpcastName, 9), timed(alone, uftpName, 5), timed(flat, uftpName, 8),
	}, size)
	near(t, "found", c.Room, limited, 1.1)
	near(t, "set", c.RoomSet, limited, 1.03)
	near(t, "nginx", c.RoomNginx, limited, 4)
	near(t, "flat", c.Flat, flat, 1.025)
	near(t, "flat alone", c.Flat, alone, 1)
	near(t, "flat uftp", c.FlatUFTP, flat, 1.6)
	near(t, "flat udpcast, of which one is missing", c.FlatUDPCast, flat, 0)
	// The flat line's image is its own.
	near(t, "flat room", c.Room, flat, 4.1/linkSeconds(flatSize, flatRate))
}

// TestTargets holds verdicts against measurements on both sides of what is asked for, and without any.
func TestTargets(t *testing.T) {
	clean, lossy := testCase{clients: 8}, testCase{clients: 8, loss: 5}
	c := compareResults([]*result{
		made(clean, pumpName, 100), made(clean, wimcastName, 80), made(lossy, wimcastName, 64.9), made(lossy, uftpName, 20),
	}, 1)
	targets := targetsOf(&c)
	find := func(what, of string) target {
		for _, one := range targets {
			if one.What == what && one.Case == of {
				return one
			}
		}
		t.Fatalf("no target %q of %q", what, of)
		return target{}
	}
	for _, test := range []struct{ what, of, limit, verdict string }{
		{"goodput / ceiling", "NIC-like: 8 clients, nothing lost", "≥ 0.80", "met"},
		{"goodput / ceiling without loss", "NIC-like: 8 clients, 5 % lost", "≥ 0.65", "**not met**"},
		{"goodput / uftp", "NIC-like: 8 clients, 5 % lost", "≥ 2.30", "met"},
		{"goodput / udpcast", "NIC-like: 8 clients, 5 % lost", "≥ 2.30", "not measured"},
		{"packets sent / source packets", "NIC-like: 8 clients, 5 % lost", "≤ 1.10", "met"},
		{"goodput / ceiling", "frames whole: 8 clients, nothing lost", "≥ 0.80", "not measured"},
		{"sender CPU / ceiling", "NIC-like: 8 clients, nothing lost", "≤ 1.30", "met"},
	} {
		got := find(test.what, test.of)
		if got.limit() != test.limit || got.verdict() != test.verdict {
			t.Errorf("%s of %s: %s, %s, want %s, %s", test.what, test.of, got.limit(), got.verdict(), test.limit, test.verdict)
		}
	}
	text, err := json.Marshal(find("goodput / ceiling", "frames whole: 8 clients, nothing lost"))
	if err != nil || strings.Contains(string(text), "met") {
		t.Errorf("what wasn't measured says whether it is met: %s, %v", text, err)
	}
	held := 0
	for _, one := range targets {
		if one.AtLeast == 0 && one.AtMost == 0 && one.Test == "" {
			t.Errorf("%s of %s asks for nothing", one.What, one.Case)
		}
		if one.Test != "" {
			held++
		}
	}
	if held != len(heldByTests) {
		t.Errorf("%d targets held by tests, want %d", held, len(heldByTests))
	}
}

// TestPlanHasWhatTargetsAreAbout looks whether a whole run measures every target's case.
func TestPlanHasWhatTargetsAreAbout(t *testing.T) {
	b := &bench{options: options{only: regexp.MustCompile("")}, size: fullSize}
	var results []*result
	names := map[string]bool{}
	for _, room := range b.plan() {
		for _, c := range room.cases {
			if c.mode != room.mode {
				t.Errorf("%s in a room of mode %d", c.name(), room.mode)
			}
			if names[c.name()] {
				t.Errorf("two cases are called %s", c.name())
			}
			names[c.name()] = true
			for _, name := range contenderNames {
				if b.wants(&c, name) {
					r := timed(c, name, make([]float64, c.clients)...)
					r.runs[0] = measurement{Seconds: 1, Goodput: 1, SenderCPU: 1, ClientCPU: 1, Packets: 1, Each: make([]float64, c.clients)}
					for i := range r.runs[0].Each {
						r.runs[0].Each[i] = 1
					}
					results = append(results, r)
				}
			}
		}
	}
	c := compareResults(results, b.size)
	for _, one := range targetsOf(&c) {
		if one.Measured == nil && one.Test == "" {
			t.Errorf("nothing measures %s of %s", one.What, one.Case)
		}
	}
	b.results = results
	if svg := b.plotFlat(); strings.Count(svg, "<g transform=\"translate(") < 2 || !strings.Contains(svg, udpcastName) {
		t.Errorf("the flat line's plot has no two panels with all: %s", svg)
	}
}

func TestBurstsComeAtOtherMoments(t *testing.T) {
	c := testCase{clients: 8, bursts: true}
	seen := map[cableState]bool{}
	for i := range c.clients {
		state := c.want(i)
		if state.bursts < burstFirst || state.bursts >= burstFirst+burstEvery || state.loss != 0 || seen[state] {
			t.Errorf("client %d: %+v", i, state)
		}
		seen[state] = true
	}
	mixed := testCase{clients: 3, one: 10}
	for i, want := range []cableState{{}, {}, {loss: 10}} {
		if got := mixed.want(i); got != want {
			t.Errorf("client %d of the mixed case: %+v, want %+v", i, got, want)
		}
	}
	if got := (&testCase{mode: lab.FramesWhole, clients: 1, loss: 5}).want(0); got != (cableState{loss: 5}) {
		t.Errorf("5 %%: %+v", got)
	}
}
