package main

import (
	"fmt"
	"strings"
	"time"

	"wimcast/library/fleet/window"
)

// hoursConfig is an entry of [[point.hours]]; see window.ParseHours.
type hoursConfig struct {
	Days  string `toml:"days"`
	From  string `toml:"from"`
	To    string `toml:"to"`
	Limit rate   `toml:"limit"` // of all pulls together; 0: none
	Allow string `toml:"allow"` // all, medium, high, none; empty: all
}

// hours returns the entries, which have been checked.
func (p *pointConfig) hours() []window.Hours {
	out := make([]window.Hours, 0, len(p.Hours))
	for _, h := range p.Hours {
		if parsed, err := h.parse(); err == nil {
			out = append(out, parsed)
		}
	}
	return out
}

func (h hoursConfig) parse() (window.Hours, error) {
	return window.ParseHours(h.Days, h.From, h.To, float64(h.Limit), h.Allow)
}

// checkHours refuses entries that can't be, by their number and key.
func (p *pointConfig) checkHours(bad func(key, format string, args ...any)) {
	if n := len(p.Hours); n > window.MostHours {
		bad("point.hours", "%d entries, at most %d are taken; a later one goes before those that it overlaps with", n, window.MostHours)
		return
	}
	if len(p.Hours) > 0 && p.Bundle == "" {
		bad("point.hours", "they are of what a point pulls, and this daemon is none: set point.bundle, or leave them out")
	}
	for i, h := range p.Hours {
		_, err := h.parse()
		for _, err := range split(err) {
			key, says, _ := strings.Cut(err.Error(), ": ")
			bad(fmt.Sprintf("point.hours[%d].%s", i+1, key), "%s", says)
		}
	}
}

// newHours returns the gate that pulls go through, by the clock of this machine.
func (d *distributionPoint) newHours() *window.Gate { return window.New(d.cfg.Point.hours(), time.Now) }

// setHours replaces the entries: pulls that run follow, and those that wait look again.
func (d *distributionPoint) setHours(hours []window.Hours) {
	d.hours.Set(hours)
	if d.point.puller != nil {
		d.point.puller.Poke()
	}
}

// pullLimit is what the metrics tell of the hours: the limit that holds now, 0 while they are closed; false where there is none.
func (d *distributionPoint) pullLimit() (limit float64, limited bool) {
	if d.point.file == nil {
		return 0, false
	}
	rule := d.hours.Rule()
	if rule.Allow == window.AllowNone {
		return 0, true
	}
	return rule.Limit, rule.Limit > 0
}
