package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
)

// Constants of the judgement.
const (
	// lossNoted and lossBad are shares of the packets: what a cast notices, and where it takes several times as long.
	lossNoted = 0.005
	lossBad   = 0.2
	// cardShare is what share of a burst must have come in at the card for a firewall to be the cause: there are others' packets too.
	cardShare = 0.5
)

// judge says what it means that so much of a burst arrived. local is this machine's address towards the server.
func judge(g *wire.ProbeGranted, m *measured, local netip.Addr) []Finding {
	out := []Finding{}
	say := func(state State, check, format string, args ...any) {
		out = append(out, Finding{state, check, fault.Fault{Text: fmt.Sprintf(format, args...)}})
	}
	bad := func(state State, check string, f fault.Fault) { out = append(out, Finding{state, check, f}) }
	t := newTally(g, m)
	sent := uint64(len(m.arrived))
	switch {
	case sent == 0:
		bad(Skip, "group", fault.NothingSent())
		return out
	case t.got == 0 && g.OutOfReach:
		bad(Fail, "group", fault.OutOfReach(local, g.Group))
	case t.got == 0 && m.cardKnown && float64(m.card) >= cardShare*float64(sent):
		bad(Fail, "group", fault.Firewall(g.Group, m.interfaceName, m.card, sent))
	case t.got == 0 && m.cardKnown:
		bad(Fail, "group", fault.Pruned(g.Group, m.interfaceName))
	case t.got == 0:
		bad(Fail, "group", fault.GroupSilent(g.Group, g.Start+g.Length+slack))
	case m.anyHelped:
		bad(Fail, "group", fault.SourceJoin(g.Group, g.Source))
	default:
		say(OK, "group", "%d of %d packets of %v arrived at %.1f MB/s", t.got, sent, g.Group, t.rate()/1e6)
	}
	if t.got > 0 {
		t.judgeSizes(say, bad, g)
		if !m.anyHelped { // else the first half is missing for another reason
			t.judgeLoss(say, bad, m)
		}
		how := "for the source alone (IGMPv3)"
		if !m.specific {
			how = "for any source"
		}
		if !m.anyHelped {
			say(OK, "join", "the group was joined %s", how)
		}
		if g.OutOfReach {
			say(OK, "ttl", "this machine is on another network than the server, and the group gets there all the same")
		}
	}
	if m.foreign > 0 {
		say(Warn, "group", "%d other packets came in group %v: somebody else sends there", m.foreign, g.Group)
	}
	switch g.Querier {
	case wire.QuerierHeard:
		say(OK, "querier", "the server heard one on this network %.0f s ago", g.QuerierFor.Seconds())
	case wire.QuerierNone:
		bad(Fail, "querier", fault.NoQuerier("this network", g.QuerierFor))
	default:
		say(Skip, "querier", "the server doesn't know of this network's yet; next: ask again in two minutes, or wimcast doctor on the server")
	}
	return out
}

// tally is what arrived, by size and by half.
type tally struct {
	sizes      []uint16 // ascending
	sent, came map[uint16]uint64
	got        uint64
	bytes      uint64
	half       [2]struct{ sent, came uint64 } // of sizes that arrive at all
	took       time.Duration
}

func newTally(g *wire.ProbeGranted, m *measured) *tally {
	t := &tally{sent: map[uint16]uint64{}, came: map[uint16]uint64{}, bytes: m.bytes, took: m.last.Sub(m.first)}
	size := func(i int) uint16 { return g.Sizes[i%len(g.Sizes)] }
	for i, arrived := range m.arrived {
		t.sent[size(i)]++
		if arrived {
			t.came[size(i)]++
			t.got++
		}
	}
	for i, arrived := range m.arrived {
		if t.came[size(i)] == 0 {
			continue
		}
		h := &t.half[2*i/len(m.arrived)]
		if h.sent++; arrived {
			h.came++
		}
	}
	t.sizes = slices.Compact(slices.Sorted(slices.Values(g.Sizes)))
	return t
}

// rate is in bytes/s.
func (t *tally) rate() float64 { return float64(t.bytes) / max(t.took, time.Millisecond).Seconds() }

// judgeSizes says up to which size packets arrive. Of each size there are so many that one that never arrives isn't chance.
func (t *tally) judgeSizes(say func(State, string, string, ...any), bad func(State, string, fault.Fault), g *wire.ProbeGranted) {
	largest, lost := uint16(0), uint16(0)
	for _, size := range t.sizes {
		switch {
		case t.came[size] > 0:
			largest = size
		case t.sent[size] > 0 && (lost == 0 || lost < largest):
			lost = size
		}
	}
	switch {
	case lost > largest && lost <= g.SessionSize:
		bad(Fail, "size", fault.LargePacketsLost(int(lost)+ipHeaders, int(largest)+ipHeaders))
	case lost > largest:
		bad(Warn, "size", fault.LargePacketsLost(int(lost)+ipHeaders, int(largest)+ipHeaders))
	default:
		say(OK, "size", "packets of up to %d bytes arrive; sessions send %d", int(largest)+ipHeaders, int(g.SessionSize)+ipHeaders)
	}
}

// judgeLoss says how much of what can arrive got lost, in both halves of the burst.
func (t *tally) judgeLoss(say func(State, string, string, ...any), bad func(State, string, fault.Fault), m *measured) {
	sent, came := t.half[0].sent+t.half[1].sent, t.half[0].came+t.half[1].came
	share := 1 - float64(came)/float64(max(sent, 1))
	halves := fmt.Sprintf("first half %s, second half %s", percent(t.half[0].sent, t.half[0].came), percent(t.half[1].sent, t.half[1].came))
	switch {
	case share > lossNoted && m.drops > 0:
		bad(Warn, "loss", fault.BufferDrops(m.drops))
	case share > lossNoted:
		state, f := Warn, fault.Loss(share, sent-came, sent)
		if share > lossBad {
			state = Fail
		}
		f.Text += "; " + halves
		bad(state, "loss", f)
	default:
		say(OK, "loss", "%s", halves)
	}
}

func percent(sent, came uint64) string {
	return fmt.Sprintf("%.1f %%", 100*(1-float64(came)/float64(max(sent, 1))))
}
