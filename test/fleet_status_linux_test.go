package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/registry"
	"wimcast/test/rig"
)

// reporting is a site and a point of it on loopback, as far as the point's reports go.
type reporting struct {
	*stage
	point  *rig.Daemon
	tables string
}

// fleetOf asks the site for a point.
func (r *reporting) fleetOf(name string) (p api.FleetPoint) {
	r.t.Helper()
	all, err := api.NewClient(filepath.Join(r.daemon.Dir, "admin.sock")).Fleet(r.ctx)
	i := slices.IndexFunc(all.Points, func(p api.FleetPoint) bool { return p.Name == name })
	if err != nil || i < 0 {
		r.t.Fatalf("%+v, %v", all, err)
	}
	return all.Points[i]
}

// isAt waits until the site shows a package at the point in a state.
func (r *reporting) isAt(ref, state string) (is api.FleetPackage) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s is %s at north", ref, state), func() bool {
		for _, p := range r.fleetOf("north").Packages {
			if p.Package == ref {
				is = p
			}
		}
		return is.State == state
	})
	return is
}

// config is the point's configuration, with hours.
func (r *reporting) config(hours string) rig.Config {
	return rig.Config{Multicast: `ceiling = "1 MB/s"`, Admin: fmt.Sprintf("%s\n[point]\nbundle = %q\npoll = \"5s\"\n%s", r.tables, filepath.Join(r.dir, "north.point"), hours)}
}

// scrape returns what a daemon's metrics say.
func (r *reporting) scrape(d *rig.Daemon) string {
	r.t.Helper()
	answer, err := http.Get(d.Metrics())
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// TestFleetStatus: what a site tells of its points is what they are: closed hours, a pull, success, a cast, a site that is started again, a point
// that never came.
func TestFleetStatus(t *testing.T) {
	server := registry.ForTest(t, registry.Options{})
	r := &reporting{tables: fmt.Sprintf("[registry]\nrepository = %q\nplain_http = true\n", server.Repository("wimcast"))}
	r.stage = prepare(t)
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("the test took more than %v", patience))
	t.Cleanup(cancel)
	r.ctx = ctx // without the time that building took
	r.start(rig.Loopback("server"), rig.Config{Admin: fmt.Sprintf("listen = \"127.0.0.1:%s\"\n%s", freePort(t), r.tables)})
	for _, name := range []string{"north", "south"} {
		r.cli("point", "add", name, "-o", filepath.Join(r.dir, name+".point"))
	}
	var w11 api.Image
	if err := r.daemon.Ask(r.ctx, &w11, "image", "show", "w11"); err != nil {
		t.Fatal(err)
	}
	ref := w11.Name + "@" + w11.Version
	r.cli("image", "distribute", "w11", "--all", "--priority", "low")
	if p := r.fleetOf("south"); !p.Reported.IsZero() || len(p.Packages) != 1 || p.Packages[0].State != api.PackageNotTold {
		t.Errorf("a point that never came: %+v", p)
	}

	// Closed hours.
	const closed = "[[point.hours]]\ndays = \"all\"\nfrom = \"00:00\"\nto = \"24:00\"\nallow = \"high\"\nlimit = \"2 MB/s\"\n"
	state := filepath.Join(r.dir, "north")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.point, err = rig.StartDaemon(r.ctx, rig.Loopback("north"), r.programs, state, r.config(closed)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.point.Kill()
		if t.Failed() {
			t.Logf("point's log:\n%s", r.point.Log())
		}
	})
	if is := r.isAt(ref, api.PackageWaiting); !strings.Contains(is.Held, "open to high priority only") {
		t.Errorf("%+v", is)
	}
	if text := r.scrape(r.point); !strings.Contains(text, "\nwimcast_pull_limit_bytes_per_second 2e+06\n") {
		t.Errorf("the point's metrics don't tell the limit")
	}

	// Open, by a reload.
	events := r.remoteEvents()
	if err := r.point.Configure(r.config("")); err != nil {
		t.Fatal(err)
	}
	if err := r.point.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	reloaded := time.Now()
	is := r.isAt(ref, api.PackageSuccess)
	t.Logf("%d bytes were there %v after the hours opened", is.Total, time.Since(reloaded).Round(time.Millisecond))
	if is.Revision != is.Wanted || is.Revision < 1 || is.Since.IsZero() || is.Validated.IsZero() || is.Digest != w11.Digest {
		t.Errorf("%+v", is)
	}
	arrived := events.until(t, "the arrival is an event", func(all []happening) bool { return kinds(all, string(api.PackageArrived), "") == 1 })
	events.stop()
	if len(arrived) == 0 {
		t.Error("no event")
	}
	site := r.scrape(r.daemon)
	for _, want := range []string{
		`wimcast_distribution_packages{point="north",state="success"} 1`, `wimcast_distribution_packages{point="south",state="not_told"} 1`,
		`wimcast_point_last_report_timestamp_seconds{point="north"} `,
	} {
		if !strings.Contains(site, "\n"+want) {
			t.Errorf("the site's metrics lack %s", want)
		}
	}

	// A cast of the point is known at the site.
	if _, err := r.point.CLI(r.ctx, "deployment", "create", "w11", "--image", "w11"); err != nil {
		t.Fatal(err)
	}
	get := r.getAt(rig.Loopback("pc01"), "--server", r.listeningAt(r.point))
	r.eventually("the site tells of the cast", func() bool {
		p := r.fleetOf("north")
		return len(p.Casts) == 1 && p.Casts[0].Package == ref && p.Casts[0].Clients["receiving"] == 1 && p.Casts[0].Rate > 0
	})
	if text := r.cli("fleet", "status"); !strings.Contains(text, "north: s1 casting "+ref) || !strings.Contains(text, "south: has never reported") {
		t.Errorf("%s", text)
	}
	get.Kill()

	// The site is stopped and started again: it remembers. The point goes on reporting.
	was := r.fleetOf("north")
	if err := r.point.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := r.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.daemon.Start(r.ctx); err != nil {
		t.Fatal(err)
	}
	now := r.fleetOf("north")
	if now.Reported.IsZero() || now.Reported.Before(was.Reported) || len(now.Packages) != 1 || now.Packages[0].State != api.PackageSuccess {
		t.Errorf("after a start: %+v, was %+v", now, was)
	}
	if err := r.point.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r.eventually("the point reports again", func() bool { return r.fleetOf("north").Reported.After(now.Reported) })
}

// listeningAt is where a daemon's clients go, as its log says.
func (r *reporting) listeningAt(d *rig.Daemon) (listen string) {
	r.t.Helper()
	for line := range strings.Lines(d.Log()) {
		var entry struct{ Msg, Listen string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "ready" {
			listen = entry.Listen
		}
	}
	return listen
}

// remoteEvents follows the site's events.
func (r *reporting) remoteEvents() *follower {
	var status struct {
		Admin string `json:"admin_listen"`
	}
	r.ask(&status, "/v1/status")
	return r.remote("eve", "viewer", status.Admin).events("")
}
