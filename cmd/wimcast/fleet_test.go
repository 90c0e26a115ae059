package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"wimcast/api"
)

// someFleet is a fleet in which everything occurs that is shown.
func someFleet(now time.Time) *api.Fleet {
	pkg := func(wanted int64, p api.PointPackage) api.FleetPackage {
		return api.FleetPackage{PointPackage: p, Wanted: wanted}
	}
	return &api.Fleet{Points: []api.FleetPoint{
		{
			Name: "north", Reported: now.Add(-2 * time.Second), ClockAhead: 3 * 86400,
			Packages: []api.FleetPackage{
				pkg(7, api.PointPackage{Package: "w11@2", Revision: 7, State: "success", Since: now.Add(-time.Hour), Validated: now.Add(-30 * time.Hour)}),
				pkg(9, api.PointPackage{Package: "w12@1", Revision: 9, State: "in_progress", Priority: "high", Bytes: 1e9, Total: 4e9, Rate: 2e6, ETA: 1500, Since: now.Add(-time.Minute)}),
				pkg(11, api.PointPackage{Package: "w13@1", Revision: 10, State: "not_told"}),
			},
			Casts: []api.PointCast{{
				Session: "s7", State: "casting", Package: "w11@2", Deployment: "lab12", Clients: map[string]int{"receiving": 20, "proven": 4},
				Progress: 0.61, Median: 0.88, Most: 1, Rate: 109e6, RateReason: "loss",
			}},
			OutOfService: []api.PointFault{{Package: "w9@1", Reason: "block 7 doesn't match"}},
		},
		{
			Name: "south", Reported: now.Add(-70 * time.Minute), OutOfReach: now.Add(-70 * time.Minute), ClockAhead: -90,
			Packages: []api.FleetPackage{
				pkg(0, api.PointPackage{Package: "w10@1", Revision: 3, State: "leaving"}),
				pkg(7, api.PointPackage{Package: "w11@2", Revision: 7, State: "failed", Error: "registry: 401\x1b[2J", Retry: now.Add(time.Minute), Bytes: 5, Total: 1e9}),
				pkg(9, api.PointPackage{Package: "w12@1", Revision: 9, State: "waiting", Priority: "low", Held: "the hours are open to high priority only, until Fri 18:00"}),
			},
		},
		{Name: "west"},
	}}
}

func TestShowFleet(t *testing.T) {
	now := time.Date(2026, 11, 27, 14, 0, 0, 0, time.Local)
	var out bytes.Buffer
	showFleet(&out, someFleet(now), now)
	got := regexp.MustCompile(`  +`).ReplaceAllString(out.String(), "  ")
	const want = `POINT  PACKAGE  STATE  DONE  RATE  ETA  SINCE  NOTE
north  w11@2  success  13:00:00  revision 7; validated 2026-11-26 08:00
north  w12@1  in progress  25% of 4.0 GB  2.0 MB/s  25m0s  13:59:00  revision 9; priority high
north  w13@1  not told  revision 10; 11 hasn't been told of
south (?)  w10@1  leaving  revision 3; isn't distributed to it any more
south (?)  w11@2  failed  0% of 1.0 GB  revision 7; registry: 401?[2J; next try 14:01:00
south (?)  w12@1  waiting  revision 9; priority low; the hours are open to high priority only, until Fri 18:00
west (?)  -  nothing is distributed to it

north: its clock is 72h0m0s ahead of this site's: its hours are wrong; times here are put right
north: w9@1 is out of service: block 7 doesn't match
north: s7 casting w11@2 for lab12: 24 clients (4 proven, 20 receiving), 61/88/100%, 109.0 MB/s (loss)
south: out of reach since 12:50:00 (1h10m0s); what is shown of it was so then
south: its clock is 1m30s behind this site's: its hours are wrong; times here are put right
west: has never reported; is its wimcastd running, with its point file, and does it reach admin.listen of this site?
`
	if got != want {
		t.Errorf("shown is\n%s\nwant\n%s", got, want)
	}
	out.Reset()
	showFleet(&out, &api.Fleet{}, now)
	if !strings.Contains(out.String(), "wimcast point add") {
		t.Errorf("%q", out.String())
	}
}

// fleetServer answers GET /v1/fleet on a socket.
func fleetServer(t *testing.T, answer func() (int, any)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/fleet" || r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		status, body := answer()
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

// TestFleetStatus asks for all, for a point, for a package, and for what there is not.
func TestFleetStatus(t *testing.T) {
	fleet := someFleet(time.Now())
	socket := fleetServer(t, func() (int, any) { return http.StatusOK, fleet })
	for which, want := range map[string]string{
		"": "north north north south (?) south (?) south (?) west (?)", "south": "south (?) south (?) south (?)", "w11@2": "north south (?)", "w11": "north south (?)", "w13": "north", "west": "west (?)",
	} {
		args := []string{"--socket", socket, "fleet", "status"}
		if which != "" {
			args = append(args, which)
		}
		var out, errOut bytes.Buffer
		if code := run(args, &out, &errOut); code != 0 {
			t.Fatalf("%s: %d, %s", which, code, &errOut)
		}
		text, _, _ := strings.Cut(out.String(), "\n\n")
		var points []string
		for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
			if point, _, _ := strings.Cut(line, "  "); i > 0 {
				points = append(points, point)
			}
		}
		if got := strings.Join(points, " "); got != want {
			t.Errorf("%q: %q, want %q", which, got, want)
		}
	}
	var out, errOut bytes.Buffer
	if code := run([]string{"--socket", socket, "fleet", "status", "w14"}, &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), `"w14"`) || !strings.Contains(errOut.String(), "wimcast fleet status") {
		t.Errorf("%d, %s", code, &errOut)
	}
	out.Reset()
	var back api.Fleet
	if code := run([]string{"--json", "--socket", socket, "fleet", "status", "south"}, &out, &errOut); code != 0 {
		t.Errorf("%d, %s", code, &errOut)
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back.Points) != 1 || len(back.Points[0].Packages) != 3 {
		t.Errorf("%s, %v", &out, err)
	}
	closed := fleetServer(t, func() (int, any) {
		return http.StatusConflict, api.Problem{Status: http.StatusConflict, Detail: "this daemon has no points"}
	})
	if code := run([]string{"--socket", closed, "fleet", "status"}, &out, &errOut); code != exitFailed || !strings.Contains(errOut.String(), "no points") {
		t.Errorf("%d, %s", code, &errOut)
	}
}

// lockedBuffer is a buffer that is read while it is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// TestFleetWatch goes on over a site that is away, writes only what has changed, and ends when it is told to.
func TestFleetWatch(t *testing.T) {
	fleet := &api.Fleet{Points: []api.FleetPoint{{Name: "north"}}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	socket := fleetServer(t, func() (int, any) {
		switch asked++; asked {
		case 2:
			return http.StatusInternalServerError, nil
		case 3:
			fleet.Points[0].Name = "south"
		case 4:
			cancel() // it has written what came before
		}
		return http.StatusOK, fleet
	})
	var out, errOut lockedBuffer
	err := (&fleetStatus{Watch: true}).Run(ctx, &console{out: &out, err: &errOut, json: true, place: place{Socket: socket}})
	if err != nil || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), "south") || !strings.Contains(errOut.String(), "trying again") {
		t.Errorf("%v, %s%s", err, out.String(), errOut.String())
	}
	if err := (&fleetStatus{Watch: true}).Run(t.Context(), &console{out: &out, err: &errOut, place: place{Socket: filepath.Join(t.TempDir(), "none")}}); err == nil {
		t.Error("a site that was never there is waited for")
	}
}

// TestEventOfAPoint is a line of its own.
func TestEventOfAPoint(t *testing.T) {
	line := eventLine(api.Event{Kind: api.PackageArrived, Point: "north", Package: "w11@2", Text: "revision 7 is in service"})
	if !strings.HasSuffix(line, "north  w11@2  package_arrived: revision 7 is in service") {
		t.Errorf("%q", line)
	}
}
