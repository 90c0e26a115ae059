package window

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"wimcast/library/release"
)

// Gate holds the hours against a clock. Safe for concurrent use.
type Gate struct {
	now func() time.Time

	mu      sync.Mutex
	week    week
	due     time.Time     // when the next read may begin that is limited
	waiting []*reader     // those that wait, in the order in which they came
	changed chan struct{} // closed when whoever waits shall look again
}

// New returns a gate with these entries; a later one wins where two overlap. now is the clock, whose times carry the location of the hours:
// time.Now for those of this machine. The entries have been checked by ParseHours.
func New(hours []Hours, now func() time.Time) *Gate {
	return &Gate{now: now, week: slices.Clone(hours), changed: make(chan struct{})}
}

// Set replaces the entries; what reads follows at once.
func (g *Gate) Set(hours []Hours) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.week = slices.Clone(hours)
	g.wake()
}

// wake has everybody look again; the caller holds mu.
func (g *Gate) wake() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// Rule returns what holds now.
func (g *Gate) Rule() Rule {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.week.at(g.now())
}

// Limit returns what all pulls together may take now, in bytes/s; 0 where there is no limit.
func (g *Gate) Limit() float64 { return g.Rule().Limit }

// Allowed reports whether something of a priority may be pulled now, and when that changes by the clock as it goes now; zero when it never
// does. Ask again: the clock may be set.
func (g *Gate) Allowed(p release.Priority) (ok bool, next time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	ok = g.week.at(now).Allow.admits(p)
	return ok, g.week.next(now, func(r Rule) bool { return r.Allow.admits(p) == ok })
}

// Held says why something of a priority waits, for people; "" where it needn't.
func (g *Gate) Held(p release.Priority) string {
	ok, next := g.Allowed(p)
	if ok {
		return ""
	}
	until := "until the configuration changes"
	if !next.IsZero() {
		until = "until " + next.Format("Mon 15:04")
	}
	switch g.Rule().Allow {
	case AllowHigh:
		return fmt.Sprintf("the hours are open to high priority only, %s", until)
	case AllowMedium:
		return fmt.Sprintf("the hours are open to medium and high priority only, %s", until)
	}
	return fmt.Sprintf("the hours are closed, %s", until)
}
