package session

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"wimcast/multicast/wire"
)

// schedule decides when a session starts to cast: by its rules, and by what the operator says. It is pure.
type schedule struct {
	first time.Time     // join of the first of those who wait; zero: nobody does
	last  time.Time     // join of the latest
	extra time.Duration // that the operator has them wait longer
	since time.Time     // it may start since then; zero: not yet
	why   string        // it may, in words of the log
}

// joined notes a client that will wait. One that comes from a cast which had begun has waited enough.
func (c *schedule) joined(now time.Time, begun bool) {
	if c.first.IsZero() {
		c.first = now
	}
	c.last = now
	if begun {
		c.open(now, "its clients were receiving already")
	}
}

// left notes that nobody waits any more: the next client is the first.
func (c *schedule) left() {
	if c.since.IsZero() {
		c.first, c.extra = time.Time{}, 0
	}
}

// waits reports whether clients wait for more than each other's start-up.
func (c *schedule) waits(rules *Rules) bool {
	return c.since.IsZero() && rules.Start == StartScheduled
}

// deadline is when it starts at the latest; zero while nobody waits.
func (c *schedule) deadline(rules *Rules) time.Time {
	if c.first.IsZero() {
		return time.Time{}
	}
	at := c.first
	switch {
	case rules.Start != StartScheduled:
	case !rules.At.IsZero():
		at = rules.At.After(c.first)
	default:
		delay := rules.Delay
		if delay == 0 {
			delay = defaultDelay
		}
		if rules.DelayFrom == FromLast {
			at = c.last
		}
		at = at.Add(delay)
	}
	return at.Add(c.extra)
}

// may reports whether it may start, so many clients waiting.
func (c *schedule) may(now time.Time, rules *Rules, waiting int) bool {
	switch {
	case !c.since.IsZero():
	case c.first.IsZero():
	case !c.waits(rules):
		c.open(now, "")
	case rules.MinClients > 0 && waiting >= rules.MinClients:
		c.open(now, fmt.Sprintf("%d clients wait", waiting))
	case !now.Before(c.deadline(rules)):
		c.open(now, "it is time")
	}
	return !c.since.IsZero()
}

// open lets it start, for good.
func (c *schedule) open(now time.Time, why string) {
	if c.since.IsZero() {
		c.since, c.why = now, why
	}
}

// prolong has clients wait longer, from the deadline on.
func (c *schedule) prolong(by time.Duration) error {
	switch {
	case by <= 0 || by > maxDelay:
		return fmt.Errorf("%v isn't between 1s and %v", by, maxDelay)
	case c.first.IsZero():
		return errors.New("nobody waits")
	case c.extra+by > maxDelay:
		return fmt.Errorf("%v more would be beyond %v in all", by, maxDelay)
	}
	c.extra += by
	return nil
}

// waiting reports whether the session's clients wait for its start.
func (s *sender) waiting() bool { return s.state == wire.Waiting && s.schedule.waits(&s.rules) }

// waitingNow counts the clients that wait, of those who have been heard lately.
func (s *sender) waitingNow(now time.Time) int {
	heard := max(unheardQuiet, 3*refreshEvery(len(s.roster.members)))
	n := 0
	for _, m := range s.roster.members {
		if (m.info.State == ClientWaiting || m.info.State == ClientReceiving) && now.Sub(m.info.Heard) <= heard {
			n++
		}
	}
	return n
}

// tendStart looks whether it is time to start, and puts clients into the state that fits.
func (s *sender) tendStart(now time.Time) {
	if s.state != wire.Waiting {
		return
	}
	if s.roster.present() == 0 {
		s.schedule.left()
		return
	}
	waited, waiting := s.schedule.waits(&s.rules), s.waitingNow(now)
	if s.schedule.may(now, &s.rules, waiting) && s.schedule.why != "" {
		s.log.Info("session starts to cast", zap.String("reason", s.schedule.why), zap.Int("clients", waiting), zap.Int("minimum", s.rules.MinClients))
		s.schedule.why = ""
	}
	from, to := ClientReceiving, ClientWaiting
	if waits := s.schedule.waits(&s.rules); !waits {
		if from, to = to, from; waited {
			s.statusAt = time.Time{} // who waits hears at once
		}
	}
	for _, m := range s.roster.members {
		if m.info.State != from {
			continue
		}
		if m.info.State, m.info.Began = to, now; to == ClientWaiting {
			m.info.Began = time.Time{}
		}
	}
}

// startIn is how long until the start at the latest.
func (s *sender) startIn(now time.Time) time.Duration {
	return max(s.schedule.deadline(&s.rules).Sub(now), 0)
}

// tellWaiting puts into a status what clients wait for.
func (s *sender) tellWaiting(now time.Time, status *wire.Status) {
	if !s.waiting() || s.schedule.first.IsZero() {
		return
	}
	status.Scheduled, status.MinClients, status.WaitingNow = true, uint32(s.rules.MinClients), uint32(s.waitingNow(now))
	status.StartIn = s.startIn(now)
}

// waitText says what a client waits for.
func waitText(minimum, waiting int, startIn time.Duration) string {
	others := fmt.Sprintf("%d clients wait", waiting)
	if minimum > 0 {
		others = fmt.Sprintf("%d of %d clients wait", waiting, minimum)
	}
	return fmt.Sprintf("%s; it starts in %v at the latest", others, startIn.Round(time.Second))
}

// hearWaiting notes what a status tells those who wait.
func (h *hearing) hearWaiting(now time.Time, s *wire.Status) {
	if at := now.Add(s.StartIn); at.Sub(h.startAt).Abs() > waitSlack {
		h.startAt = at
	}
	here := fmt.Sprintf("%d here", s.WaitingNow)
	if s.MinClients > 0 {
		here = fmt.Sprintf("%d of %d clients here", s.WaitingNow, s.MinClients)
	}
	h.waits(now, EventWaiting, fmt.Sprintf("waiting for the session to start: %s, at %s at the latest", here, h.startAt.Format(time.TimeOnly)))
}

// Implementation constants of waiting clients.
const (
	waitSlack = 2 * time.Second // in which the time told may move without being news
	waitNews  = 5 * time.Second // between two events of what is waited for
)

// gather returns how long the first symbol must still wait: for the session's start, and then for machines that
// were started together with the latest: what they miss would have to go out again for them.
func (s *sender) gather(now time.Time) time.Duration {
	if s.state != wire.Waiting {
		return 0
	}
	if s.schedule.since.IsZero() {
		if s.schedule.first.IsZero() {
			return statusEvery
		}
		return max(s.startIn(now), time.Millisecond) // tendStart opens it
	}
	if s.need.count == 0 {
		return 0
	}
	if s.needAt.IsZero() {
		s.needAt = now
	}
	return min(s.joinAt.Add(gatherFor).Sub(now), s.needAt.Add(gatherMost).Sub(now))
}

// StartNow starts a session whose clients wait for it. It returns the session as it then is.
func (s *Server) StartNow(id string) (SessionInfo, error) {
	return s.onWaiting(id, func(sender *sender, now time.Time) error {
		sender.schedule.open(now, "the operator said so")
		sender.tendStart(now)
		return nil
	})
}

// WaitLonger puts off the latest moment at which a session starts. Its minimum still starts it before. It returns the session as
// it then is.
func (s *Server) WaitLonger(id string, by time.Duration) (SessionInfo, error) {
	return s.onWaiting(id, func(sender *sender, _ time.Time) error {
		if err := sender.schedule.prolong(by); err != nil {
			return &RuleError{fmt.Errorf("session %s: %w; nothing changed", id, err)}
		}
		return nil
	})
}

// Cancel ends a session before it has started. Its clients are told the reason, and don't come back.
func (s *Server) Cancel(id, reason string) error {
	var session *sender
	_, err := s.onWaiting(id, func(sender *sender, _ time.Time) error {
		session = sender
		sender.stopAll(reason)
		return nil
	})
	if err == nil {
		<-session.stopped
	}
	return err
}

// onWaiting does something with a session that waits for its start.
func (s *Server) onWaiting(id string, do func(*sender, time.Time) error) (info SessionInfo, err error) {
	session, err := s.find(id)
	if err != nil {
		return info, err
	}
	if !session.ask(func(sender *sender) {
		now := time.Now()
		if !sender.waiting() {
			is := "is " + sender.state.String() + " already"
			if sender.state == wire.Waiting {
				is = "starts with its first client that needs something"
			}
			err = fmt.Errorf("session %s %s; nothing changed", id, is)
			return
		}
		if err = do(sender, now); err == nil {
			info = sender.snapshot()
		}
	}) {
		return info, fmt.Errorf("session %s has just ended; nothing changed", id)
	}
	return info, err
}
