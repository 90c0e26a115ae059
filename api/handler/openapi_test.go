package handler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// document loads api/openapi.json and holds that it is OpenAPI 3.1.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestRoutes: every route is in the document, every operation is a route, and both want
// the same role.
func TestRoutes(t *testing.T) {
	doc := document(t)
	left := map[string]*openapi3.Operation{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			left[method+" "+path] = operation
		}
	}
	for _, r := range routes() {
		name := r.method + " " + r.path
		operation := left[name]
		delete(left, name)
		if operation == nil {
			t.Errorf("%s isn't in the document", name)
			continue
		}
		var roles []string
		for _, requirement := range *operation.Security {
			roles = append(roles, requirement["certificate"]...)
		}
		if !slices.Equal(roles, []string{string(r.role)}) {
			t.Errorf("%s: the document wants %v, the server %s", name, roles, r.role)
		}
		if looks := r.method == http.MethodGet || r.path == "/v1/page/tokens"; r.role != keyex.Worker && r.role != keyex.Point && looks != (r.role == keyex.Viewer) {
			t.Errorf("%s wants %s: a viewer may only GET, and make a link to a page that only shows", name, r.role)
		}
	}
	for name := range left {
		t.Errorf("%s is in the document, but no route", name)
	}
}

// TestRoutesAreInTheManual: docs/api.md lists each route, and no other.
func TestRoutesAreInTheManual(t *testing.T) {
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(manual)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			if _, path, ok := strings.Cut(name, " "); ok && strings.HasPrefix(path, "/v1/") {
				listed[name] = true
			}
		}
	}
	for _, r := range routes() {
		if name := r.method + " " + r.path; !listed[name] {
			t.Errorf("docs/api.md doesn't list %s", name)
		} else {
			delete(listed, name)
		}
	}
	for name := range listed {
		t.Errorf("docs/api.md lists %s, which is no route", name)
	}
}

// TestSchemas: the schemas have the fields of the types that go over the wire, and call
// required what is always there.
func TestSchemas(t *testing.T) {
	doc := document(t)
	for name, value := range map[string]any{
		"Problem": api.Problem{}, "Status": api.Status{}, "Image": api.Image{}, "ImageInfo": api.ImageInfo{}, "ImageChange": api.ImageChange{}, "ImageExport": api.ImageExport{},
		"Deployment": api.Deployment{}, "DeploymentChange": api.DeploymentChange{},
		"Session": api.Session{}, "SessionWait": api.SessionWait{}, "SupportRequest": api.SupportRequest{}, "Queued": api.Queued{}, "Sent": api.Sent{}, "NACKs": api.NACKs{}, "Member": api.Member{}, "Bundle": api.Bundle{},
		"Point": api.Point{}, "OwnPoint": api.OwnPoint{}, "PointAdded": api.PointAdded{}, "AssignedPackage": api.AssignedPackage{}, "PointLeftOut": api.PointLeftOut{}, "PointAdd": api.PointAdd{}, "PointChange": api.PointChange{},
		"PointRemoved": api.PointRemoved{}, "Distribute": api.Distribute{}, "Distributed": api.Distributed{}, "Withdraw": api.Withdraw{}, "Withdrawn": api.Withdrawn{},
		"PageLink": api.PageLink{}, "PIN": api.PIN{}, "PINSet": api.PINSet{}, "ClientLog": api.ClientLog{}, "ClientMachine": api.ClientMachine{}, "ClientLogFile": api.ClientLogFile{},
		"BundleIssued": api.BundleIssued{}, "BundleRevoked": api.BundleRevoked{}, "BundleRequest": api.BundleRequest{}, "PointAt": api.PointAt{},
		"Live": api.Live{}, "LiveClient": api.LiveClient{}, "LiveSample": api.LiveSample{},
		"Event": api.Event{}, "EventClient": api.EventClient{},
		"HistorySession": api.HistorySession{}, "HistoryClient": api.HistoryClient{}, "HistoryAction": api.HistoryAction{},
		"Update": api.Update{}, "UpdateIdentity": api.UpdateIdentity{}, "ImageUpdates": api.ImageUpdates{}, "InstalledPackage": api.InstalledPackage{},
		"AppliedUpdate": api.AppliedUpdate{}, "JudgedUpdate": api.JudgedUpdate{}, "ScheduleRequest": api.ScheduleRequest{}, "SchedulePlan": api.SchedulePlan{},
		"Schedule": api.Schedule{}, "ScheduleRun": api.ScheduleRun{}, "ScheduleStep": api.ScheduleStep{}, "RollbackRequest": api.RollbackRequest{}, "RolledBack": api.RolledBack{},
		"WorkerClaim": api.WorkerClaim{}, "WorkerJob": api.WorkerJob{}, "WorkerPackage": api.WorkerPackage{}, "WorkerReport": api.WorkerReport{}, "WorkerStep": api.WorkerStep{},
		"PointStatus": api.PointStatus{}, "PointPackage": api.PointPackage{}, "PointCast": api.PointCast{}, "PointFault": api.PointFault{}, "PointRenewed": api.PointRenewed{},
		"Fleet": api.Fleet{}, "FleetPoint": api.FleetPoint{}, "FleetPackage": api.FleetPackage{},
		"Doctor": api.Doctor{}, "Finding": api.Finding{},
		"Proof": api.Proof{}, "ProofMachine": api.ProofMachine{}, "Forgotten": api.Forgotten{},
	} {
		schema := doc.Components.Schemas[name]
		if schema == nil {
			t.Errorf("no schema %s", name)
			continue
		}
		var always, all []string
		fields(reflect.TypeOf(value), &always, &all)
		if has := slices.Sorted(maps.Keys(schema.Value.Properties)); !slices.Equal(has, all) {
			t.Errorf("%s: the document has %v, the type %v", name, has, all)
		}
		if name == "BundleRequest" {
			always = []string{"name", "role"} // the others have defaults
		}
		if required := slices.Sorted(slices.Values(schema.Value.Required)); !slices.Equal(required, always) {
			t.Errorf("%s: the document requires %v, the type always has %v", name, required, always)
		}
	}
}

// fields lists the JSON names of a struct's fields, sorted.
func fields(of reflect.Type, always, all *[]string) {
	for f := range of.Fields() {
		if f.Anonymous {
			fields(f.Type, always, all)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		*all = append(*all, name)
		if options == "" {
			*always = append(*always, name)
		}
	}
	slices.Sort(*always)
	slices.Sort(*all)
}

// judge holds answers against the document, more strictly than a client should: with no
// field and no status that isn't in it.
type judge struct {
	t    *testing.T
	doc  *openapi3.T
	seen map[string]map[int]bool // statuses by operation
}

func newJudge(t *testing.T) *judge {
	j := &judge{t: t, doc: document(t), seen: map[string]map[int]bool{}}
	closed := false
	for _, schema := range j.doc.Components.Schemas {
		if s := schema.Value; s.Type.Is("object") && s.AdditionalProperties.Has == nil {
			s.AdditionalProperties.Has = &closed
		}
	}
	return j
}

// check judges the answer to a request of an operation such as "GET /v1/images/{ref}".
func (j *judge) check(operation string, answer *http.Response, body []byte) {
	j.t.Helper()
	method, path, _ := strings.Cut(operation, " ")
	item := j.doc.Paths.Value(path)
	if item == nil || item.GetOperation(method) == nil {
		j.t.Fatalf("%s isn't in the document", operation)
	}
	if j.seen[operation] == nil {
		j.seen[operation] = map[int]bool{}
	}
	j.seen[operation][answer.StatusCode] = true
	documented := item.GetOperation(method).Responses.Value(fmt.Sprint(answer.StatusCode))
	if documented == nil {
		j.t.Errorf("%s ends in %d, which the document doesn't say: %s", operation, answer.StatusCode, body)
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: answer.Request, Route: &routers.Route{Spec: j.doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)},
		},
		Status: answer.StatusCode, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateResponse(j.t.Context(), input); err != nil {
		j.t.Errorf("%s: %d: %v", operation, answer.StatusCode, err)
	}
}

// all holds that every status of every operation was seen.
func (j *judge) all() {
	j.t.Helper()
	for path, item := range j.doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				var code int
				if _, err := fmt.Sscan(status, &code); err == nil && !j.seen[method+" "+path][code] {
					j.t.Errorf("%s %s: the document says %d, and no request of this test ends so", method, path, code)
				}
			}
		}
	}
}

// TestJudgeCanTell: what isn't in the document is found.
func TestJudgeCanTell(t *testing.T) {
	doc := newJudge(t).doc
	good := map[string]any{"name": "a", "role": "winpe", "serial": strings.Repeat("0", 32), "expires": "2026-11-23T00:00:00Z", "revoked": false}
	visit := func(v map[string]any) error {
		return doc.Components.Schemas["Bundle"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020())
	}
	if err := visit(good); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(map[string]any){
		"unknown field": func(v map[string]any) { v["color"] = "red" },
		"missing field": func(v map[string]any) { delete(v, "serial") },
		"wrong type":    func(v map[string]any) { v["revoked"] = "no" },
		"wrong word":    func(v map[string]any) { v["role"] = "king" },
	} {
		v := maps.Clone(good)
		change(v)
		if visit(v) == nil {
			t.Errorf("%s isn't found", what)
		}
	}
}

// TestAnswers goes over the whole API with real parts, in good and in bad, and holds every
// answer against the document, and the document against what was seen.
func TestAnswers(t *testing.T) {
	p, j := newPoint(t), newJudge(t)
	operator, local := p.over(keyex.Operator), p.local()
	ask := func(c *caller, operation, path string, body string, status int) []byte {
		t.Helper()
		method, pattern, _ := strings.Cut(operation, " ")
		if path == "" {
			path = pattern
		}
		answer, text := c.ask(method, path, body)
		if answer.StatusCode != status {
			t.Errorf("%s %s: %d, want %d: %s", method, path, answer.StatusCode, status, text)
		}
		j.check(operation, answer, text)
		return text
	}
	const refused = http.StatusUnprocessableEntity
	large := `{"comment":"` + strings.Repeat("x", maxJSON) + `"}`

	// Who may not, whatever they ask for.
	viewer := p.over(keyex.Viewer)
	for _, r := range routes() {
		path := strings.NewReplacer("{ref}", "x", "{id}", "s1", "{name}", "x", "{which}", "x", "{sum}", "x", "{file}", "x", "{room}", "x").Replace(r.path)
		name := r.method + " " + r.path
		if r.role != keyex.Viewer {
			ask(viewer, name, path, "", http.StatusForbidden)
		} else {
			// Over a connection that was open before; a new one isn't let in at all.
			ask(p.stale(), name, path, "", http.StatusForbidden)
		}
	}

	// The daemon and this document.
	ask(local, "GET /v1/status", "", "", http.StatusOK)
	ask(viewer, "GET /v1/doctor", "", "", http.StatusOK)
	if got := ask(operator, "GET /v1/openapi.json", "", "", http.StatusOK); !bytes.Equal(got, api.OpenAPI()) {
		t.Error("the document that is served is another")
	}

	ask(operator, "POST /v1/support", "", `{}`, http.StatusOK)
	ask(operator, "POST /v1/support", "", `{"since":"yesterday"}`, http.StatusBadRequest)
	ask(operator, "POST /v1/support", "", `{"session":"s404"}`, http.StatusNotFound)
	ask(operator, "POST /v1/support", "", large, http.StatusRequestEntityTooLarge)

	// Images.
	wim := testWIM(300_000, 1, "Windows 11")
	ask(operator, "GET /v1/images", "", "", http.StatusOK)
	ask(operator, "POST /v1/images", "/v1/images?name=w11&version=1&comment=a+b", string(wim), http.StatusOK)
	ask(local, "POST /v1/images", "/v1/images?name=w11&version=1", string(wim), http.StatusOK)
	ask(local, "POST /v1/images", "/v1/images?name=w12", "no WIM", refused)
	ask(operator, "POST /v1/images", "/v1/images?name=w12&index=9", string(wim), refused)
	ask(operator, "POST /v1/images", "/v1/images?name=w12&sha256="+strings.Repeat("0a", 32), string(wim), refused)
	for _, wrong := range []string{"index=0", "index=x", "sha256=00", "again=http://h/f.wim", "again=https://u@h/f.wim", "again=https://h/f.wim?k=v", "again=/a.wim"} {
		ask(operator, "POST /v1/images", "/v1/images?name=w12&"+wrong, string(wim), http.StatusBadRequest)
	}
	ask(local, "POST /v1/images", "/v1/images?name=w9&source=a.wim&again=/a.wim", string(wim), http.StatusOK)
	ask(operator, "DELETE /v1/images/{ref}", "/v1/images/w9", "", http.StatusOK)
	ask(local, "POST /v1/images", "/v1/images?name=w10&version=1", string(wim), http.StatusOK) // the same content
	var image api.Image
	if err := json.Unmarshal(ask(viewer, "GET /v1/images/{ref}", "/v1/images/w11@1", "", http.StatusOK), &image); err != nil || image.Name != "w11" || len(image.Images) != 1 {
		t.Errorf("%+v, %v", image, err)
	}
	ask(viewer, "GET /v1/images", "", "", http.StatusOK)
	ask(viewer, "GET /v1/images/{ref}", "/v1/images/w13", "", http.StatusNotFound)
	both := "/v1/images/" + image.Digest // of two packages
	ask(viewer, "GET /v1/images/{ref}", both, "", refused)
	ask(operator, "PATCH /v1/images/{ref}", "/v1/images/w11", `{"comment":"new","multicast_only":true}`, http.StatusOK)
	ask(operator, "PATCH /v1/images/{ref}", "/v1/images/w11", `{"multicast_only":true,"allow_multicast":false}`, refused)
	ask(operator, "PATCH /v1/images/{ref}", "/v1/images/w11", `{"colour":"red"}`, http.StatusBadRequest)
	ask(operator, "PATCH /v1/images/{ref}", "/v1/images/w11", `{"comment":"a"} {}`, http.StatusBadRequest)
	ask(operator, "PATCH /v1/images/{ref}", "/v1/images/w11", large, http.StatusRequestEntityTooLarge)
	ask(operator, "PATCH /v1/images/{ref}", "/v1/images/w13", `{}`, http.StatusNotFound)
	ask(operator, "POST /v1/images/{ref}/verify", "/v1/images/w11/verify", "", http.StatusOK)
	ask(operator, "POST /v1/images/{ref}/verify", "/v1/images/w13/verify", "", http.StatusNotFound)
	ask(operator, "DELETE /v1/images/{ref}", "/v1/images/w13", "", http.StatusNotFound)
	ask(operator, "DELETE /v1/images/{ref}", both, "", refused)
	ask(operator, "DELETE /v1/images/{ref}", "/v1/images/w10", "", http.StatusOK)

	p.askDeployments(func(operation, path, body string, status int) []byte {
		t.Helper()
		return ask(operator, operation, path, body, status)
	})

	// Sessions and their clients.
	pc01 := p.join("pc01", "w11")
	pc02 := p.join("pc02", "w11")
	p.join("pc03", "w11")
	for _, m := range []*member{pc01, pc02} {
		m.say(&wire.Report{Client: m.number, Sequence: 1, Opened: 100, Lost: 3, KernelDrops: 1, Delivery: 1000, Loss: 30_000, Proven: 1})
	}
	pc02.say(&wire.Done{Client: pc02.number, Result: wire.Proven, Multicast: uint64(len(wim))})
	var sessions []api.Session
	if err := json.Unmarshal(ask(viewer, "GET /v1/sessions", "", "", http.StatusOK), &sessions); err != nil || len(sessions) != 1 || len(sessions[0].Clients) != 3 {
		t.Fatalf("%+v, %v", sessions, err)
	}
	const steer, unicast = "PATCH /v1/sessions/{id}", "POST /v1/clients/{name}/unicast"
	ask(operator, steer, "/v1/sessions/s1", `{"ceiling_bytes_per_second":9e6,"slow_policy":"wait","floor_bytes_per_second":1e6}`, http.StatusOK)
	ask(operator, steer, "/v1/sessions/s1", `{"floor_bytes_per_second":10e6}`, refused) // above the ceiling
	ask(operator, steer, "/v1/sessions/s1", `{"slow_policy":"shout"}`, refused)
	ask(operator, steer, "/v1/sessions/s1", `{"ceiling":1}`, http.StatusBadRequest)
	ask(operator, steer, "/v1/sessions/s1", `{"slow_policy":"`+strings.Repeat("x", maxJSON)+`"}`, http.StatusRequestEntityTooLarge)
	ask(operator, steer, "/v1/sessions/s9", `{"slow_policy":"wait"}`, http.StatusConflict)
	ask(operator, unicast, "/v1/clients/pc01/unicast?session=s1", "", http.StatusOK)
	ask(operator, unicast, "/v1/clients/pc03/unicast", "", refused) // it was told never to
	ask(operator, unicast, "/v1/clients/pc09/unicast", "", http.StatusNotFound)
	const evict = "POST /v1/clients/{name}/evict"
	ask(operator, evict, "/v1/clients/pc01/evict?session=s1", "", http.StatusOK)
	ask(operator, evict, "/v1/clients/pc01/evict", "", http.StatusConflict)
	ask(operator, evict, "/v1/clients/pc02/evict?revoke=maybe", "", http.StatusBadRequest)
	ask(operator, evict, "/v1/clients/pc02/evict?revoke=true&session=s1", "", http.StatusBadRequest)
	ask(operator, evict, "/v1/clients/pc09/evict?revoke=true", "", http.StatusNotFound)
	if why := ask(operator, evict, "/v1/clients/pc03/evict?revoke=true", "", http.StatusConflict); !bytes.Contains(why, []byte("isn't of this machine alone")) {
		t.Errorf("%s", why)
	}
	p.join("own07", "w11")
	ask(operator, evict, "/v1/clients/own07/evict?revoke=true", "", http.StatusOK)
	if list := p.authority.Issued(); list[len(list)-1].Name != "own07" || list[len(list)-1].Revoked.IsZero() {
		t.Errorf("%+v isn't revoked", list[len(list)-1])
	}
	ask(operator, evict, "/v1/clients/pc09/evict", "", http.StatusNotFound)
	ask(operator, unicast, "/v1/clients/pc01/unicast", "", http.StatusConflict)

	p.askLive(j)

	// Sessions that wait for their start, and a client that waits for a place.
	p.rules = session.Rules{Start: session.StartScheduled, MaxClients: 1, MinClients: 5}
	ask(operator, "POST /v1/images", "/v1/images?name=waits&version=1", string(testWIM(300_001, 2, "Windows 11")), http.StatusOK)
	ask(operator, "POST /v1/images", "/v1/images?name=cancelled&version=1", string(testWIM(300_002, 3, "Windows 11")), http.StatusOK)
	p.join("pc04", "waits")
	p.join("pc05", "cancelled")
	p.queue("pc06", "waits")
	p.rules = session.Rules{}
	const begin, longer, cancel = "POST /v1/sessions/{id}/start", "POST /v1/sessions/{id}/wait", "POST /v1/sessions/{id}/cancel"
	ask(operator, longer, "/v1/sessions/s2/wait", `{"longer_seconds":600}`, http.StatusOK)
	ask(operator, longer, "/v1/sessions/s2/wait", `{"longer_seconds":1e9}`, refused)
	ask(operator, longer, "/v1/sessions/s2/wait", `{"by":600}`, http.StatusBadRequest)
	ask(operator, longer, "/v1/sessions/s2/wait", `{"by":"`+strings.Repeat("x", maxJSON)+`"}`, http.StatusRequestEntityTooLarge)
	ask(operator, longer, "/v1/sessions/s1/wait", `{"longer_seconds":600}`, http.StatusConflict)
	var waits []api.Queued
	if err := json.Unmarshal(ask(viewer, "GET /v1/queue", "", "", http.StatusOK), &waits); err != nil || len(waits) != 1 || waits[0].Name != "pc06" {
		t.Errorf("%+v, %v", waits, err)
	}
	var began api.Session
	if err := json.Unmarshal(ask(viewer, "GET /v1/sessions", "", "", http.StatusOK), &sessions); err != nil || sessions[1].Minimum != 5 || sessions[1].Waiting != 1 || sessions[1].Deadline.IsZero() {
		t.Errorf("%+v, %v", sessions, err)
	}
	if err := json.Unmarshal(ask(operator, begin, "/v1/sessions/s2/start", "", http.StatusOK), &began); err != nil || !began.Deadline.IsZero() {
		t.Errorf("%+v, %v", began, err)
	}
	ask(operator, begin, "/v1/sessions/s2/start", "", http.StatusConflict)
	ask(operator, cancel, "/v1/sessions/s2/cancel", "", http.StatusConflict)
	ask(operator, cancel, "/v1/sessions/s3/cancel", "", http.StatusOK)

	// Bundles; a holder goes with its own.
	ask(operator, "POST /v1/bundles", "", `{"name":"lab12","role":"winpe","lifetime_seconds":3600}`, http.StatusOK)
	ask(operator, "POST /v1/bundles", "", `{"name":"lab12","role":"winpe","lifetime":3600}`, http.StatusBadRequest)
	ask(operator, "POST /v1/bundles", "", `{"name":"lab12","role":"king"}`, http.StatusBadRequest)
	ask(operator, "POST /v1/bundles", "", `{"name":"pc07","role":"winpe","pin":true,"machine":true,"uuid":"4c4c4544-0044-4a10-8054-b3c04f4e4d31"}`, http.StatusOK)
	ask(operator, "POST /v1/bundles", "", `{"name":"ann","role":"operator","pin":true}`, http.StatusBadRequest)
	ask(operator, "POST /v1/bundles", "", `{"name":"pc07","role":"winpe","uuid":"4c4c4544-0044-4a10-8054-b3c04f4e4d31"}`, http.StatusBadRequest)
	ask(operator, "POST /v1/bundles", "", `{"name":"pc07","role":"winpe","machine":true,"uuid":"x"}`, http.StatusBadRequest)
	ask(operator, "POST /v1/bundles", "", `{"name":"`+strings.Repeat("x", maxJSON)+`"}`, http.StatusRequestEntityTooLarge)
	ask(operator, "POST /v1/bundles", "", `{"name":"lab13","role":"winpe","points":[{"prefix":"10.1.0.0/16","server":"10.1.0.5:7600"}]}`, http.StatusOK)
	ask(operator, "POST /v1/bundles", "", `{"name":"lab13","role":"winpe","points":[{"prefix":"10.1.0.1/16","server":"10.1.0.5:7600"}]}`, http.StatusBadRequest)
	ask(operator, "POST /v1/bundles", "", `{"name":"ann","role":"viewer","points":[{"prefix":"10.1.0.0/16","server":"10.1.0.5:7600"}]}`, http.StatusBadRequest)
	ask(viewer, "GET /v1/bundles", "", "", http.StatusOK)
	var gave api.BundleRevoked
	if err := json.Unmarshal(ask(operator, "DELETE /v1/bundles/{which}", "/v1/bundles/pc03", "", http.StatusOK), &gave); err != nil || !slices.Equal(gave.Evicted, []string{"pc03"}) {
		t.Errorf("%+v, %v", gave, err)
	}
	ask(operator, "DELETE /v1/bundles/{which}", "/v1/bundles/nobody", "", http.StatusNotFound)

	p.askPageLinks(func(c *caller, operation, path string, status int) []byte {
		t.Helper()
		return ask(c, operation, path, "", status)
	}, viewer)
	p.askPINs(func(operation, path, body string, status int) []byte {
		t.Helper()
		return ask(operator, operation, path, body, status)
	})

	p.askPoints(func(operation, path, body string, status int) []byte {
		t.Helper()
		return ask(operator, operation, path, body, status)
	})

	p.askLogs(func(operation, path string, status int) []byte {
		t.Helper()
		return ask(operator, operation, path, "", status)
	})

	// The end of a session.
	const stop = "POST /v1/sessions/{id}/stop"
	ask(operator, stop, "/v1/sessions/s1/stop", "", http.StatusOK)
	ask(operator, stop, "/v1/sessions/s1/stop", "", http.StatusConflict)
	ask(viewer, "GET /v1/sessions", "", "", http.StatusOK)

	p.askHistory(func(operation, path string, status int) []byte {
		t.Helper()
		return ask(operator, operation, path, "", status)
	})

	p.askServicing(func(operation, path, body string, status int) []byte {
		t.Helper()
		return ask(operator, operation, path, body, status)
	})

	p.askPrestage(j)
	ask(operator, "POST /v1/images/import", "", "x", http.StatusConflict)

	worker := p.over(keyex.Worker)
	ask(worker, "GET /v1/images", "", "", http.StatusForbidden)
	p.askWorker(func(operation, path, body string, status int, header ...string) []byte {
		t.Helper()
		if path == "" {
			_, path, _ = strings.Cut(operation, " ")
		}
		method, _, _ := strings.Cut(operation, " ")
		answer, text := worker.ask(method, path, body, header...)
		if answer.StatusCode != status {
			t.Errorf("%s %s: %d, want %d: %s", method, path, answer.StatusCode, status, text)
		}
		j.check(operation, answer, text)
		return text
	})

	p.askFleet(func(c *caller, operation, path, body string, status int) []byte {
		t.Helper()
		return ask(c, operation, path, body, status)
	})

	p.askRenew(func(c *caller, operation, path, body string, status int) []byte {
		t.Helper()
		return ask(c, operation, path, body, status)
	})

	p.askPoint(func(c *caller, operation, path, body string, status int) []byte {
		t.Helper()
		return ask(c, operation, path, body, status)
	})

	// An organisation's PKI makes its bundles itself.
	config := p.config(zap.NewNop())
	config.Authority, config.History, config.Logs, config.Reports = nil, nil, nil, nil
	config.Site = nil
	theirs := (&point{t: t, api: New(config)}).direct()
	ask(theirs, "GET /v1/bundles", "", "", http.StatusConflict)
	ask(theirs, "GET /v1/fleet", "", "", http.StatusConflict)
	ask(theirs, "POST /v1/bundles", "", `{"name":"x","role":"winpe"}`, http.StatusConflict)
	ask(theirs, "GET /v1/logs", "", "", http.StatusConflict)
	ask(theirs, "GET /v1/logs/{id}/{file}", "/v1/logs/x/client.log", "", http.StatusConflict)
	ask(theirs, "DELETE /v1/logs/{id}", "/v1/logs/x", "", http.StatusConflict)
	ask(theirs, "DELETE /v1/bundles/{which}", "/v1/bundles/x", "", http.StatusConflict)
	for _, r := range routes() {
		if r.role != keyex.Point && strings.HasPrefix(r.path, "/v1/points") || strings.HasSuffix(r.path, "/distribute") || strings.HasSuffix(r.path, "/withdraw") { // and it has no registry
			ask(theirs, r.method+" "+r.path, strings.NewReplacer("{ref}", "x", "{name}", "x").Replace(r.path), "", http.StatusConflict)
		}
		if strings.HasPrefix(r.path, "/v1/history/") { // and this one keeps no history
			ask(theirs, r.method+" "+r.path, strings.NewReplacer("{ref}", "x", "{id}", "s1", "{name}", "x").Replace(r.path), "", http.StatusConflict)
		}
	}

	// What was damaged on disk.
	spoil(t, filepath.Join(p.dir, "library"), int64(len(wim)))
	text := ask(operator, "POST /v1/images/{ref}/verify", "/v1/images/w11/verify", "", refused)
	if !bytes.Contains(text, []byte(api.TypeDamaged)) {
		t.Errorf("%s", text)
	}
	ask(viewer, "GET /v1/images", "", "", http.StatusOK)

	// Events: the answer is told from a HEAD, which doesn't stay; TestStream reads on.
	p.events.streams.Store(maxStreams)
	ask(viewer, "GET /v1/events", "", "", http.StatusServiceUnavailable)
	p.events.streams.Store(0)
	answer, _ := viewer.ask(http.MethodHead, "/v1/events", "")
	j.check("GET /v1/events", answer, nil)
	for from := time.Now(); p.events.streams.Load() != 0; runtime.Gosched() { // the answer is here before its end is counted
		if time.Since(from) > 10*time.Second {
			t.Fatal("a stream is left")
		}
	}
	for _, e := range p.kept() {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if err := j.doc.Components.Schemas["Event"].Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	j.all()
}

// stale returns a caller whose certificate was revoked after its connection was there.
func (p *point) stale() *caller {
	p.t.Helper()
	b := p.bundle("stale", keyex.Operator)
	c := p.with(b)
	if answer, _ := c.ask(http.MethodGet, "/v1/status", ""); answer.StatusCode != http.StatusOK {
		p.t.Fatalf("before it is revoked: %s", answer.Status)
	}
	if _, err := p.authority.Revoke(b.Identity().Serial); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// direct returns a caller that needs no network.
func (p *point) direct() *caller {
	return &caller{p.t, &http.Client{Transport: direct{p.api}}, "http://wimcastd"}
}

// direct is an http.RoundTripper that calls a handler, as an operator on the socket.
type direct struct{ api *API }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &recorded{header: http.Header{}, status: http.StatusOK}
	d.api.ServeHTTP(w, r.WithContext(api.WithCaller(r.Context(), api.Caller{Role: string(keyex.Operator)})))
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) WriteHeader(status int)      { r.status = status }
func (r *recorded) Write(b []byte) (int, error) { return r.body.Write(b) }

// kept returns the events that are kept.
func (p *point) kept() []api.Event {
	events, _, _ := p.events.ring.from(1, ringLength)
	return events
}

// spoil changes a byte of the file of that size.
func spoil(t *testing.T, dir string, size int64) {
	t.Helper()
	spoilt := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil || int64(len(content)) != size {
			return err
		}
		spoilt++
		content[size/2] ^= 1
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, content, 0o600)
	})
	if err != nil || spoilt != 1 {
		t.Fatalf("%d files of %d bytes spoilt, %v; want the image's", spoilt, size, err)
	}
}
