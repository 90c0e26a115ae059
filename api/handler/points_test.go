package handler

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/library/release"
)

// askPoints goes over the routes of points, and of what goes to them. w11 is there, and multicast-only.
func (p *point) askPoints(ask func(operation, path, body string, status int) []byte) {
	p.t.Helper()
	const (
		list, add, show, set, remove = "GET /v1/points", "POST /v1/points", "GET /v1/points/{name}", "PATCH /v1/points/{name}", "DELETE /v1/points/{name}"
		give, take, drop             = "POST /v1/images/{ref}/distribute", "POST /v1/images/{ref}/withdraw", "DELETE /v1/images/{ref}"
		refused, conflict, badly     = http.StatusUnprocessableEntity, http.StatusConflict, http.StatusBadRequest
	)
	large := `{"x":"` + strings.Repeat("x", maxJSON) + `"}`
	var added api.PointAdded
	text := ask(add, "", `{"name":"north","groups":["schools"],"subnets":["10.1.0.0/16"],"addresses":["10.1.0.5:7600"]}`, http.StatusOK)
	if err := json.Unmarshal(text, &added); err != nil || !added.Multicast || added.Expires.IsZero() {
		p.t.Errorf("%s, %v", text, err)
	}
	file, err := release.ParsePointFile([]byte(added.Text))
	if err != nil || file.Name != "north" || file.Repository != "127.0.0.1:1/wimcast" || !slices.Equal(file.Admin, []string{"127.0.0.1:7601"}) {
		p.t.Fatalf("%+v, %v", file, err)
	}
	bundle, err := keyex.ParseBundle([]byte(file.Bundle))
	if err != nil || bundle.Identity().Role != keyex.Point || bundle.Identity().Name != "north" {
		p.t.Fatalf("%v", err)
	}
	issued := len(p.authority.Issued())
	ask("POST /v1/bundles", "", `{"name":"north","role":"point"}`, badly) // by a point file alone
	ask(add, "", `{"name":"north"}`, conflict)
	ask(add, "", `{"name":"schools"}`, conflict) // a group's
	ask(add, "", `{"name":"North"}`, badly)
	ask(add, "", `{"name":"south","subnets":["10.1"]}`, badly)
	ask(add, "", large, http.StatusRequestEntityTooLarge)
	for _, i := range p.authority.Issued()[issued:] {
		if i.Role == keyex.Point && i.Revoked.IsZero() {
			p.t.Errorf("%+v is good, and no point has it", i)
		}
	}
	ask(add, "", `{"name":"south","groups":["schools"],"multicast":false}`, http.StatusOK)
	ask(list, "", "", http.StatusOK)
	ask(show, "/v1/points/nortj", "", http.StatusNotFound)
	ask(show, "/v1/points/north", "", http.StatusOK)

	var done api.Distributed
	text = ask(give, "/v1/images/w11/distribute", `{"to":["schools"],"priority":"high"}`, http.StatusOK)
	if err := json.Unmarshal(text, &done); err != nil || done.Package != "w11@1" || !slices.Equal(done.Points, []string{"north"}) || len(done.LeftOut) != 1 || done.LeftOut[0].Point != "south" {
		p.t.Errorf("%s, %v", text, err)
	}
	ask(give, "/v1/images/w11/distribute", `{"to":["south"]}`, refused) // its multicast is off
	ask(give, "/v1/images/w11/distribute", `{"to":["nowhere"]}`, http.StatusNotFound)
	ask(give, "/v1/images/w13/distribute", `{"all":true}`, http.StatusNotFound)
	ask(give, "/v1/images/w11/distribute", `{"whom":"all"}`, badly)
	ask(give, "/v1/images/w11/distribute", `{"all":true,"keep":99}`, refused)
	ask(give, "/v1/images/w11/distribute", large, http.StatusRequestEntityTooLarge)
	ask(show, "/v1/points/north", "", http.StatusOK)
	ask(set, "/v1/points/north", `{"multicast":false}`, refused) // it has what is multicast-only
	ask(set, "/v1/points/north", `{"groups":["south"]}`, conflict)
	ask(set, "/v1/points/north", `{"subnets":["x"]}`, badly)
	ask(set, "/v1/points/nowhere", `{}`, http.StatusNotFound)
	ask(set, "/v1/points/north", large, http.StatusRequestEntityTooLarge)
	ask(set, "/v1/points/north", `{"groups":["schools","all-rooms"],"addresses":["10.1.0.6:7600"]}`, http.StatusOK)
	ask("PATCH /v1/images/{ref}", "/v1/images/w11", `{"name":"w12"}`, refused) // points know it by its name
	if why := ask(drop, "/v1/images/w11", "", refused); !strings.Contains(string(why), "--withdraw") {
		p.t.Errorf("%s", why)
	}
	ask(drop, "/v1/images/w11?withdraw=perhaps", "", badly)
	ask(take, "/v1/images/w11/withdraw", `{"from":["north"]}`, refused) // it has it by its group
	ask(take, "/v1/images/w11/withdraw", `{"from":["nowhere"]}`, http.StatusNotFound)
	ask(take, "/v1/images/w11/withdraw", `{"to":["north"]}`, badly)
	ask(take, "/v1/images/w11/withdraw", large, http.StatusRequestEntityTooLarge)
	var gone api.Withdrawn
	text = ask(take, "/v1/images/w11/withdraw", `{"from":["schools"]}`, http.StatusOK)
	if err := json.Unmarshal(text, &gone); err != nil || !slices.Equal(gone.Points, []string{"north"}) || !slices.Equal(gone.Packages, []string{"w11@1"}) {
		p.t.Errorf("%s, %v", text, err)
	}
	ask(take, "/v1/images/w11/withdraw", `{"all":true}`, http.StatusNotFound)
	p.add(testWIM(300_003, 4, "w"), "goes", "1")
	ask(give, "/v1/images/goes/distribute", `{"all":true}`, http.StatusOK)
	ask(drop, "/v1/images/goes?withdraw=true", "", http.StatusOK)
	ask(remove, "/v1/points/north?lost=perhaps", "", badly)
	var removed api.PointRemoved
	if err := json.Unmarshal(ask(remove, "/v1/points/north?lost=true", "", http.StatusOK), &removed); err != nil || removed.Credentials != 2 || !removed.Lost {
		p.t.Errorf("%+v, %v", removed, err)
	}
	ask(remove, "/v1/points/north", "", http.StatusNotFound)
}

// TestAtAPoint: a point says that packages come from its site, and by which command.
func TestAtAPoint(t *testing.T) {
	p := newPoint(t)
	config := p.config(zap.NewNop())
	config.Point, config.Site, config.Authority = "north", nil, nil
	c := &caller{t, &http.Client{Transport: direct{New(config)}}, "http://wimcastd"}
	answer, text := c.ask(http.MethodPost, "/v1/deployments", `{"name":"lab12","image":"w11"}`)
	if answer.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(text), `at the site, wimcast image distribute \"w11\" --to north`) {
		t.Errorf("%s: %s", answer.Status, text)
	}
	answer, text = c.ask(http.MethodGet, "/v1/points", "")
	if answer.StatusCode != http.StatusConflict || !strings.Contains(string(text), "at the site") {
		t.Errorf("%s: %s", answer.Status, text)
	}
}
