package session

import (
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Conditions are what may change of a Server while it runs.
type Conditions struct {
	Ceiling float64 // bytes/s of UDP payload, of all sessions together
	Limits  Limits  // clients that have a place keep it
	// Rules returns those of a deployment ("": without one) of a package, by name@version; false leaves what the session
	// has. It must not block.
	Rules func(deployment, pkg string) (Rules, bool)
}

// Adjust changes the conditions of a running server. Running sessions take over the rules of their package, but for those
// that an operator changed in them; rules of the start where they wait for it. It returns the sessions that did.
func (s *Server) Adjust(c Conditions) (adjusted []string) {
	s.mu.Lock()
	s.cfg.Ceiling, s.cfg.Limits = c.Ceiling, c.Limits
	senders := slices.Collect(maps.Values(s.sessions))
	kept := map[*sender]bool{}
	for _, one := range senders {
		kept[one] = s.book(one.key).rules != nil
	}
	s.mu.Unlock()
	s.shares.setTotal(time.Now(), c.Ceiling)
	for _, one := range senders {
		if kept[one] {
			continue
		}
		_ = one.ask(func(one *sender) {
			rules, known := c.Rules(one.pkg.Deployment, one.pkg.Name)
			if rules = rules.inUse(one.pkg.Unicast); !known || rules == one.rules {
				return
			}
			one.log.Info("rules of the session changed with the configuration", zap.Any("rules", rules))
			one.setRules(rules)
			one.shareAt = time.Time{}
			adjusted = append(adjusted, one.id)
		})
	}
	slices.Sort(adjusted)
	return adjusted
}

// ceiling returns what all sessions together may send, in bytes/s.
func (s *Server) ceiling() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Ceiling
}

// inUse returns the rules as they hold for a session: with the default where they say nothing of slow clients, and without the
// unicast that they have for all packages where this one has none.
func (r Rules) inUse(unicast bool) Rules {
	if r.Slow == "" || r.Slow == SlowUnicast && !unicast {
		r.Slow = SlowDemote
	}
	if r.Overflow == OverflowUnicast && !unicast {
		r.Overflow = OverflowQueue
	}
	return r
}
