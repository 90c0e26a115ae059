package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// live are the keys that a reload changes while the daemon runs; a name without a dot stands for its whole table.
func live() []string {
	return []string{
		"addresses", "drain", "on_stop", "multicast.ceiling", "unicast.slots", "unicast.budget", "session", "package", "limits",
		"history.keep", "history.max_rows", "pin", "logs", "validation", "doctor", "log.level", "registry.push_limit", "point.hours",
	}
}

// fixed are the keys that need a restart.
func fixed() []string {
	return []string{
		"state", "listen", "name", "multicast.interface", "multicast.interfaces", "multicast.groups", "multicast.ports", "multicast.ttl", "multicast.mtu",
		"admin", "metrics", "page", "history.record", "pki", "point.bundle", "point.poll",
		"registry.repository", "registry.credentials", "registry.ca", "registry.plain_http",
	}
}

// among reports whether a key, or its table, is in a list.
func among(key string, list []string) bool {
	return slices.ContainsFunc(list, func(k string) bool { return key == k || len(key) > len(k) && key[:len(k)] == k && key[len(k)] == '.' })
}

// changed lists the keys in which two configurations differ, in the order of the file. What
// [package] says is one key for each package.
func changed(from, to *config) []string {
	var out []string
	var walk func(prefix string, a, b reflect.Value)
	walk = func(prefix string, a, b reflect.Value) {
		for i := range a.NumField() {
			key := prefix + a.Type().Field(i).Tag.Get("toml")
			x, y := a.Field(i), b.Field(i)
			switch {
			case x.Kind() == reflect.Struct:
				walk(key+".", x, y)
			case x.Kind() == reflect.Map:
				out = append(out, changedTables(key, x, y)...)
			case x.Kind() == reflect.Slice && x.Len()+y.Len() == 0: // [] and nothing mean the same
			case !reflect.DeepEqual(x.Interface(), y.Interface()):
				out = append(out, key)
			}
		}
	}
	walk("", reflect.ValueOf(*from), reflect.ValueOf(*to))
	return out
}

func changedTables(prefix string, a, b reflect.Value) []string {
	names := map[string]bool{}
	for _, v := range []reflect.Value{a, b} {
		for _, k := range v.MapKeys() {
			names[k.String()] = true
		}
	}
	var out []string
	for name := range names {
		x, y := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
		if !x.IsValid() || !y.IsValid() || !reflect.DeepEqual(x.Interface(), y.Interface()) {
			out = append(out, fmt.Sprintf("%s.%q", prefix, name))
		}
	}
	slices.Sort(out)
	return out
}

// reloads is what metrics tell of reloads.
type reloads struct {
	good bool      // the latest
	at   time.Time // of the latest good one; the start counts
}

// reload reads the configuration again and takes over what can change while running. What is bad changes nothing. It says
// what it changed, and what needs a restart.
func (d *distributionPoint) reload(path string, level zap.AtomicLevel) {
	before := d.config()
	now, err := loadConfig(path)
	if err == nil {
		err = errors.Join(d.checkFlags(&now), d.checkDeployments(&now))
	}
	if err == nil && d.page.listener != nil {
		err = d.readPageCertificate(&d.cfg.Page) // the files may be newer; which they are needs a restart
	}
	if err == nil {
		err = d.unicast.SetLimits(now.Unicast.Slots, int64(now.Unicast.Budget))
	}
	if err != nil {
		d.noteReload(false)
		d.log.Error("reload: the configuration is bad; nothing changed", zap.Error(err))
		return
	}
	var applied, restart []string
	for _, key := range changed(before, &now) {
		if among(key, live()) {
			applied = append(applied, key)
		} else {
			restart = append(restart, key)
		}
	}
	_ = level.UnmarshalText([]byte(now.Log.Level)) // checked with the configuration
	kept := d.keepFixed(now)
	d.live.Store(&kept)
	if d.history != nil {
		d.history.SetKeep(time.Duration(now.History.Keep), now.History.MaxRows)
	}
	if d.clientLogs != nil {
		d.clientLogs.Set(time.Duration(now.Logs.Keep), int64(now.Logs.Max))
	}
	d.setHours(now.Point.hours())
	if d.fleet != nil {
		d.fleet.SetLimit(float64(now.Registry.PushLimit))
	}
	_ = d.validator.Set(now.Validation.Schedule, float64(now.Validation.Rate)) // checked with the configuration
	adjusted := d.adjust()
	d.noteReload(true)
	d.log.Info("reloaded", zap.Strings("applied", applied), zap.Strings("sessions_adjusted", adjusted))
	if len(restart) > 0 {
		d.log.Warn("these keys changed too, and need a restart: systemctl restart wimcastd", zap.Strings("keys", restart))
	}
}

// keepFixed returns a configuration with what needs a restart as it is in use, so that the next reload tells of it again.
func (d *distributionPoint) keepFixed(now config) config {
	used := d.cfg
	used.Addresses, used.Drain, used.OnStop = now.Addresses, now.Drain, now.OnStop
	used.Multicast.Ceiling = now.Multicast.Ceiling
	used.Unicast, used.Session, used.Package, used.Limits = now.Unicast, now.Session, now.Package, now.Limits
	used.History.Keep, used.History.MaxRows = now.History.Keep, now.History.MaxRows
	used.PIN, used.Logs = now.PIN, now.Logs
	used.Validation, used.Doctor, used.Log = now.Validation, now.Doctor, now.Log
	used.Point.Hours = now.Point.Hours
	used.Registry.PushLimit = now.Registry.PushLimit
	return used
}

// checkFlags refuses what a configuration says against the flags of packages.
func (d *distributionPoint) checkFlags(c *config) error {
	var errs []error
	for _, p := range d.library.List() {
		if !p.Flags.MulticastOnly {
			continue
		}
		if err := c.checkMulticastOnly(p.Name, p.Version); err != nil {
			errs = append(errs, fmt.Errorf("config: %w; or: wimcast image set %q --no-multicast-only", err, p.Reference()))
		}
	}
	return errors.Join(errs...)
}

func (d *distributionPoint) noteReload(good bool) {
	d.reloadsMu.Lock()
	defer d.reloadsMu.Unlock()
	d.reloads.good = good
	if good {
		d.reloads.at = time.Now()
	}
}

func (d *distributionPoint) lastReload() (good bool, at time.Time) {
	d.reloadsMu.Lock()
	defer d.reloadsMu.Unlock()
	return d.reloads.good, d.reloads.at
}

// reloading is what systemd is told when a reload begins: it wants to know when that was (sd_notify(3)).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return daemon.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}
