package handler

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"wimcast/api"
	"wimcast/api/support"
	"wimcast/crypto/keyex"
)

// TestRequestsHaveIDs: the answer's header, the one line of the log and the history name a request alike, whatever it says of itself.
func TestRequestsHaveIDs(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(1000, 1, "one"), "w11", "1")
	ann := p.over(keyex.Operator)
	seen := map[string]bool{}
	for _, tc := range []struct{ method, path, body, says, action string }{
		{http.MethodPatch, "/v1/images/w11", `{"comment":"x"}`, "image changed", "set image"},
		{http.MethodPatch, "/v1/images/w11", `{"comment":`, "admin request failed", ""},
		{http.MethodPost, "/v1/pins", `{"room":"lab","pin":"12345678"}`, "PIN set", "pin set"},
		{http.MethodPost, "/v1/schedules/plan", `{"image":"w11"}`, "", ""},
		{http.MethodGet, "/v1/images", "", "", ""},
		{http.MethodGet, "/v1/nowhere", "", "admin request failed", ""},
	} {
		p.log.TakeAll()
		answer, _ := ann.ask(tc.method, tc.path, tc.body, api.RequestHeader, "mine")
		id := answer.Header.Get(api.RequestHeader)
		if len(id) != requestLength || seen[id] || strings.Contains(id, "mine") {
			t.Errorf("%s %s: id %q", tc.method, tc.path, id)
		}
		seen[id] = true
		lines := p.log.TakeAll()
		if tc.says == "" {
			continue
		}
		if len(lines) != 1 || lines[0].Message != tc.says || lines[0].ContextMap()["request"] != id || !strings.HasPrefix(lines[0].ContextMap()["by"].(string), "somebody (operator") {
			t.Errorf("%s %s: log %+v, want %s of %s", tc.method, tc.path, lines, tc.says, id)
		}
		if tc.action == "" {
			continue
		}
		actions, err := p.history.Actions(t.Context(), api.HistoryQuery{Limit: 1})
		if err != nil || len(actions) != 1 || actions[0].Request != id {
			t.Errorf("%s: history %+v, %v", tc.path, actions, err)
		}
	}
}

// TestSupportOfRoutes: what routes answer is in the bundle, and a part that can't be had stops no other.
func TestSupportOfRoutes(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(1000, 1, "one"), "w11", "1")
	p.events.Raise("look at this")
	body, err := p.remoteClient(keyex.Operator).Support(t.Context(), api.SupportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	files, err := support.Read(body)
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]support.File{}
	for _, f := range files {
		text[f.Name] = f
	}
	for name, has := range map[string]string{"images.json": `"w11"`, "events.jsonl": "look at this", "doctor.json": "none heard", "status.json": p.remote, "history/actions.json": "[", "bundles.json": "remote"} {
		if name == "doctor.json" {
			has = "no_querier"
		}
		if f := text[name]; f.Error != "" || !bytes.Contains(f.Text, []byte(has)) {
			t.Errorf("%s: %s: %.200s", name, f.Error, f.Text)
		}
	}
	if f := text["point.json"]; f.Error == "" || len(f.Text) != 0 {
		t.Errorf("point.json: %+v", f)
	}
	if _, err := p.remoteClient(keyex.Viewer).Support(t.Context(), api.SupportRequest{}); err == nil || !strings.Contains(err.Error(), "viewer") {
		t.Errorf("a viewer: %v", err)
	}
}
