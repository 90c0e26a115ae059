package session

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast/fault"
)

// More than silentMany clients of one session that hear nothing of the group within silentWithin aren't a matter of
// single machines (issue of the network: querier, TTL, firewall).
const (
	silentMany   = 3
	silentWithin = time.Minute
)

// silence keeps who lately said that the group is silent.
type silence struct {
	said    []silent // within silentWithin
	alarmed time.Time
}

type silent struct {
	client uint32
	at     time.Time
	never  bool // it heard nothing of the group ever
}

// groupSilent notes that a client hears nothing, and raises an alarm when more than a few do.
func (s *sender) groupSilent(now time.Time, m *member) {
	a := &s.silence
	a.said = slices.DeleteFunc(a.said, func(x silent) bool { return now.Sub(x.at) >= silentWithin })
	if slices.ContainsFunc(a.said, func(x silent) bool { return x.client == m.number }) {
		return // it asks again
	}
	a.said = append(a.said, silent{m.number, now, m.info.Opened == 0})
	if len(a.said) <= silentMany || !a.alarmed.IsZero() && now.Sub(a.alarmed) < silentWithin {
		return
	}
	a.alarmed = now
	never := 0
	for _, x := range a.said {
		if x.never {
			never++
		}
	}
	s.info.Alarm = fault.ManySilent(len(a.said), silentWithin, s.group.Addr, 2*never <= len(a.said)).String()
	s.log.Warn("many clients can't hear the group", zap.Int("clients", len(a.said)), zap.Stringer("group", s.group.Addr), zap.String("text", s.info.Alarm))
	s.server.totals(s.pkg.Name, func(t *PackageTotals) { t.SilentAlarms++ })
	s.alarm(s.info.Alarm)
}
