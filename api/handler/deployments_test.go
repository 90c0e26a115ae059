package handler

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/library"
	"wimcast/library/deployment"
)

// askDeployments goes over the routes of deployments, for TestAnswers. It leaves none.
func (p *point) askDeployments(ask func(operation, path, body string, status int) []byte) {
	p.t.Helper()
	const list, create, one = "GET /v1/deployments", "POST /v1/deployments", "/v1/deployments/{name}"
	const refused = http.StatusUnprocessableEntity
	large := `{"comment":"` + strings.Repeat("x", maxJSON) + `"}`
	ask(create, "", `{"name":"lab12","image":"w11","index":1,"who":["pc*","room-?"],"rules":{"min_clients":"24","delay":"15m"},"comment":"room 12"}`, http.StatusOK)
	ask(create, "", `{"name":"lab12","image":"w11"}`, refused)
	ask(create, "", `{"name":"lab13","image":"w13"}`, refused)
	ask(create, "", `{"name":"lab13","image":"w11","colour":"red"}`, http.StatusBadRequest)
	ask(create, "", `{"name":"lab13","image":"w11","package":"w11@1"}`, http.StatusBadRequest)
	ask(create, "", large, http.StatusRequestEntityTooLarge)
	ask(list, "", "", http.StatusOK)
	ask("GET "+one, "/v1/deployments/lab12", "", http.StatusOK)
	ask("GET "+one, "/v1/deployments/lab21", "", http.StatusNotFound)
	text := ask("PATCH "+one, "/v1/deployments/lab12", `{"image":"w11@1","rules":{"delay":"","floor":"20 MB/s"},"who":[]}`, http.StatusOK)
	var got api.Deployment
	if err := json.Unmarshal(text, &got); err != nil || got.Image != "w11@1" || got.Package != "w11@1" || len(got.Who) > 0 || got.Index != 1 || got.Comment != "room 12" ||
		!maps.Equal(got.Rules, map[string]string{"min_clients": "24", "floor": "20 MB/s"}) || got.Content != "download" || got.Created.IsZero() {
		p.t.Errorf("%+v, %v", got, err)
	}
	ask("PATCH "+one, "/v1/deployments/lab12", `{"name":"lab13"}`, http.StatusBadRequest)
	ask("PATCH "+one, "/v1/deployments/lab12", `{"index":7}`, refused)
	ask("PATCH "+one, "/v1/deployments/lab21", `{}`, http.StatusNotFound)
	ask("PATCH "+one, "/v1/deployments/lab12", large, http.StatusRequestEntityTooLarge)
	ask("DELETE /v1/images/{ref}", "/v1/images/w11", "", refused) // the deployment needs it
	ask("DELETE "+one, "/v1/deployments/lab12", "", http.StatusOK)
	ask("DELETE "+one, "/v1/deployments/lab12", "", http.StatusNotFound)
}

// TestDeploymentRules: edits that contradict each other are refused whichever comes last, say what to do, and change nothing.
func TestDeploymentRules(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(3000, 1, "a"), "w11", "1")
	p.add(testWIM(3000, 2, "b"), "w11", "2")
	p.add(testWIM(3000, 3, "c"), "w10", "1")
	cfg := p.config(zap.NewNop())
	told := 0
	cfg.Deployed = func() { told++ }
	cfg.CheckRules = func(d deployment.Deployment, p library.Package) error { // as the daemon's
		if p.Flags.MulticastOnly && d.Rules["slow"] == "unicast" {
			return errors.New("slow = \"unicast\" and multicast-only: " + d.Name + ", " + p.Reference())
		}
		return nil
	}
	c := (&point{t: t, api: New(cfg)}).direct()
	for _, step := range []struct {
		name, method, path, body string
		says                     string // what the refusal must contain; "" for success
	}{
		{"unknown, with near ones", "POST", "deployments", `{"name":"lab12","image":"w1"}`, `deployment "lab12": image: no such package "w1"; did you mean`},
		{"by digest", "POST", "deployments", `{"name":"lab12","image":"` + p.library.List()[0].Digest.String() + `"}`, "name a package as w10 or w10@1"},
		{"an index too many", "POST", "deployments", `{"name":"lab12","image":"w11","index":2}`, `index: w11@2 has no image 2, the last is 1; next: wimcast deployment set "lab12" --index N`},
		{"direct", "POST", "deployments", `{"name":"lab12","image":"w11","content":"direct"}`, "content: direct is not supported"},
		{"a bad name", "POST", "deployments", `{"name":"a/b","image":"w11"}`, `name: "a/b": the character '/' isn't allowed`},
		{"a bad pattern", "POST", "deployments", `{"name":"lab12","image":"w11","who":["[a"]}`, `who: "[a" is not a pattern`},
		{"an unknown rule", "POST", "deployments", `{"name":"lab12","image":"w11","rules":{"speed":"9"}}`, `unknown key "speed"`},
		{"good", "POST", "deployments", `{"name":"lab12","image":"w11","rules":{"slow":"unicast"}}`, ""},
		{"one version of two goes", "DELETE", "images/w11@1", "", ""},
		{"the last one goes", "DELETE", "images/w11", "", `remove package w11@2: deployment lab12 names it; first: wimcast deployment set "lab12" --image OTHER, or wimcast deployment remove "lab12"`},
		{"or is renamed away", "PATCH", "images/w11", `{"name":"other"}`, "rename package w11@2: deployment lab12 names it"},
		{"the same name again", "PATCH", "images/w11", `{"name":"w11","comment":"x"}`, ""},
		{"multicast-only against unicast", "PATCH", "images/w11", `{"multicast_only":true}`, "multicast-only: lab12, w11@2"},
		{"without that rule", "PATCH", "deployments/lab12", `{"rules":{"slow":""}}`, ""},
		{"multicast-only", "PATCH", "images/w11", `{"multicast_only":true}`, ""},
		{"unicast against multicast-only", "PATCH", "deployments/lab12", `{"rules":{"slow":"unicast"}}`, "multicast-only: lab12, w11@2"},
		{"direct against multicast-only", "PATCH", "deployments/lab12", `{"content":"direct"}`, "deployment lab12: content: direct reads from the point, and package w11@2 is multicast-only; next: --content download"},
		{"to another image", "PATCH", "deployments/lab12", `{"image":"w10@1"}`, ""},
		{"now it may go", "DELETE", "images/w11", "", ""},
		{"the other mustn't", "DELETE", "images/w10", "", "deployment lab12 names it"},
		{"removed", "DELETE", "deployments/lab12", "", ""},
		{"nobody names it", "DELETE", "images/w10", "", ""},
	} {
		before, packages := p.deployed.List(), p.library.List()
		answer, text := c.ask(step.method, "/v1/"+step.path, step.body)
		var problem api.Problem
		_ = json.Unmarshal(text, &problem)
		switch good := answer.StatusCode == http.StatusOK; {
		case good != (step.says == ""), !strings.Contains(problem.Detail, step.says):
			t.Errorf("%s: %d %s; want %q", step.name, answer.StatusCode, text, step.says)
		case !good && (!slices.EqualFunc(before, p.deployed.List(), func(a, b deployment.Deployment) bool { return a.String() == b.String() }) || len(packages) != len(p.library.List())):
			t.Errorf("%s: something changed", step.name)
		}
	}
	if told != 3 {
		t.Errorf("sessions were told of %d changes, want those of 3 edits", told)
	}
	actions, err := p.history.Actions(t.Context(), api.HistoryQuery{})
	if err != nil {
		t.Fatal(err)
	}
	did := map[string]int{}
	for _, a := range actions {
		if a.Error == "" && strings.HasPrefix(a.Action, "deployment ") {
			did[a.Action]++
		}
	}
	if !maps.Equal(did, map[string]int{"deployment create": 1, "deployment set": 2, "deployment remove": 1}) {
		t.Errorf("the history has %v", did)
	}
}
