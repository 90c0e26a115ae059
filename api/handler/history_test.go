package handler

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/crypto/keyex"
)

// askHistory asks for the record of the sessions of TestAnswers, in every way that it can end.
func (p *point) askHistory(ask func(operation, path string, status int) []byte) {
	t := p.t
	t.Helper()
	into := func(answer any, operation, path string) {
		t.Helper()
		if err := json.Unmarshal(ask(operation, path, http.StatusOK), answer); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	const sessions, show, clients = "GET /v1/history/sessions", "GET /v1/history/sessions/{id}", "GET /v1/history/clients"
	const actions, proof, forget = "GET /v1/history/actions", "GET /v1/history/proof/{ref}", "DELETE /v1/history/clients/{name}"
	now := url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))

	var list []api.HistorySession
	into(&list, sessions, "/v1/history/sessions?package=w11&state=ended&until="+now+"&limit=10")
	if len(list) != 1 || list[0].Clients != 4 || list[0].Proven != 1 || list[0].Failed != 3 || list[0].Reason != "stopped by the operator" {
		t.Errorf("sessions: %+v", list)
	}
	if into(&list, sessions, "/v1/history/sessions?since="+now); len(list) != 0 {
		t.Errorf("in an hour: %+v", list)
	}
	for _, query := range []string{"since=yesterday", "until=1", "before=0", "before=x", "limit=0", "limit=10001", "limit=x"} {
		ask(sessions, "/v1/history/sessions?"+query, http.StatusBadRequest)
		ask(clients, "/v1/history/clients?"+query, http.StatusBadRequest)
		ask(actions, "/v1/history/actions?"+query, http.StatusBadRequest)
	}
	ask(clients, "/v1/history/clients?"+strings.Repeat("client=x&", api.HistoryNames+1), http.StatusBadRequest)

	var one api.HistorySession
	into(&one, show, "/v1/history/sessions/s1")
	var did []string
	for _, a := range one.Actions {
		did = append(did, strings.Join(strings.Fields(a.Action+" "+a.Client+" "+a.Detail+" "+a.Error), " "))
		if !strings.HasPrefix(a.Who, "somebody (operator, serial ") {
			t.Errorf("who: %q", a.Who)
		}
	}
	if want := []string{
		"set ceiling 9000000 B/s, slow wait, floor 1000000 B/s",
		"set floor 10000000 B/s floor (10000000 B/s) is above ceiling (9000000 B/s): nobody could take it; nothing changed",
		`set slow shout session s1: slow: "shout" is none of wait, demote, unicast, drop; nothing changed`,
		"unicast pc01", "unicast pc03 client pc03 was told never to fetch by unicast (--no-unicast); nothing changed",
		"evict pc01", "evict pc01 client pc01 has already ended (evicted); nothing changed", "evict own07",
		"unicast pc01 client pc01 has already ended (evicted); nothing changed",
		"wait 10m0s longer session s1 starts with its first client that needs something; nothing changed", "evict pc03 its bundle was revoked", "stop",
		"stop session s1 has ended (stopped by the operator); nothing changed",
	}; !slices.Equal(did, want) || len(one.Members) != 4 {
		t.Errorf("done: %q\nwant  %q", did, want)
	}
	ask(show, "/v1/history/sessions/s99", http.StatusNotFound)

	var members []api.HistoryClient
	if into(&members, clients, "/v1/history/clients?client=pc0*&bundle=pc02"); len(members) != 1 || members[0].Name != "pc02" || members[0].Proven.IsZero() {
		t.Errorf("clients: %+v", members)
	}
	var all []api.HistoryAction
	if into(&all, actions, "/v1/history/actions?limit=2"); len(all) != 2 || all[0].Action != "stop" {
		t.Errorf("actions: %+v", all)
	}

	var who api.Proof
	into(&who, proof, "/v1/history/proof/w11?client=pc01&client=pc02&client=pc99")
	var got []string
	for _, m := range who.Machines {
		got = append(got, m.Name+" "+m.State)
	}
	if !slices.Equal(got, []string{"pc01 not proven", "pc02 proven", "pc99 never seen"}) || who.Package != "w11@1" {
		t.Errorf("proof: %+v", who)
	}
	ask(proof, "/v1/history/proof/w11", http.StatusBadRequest)
	ask(proof, "/v1/history/proof/w11?bundle=room&since=x", http.StatusBadRequest)
	ask(proof, "/v1/history/proof/w99?bundle=room", http.StatusNotFound)

	var gone api.Forgotten
	if into(&gone, forget, "/v1/history/clients/pc02?dry_run=true"); gone.Records != 1 {
		t.Errorf("a dry run: %+v", gone)
	}
	if into(&gone, forget, "/v1/history/clients/pc02"); gone.Records != 1 || !slices.Equal(gone.Names, []string{"pc02"}) {
		t.Errorf("forgotten: %+v", gone)
	}
	if into(&members, clients, "/v1/history/clients?client=pc02"); len(members) != 0 {
		t.Errorf("after it was forgotten: %+v", members)
	}
	ask(forget, "/v1/history/clients/pc02?dry_run=perhaps", http.StatusBadRequest)
}

// TestRecordIsOfRunningSessionsToo: what is asked for is as it is now, not as it was at
// the last write.
func TestRecordIsOfRunningSessionsToo(t *testing.T) {
	p := newPoint(t)
	p.add(testWIM(300_000, 1, "Windows 11"), "w11", "1")
	p.join("pc01", "w11")
	var list []api.HistorySession
	_, text := p.over(keyex.Viewer).ask(http.MethodGet, "/v1/history/sessions", "")
	if err := json.Unmarshal(text, &list); err != nil || len(list) != 1 || list[0].State != api.HistoryRunning || list[0].Clients != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}
