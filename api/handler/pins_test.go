package handler

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"wimcast/api"
)

// askPINs goes over the routes of PINs.
func (p *point) askPINs(ask func(operation, path, body string, status int) []byte) {
	p.t.Helper()
	const set, list, remove = "POST /v1/pins", "GET /v1/pins", "DELETE /v1/pins/{room}"
	ask(list, "", "", http.StatusOK)
	var got api.PIN
	if err := json.Unmarshal(ask(set, "", `{"room":"lab12"}`, http.StatusOK), &got); err != nil || !regexp.MustCompile(`^\d{6}$`).MatchString(got.Drawn) {
		p.t.Errorf("%+v, %v", got, err)
	}
	if text := ask(set, "", `{"room":"lab12","for_seconds":60,"pin":"very-secret"}`, http.StatusOK); strings.Contains(string(text), "very-secret") {
		p.t.Errorf("a PIN is told back: %s", text)
	}
	ask(set, "", `{"room":"lab1[","pin":"very-secret"}`, http.StatusBadRequest)
	ask(set, "", `{"room":"lab12","pin":"short"}`, http.StatusBadRequest)
	ask(set, "", `{"room":"lab12","pin":"`+strings.Repeat("x", maxJSON)+`"}`, http.StatusRequestEntityTooLarge)
	ask(set, "", `{"room":"lab13","open":true}`, http.StatusOK)
	var rooms []api.PIN
	if err := json.Unmarshal(ask(list, "", "", http.StatusOK), &rooms); err != nil || len(rooms) != 2 || rooms[0].Drawn != "" || !rooms[1].Open {
		p.t.Errorf("%+v, %v", rooms, err)
	}
	ask(remove, "/v1/pins/lab12", "", http.StatusOK)
	ask(remove, "/v1/pins/lab12", "", http.StatusNotFound)
	for _, entry := range p.log.All() {
		text, err := json.Marshal(entry.ContextMap())
		if err != nil {
			p.t.Fatal(err)
		}
		if line := entry.Message + string(text); strings.Contains(line, "very-secret") || strings.Contains(line, got.Drawn) {
			p.t.Errorf("the log has a PIN: %s", line)
		}
	}
}
