package handler

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/crypto/keyex"
	"wimcast/unicast/clientlog"
)

// sent keeps a log of a machine.
func (p *point) sent(machine, own string) clientlog.Entry {
	p.t.Helper()
	e, err := p.logs.Add(time.Now(), clientlog.Entry{Address: "10.1.2.3", Certificate: "room", Role: string(keyex.WinPE), CertSerial: strings.Repeat("0", 32)}, 100_000,
		func(e *clientlog.Entry, create func(string, io.Reader) error) error {
			e.Report = clientlog.Report{Machine: machine, UUID: "u", Serial: "s", MACs: "m", Version: "1", System: "windows/amd64", Package: "w11@1", ExitCode: 6, Error: "disk full"}
			return create(clientlog.OwnLog, strings.NewReader(own))
		})
	if err != nil {
		p.t.Fatal(err)
	}
	return e
}

// askLogs goes over the routes of logs.
func (p *point) askLogs(ask func(operation, path string, status int) []byte) {
	p.t.Helper()
	const list, file, remove = "GET /v1/logs", "GET /v1/logs/{id}/{file}", "DELETE /v1/logs/{id}"
	ask(list, "", http.StatusOK)
	e := p.sent("PC17", "\x1b[2J")
	ask(list, "/v1/logs?client=[", http.StatusBadRequest)
	if got := ask(file, "/v1/logs/"+e.ID+"/client.log", http.StatusOK); string(got) != "\x1b[2J" {
		p.t.Errorf("%q isn't as it came", got)
	}
	ask(file, "/v1/logs/"+e.ID+"/dism.log", http.StatusNotFound)
	for query, n := range map[string]int{"": 1, "?client=pc17": 1, "?client=pc*": 1, "?client=pc1": 0, "?client=" + e.ID: 1} {
		var logs []api.ClientLog
		if err := json.Unmarshal(ask(list, "/v1/logs"+query, http.StatusOK), &logs); err != nil || len(logs) != n {
			p.t.Errorf("%s: %+v, %v", query, logs, err)
		}
	}
	ask(remove, "/v1/logs/"+e.ID, http.StatusOK)
	ask(remove, "/v1/logs/"+e.ID, http.StatusNotFound)
}

// TestLogIsNoPage: a browser that an operator's certificate is in doesn't run what a machine sent.
func TestLogIsNoPage(t *testing.T) {
	p := newPoint(t)
	e := p.sent("pc17", "<script>alert(1)</script>")
	answer, _ := p.over(keyex.Viewer).ask(http.MethodGet, "/v1/logs/"+e.ID+"/client.log", "")
	if answer.Header.Get("Content-Type") != "application/octet-stream" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", answer.Header)
	}
}
