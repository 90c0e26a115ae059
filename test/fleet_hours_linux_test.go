package test

import (
	"testing"
	"time"

	"wimcast/api"
)

// hours is an entry of all hours of the week.
func hours(keys string) string {
	return "\n[[point.hours]]\ndays = \"all\"\nfrom = \"00:00\"\nto = \"24:00\"\n" + keys + "\n"
}

// TestFleetHours: hours that are closed hold a pull, those that are open to high priority alone hold all others, a limit holds all
// together; and a change of them counts at once, in mid-pull.
func TestFleetHours(t *testing.T) {
	f := withFleet(t, 1, 1)
	p := f.points[0]
	p.hours = hours(`allow = "none"`)
	f.enlist()
	urgent := f.marked("urgent", 1<<20)
	f.cli("image", "add", f.noisy("w11", 50<<20), "--name", "w11", "--version", "1")
	f.cli("image", "add", urgent, "--name", "urgent", "--version", "1")
	f.cli("image", "distribute", "w11", "--to", "north", "--priority", "low")
	f.cli("image", "distribute", "urgent", "--to", "north", "--priority", "high")
	chunks := func() (n int) { // that came
		for _, size := range f.blobs(p) {
			if size > 1<<16 {
				n++
			}
		}
		return n
	}
	for _, ref := range []string{"w11@1", "urgent@1"} {
		f.reaches(p, ref, "waiting, with the reason", func(has api.FleetPackage) bool { return has.State == api.PackageWaiting && has.Held != "" })
	}
	if n := chunks(); n != 0 {
		t.Errorf("%d chunks came though the hours are closed", n)
	}

	p.hours = hours(`allow = "high"`)
	f.configure(p)
	f.arrived(p, "urgent@1", 0)
	if has := f.of(p, "w11@1"); has.State != api.PackageWaiting || has.Held == "" {
		t.Errorf("low priority in hours that are open to high alone: %+v", has)
	}

	// Open, with a limit: it is held.
	const limit = 2_000_000
	began, before := time.Now(), f.of(p, "w11@1").Bytes
	p.hours = hours(`limit = "2 MB/s"`)
	f.configure(p)
	has := f.reaches(p, "w11@1", "8 MB on the way", func(has api.FleetPackage) bool { return has.Bytes-before >= 8<<20 })
	if took := time.Since(began); took < 3*time.Second {
		t.Errorf("%d bytes took %v at a limit of %d bytes/s", has.Bytes, took, limit)
	}
	if has.State != api.PackageInProgress || has.ETA <= 0 || has.Total <= has.Bytes || has.Rate <= 0 || has.Rate > 2*limit {
		t.Errorf("in mid-pull: %+v", has)
	}
	if at := f.status()["north"]; at.Limit < 0.99*limit || at.Limit > 1.01*limit {
		t.Errorf("the limit that the site knows of: %v, want %d", at.Limit, limit)
	}
	// Closed in mid-pull: it stops.
	p.hours = hours(`allow = "none"`)
	f.configure(p)
	held := f.reaches(p, "w11@1", "held", func(has api.FleetPackage) bool { return has.Held != "" })
	if held.Bytes >= held.Total {
		t.Errorf("closed in mid-pull: %+v", held)
	}
	p.hours = ""
	f.configure(p)
	f.arrived(p, "w11@1", 0)
	f.fetchedAgain(p)
}
