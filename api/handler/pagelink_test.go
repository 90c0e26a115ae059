package handler

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"wimcast/api"
)

// madeLink makes links as the daemon does.
func madeLink(api.Caller) (api.PageLink, error) {
	const token = "very-secret-token"
	return api.PageLink{Token: token, URLs: []string{"http://127.0.0.1:7603/#token=" + token}, Loopback: true, Listen: "127.0.0.1:7603", Expires: time.Now().Add(time.Minute)}, nil
}

// askPageLinks goes over the route of links to the web page, and the list of sessions that the page asks for.
func (p *point) askPageLinks(ask func(c *caller, operation, path string, status int) []byte, viewer *caller) {
	p.t.Helper()
	const operation, sessions = "POST /v1/page/tokens", "GET /v1/sessions"
	ask(viewer, operation, "", http.StatusConflict)
	p.api.server.PageLink = madeLink
	var link api.PageLink
	if err := json.Unmarshal(ask(viewer, operation, "", http.StatusOK), &link); err != nil || link.Token != "very-secret-token" {
		p.t.Errorf("%+v, %v", link, err)
	}
	for _, entry := range p.log.All() {
		text, err := json.Marshal(entry.ContextMap())
		if err != nil || strings.Contains(entry.Message+string(text), "very-secret") {
			p.t.Errorf("the log has a token: %s, %v", text, err)
		}
	}
	if n := p.log.FilterMessage("page link made").Len(); n != 1 {
		p.t.Errorf("a link is logged %d times", n)
	}
	ask(viewer, sessions, "/v1/sessions?clients=perhaps", http.StatusBadRequest)
	var whole, counted []api.Session
	if err := json.Unmarshal(ask(viewer, sessions, "", http.StatusOK), &whole); err != nil {
		p.t.Error(err)
	}
	if err := json.Unmarshal(ask(viewer, sessions, "/v1/sessions?clients=false", http.StatusOK), &counted); err != nil || len(counted) != len(whole) {
		p.t.Errorf("%d sessions of %d, %v", len(counted), len(whole), err)
	}
	for i, s := range counted {
		sum := 0
		for _, n := range s.States {
			sum += n
		}
		if len(s.Clients) != 0 || sum != len(whole[i].Clients) {
			p.t.Errorf("%s: %d clients, counted %d of %d", s.ID, len(s.Clients), sum, len(whole[i].Clients))
		}
	}
}
