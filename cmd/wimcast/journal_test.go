package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"wimcast/client/route"
	"wimcast/crypto/keyex"
	"wimcast/unicast/clientlog"
)

func TestJournalKeepsTheEnd(t *testing.T) {
	j := new(journal)
	for i := range 20_000 {
		j.add(getEvent{Event: "notice", Text: fmt.Sprintf("line %d", i)})
	}
	text := j.text()
	if len(text) > clientlog.MaxLog || len(text) < clientlog.MaxLog*9/10 {
		t.Errorf("%d bytes are kept", len(text))
	}
	if !bytes.HasSuffix(text, []byte("\"line 19999\"}\n")) || !bytes.HasPrefix(text, []byte("{\"time\"")) {
		t.Errorf("from %.80s to %s", text, text[len(text)-80:])
	}
	(*journal)(nil).add(getEvent{}) // keeps nothing
}

// TestShareLog: what goes to the point, and when.
func TestShareLog(t *testing.T) {
	dir := t.TempDir()
	store, err := clientlog.Open(filepath.Join(dir, "logs"), 0, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	authority, err := keyex.OpenAuthority(filepath.Join(dir, "ca"), keyex.AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer authority.Close()
	bundle, err := authority.Issue(keyex.Request{Name: "room", Role: keyex.WinPE, Servers: []string{"127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := bundle.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trust := authority.Trust()
	h := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: clientlog.NewServer(clientlog.ServerConfig{
		Store: store, Judge: func(r *http.Request) (keyex.Identity, error) { return trust.Judge(r.TLS) },
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = h.Serve(tls.NewListener(l, keyex.ServerTLS(trust, nil))) })
	defer serving.Wait()
	defer func() { _ = h.Close() }()

	dism := filepath.Join(dir, "dism.log")
	long := strings.Repeat("dism says something\n", clientlog.MaxExtra/10)
	if err := os.WriteFile(dism, []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	failure := fmt.Errorf("%w: apply failed", errors.New("dism"))
	for _, tt := range []struct {
		name  string
		asked *bool
		ended error
		ways  bool
		sent  bool
	}{
		{"failed", nil, failure, true, true},
		{"well", nil, nil, true, false},
		{"well, and asked", new(true), nil, true, true},
		{"failed, and refused", new(false), failure, true, false},
		{"no way to a server", new(true), failure, false, false},
	} {
		before := len(store.List())
		var errOut bytes.Buffer
		c := &console{out: io.Discard, err: &errOut}
		screen := newScreen(c)
		screen.journal = new(journal)
		screen.event("notice", "the last words")
		result := &outcome{Logs: []string{dism, filepath.Join(dir, "gone.log")}}
		result.Package = "w11@1"
		if tt.ways {
			result.ways = &reacher{order: func() []route.Way { return []route.Way{{Server: l.Addr().String()}} }, credentials: credentials}
		}
		(&getCommand{Name: "pc17", SendLog: tt.asked}).shareLog(t.Context(), screen, result, tt.ended)
		list := store.List()
		if sent := len(list) == before+1; sent != tt.sent {
			t.Fatalf("%s: sent: %v; it says %s", tt.name, sent, &errOut)
		}
		if !tt.sent {
			if errOut.Len() > 100 {
				t.Errorf("%s: it says %s", tt.name, &errOut)
			}
			continue
		}
		e := list[0]
		if e.Report.Machine != "pc17" || e.Report.Package != "w11@1" || e.Report.ExitCode != exitCode(tt.ended) || len(e.Files) != 2 {
			t.Errorf("%s: %+v", tt.name, e)
		}
		if own, err := store.File(e.ID, clientlog.OwnLog); err != nil || !bytes.Contains(own, []byte("the last words")) {
			t.Errorf("%s: %s, %v", tt.name, own, err)
		}
		text, err := store.File(e.ID, "dism.log")
		if err != nil || len(text) < clientlog.MaxExtra-100 || !strings.HasSuffix(long, string(text)) || !bytes.HasPrefix(text, []byte("dism")) {
			t.Errorf("%s: %d bytes of dism.log, %v", tt.name, len(text), err)
		}
		if !strings.Contains(errOut.String(), "wimcast client log "+e.ID) || !strings.Contains(errOut.String(), "gone.log") {
			t.Errorf("%s: it says %s", tt.name, &errOut)
		}
	}
}

// TestHostileLog: what a machine wrote doesn't steer the terminal.
func TestHostileLog(t *testing.T) {
	good, err := json.Marshal(getEvent{Event: "notice", Text: "clear\x1b[2J\nscreen"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{string(good), "raw \x1b]0;title\x07", `{"event":"a\u202eb","text":"\u009b31m"}`, "\xff\xfe"} {
		var out bytes.Buffer
		printLines(&out, []byte(line+"\r\n"), logLine)
		if text := strings.TrimSuffix(out.String(), "\n"); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e || r == '\n' }) || text == "" {
			t.Errorf("%q is shown as %q", line, text)
		}
	}
}
