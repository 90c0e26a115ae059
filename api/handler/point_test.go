package handler

import (
	"encoding/json"
	"net/http"
	"time"

	"go.uber.org/zap"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// askPoint goes over what a point tells of itself, and a daemon that is none.
func (p *point) askPoint(ask func(c *caller, operation, path, body string, status int) []byte) {
	p.t.Helper()
	const show = "GET /v1/point"
	ask(p.over(keyex.Viewer), show, "", "", http.StatusConflict)
	ask(p.with(p.bundle("north", keyex.Point)), show, "", "", http.StatusForbidden)
	config := p.config(zap.NewNop())
	want := api.OwnPoint{
		Name: "north", Repository: "registry.example.org/wimcast", Serial: 7, Made: time.Unix(1, 0).UTC(), Multicast: true, Error: "the registry is out of reach", Next: time.Unix(2, 0).UTC(),
		Packages: []api.PointPackage{{Package: "w11@2", Revision: 7, State: api.PackageFailed, Error: "disk full", Retry: time.Unix(3, 0).UTC()}},
	}
	config.PointStatus = func() api.OwnPoint { return want }
	var got api.OwnPoint
	if err := json.Unmarshal(ask((&point{t: p.t, api: New(config)}).direct(), show, "", "", http.StatusOK), &got); err != nil || got.Name != want.Name || got.Serial != 7 || len(got.Packages) != 1 {
		p.t.Errorf("%+v, %v", got, err)
	}
}
