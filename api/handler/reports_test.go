package handler

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"wimcast/api"
	"wimcast/api/reports"
	"wimcast/crypto/keyex"
)

// north is a status as a point sends it.
const north = `{"version":"1","started":"2026-11-27T01:00:00Z","clock":"2026-11-30T02:00:00Z","library_free_bytes":1000,
"packages":[{"package":"w11@2","revision":7,"digest":"ab","state":"success","priority":"high","since":"2026-11-30T01:30:00Z"},
{"package":"w10@1","revision":8,"state":"in_progress","bytes":5,"total_bytes":10,"rate_bytes_per_second":2.5,"eta_seconds":2}],
"casts":[{"session":"s1","package":"w11@2","state":"casting","clients":{"receiving":3},"progress":0.1,"progress_median":0.2,"progress_max":0.3,"rate_bytes_per_second":5e6,"rate_reason":"loss"}]}`

// askFleet goes over what points report and what is told of them.
func (p *point) askFleet(ask func(c *caller, operation, path, body string, status int) []byte) {
	p.t.Helper()
	const report, show = "PUT /v1/points/{name}/status", "GET /v1/fleet"
	p.wanted = map[string][]reports.Wanted{"north": {{Package: "w11@2", Revision: 7, Priority: "high"}, {Package: "w12@1", Revision: 9, Priority: "low"}}, "south": nil}
	viewer, its := p.over(keyex.Viewer), p.with(p.bundle("north", keyex.Point))
	ask(viewer, show, "", "", http.StatusOK)
	ask(its, show, "", "", http.StatusForbidden)
	ask(its, report, "/v1/points/north/status", north, http.StatusOK)
	ask(its, report, "/v1/points/north/status", strings.Replace(north, `{"version"`, `{"of_later":{"a":[1]},"version"`, 1), http.StatusOK)
	ask(its, report, "/v1/points/south/status", north, http.StatusForbidden)
	ask(p.with(p.bundle("north", keyex.Operator)), report, "/v1/points/north/status", north, http.StatusForbidden)
	ask(p.local(), report, "/v1/points/north/status", north, http.StatusForbidden)
	ask(p.with(p.bundle("west", keyex.Point)), report, "/v1/points/west/status", north, http.StatusNotFound)
	ask(its, report, "/v1/points/north/status", `{"version":1}`, http.StatusBadRequest)
	ask(its, report, "/v1/points/north/status", `{}`, http.StatusUnprocessableEntity)
	ask(its, report, "/v1/points/north/status", `{"version":"`+strings.Repeat("x", maxJSON)+`"}`, http.StatusRequestEntityTooLarge)
	var got api.Fleet
	if err := json.Unmarshal(ask(viewer, show, "", "", http.StatusOK), &got); err != nil || len(got.Points) != 2 || got.Points[1].Name != "south" || !got.Points[1].Reported.IsZero() {
		p.t.Fatalf("%+v, %v", got, err)
	}
	n := got.Points[0]
	states := map[string]string{}
	for _, pkg := range n.Packages {
		states[pkg.Package] = pkg.State
	}
	if n.Name != "north" || n.Reported.IsZero() || !n.OutOfReach.IsZero() || n.ClockAhead == 0 || len(n.Casts) != 1 || n.Casts[0].Clients["receiving"] != 3 ||
		len(states) != 3 || states["w11@2"] != "success" || states["w12@1"] != "not_told" || states["w10@1"] != "leaving" {
		p.t.Errorf("%+v", n)
	}
	// A point of a site that distributes no more is told so.
	kept := p.api.server.Reports
	p.api.server.Reports = nil
	ask(its, report, "/v1/points/north/status", north, http.StatusConflict)
	p.api.server.Reports = kept
}

// TestPackageEvents: what came into service at a point is told once, to whoever follows events.
func TestPackageEvents(t *testing.T) {
	p := newPoint(t)
	p.wanted = map[string][]reports.Wanted{"north": nil}
	its := p.with(p.bundle("north", keyex.Point))
	for range 3 {
		if answer, text := its.ask(http.MethodPut, "/v1/points/north/status", north); answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", answer.Status, text)
		}
	}
	var told []api.Event
	for _, e := range p.kept() {
		if e.Kind == api.PackageArrived {
			told = append(told, e)
		}
	}
	if len(told) != 1 || told[0].Point != "north" || told[0].Package != "w11@2" {
		t.Errorf("%+v", told)
	}
}
