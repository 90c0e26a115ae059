package doctor

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

func grant() *wire.ProbeGranted {
	return &wire.ProbeGranted{
		Group: netip.MustParseAddrPort("239.195.16.1:63000"), Source: netip.MustParseAddr("10.77.0.1"), Packets: 1000,
		Start: time.Second, Length: time.Second, SessionSize: 1448, Querier: wire.QuerierHeard, Sizes: []uint16{548, 1448, 1472, 8972},
	}
}

// heard is a burst of which arrives what is says, of the packet's number from 0 and its size.
func heard(g *wire.ProbeGranted, is func(i int, size uint16) bool) *measured {
	m := &measured{interfaceName: "eth0", arrived: make([]bool, g.Packets), specific: true, cardKnown: true, first: time.Unix(0, 0), last: time.Unix(1, 0)}
	for i := range m.arrived {
		size := g.Sizes[i%len(g.Sizes)]
		if m.arrived[i] = is(i, size); m.arrived[i] {
			m.bytes += uint64(size)
			m.card++
		}
	}
	return m
}

func all(int, uint16) bool  { return true }
func none(int, uint16) bool { return false }

// TestJudge: each thing that can become of a burst has its own finding, and what is well isn't blamed.
func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*wire.ProbeGranted)
		is     func(int, uint16) bool
		then   func(*measured)
		want   map[string]State // by check and fault; all that isn't ok or skip
	}{
		"all well":                  {nil, all, nil, map[string]State{}},
		"nothing":                   {nil, none, nil, map[string]State{"group pruned": Fail}},
		"nothing, others' packets":  {nil, none, func(m *measured) { m.card = 499 }, map[string]State{"group pruned": Fail}},
		"nothing but at the card":   {nil, none, func(m *measured) { m.card = 500 }, map[string]State{"group firewall": Fail}},
		"nothing, the card unknown": {nil, none, func(m *measured) { m.cardKnown = false }, map[string]State{"group group_silent": Fail}},
		"another network":           {func(g *wire.ProbeGranted) { g.OutOfReach = true }, none, nil, map[string]State{"group out_of_reach": Fail}},
		"another network, routed":   {func(g *wire.ProbeGranted) { g.OutOfReach = true }, all, nil, map[string]State{}},
		"jumbo frames lost":         {nil, func(_ int, size uint16) bool { return size < 2000 }, nil, map[string]State{"size too_large": Warn}},
		"session's size lost":       {nil, func(_ int, size uint16) bool { return size < 1448 }, nil, map[string]State{"size too_large": Fail}},
		"a middle size lost by chance": {
			func(g *wire.ProbeGranted) { g.Sizes = []uint16{548, 1448, 1472} }, func(_ int, size uint16) bool { return size != 548 }, nil,
			map[string]State{},
		},
		"some loss":      {nil, func(i int, _ uint16) bool { return i%33 != 0 }, nil, map[string]State{"loss loss": Warn}},
		"little loss":    {nil, func(i int, _ uint16) bool { return i%251 != 0 }, nil, map[string]State{}},
		"much loss":      {nil, func(i int, _ uint16) bool { return i%3 != 0 }, nil, map[string]State{"loss loss": Fail}},
		"buffer":         {nil, func(i int, _ uint16) bool { return i%33 != 0 }, func(m *measured) { m.drops = 3 }, map[string]State{"loss buffer_drops": Warn}},
		"any source":     {nil, func(i int, _ uint16) bool { return i >= 600 }, func(m *measured) { m.anySource, m.anyHelped = true, true }, map[string]State{"group source_join": Fail}},
		"somebody else":  {nil, all, func(m *measured) { m.foreign = 7 }, map[string]State{"group ": Warn}},
		"no querier":     {func(g *wire.ProbeGranted) { g.Querier, g.QuerierFor = wire.QuerierNone, 200*time.Second }, all, nil, map[string]State{"querier no_querier": Fail}},
		"server late":    {nil, all, func(m *measured) { m.arrived = m.arrived[:100] }, map[string]State{}},
		"nothing sent":   {nil, none, func(m *measured) { m.arrived = nil }, map[string]State{}},
		"one packet":     {func(g *wire.ProbeGranted) { g.Packets, g.Sizes = 1, []uint16{548} }, all, nil, map[string]State{}},
		"fewer than all": {func(g *wire.ProbeGranted) { g.Packets = 2 }, all, nil, map[string]State{}},
	} {
		g := grant()
		if tc.change != nil {
			tc.change(g)
		}
		m := heard(g, tc.is)
		if tc.then != nil {
			tc.then(m)
		}
		found := judge(g, m, netip.MustParseAddr("10.77.0.11"))
		got := map[string]State{}
		for _, f := range found {
			if f.State == Warn || f.State == Fail {
				got[f.Check+" "+string(f.Kind)] = f.State
				if f.Kind != "" && f.Next == "" {
					t.Errorf("%s: nothing to do: %+v", name, f)
				}
			}
			if f.Text == "" {
				t.Errorf("%s: no words: %+v", name, f)
			}
		}
		if len(got) != len(tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
		for key, state := range tc.want {
			if got[key] != state {
				t.Errorf("%s: %v, want %v", name, got, tc.want)
			}
		}
	}
}

// TestJudgeUnreached: what the two ports of a server do tells why it can't be reached.
func TestJudgeUnreached(t *testing.T) {
	addr := netip.MustParseAddrPort("10.77.0.1:7600")
	for _, tc := range []struct {
		udpRefused bool
		tcp        error
		want       fault.Kind
	}{
		{false, nil, fault.KindUDPBlocked},
		{true, nil, fault.KindNotRunning},
		{true, os.ErrDeadlineExceeded, fault.KindNotRunning},
		{false, syscall.ECONNREFUSED, fault.KindNotRunning},
		{false, syscall.ENETUNREACH, fault.KindNoRoute},
		{false, syscall.EHOSTUNREACH, fault.KindHostSilent},
		{false, errors.New("timeout"), fault.KindHostSilent},
	} {
		if f := judgeUnreached(addr, tc.udpRefused, tc.tcp); f.Kind != tc.want || f.Next == "" {
			t.Errorf("%+v: %+v", tc, f)
		}
	}
}

// TestWriteRate: the disk's test says a rate, leaves nothing behind, and a folder that isn't there is an error.
func TestWriteRate(t *testing.T) {
	dir := t.TempDir()
	if rate, err := writeRate(dir); err != nil || rate <= 0 {
		t.Errorf("%v, %v", rate, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := writeRate(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that isn't there was tried")
	}
}
