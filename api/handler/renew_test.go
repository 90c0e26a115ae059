package handler

import (
	"encoding/json"
	"net/http"
	"time"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/library/release"
)

// askRenew goes over a point's renewal of its credentials.
func (p *point) askRenew(ask func(c *caller, operation, path, body string, status int) []byte) {
	p.t.Helper()
	const renew, path = "POST /v1/points/{name}/renew", "/v1/points/spree/renew"
	var added api.PointAdded
	text := ask(p.over(keyex.Operator), "POST /v1/points", "/v1/points", `{"name":"spree","lifetime_seconds":600}`, http.StatusOK)
	if err := json.Unmarshal(text, &added); err != nil {
		p.t.Fatal(err)
	}
	file, err := release.ParsePointFile([]byte(added.Text))
	if err != nil {
		p.t.Fatal(err)
	}
	bundle, err := keyex.ParseBundle([]byte(file.Bundle))
	if err != nil {
		p.t.Fatal(err)
	}
	its := p.with(bundle)
	ask(its, renew, "/v1/points/other/renew", "", http.StatusForbidden)
	ask(p.with(p.bundle("spree", keyex.Operator)), renew, path, "", http.StatusForbidden)
	ask(p.local(), renew, path, "", http.StatusForbidden)
	ask(p.with(p.bundle("spree", keyex.Point)), renew, path, "", http.StatusConflict) // it is good for a year
	ask(p.with(p.bundle("west", keyex.Point)), renew, "/v1/points/west/renew", "", http.StatusNotFound)
	var renewed api.PointRenewed
	if err := json.Unmarshal(ask(its, renew, path, "", http.StatusOK), &renewed); err != nil {
		p.t.Fatal(err)
	}
	next, err := keyex.ParseBundle([]byte(renewed.Bundle))
	if err != nil {
		p.t.Fatal(err)
	}
	if id := next.Identity(); id.Name != "spree" || id.Role != keyex.Point || !id.NotAfter.Equal(renewed.Expires) || time.Until(id.NotAfter) > 601*time.Second {
		p.t.Errorf("%+v", id)
	}
	if trust, err := keyex.NewPointTrust([]byte(renewed.Server), nil); err != nil || trust.Server().Name != "spree" {
		p.t.Errorf("%v, %v", trust, err)
	}
	ask(p.with(next), renew, path, "", http.StatusOK)
	ask(p.over(keyex.Operator), "DELETE /v1/points/{name}", "/v1/points/spree", "", http.StatusOK)
}
