package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/browser"
)

// TestPagePictures takes pictures of the page into the folder that WIMCAST_PAGE_PICTURES names, for somebody to look at: each view, dark and
// light, wide and narrow, empty, full and at fault.
func TestPagePictures(t *testing.T) {
	dir := os.Getenv("WIMCAST_PAGE_PICTURES")
	if dir == "" {
		t.Skip("WIMCAST_PAGE_PICTURES names no folder for pictures")
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, fmt.Errorf("the test took more than %v", 2*time.Minute))
	defer cancel()
	f := newFeed(t)
	b := browser.ForTest(ctx, t, f.server.URL)
	shots := func(name string) {
		for _, scheme := range []string{"light", "dark"} {
			b.Scheme(scheme)
			browser.Eval[bool](b, "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
			b.Shot(filepath.Join(dir, name+"-"+scheme+".png"))
		}
	}
	b.Open(f.server.URL)
	b.UntilText("wants a link")
	shots("locked")
	b.Open(f.link())
	b.UntilText("No images yet")
	shots("rooms-0")

	big, small, wait := newRoom("s7", 500), newRoom("s9", 3), newRoom("s10", 22)
	small.Deployment, small.Package = "office-3", "w10-ltsc@4"
	wait.State, wait.Deployment, wait.Minimum, wait.Waiting, wait.Deadline = "waiting", "lab14", 24, 22, time.Now().Add(11*time.Minute+31*time.Second)
	for range 150 {
		big.step(0.0041)
		small.step(0.006)
	}
	wait.Session.States = map[string]int{"waiting": 22}
	big.clients[40].State, big.clients[40].Reason = "failed", "disk: no space left on the target"
	big.clients[41].State, big.clients[41].Reason, big.clients[41].Map, big.clients[41].Path = "unicast", "it heard nothing of the group for 10 s", nil, "unicast"
	big.step(0.004)
	ended := newRoom("s6", 30).Session
	ended.Deployment, ended.State, ended.Ended, ended.Reason, ended.Progress, ended.Median, ended.Most = "lab11", "ended", time.Now().Add(-7*time.Minute), "all clients are done", 1, 1, 1
	ended.States = map[string]int{"proven": 29, "left": 1}
	fault := small.Session
	fault.Alarm = "4 of 5 clients hear nothing of group 239.195.16.2: look for a querier, the TTL, and the firewall in the boot image; next: wimcast doctor"
	fault.ID, fault.Deployment = "s11", "lab15"
	fault.States = map[string]int{"unicast": 4, "receiving": 1, "failed": 1}
	f.set("/v1/sessions", []api.Session{big.Session, small.Session, wait.Session, fault, ended})
	f.set("/v1/queue", []api.Queued{{Name: "pc77", Address: "10.1.2.3", Package: "w10-ltsc@4", Since: time.Now().Add(-95 * time.Second), Place: 1, Limit: "limits.max_clients", Reason: "500 clients are in the session already"}})
	f.set("/v1/doctor", api.Doctor{Findings: []api.Finding{{State: "fail", Check: "querier", Text: "none heard on eth1 in 125 s; flow will stop after about 260 s", Next: "turn one on at the switch"}}})
	f.set("/v1/images", []api.Image{
		{Name: "w11-education", Version: "2026.11", Comment: "the one for teaching rooms", Size: 5_400_000_000, Added: time.Now().Add(-80 * time.Hour), Validated: time.Now().Add(-20 * time.Hour), AllowMulticast: true, Encrypt: true, Compression: "LZX", Images: []api.ImageInfo{{Index: 1, Name: "Education"}, {Index: 2, DisplayName: "Education N"}}},
		{Name: "w10-ltsc", Version: "4", Size: 4_100_000_000, Added: time.Now().Add(-900 * time.Hour), AllowMulticast: true, MulticastOnly: true, OutOfService: "block 4711 isn't what was added", Images: []api.ImageInfo{{Index: 1, Name: "LTSC"}}},
	})
	f.set("/v1/deployments", []api.Deployment{{Name: "lab12", Image: "w11-education", Package: "w11-education@2026.11"}, {Name: "lab14", Package: "w11-education@2026.11"}})
	f.set("/v1/points", []api.Point{{Name: "north", Packages: []api.AssignedPackage{{Package: "w11-education@2026.11", State: "success"}}}, {Name: "south", Packages: []api.AssignedPackage{{Package: "w11-education@2026.11", State: "in_progress"}}}})
	f.set("/v1/fleet", api.Fleet{Points: []api.FleetPoint{
		{Name: "north", Reported: time.Now().Add(-3 * time.Second), Version: "1.2.3", Free: 120_000_000_000, Packages: []api.FleetPackage{
			{PointPackage: api.PointPackage{Package: "w11-education@2026.11", State: "success", Since: time.Now().Add(-5 * time.Hour)}},
			{PointPackage: api.PointPackage{Package: "w10-ltsc@4", State: "failed", Error: "no space left: 4.1 GB are needed, 1.2 GB free", Retry: time.Now().Add(4 * time.Minute)}},
		}, Casts: []api.PointCast{{Deployment: "lab31", Progress: 0.42}}},
		{Name: "south", Reported: time.Now().Add(-400 * time.Second), OutOfReach: time.Now().Add(-340 * time.Second), Version: "1.2.2", Packages: []api.FleetPackage{
			{PointPackage: api.PointPackage{Package: "w11-education@2026.11", State: "in_progress", Bytes: 2_000_000_000, Total: 5_400_000_000, Rate: 2e6}},
		}, Casts: []api.PointCast{}},
	}})
	f.set("/v1/history/sessions", []api.HistorySession{
		{ID: 12, Session: "s6", Package: "w11-education@2026.11", Deployment: "lab11", State: "ended", Reason: "all clients are done", Started: time.Now().Add(-time.Hour), Seconds: 512, Clients: 30, Proven: 29, Failed: 1},
		{ID: 11, Session: "s5", Package: "w10-ltsc@4", State: "interrupted", Started: time.Now().Add(-30 * time.Hour), Seconds: 99, Clients: 4, Interrupted: 4},
	})
	const path = "/v1/sessions/s7/live"
	f.send(path, "snapshot", big.snapshot())
	b.Open(f.server.URL + "/#/rooms")
	b.UntilText("lab15")
	shots("rooms")
	b.Open(f.server.URL + "/#/session/s7")
	b.Until("strips", "document.querySelectorAll('.clients tbody tr').length === 500")
	shots("session")
	b.Size(1440, 2200)
	shots("session-long")
	b.Size(1440, 900)
	for _, view := range []string{"images", "fleet", "history"} {
		b.Open(f.server.URL + "/#/" + view)
		b.Until(view, "document.querySelector('tbody tr')")
		shots(view)
	}
	b.Size(390, 844)
	b.Open(f.server.URL + "/#/rooms")
	b.UntilText("lab15")
	shots("phone-rooms")
	b.Open(f.server.URL + "/#/session/s7")
	b.Until("strips", "document.querySelectorAll('.clients tbody tr').length === 500")
	shots("phone-session")
	browser.Eval[bool](b, "(document.querySelector('.clients').scrollIntoView(), true)")
	shots("phone-clients")
	if faults := b.Faults(); len(faults) > 0 {
		t.Errorf("the browser complains: %q", faults)
	}
}
