package live

import (
	"bytes"
	"math"

	"wimcast/api"
	"wimcast/session"
)

// reasonEvery is how often a client is told of anew of which nothing but the words changed, in looks: "slow for 3.2s" does each time.
const reasonEvery = 5

// digits cuts a number to the three digits that count: more would only be noise on the line.
func digits(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-2)
	if unit >= 1 {
		return math.Round(v/unit) * unit
	}
	return math.Round(v)
}

// share is a part of a whole in steps of 0.0001; 0 of nothing.
func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return steps(part / whole)
}

// steps rounds down, so that nothing is whole before it is.
func steps(v float64) float64 { return math.Floor(min(max(v, 0), 1)*1e4+1e-9) / 1e4 }

// clientsOf lists a session's clients as they are told of; s is the same session with its clients.
func clientsOf(s *api.Session, info *session.SessionInfo) []api.LiveClient {
	out := make([]api.LiveClient, 0, len(info.Clients))
	for i := range info.Clients {
		out = append(out, clientOf(s, &s.Clients[i], &info.Clients[i]))
	}
	return out
}

func clientOf(s *api.Session, m *api.Member, info *session.ClientInfo) api.LiveClient {
	c := api.LiveClient{
		Number: m.Number, Name: m.Name, State: m.State, Path: pathOf(s, m),
		Proven: steps(m.Progress), Rate: digits(m.Rate), Loss: steps(m.Loss), Reason: m.Reason, Map: info.Map,
	}
	if !m.Ended.IsZero() {
		c.Rate, c.Loss = 0, 0
	}
	if m.Slow != nil {
		c.Cause, c.Reason = m.Slow.Cause, s.WhySlow(m)
	}
	return c
}

// pathOf is what a client gets most of the image by, or gets it by now.
func pathOf(s *api.Session, m *api.Member) string {
	switch most := max(m.MulticastBytes, m.UnicastBytes, m.SeedBytes); {
	case most == 0 && (m.State == string(session.ClientUnicast) || s.Lane == 2):
		return "unicast"
	case most == m.MulticastBytes:
		return "multicast"
	case most == m.UnicastBytes:
		return "unicast"
	}
	return "seed"
}

// change compares the clients at two looks, both by number. It returns what to tell of the later one, the numbers that are gone, and
// the clients as they are then known to whoever followed.
func change(look uint64, before, after []api.LiveClient) (changed []api.LiveClient, gone []uint32, known []api.LiveClient) {
	changed = []api.LiveClient{}
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Number < after[0].Number:
			gone = append(gone, before[0].Number)
			before = before[1:]
			continue
		case len(before) == 0 || after[0].Number < before[0].Number:
			changed = append(changed, after[0])
			known = append(known, after[0])
			after = after[1:]
			continue
		}
		was, is := &before[0], after[0]
		before, after = before[1:], after[1:]
		same := sameFigures(was, &is)
		if same && (is.Reason == was.Reason || (look+uint64(is.Number))%reasonEvery != 0) {
			known = append(known, *was)
			continue
		}
		known = append(known, is)
		if bytes.Equal(is.Map, was.Map) {
			is.Map = nil
		}
		changed = append(changed, is)
	}
	return changed, gone, known
}

// sameFigures reports whether nothing but the words may differ.
func sameFigures(a, b *api.LiveClient) bool {
	return a.Name == b.Name && a.State == b.State && a.Path == b.Path && a.Proven == b.Proven && a.Rate == b.Rate && a.Loss == b.Loss &&
		a.Cause == b.Cause && (a.Reason == "") == (b.Reason == "") && bytes.Equal(a.Map, b.Map)
}
