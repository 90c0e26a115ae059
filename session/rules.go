package session

import (
	"errors"
	"fmt"
	"time"
)

// Rules are how the sessions of a package are run: when the first symbol goes out, how many clients
// there may be, and what becomes of slow ones. The zero value is the default. Rules are comparable.
type Rules struct {
	Start      StartRule
	MinClients int           // scheduled: starts once so many wait; 0: doesn't start by number
	Delay      time.Duration // scheduled: clients wait no longer; 0: 15 minutes, or until At where that is set
	DelayFrom  DelayFrom
	At         WallClock // scheduled: starts at that time; not together with Delay

	MaxClients int // of a session and its slower one together; 0: any number
	Overflow   Overflow

	Slow   SlowPolicy
	Floor  float64       // bytes/s that a client must take; 0: none
	Grace  time.Duration // how long a client may be slow; 0: 10 s
	Weight float64       // of the session where several share the ceiling; 0: 1
}

// Bounds of rules, and what holds where they say nothing.
const (
	defaultDelay = 15 * time.Minute
	maxDelay     = 7 * 24 * time.Hour
	maxCount     = 1_000_000 // clients, sessions
	leastGrace   = time.Second
	mostGrace    = time.Hour
	leastWeight  = 0.01
	mostWeight   = 100
	mostFloor    = 1e12 // bytes/s
)

// StartRule says when a session starts to cast.
type StartRule string

// The start rules: a closed set. The zero value is auto.
const (
	StartAuto      StartRule = "auto"      // with the first client that needs something
	StartScheduled StartRule = "scheduled" // when enough wait, or it is time
)

// ParseStartRule reads a start rule's word.
func ParseStartRule(text string) (StartRule, error) {
	switch r := StartRule(text); r {
	case StartAuto, StartScheduled:
		return r, nil
	}
	return "", fmt.Errorf("%q is none of auto, scheduled", text)
}

// DelayFrom says what the delay counts from.
type DelayFrom string

// What a delay may count from: a closed set. The zero value is first.
const (
	FromFirst DelayFrom = "first" // join of those who wait
	FromLast  DelayFrom = "last"  // join: each new client prolongs the wait
)

// ParseDelayFrom reads what a delay counts from.
func ParseDelayFrom(text string) (DelayFrom, error) {
	switch d := DelayFrom(text); d {
	case FromFirst, FromLast:
		return d, nil
	}
	return "", fmt.Errorf("%q is none of first, last", text)
}

// Overflow is what becomes of clients beyond a limit.
type Overflow string

// What may become of them: a closed set. The zero value is queue, and so is unicast for a
// multicast-only package and for a client that was told never to use unicast.
const (
	OverflowQueue   Overflow = "queue"
	OverflowUnicast Overflow = "unicast"
)

// ParseOverflow reads an overflow policy's word.
func ParseOverflow(text string) (Overflow, error) {
	switch o := Overflow(text); o {
	case OverflowQueue, OverflowUnicast:
		return o, nil
	}
	return "", fmt.Errorf("%q is none of queue, unicast", text)
}

// SlowPolicy is what becomes of a client that is slow for longer than the grace.
type SlowPolicy string

// The policies: a closed set. The zero value is demote.
const (
	SlowWait    SlowPolicy = "wait"
	SlowDemote  SlowPolicy = "demote"
	SlowUnicast SlowPolicy = "unicast"
	SlowDrop    SlowPolicy = "drop"
)

// ParseSlowPolicy reads a policy's word.
func ParseSlowPolicy(text string) (SlowPolicy, error) {
	switch p := SlowPolicy(text); p {
	case SlowWait, SlowDemote, SlowUnicast, SlowDrop:
		return p, nil
	}
	return "", fmt.Errorf("%q is none of wait, demote, unicast, drop", text)
}

// Check refuses rules that can't be, or that contradict each other. Each error begins with the key it is
// about, as the configuration has it, and a contradiction names both keys. All of them are returned, joined.
func (r Rules) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	checkWord := func(key string, err error) {
		if err != nil {
			bad("%s: %w", key, err)
		}
	}
	if r.Start != "" {
		_, err := ParseStartRule(string(r.Start))
		checkWord("start", err)
	}
	if r.DelayFrom != "" {
		_, err := ParseDelayFrom(string(r.DelayFrom))
		checkWord("delay_from", err)
	}
	if r.Overflow != "" {
		_, err := ParseOverflow(string(r.Overflow))
		checkWord("overflow", err)
	}
	if r.Slow != "" {
		_, err := ParseSlowPolicy(string(r.Slow))
		checkWord("slow", err)
	}
	if r.MinClients < 0 || r.MinClients > maxCount {
		bad("min_clients: %d isn't between 0 and %d", r.MinClients, maxCount)
	}
	if r.MaxClients < 0 || r.MaxClients > maxCount {
		bad("max_clients: %d isn't between 0, for any number, and %d", r.MaxClients, maxCount)
	}
	if r.Delay < 0 || r.Delay > maxDelay {
		bad("delay: %v isn't between 0s and %v", r.Delay, maxDelay)
	}
	if r.Grace != 0 && (r.Grace < leastGrace || r.Grace > mostGrace) {
		bad("grace: %v isn't between %v and %v", r.Grace, leastGrace, mostGrace)
	}
	if !(r.Floor >= 0 && r.Floor <= mostFloor) {
		bad("floor: %v B/s isn't between 0 and 1 TB/s", r.Floor)
	}
	if r.Weight != 0 && !(r.Weight >= leastWeight && r.Weight <= mostWeight) {
		bad("weight: %v isn't between %v and %d", r.Weight, leastWeight, mostWeight)
	}
	if r.Start != StartScheduled {
		const wants = "needs start = \"scheduled\"; with start = \"auto\" the first client starts the cast"
		if r.MinClients > 0 {
			bad("min_clients (%d) %s", r.MinClients, wants)
		}
		if r.Delay > 0 {
			bad("delay (%v) %s", r.Delay, wants)
		}
		if !r.At.IsZero() {
			bad("at (%v) %s", r.At, wants)
		}
	}
	if r.Delay > 0 && !r.At.IsZero() {
		bad("delay (%v) and at (%v) both say how long clients wait at most; keep one", r.Delay, r.At)
	}
	if r.DelayFrom == FromLast && r.Start != StartScheduled {
		bad("delay_from (last) needs start = \"scheduled\"")
	}
	if r.DelayFrom == FromLast && !r.At.IsZero() {
		bad("delay_from (last) and at (%v): a time of day counts from no join; keep one", r.At)
	}
	if r.MinClients > 0 && r.MaxClients > 0 && r.MinClients > r.MaxClients {
		bad("min_clients (%d) is above max_clients (%d): so many never get in", r.MinClients, r.MaxClients)
	}
	return errors.Join(errs...)
}

// CheckMulticastOnly refuses what rules say of unicast, for a package that has none.
func (r Rules) CheckMulticastOnly() error {
	var errs []error
	if r.Slow == SlowUnicast {
		errs = append(errs, errors.New("slow = \"unicast\" and multicast-only: the package has no unicast; choose wait, demote or drop, or allow unicast"))
	}
	if r.Overflow == OverflowUnicast {
		errs = append(errs, errors.New("overflow = \"unicast\" and multicast-only: the package has no unicast; choose queue, or allow unicast"))
	}
	return errors.Join(errs...)
}

// WallClock is a time to start at: a moment, or a time of every day. The zero value is none.
// It is comparable.
type WallClock struct {
	moment time.Time // UTC
	daily  bool
	minute int // of the day, local time
}

// ParseWallClock reads "22:00", local time of every day, or RFC 3339.
func ParseWallClock(text string) (WallClock, error) {
	if t, err := time.Parse("15:04", text); err == nil && len(text) == len("15:04") {
		return WallClock{daily: true, minute: t.Hour()*60 + t.Minute()}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return WallClock{}, fmt.Errorf("%q is neither a time of day such as \"22:00\" nor RFC 3339 such as \"2026-11-30T22:00:00+01:00\"", text)
	}
	return WallClock{moment: t.UTC()}, nil
}

// IsZero reports whether no time is set.
func (w WallClock) IsZero() bool { return w == WallClock{} }

// String returns what ParseWallClock reads; "" for none.
func (w WallClock) String() string {
	switch {
	case w.IsZero():
		return ""
	case w.daily:
		return fmt.Sprintf("%02d:%02d", w.minute/60, w.minute%60)
	}
	return w.moment.Format(time.RFC3339)
}

// After returns when a session starts whose first client came at from: the moment, which may have passed,
// or the next such time of day in from's time zone, from itself included. On a day when the clocks change it may be
// an hour off, where that time of day is left out or there twice.
func (w WallClock) After(from time.Time) time.Time {
	if !w.daily {
		return w.moment
	}
	y, m, d := from.Date()
	for day := d; ; day++ {
		if at := time.Date(y, m, day, w.minute/60, w.minute%60, 0, 0, from.Location()); !at.Before(from) {
			return at
		}
	}
}
