package session

import (
	"errors"
	"fmt"
	"time"

	"wimcast/multicast/wire"
)

// Steering is what an operator changes of a running session. Nil fields stay.
type Steering struct {
	Ceiling *float64       // bytes/s of this session alone; 0: its share of the machine's, as at first
	Slow    *SlowPolicy    // what becomes of slow clients, in the slower session's place too
	Floor   *float64       // bytes/s that a client must take; 0: none
	Grace   *time.Duration // how long a client may be slow: 1 s to 1 h
}

// LeastCeiling is the least that a machine or an operator may hold sessions to, in bytes/s.
const LeastCeiling = rateFloor

// check refuses what can't be.
func (c *Steering) check() error {
	switch {
	case c.Ceiling == nil && c.Slow == nil && c.Floor == nil && c.Grace == nil:
		return errors.New("nothing to change: name ceiling, slow, floor or grace")
	case c.Ceiling != nil && *c.Ceiling != 0 && (*c.Ceiling < LeastCeiling || *c.Ceiling > 1e12):
		return fmt.Errorf("ceiling: %.0f B/s isn't between %d B/s and 1 TB/s; auto for the session's share of the machine's", *c.Ceiling, LeastCeiling)
	case c.Grace != nil && (*c.Grace < time.Second || *c.Grace > time.Hour):
		return fmt.Errorf("grace: %v isn't between 1s and 1h", *c.Grace)
	case c.Floor != nil && (*c.Floor < 0 || *c.Floor > 1e12):
		return fmt.Errorf("floor: %.0f B/s isn't between 0 and 1 TB/s", *c.Floor)
	}
	if c.Slow != nil {
		if _, err := ParseSlowPolicy(string(*c.Slow)); err != nil {
			return fmt.Errorf("slow: %w", err)
		}
	}
	return nil
}

// RuleError refuses what can't be, whatever the session does just then.
type RuleError struct{ cause error }

func (e *RuleError) Error() string { return e.cause.Error() }
func (e *RuleError) Unwrap() error { return e.cause }

// ErrMulticastOnly refuses to send a client of a multicast-only package to unicast.
var ErrMulticastOnly = errors.New("the package is multicast-only")

// Steer changes a running session, as the operator wants it, and returns it as it then is. What it says of slow clients
// holds for all sessions of the same cast, until the last of them ends.
func (s *Server) Steer(id string, c Steering) (info SessionInfo, err error) {
	if err := c.check(); err != nil {
		return info, &RuleError{fmt.Errorf("session %s: %w; nothing changed", id, err)}
	}
	session, err := s.find(id)
	if err != nil {
		return info, err
	}
	if !session.ask(func(sender *sender) {
		if err = sender.steer(c); err == nil {
			info = sender.snapshot()
		}
	}) {
		return info, fmt.Errorf("session %s has just ended; nothing changed", id)
	}
	return info, err
}

// steer changes a session.
func (s *sender) steer(c Steering) error {
	rules := s.rules
	if c.Slow != nil {
		rules.Slow = *c.Slow
	}
	if c.Floor != nil {
		rules.Floor = *c.Floor
	}
	if c.Grace != nil {
		rules.Grace = *c.Grace
	}
	ceiling := s.limit
	if c.Ceiling != nil {
		ceiling = *c.Ceiling
	}
	switch {
	case rules.Slow == SlowUnicast && !s.pkg.Unicast:
		return &RuleError{fmt.Errorf("slow: unicast: %w, %s; nothing changed; choose wait, demote or drop", ErrMulticastOnly, s.pkg.Name)}
	case ceiling > 0 && rules.Floor > ceiling:
		return &RuleError{fmt.Errorf("floor (%.0f B/s) is above ceiling (%.0f B/s): nobody could take it; nothing changed", rules.Floor, ceiling)}
	case c.Floor != nil && rules.Floor > s.server.ceiling():
		return &RuleError{fmt.Errorf("floor (%.0f B/s) is above multicast.ceiling (%.0f B/s): nobody could take it; nothing changed", rules.Floor, s.server.ceiling())}
	}
	if ceiling != s.limit {
		s.limit, s.shareAt = ceiling, time.Time{} // claims anew
	}
	if rules != s.rules {
		for _, other := range s.server.changeRules(s.key, rules) {
			if other != s {
				other.post(func(sender *sender) { sender.setRules(rules) })
			}
		}
		s.setRules(rules)
	}
	return nil
}

// setRules changes what holds for slow clients. Who has been slow is judged anew by the policy.
func (s *sender) setRules(rules Rules) {
	s.rules = rules
	for _, m := range s.roster.members {
		m.pace.acted = false
	}
	s.law.floor = s.floorHeld(time.Now())
}

// SendUnicast sends a client to unicast, as the operator wants it.
func (s *Server) SendUnicast(id string, number uint32) error {
	session, err := s.find(id)
	if err != nil {
		return err
	}
	if !session.ask(func(sender *sender) { err = sender.handUnicast(number) }) {
		return fmt.Errorf("session %s has just ended; nothing changed", id)
	}
	return err
}

// handUnicast sends a client to unicast.
func (s *sender) handUnicast(number uint32) error {
	m := s.roster.members[number]
	switch {
	case m == nil:
		return errNoClient
	case m.info.State.ended():
		return fmt.Errorf("client %s has already ended (%s); nothing changed", m.info.Name, m.info.State)
	case !s.pkg.Unicast:
		return &RuleError{fmt.Errorf("client %s can't go unicast: %w, %s; first: wimcast image set %q --no-multicast-only, which counts for sessions that start after it", m.info.Name, ErrMulticastOnly, s.pkg.Name, s.pkg.Name)}
	case !m.unicast:
		return &RuleError{fmt.Errorf("client %s was told never to fetch by unicast (--no-unicast); nothing changed", m.info.Name)}
	case m.info.State == ClientUnicast:
		return fmt.Errorf("client %s is on unicast already (%s); nothing changed", m.info.Name, m.info.Reason)
	}
	s.sendUnicast(time.Now(), m, wire.OperatorHand, "sent to unicast by the operator")
	return nil
}
