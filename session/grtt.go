package session

import "time"

const (
	grttFloor = 5 * time.Millisecond // scheduling on busy machines, not the wire
	grttLimit = 2 * time.Second
	grttFall  = 0.9 // of the old value stays when the newest is lower (RFC 5401, section 3.2.3)
)

// grtt estimates the group's greatest round-trip time from statuses that clients
// echo in their reports. It is pure.
type grtt struct {
	estimate time.Duration
	ring     [64]struct {
		number uint64
		at     time.Time
	}
	n int
}

// value returns the estimate, never below the floor.
func (g *grtt) value() time.Duration { return max(g.estimate, grttFloor) }

// sent notes that the status with a packet number went out.
func (g *grtt) sent(number uint64, at time.Time) {
	slot := &g.ring[g.n%len(g.ring)]
	slot.number, slot.at = number, at
	g.n++
}

// heard takes a report's echo: which status it answers, and how long the client held it.
func (g *grtt) heard(now time.Time, number uint64, held time.Duration) (rtt time.Duration, ok bool) {
	if number == 0 {
		return 0, false
	}
	for i := range g.ring {
		if g.ring[i].number != number {
			continue
		}
		rtt = min(max(now.Sub(g.ring[i].at)-held, 0), grttLimit)
		if rtt >= g.estimate {
			g.estimate = rtt
		} else {
			g.estimate = time.Duration(grttFall*float64(g.estimate) + (1-grttFall)*float64(rtt))
		}
		return rtt, true
	}
	return 0, false
}
