package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/multicast/wire"
)

// TestJudgeQuerier: a querier isn't missed before one would have asked, nor taken for alive when members are forgotten.
func TestJudgeQuerier(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for _, tc := range []struct {
		now, since, latest int
		heard              bool
		want               wire.Querier
		long               int
	}{
		{0, 0, 0, false, wire.QuerierUnknown, 0},
		{124, 0, 0, false, wire.QuerierUnknown, 124},
		{125, 0, 0, false, wire.QuerierNone, 125},
		{500, 450, 0, false, wire.QuerierUnknown, 50}, // the interface came up lately
		{500, 0, 490, true, wire.QuerierHeard, 10},
		{500, 0, 240, true, wire.QuerierHeard, 260},
		{501, 0, 240, true, wire.QuerierNone, 261},
	} {
		state, long := judgeQuerier(at(tc.now), at(tc.since), at(tc.latest), tc.heard)
		if state != tc.want || long != time.Duration(tc.long)*time.Second {
			t.Errorf("%+v: %v, %v", tc, state, long)
		}
	}
}

// TestStrangers: one is told of at once, not again for a while, remembered, forgotten; and their number is bounded.
func TestStrangers(t *testing.T) {
	var alarms []string
	s := &strangers{log: zap.NewNop(), raise: func(text string) { alarms = append(alarms, text) }}
	group := netip.MustParseAddrPort("239.195.16.1:63000")
	other := netip.MustParseAddr("192.0.2.7") // nobody's
	now := time.Unix(1_700_000_000, 0)
	s.note(now, "lo", group, netip.MustParseAddr("127.0.0.1"))
	if len(s.list()) != 0 || len(alarms) != 0 {
		t.Fatalf("this machine itself: %+v, %v", s.list(), alarms)
	}
	for range 3 {
		s.note(now, "eth0", group, other)
		now = now.Add(time.Second)
	}
	if len(alarms) != 1 || !strings.Contains(alarms[0], "192.0.2.7 sends to group 239.195.16.1:63000 too") || !strings.Contains(alarms[0], "next: ") {
		t.Errorf("%q", alarms)
	}
	if l := s.list(); len(l) != 1 || l[0].addr != other || !l[0].last.Equal(now.Add(-time.Second)) {
		t.Errorf("%+v", l)
	}
	now = now.Add(strangerAlarm)
	if s.note(now, "eth0", group, other); len(alarms) != 2 {
		t.Errorf("after %v: %q", strangerAlarm, alarms)
	}
	for i := range 2 * strangersMost {
		s.note(now, "eth0", group, netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)))
	}
	if n := len(s.list()); n != strangersMost {
		t.Errorf("%d remembered", n)
	}
	now = now.Add(strangerKept)
	if s.note(now, "eth0", group, other); len(s.list()) != 1 {
		t.Errorf("a day later: %+v", s.list())
	}
}

// TestDoctorOfStrangers: who sends now is a failure, who sent earlier a warning.
func TestDoctorOfStrangers(t *testing.T) {
	d := &distributionPoint{cfg: defaults(), networks: &networks{strangers: &strangers{log: zap.NewNop()}}}
	now := time.Now()
	for i, ago := range []time.Duration{0, time.Hour} {
		d.networks.strangers.note(now.Add(-ago), "eth0", netip.MustParseAddrPort("239.195.16.1:63000"), netip.AddrFrom4([4]byte{192, 0, 2, byte(7 + i)}))
	}
	var f findings
	d.examineGroups(&f, now)
	var states []string
	for _, one := range f {
		if one.Check == "other servers" {
			states = append(states, one.State+" "+one.Fault)
		}
	}
	if !slices.Equal(states, []string{api.FindingFail + " second_server", api.FindingWarn + " second_server"}) {
		t.Errorf("%q", states)
	}
	d.cfg.Multicast.Groups = "239.0.0.0/24"
	f = nil
	d.examineGroups(&f, now)
	if f[0].State != api.FindingFail || f[0].Fault != "shared_mac" || !strings.Contains(f[0].Text, "224.0.0.") {
		t.Errorf("%+v", f[0])
	}
}
