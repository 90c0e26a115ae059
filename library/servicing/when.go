package servicing

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// When says when a schedule runs: once, or again and again.
type When struct {
	At   time.Time `json:"at,omitzero"`    // once; zero without Cron: at once
	Cron string    `json:"cron,omitempty"` // minute hour day month weekday, as crontab(5) has them, or @daily and its like
	UTC  bool      `json:"utc,omitempty"`  // Cron is in UTC, not in the server's local time
}

// maxCron bounds the text of a recurring time, in bytes.
const maxCron = 200

// leastEvery is how close together two runs may be.
const leastEvery = 15 * time.Minute

// Recurring reports whether it happens more than once.
func (w When) Recurring() bool { return w.Cron != "" }

// parse reads Cron; nil for a time that is once.
func (w When) parse() (cron.Schedule, error) {
	switch {
	case w.Cron == "":
		return nil, nil //nolint:nilnil // there is none, and nothing is wrong
	case len(w.Cron) > maxCron:
		return nil, fmt.Errorf("cron %.40q...: more than %d bytes", w.Cron, maxCron)
	case strings.Contains(w.Cron, "TZ="):
		return nil, fmt.Errorf("cron %q: it names a time zone; only local time and UTC (--utc) are known here", w.Cron)
	}
	s, err := cron.ParseStandard(w.Cron)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w; want minute hour day month weekday, such as \"0 3 * * SUN\"", w.Cron, err)
	}
	return s, nil
}

// Check refuses what can't be, or won't ever come.
func (w When) Check(now time.Time) error {
	if w.Cron != "" && !w.At.IsZero() {
		return errors.New("at and cron: one says once, the other again and again; keep one")
	}
	if !w.At.IsZero() && w.At.Before(now.Add(-time.Minute)) {
		return fmt.Errorf("at %s: it is past", w.At.Format(time.RFC3339))
	}
	s, err := w.parse()
	if err != nil || s == nil {
		return err
	}
	first := s.Next(w.zone(now))
	second := s.Next(first)
	switch {
	case first.IsZero():
		return fmt.Errorf("cron %q: that never comes", w.Cron)
	case !second.IsZero() && second.Sub(first) < leastEvery:
		return fmt.Errorf("cron %q: that is every %v, and %v is the least", w.Cron, second.Sub(first), leastEvery)
	}
	return nil
}

func (w When) zone(t time.Time) time.Time {
	if w.UTC {
		return t.UTC()
	}
	return t.Local()
}

// First is when it happens first, for a schedule that is made now. It must have passed Check.
func (w When) First(now time.Time) time.Time {
	if w.Recurring() {
		return w.Next(now)
	}
	if w.At.Before(now) {
		return now.UTC()
	}
	return w.At.UTC()
}

// Next is when it happens next after a time; zero for never. What was missed, because the daemon was
// down or a run took long, isn't caught up: a night is a better time than the morning after.
func (w When) Next(after time.Time) time.Time {
	s, err := w.parse()
	if err != nil || s == nil {
		return time.Time{}
	}
	next := s.Next(w.zone(after))
	if next.IsZero() {
		return time.Time{}
	}
	return next.UTC()
}

// String says it to people.
func (w When) String() string {
	switch {
	case w.Cron != "" && w.UTC:
		return fmt.Sprintf("again and again, at %q in UTC", w.Cron)
	case w.Cron != "":
		return fmt.Sprintf("again and again, at %q in the server's local time", w.Cron)
	case w.At.IsZero():
		return "once, now"
	}
	return "once, at " + w.At.Format(time.RFC3339)
}
