package wire

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

func probeSample() *ProbeGranted {
	return &ProbeGranted{
		Request: 8, Session: filled[[16]byte](1), Secret: filled[[32]byte](2), OutOfReach: true, Querier: QuerierNone, QuerierFor: 125 * time.Second,
		Group: netip.MustParseAddrPort("239.195.16.9:63004"), Source: netip.MustParseAddr("10.77.0.1"), Packets: 1700,
		Start: 500 * time.Millisecond, Length: time.Second, SessionSize: 1448, Ceiling: 112_500_000, Sizes: []uint16{548, 1448, 1472},
	}
}

// TestHostileProbes: what a forged grant could make a client do is bounded.
func TestHostileProbes(t *testing.T) {
	for name, change := range map[string]func(*ProbeGranted){
		"no packets":            func(m *ProbeGranted) { m.Packets = 0 },
		"packets without end":   func(m *ProbeGranted) { m.Packets = MaxProbePackets + 1 },
		"no sizes":              func(m *ProbeGranted) { m.Sizes = nil },
		"a size below a header": func(m *ProbeGranted) { m.Sizes = []uint16{MinProbeSize - 1} },
		"a group that is none":  func(m *ProbeGranted) { m.Group = netip.MustParseAddrPort("10.0.0.1:7600") },
		"no group":              func(m *ProbeGranted) { m.Group = netip.AddrPort{} },
		"no port":               func(m *ProbeGranted) { m.Group = netip.AddrPortFrom(m.Group.Addr(), 0) },
		"unknown querier":       func(m *ProbeGranted) { m.Querier = QuerierNone + 1 },
	} {
		m := probeSample()
		change(m)
		if got, err := Parse(m.Append(nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
	b := probeSample().Append(nil)
	b[1+4+16+32] |= 2 // an unknown flag
	if _, err := Parse(b); !errors.Is(err, ErrMalformed) {
		t.Errorf("an unknown flag: %v", err)
	}
	b = probeSample().Append(nil)
	b[len(b)-2*3-1] = MaxProbeSizes + 1
	if _, err := Parse(append(b, make([]byte, 2*MaxProbeSizes)...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too many sizes: %v", err)
	}
	if _, err := Parse((&ProbeSent{Packets: MaxProbePackets + 1}).Append(nil)); !errors.Is(err, ErrMalformed) {
		t.Errorf("more sent than can be granted: %v", err)
	}
	for _, code := range []ProbeCode{0, ProbeStops + 1} {
		if _, err := Parse((&ProbeRefused{Code: code}).Append(nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("refusal of code %d: %v", code, err)
		}
	}
}
