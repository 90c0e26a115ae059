package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"wimcast/session"
)

// sessionConfig is [session], and a table of [package]: there a key that isn't set is as in
// [session]. All of [session] is set, by the defaults.
type sessionConfig struct {
	Start      *string   `toml:"start"`
	MinClients *int      `toml:"min_clients"`
	Delay      *duration `toml:"delay"`
	DelayFrom  *string   `toml:"delay_from"`
	At         *string   `toml:"at"`
	MaxClients *int      `toml:"max_clients"`
	Overflow   *string   `toml:"overflow"`
	Slow       *string   `toml:"slow"`
	Floor      *rate     `toml:"floor"`
	Grace      *duration `toml:"grace"`
	Weight     *float64  `toml:"weight"`
}

// packageConfigs are the tables of [package], by name or name@version.
type packageConfigs map[string]sessionConfig

// limitsConfig bounds the whole distribution point.
type limitsConfig struct {
	MaxClients  int `toml:"max_clients"`  // 0: any number
	MaxSessions int `toml:"max_sessions"` // 0: any number
}

func defaultSession() sessionConfig {
	return sessionConfig{
		Start: new("auto"), MinClients: new(0), Delay: new(duration(0)), DelayFrom: new("first"), At: new(""),
		MaxClients: new(0), Overflow: new("queue"),
		Slow: new("demote"), Floor: new(rate(0)), Grace: new(duration(10 * time.Second)), Weight: new(1.0),
	}
}

// over lays the keys that are set over those of base. What says when to start goes together: start = "auto"
// lets go of what base says of a scheduled start, and of delay and at one replaces the other.
func (s sessionConfig) over(base sessionConfig) sessionConfig {
	if s.Start != nil && *s.Start != string(session.StartScheduled) {
		none := defaultSession()
		base.MinClients, base.Delay, base.DelayFrom, base.At = none.MinClients, none.Delay, none.DelayFrom, none.At
	}
	if s.At != nil && *s.At != "" && s.Delay == nil {
		base.Delay, base.DelayFrom = defaultSession().Delay, defaultSession().DelayFrom
	}
	if s.Delay != nil && *s.Delay > 0 && s.At == nil {
		base.At = defaultSession().At
	}
	lay(&base.Start, s.Start)
	lay(&base.MinClients, s.MinClients)
	lay(&base.Delay, s.Delay)
	lay(&base.DelayFrom, s.DelayFrom)
	lay(&base.At, s.At)
	lay(&base.MaxClients, s.MaxClients)
	lay(&base.Overflow, s.Overflow)
	lay(&base.Slow, s.Slow)
	lay(&base.Floor, s.Floor)
	lay(&base.Grace, s.Grace)
	lay(&base.Weight, s.Weight)
	return base
}

func lay[T any](base **T, value *T) {
	if value != nil {
		*base = value
	}
}

// rules returns what a whole table says. The error names keys without their table.
func (s sessionConfig) rules() (session.Rules, error) {
	r := session.Rules{
		Start: session.StartRule(*s.Start), MinClients: *s.MinClients, Delay: time.Duration(*s.Delay), DelayFrom: session.DelayFrom(*s.DelayFrom),
		MaxClients: *s.MaxClients, Overflow: session.Overflow(*s.Overflow),
		Slow: session.SlowPolicy(*s.Slow), Floor: float64(*s.Floor), Grace: time.Duration(*s.Grace), Weight: *s.Weight,
	}
	var err error
	if *s.At != "" {
		if r.At, err = session.ParseWallClock(*s.At); err != nil {
			err = fmt.Errorf("at: %w", err)
		}
	}
	errs := []error{err}
	for _, word := range []struct{ key, value string }{{"start", *s.Start}, {"delay_from", *s.DelayFrom}, {"overflow", *s.Overflow}, {"slow", *s.Slow}} {
		if word.value == "" {
			errs = append(errs, fmt.Errorf("%s: is empty; leave the key out for the default", word.key))
		}
	}
	if *s.Weight == 0 {
		errs = append(errs, errors.New("weight: 0 would never send; 1 is the default"))
	}
	if *s.Grace == 0 {
		errs = append(errs, errors.New("grace: 0s isn't between 1s and 1h0m0s"))
	}
	return r, errors.Join(append(errs, r.Check())...)
}

// layers returns the tables that hold for a package, the most general first, [session] not included.
func (c *config) layers(name, version string) []sessionConfig {
	var out []sessionConfig
	if s, ok := c.Package[name]; ok {
		out = append(out, s)
	}
	if s, ok := c.Package[name+"@"+version]; ok && version != "" {
		out = append(out, s)
	}
	return out
}

// table returns what holds for a package.
func (c *config) table(name, version string) sessionConfig {
	s := c.Session
	for _, layer := range c.layers(name, version) {
		s = layer.over(s)
	}
	return s
}

// rules returns how a package's sessions are run. The configuration has been checked.
func (c *config) rules(name, version string) session.Rules {
	r, _ := c.table(name, version).rules()
	return r
}

// limits returns those of the distribution point.
func (c *config) limits() session.Limits {
	return session.Limits{MaxClients: c.Limits.MaxClients, MaxSessions: c.Limits.MaxSessions}
}

// checkRules refuses rules that can't be, and those that contradict each other or what else is configured, in
// [session] and for each package that has a table of its own.
func (c *config) checkRules() error {
	var errs []error
	check := func(table string, s sessionConfig) {
		for _, err := range c.checkTable(s) {
			errs = append(errs, fmt.Errorf("%s.%w", table, err))
		}
	}
	if n := c.Limits.MaxClients; n < 0 {
		errs = append(errs, fmt.Errorf("limits.max_clients: %d is less than 0, which stands for any number", n))
	}
	if n := c.Limits.MaxSessions; n < 0 {
		errs = append(errs, fmt.Errorf("limits.max_sessions: %d is less than 0, which stands for any number", n))
	}
	check("session", c.Session)
	bad := len(errs) > 0
	for _, ref := range slices.Sorted(maps.Keys(c.Package)) {
		if ref == "" {
			errs = append(errs, errors.New("package.\"\": a table needs a package's name, such as [package.\"w11\"]"))
			continue
		}
		if name, version, with := strings.Cut(ref, "@"); name == "" || with && (version == "" || strings.Contains(version, "@")) {
			errs = append(errs, fmt.Errorf("package.%q: no package can be called so; a table has a name, such as [package.\"w11\"], or name@version", ref))
			continue
		}
		if bad {
			continue // it has the same errors
		}
		name, version, _ := strings.Cut(ref, "@")
		check(fmt.Sprintf("package.%q", ref), c.table(name, version))
	}
	return errors.Join(errs...)
}

// checkTable holds a whole table against itself and what else is configured. The errors name keys without their table.
func (c *config) checkTable(s sessionConfig) []error {
	r, err := s.rules()
	errs := split(err)
	if most := c.Limits.MaxClients; most > 0 && r.MinClients > most {
		errs = append(errs, fmt.Errorf("min_clients (%d) is above limits.max_clients (%d): so many never get in", r.MinClients, most))
	}
	if ceiling := float64(c.Multicast.Ceiling); ceiling > 0 && r.Floor > ceiling {
		errs = append(errs, fmt.Errorf("floor (%.0f B/s) is above multicast.ceiling (%.0f B/s): nobody could take it", r.Floor, ceiling))
	}
	return errs
}

// split takes joined errors apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, split(e)...)
	}
	return out
}

// checkMulticastOnly refuses unicast that a table of the package's own asks for, where the package is
// multicast-only. What [session] says for all is no contradiction: such a package queues then, and demotes.
func (c *config) checkMulticastOnly(name, version string) error {
	var s sessionConfig
	var tables []string
	for _, ref := range []string{name, name + "@" + version} {
		if layer, ok := c.Package[ref]; ok {
			lay(&s.Slow, layer.Slow)
			lay(&s.Overflow, layer.Overflow)
			tables = append(tables, fmt.Sprintf("[package.%q]", ref))
		}
	}
	var r session.Rules
	if s.Slow != nil {
		r.Slow = session.SlowPolicy(*s.Slow)
	}
	if s.Overflow != nil {
		r.Overflow = session.Overflow(*s.Overflow)
	}
	if err := r.CheckMulticastOnly(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(tables, ", "), err)
	}
	return nil
}
