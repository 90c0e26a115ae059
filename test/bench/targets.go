//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"

	"wimcast/test/lab"
)

// target is something that a run must reach, and what it did.
type target struct {
	What string `json:"what"`
	Case string `json:"case"`
	// One of the two is set, or none where a test says it.
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
	// Measured is missing where the run didn't have the case, or nobody to compare with.
	Measured *float64 `json:"measured,omitempty"`
	Met      *bool    `json:"met,omitempty"`
	Test     string   `json:"test,omitempty"` // what says it in place of a measurement
}

// limit says what is asked for.
func (t *target) limit() string {
	switch {
	case t.AtLeast > 0:
		return fmt.Sprintf("≥ %.2f", t.AtLeast)
	case t.AtMost > 0:
		return fmt.Sprintf("≤ %.2f", t.AtMost)
	}
	return ""
}

// verdict says how it stands.
func (t *target) verdict() string {
	switch {
	case t.Test != "":
		return "no timing: " + t.Test + " says"
	case t.Met == nil:
		return "not measured"
	case *t.Met:
		return "met"
	}
	return "**not met**"
}

// targetsOf judges the ratios of a run. The ratios are of medians; what is asked for is held against them unrounded
// beyond the third digit.
func targetsOf(c *compared) []target {
	var all []target
	add := func(t target, value float64, ok bool) {
		if ok {
			value = math.Round(value*1000) / 1000
			met := t.AtLeast > 0 && value >= t.AtLeast || t.AtMost > 0 && value <= t.AtMost
			t.Measured, t.Met = &value, &met
		}
		all = append(all, t)
	}
	// at adds the ratio of one case.
	at := func(of ratios, tc testCase, t target) {
		t.Case = fmt.Sprintf("%s: %s", modeName(tc.mode), tc.title())
		value, ok := of.get(&tc)
		add(t, value, ok)
	}
	both := []lab.Frames{lab.NICLike, lab.FramesWhole}
	for _, mode := range both {
		for _, clients := range []int{1, 4, 8} {
			at(c.GoodputCeiling, testCase{mode: mode, clients: clients}, target{What: "goodput / ceiling", AtLeast: 0.80})
		}
		at(c.GoodputCeiling, testCase{mode: mode, clients: 8, loss: 1}, target{What: "goodput / ceiling without loss", AtLeast: 0.75})
		at(c.GoodputCeiling, testCase{mode: mode, clients: 8, loss: 5}, target{What: "goodput / ceiling without loss", AtLeast: 0.65})
	}
	at(c.GoodputCeiling, testCase{clients: 8, size: largeSize}, target{What: "goodput / ceiling", AtLeast: 0.80})
	at(c.GoodputCeiling, testCase{clients: 8, loss: 1, size: largeSize}, target{What: "goodput / ceiling without loss", AtLeast: 0.75})
	for _, peer := range []struct {
		name  string
		of    ratios
		least [3]float64 // with 0, 1 and 5 % lost
	}{{"uftp", c.GoodputUFTP, [3]float64{2, 2, 2.3}}, {"udpcast", c.GoodputUDPCast, [3]float64{1.7, 1.7, 2.3}}} {
		for i, loss := range []float64{0, 1, 5} {
			at(peer.of, testCase{clients: 8, loss: loss}, target{What: "goodput / " + peer.name, AtLeast: peer.least[i]})
		}
	}
	at(c.GoodputUFTP, testCase{mode: lab.FramesWhole, clients: 8}, target{What: "goodput / uftp", AtLeast: 4})
	for _, loss := range []float64{0, 1} {
		limited := testCase{clients: 4, rate: limitedRate, loss: loss}
		at(c.Room, limited, target{What: "room time / link, rate found", AtMost: 1.10})
		at(c.RoomSet, limited, target{What: "room time / link, ceiling set", AtMost: 1.04})
	}
	for _, mode := range both {
		at(c.Packets, testCase{mode: mode, clients: 8, loss: 1}, target{What: "packets sent / source packets", AtMost: 1.04})
		at(c.Packets, testCase{mode: mode, clients: 8, loss: 5}, target{What: "packets sent / source packets", AtMost: 1.10})
	}
	mixed := testCase{clients: 8, one: 10}
	at(c.MixedOthers, mixed, target{What: "time of the other seven / clean", AtMost: 1.15})
	at(c.MixedOne, mixed, target{What: "time of the one that loses / clean", AtMost: 1.35})
	at(c.Late, testCase{clients: 8, late: true}, target{What: "packets sent / (image + what it missed)", AtMost: 1.05})
	for _, mode := range both {
		for _, clients := range []int{1, 4, 8} {
			clean := testCase{mode: mode, clients: clients}
			at(c.SenderCeiling, clean, target{What: "sender CPU / ceiling", AtMost: 1.3})
			at(c.ClientCeiling, clean, target{What: "client CPU / ceiling", AtMost: 1.5})
		}
	}
	for _, loss := range []float64{0, 1} {
		last := testCase{clients: slices.Max(flatClients), rate: flatRate, loss: loss, size: flatSize}
		at(c.Flat, last, target{What: "room time / that of 1 client", AtMost: 1.05})
	}
	at(c.SenderCeiling, testCase{clients: lightClients, light: true, size: lightSize}, target{What: "sender CPU / ceiling", AtMost: 1.2})
	for _, t := range heldByTests {
		add(t, 0, false)
	}
	return all
}

// heldByTests are the targets that a run doesn't measure, as they aren't about time.
var heldByTests = []target{
	{What: "allocations per packet", Case: "sender and client, steady state", Test: "`go test ./test -run '^TestSpeed'`"},
	{What: "peak memory", Case: "image of 16 GiB, sparse; sender, client, each further session", Test: "`go test ./test -run '^TestSpeed'`"},
	{What: "feedback", Case: "1,000 and 10,000 clients, virtual time", Test: "`go test ./test -run '^TestSpeed'`"},
}
