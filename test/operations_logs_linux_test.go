package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/rig"
)

// logLine is a line of the daemon's log.
type logLine struct {
	Time                                                     time.Time
	Level, Msg, Session, Client, Package, By, Request, State string
	Number                                                   uint32
	Clients, Proven, Failed                                  int
	Bytes, Multicast                                         int64
	Error                                                    string
}

// lines parses the daemon's log: each line must be one of JSON.
func (s *stage) lines() (all []logLine) {
	s.t.Helper()
	for line := range strings.Lines(s.daemon.Log()) {
		var l logLine
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Msg == "" || l.Time.IsZero() || !slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level) {
			s.t.Errorf("a line of the log isn't one: %v: %q", err, line)
		}
		all = append(all, l)
	}
	return all
}

// said are the lines with a message, of a session where one is named.
func said(all []logLine, message, session string) (some []logLine) {
	for _, l := range all {
		if l.Msg == message && (session == "" || l.Session == session) {
			some = append(some, l)
		}
	}
	return some
}

// TestOperationsLogs: a room in which one client fails and one is evicted, and then the daemon is killed. Log, API and history name
// all of it alike.
func TestOperationsLogs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	s := inRoom(t, 4, rig.Config{Multicast: `ceiling = "4 MB/s"`})
	gets := []*rig.Get{s.get(0), s.get(1), s.get(2)}
	name := func(i int) string { return gets[i].Place.Name() }
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("a small tmpfs can't be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, 0) })
	for _, g := range gets[:2] {
		if err := g.AwaitProven(s.ctx, 0.05); err != nil {
			t.Fatal(err)
		}
	}
	full := s.getAt(s.room.Client(3), "--output", filepath.Join(small, "w11.wim"))
	s.ended(full, 6)
	id := s.sessions()[0].ID
	if _, err := s.daemon.CLI(s.ctx, "session", "set", id, "--floor", "never"); err == nil {
		t.Error("a floor of never was taken")
	}
	s.cli("client", "evict", name(2))
	s.ended(gets[2], 8)
	s.proven(gets[0])
	s.proven(gets[1])
	s.cli("session", "stop", id)

	// In the API: the session as it ended.
	var running []api.Session
	if err := s.daemon.Ask(s.ctx, &running, "session", "list"); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(running, func(one api.Session) bool { return one.ID == id })
	if at < 0 {
		t.Fatalf("session %s isn't in %+v", id, running)
	}
	told := running[at]
	var recorded api.HistorySession
	if err := s.daemon.Ask(s.ctx, &recorded, "history", "show", id); err != nil {
		t.Fatal(err)
	}
	log := s.lines()

	t.Run("the session", func(t *testing.T) {
		for _, message := range []string{"session started", "session ended", "session stopped by the operator"} {
			if n := len(said(log, message, id)); n != 1 {
				t.Errorf("%s: %d lines", message, n)
			}
		}
		for _, end := range said(log, "session ended", id) {
			if end.Clients != 4 || end.Proven != 2 || end.Failed != 2 || end.Clients != len(told.Clients) || end.Clients != recorded.Clients || end.Proven != recorded.Proven ||
				end.Failed != recorded.Failed || uint64(end.Bytes) != recorded.Sent.Bytes || end.Package != "w11@1" || end.Level != "info" {
				t.Errorf("the log says %+v, the history %+v", end, recorded)
			}
		}
	})
	t.Run("the clients", func(t *testing.T) {
		if n := len(said(log, "client joined", id)); n != 4 {
			t.Errorf("%d joined", n)
		}
		for _, c := range told.Clients {
			ends := slices.DeleteFunc(said(log, "client ended", id), func(l logLine) bool { return l.Number != c.Number })
			i := slices.IndexFunc(recorded.Members, func(m api.HistoryClient) bool { return m.Number == c.Number })
			if len(ends) != 1 || i < 0 {
				t.Errorf("%s: %d lines of its end, %d in the history", c.Name, len(ends), i)
				continue
			}
			if end, m := ends[0], recorded.Members[i]; end.Client != c.Name || end.State != c.State || m.Name != c.Name || m.State != c.State || m.Session != id {
				t.Errorf("the log says %+v, the API %+v, the history %+v", end, c, m)
			}
			if want := map[string]string{"proven": "info", "evicted": "info", "failed": "warn"}[c.State]; ends[0].Level != want {
				t.Errorf("%s %s at level %s", c.Name, c.State, ends[0].Level)
			}
		}
		of := 0
		for _, l := range log {
			if l.Session == id && l.Client != "" && l.By == "" {
				of++
			}
		}
		t.Logf("%d lines of %d clients", of, len(told.Clients))
		if of > 3*len(told.Clients) {
			t.Errorf("%d lines of %d clients", of, len(told.Clients))
		}
	})
	t.Run("the requests", func(t *testing.T) {
		// What changed something, and what was refused: one line each, under the id that the history has.
		for message, action := range map[string]string{"client evicted by the operator": "evict", "session stopped by the operator": "stop"} {
			lines := said(log, message, id)
			i := slices.IndexFunc(recorded.Actions, func(a api.HistoryAction) bool { return a.Action == action })
			if len(lines) != 1 || i < 0 || lines[0].Request == "" || lines[0].Request != recorded.Actions[i].Request || lines[0].By != recorded.Actions[i].Who {
				t.Errorf("%s: the log says %+v, the history %+v", action, lines, recorded.Actions)
			}
		}
		seen := map[string]int{}
		for _, l := range log {
			if l.Request != "" {
				if seen[l.Request]++; l.By == "" {
					t.Errorf("a request of nobody: %+v", l)
				}
			}
		}
		for request, n := range seen {
			if n != 1 {
				t.Errorf("request %s has %d lines", request, n)
			}
		}
	})
	t.Run("after a kill", func(t *testing.T) {
		s.daemon.Kill()
		if err := s.daemon.Start(s.ctx); err != nil {
			t.Fatal(err)
		}
		g := s.get(3)
		if err := g.AwaitProven(s.ctx, 0.01); err != nil {
			t.Fatal(err)
		}
		next := s.sessions()[0].ID
		s.cli("session", "stop", next)
		if len(said(s.lines(), "session started", id)) != 1 || len(said(s.lines(), "session started", next)) != 1 || next == id {
			t.Errorf("sessions %s and %s", id, next)
		}
		var one api.HistorySession
		if err := s.daemon.Ask(s.ctx, &one, "history", "show", id); err != nil || one.ID != recorded.ID {
			t.Errorf("the history has %+v as %s: %v", one, id, err)
		}
	})
}

// TestOperationsSupport: a daemon that was told secrets wherever one can, and a bundle that has none of them, with names and without.
func TestOperationsSupport(t *testing.T) {
	// Each of them can be told from anything else. The environment is the daemon's too.
	secrets := map[string]string{
		"variable": "zq-env-4f1c9a", "registry password": "zq-reg-77b0e2", "PIN": "zqPIN58213746", "user of a source": "zq-usr-91d3", "query of a source": "zq-tok-5e6f01", "in a comment": "zq-cmt-0a9b8c",
	}
	t.Setenv("WIMCAST_TEST_PASSWORD", secrets["variable"])
	dir := t.TempDir()
	credentials := filepath.Join(dir, "registry-credentials")
	if err := os.WriteFile(credentials, []byte("username = \"site\"\npassword = \""+secrets["registry password"]+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A registry that refuses everybody, and says back what it was shown, as some do.
	registry := onlyErrors(t)
	s := onLoopback(t, rig.Config{
		Multicast: `ceiling = "40 MB/s"`, Admin: `listen = "127.0.0.1:0"`,
		Tables: fmt.Sprintf("[registry]\nrepository = %q\nplain_http = true\ncredentials = %q\n", registry+"/wimcast", credentials),
	})
	var status api.Status
	s.ask(&status, "/v1/status")
	operator := s.remote("ann", "operator", status.Admin)
	s.cli("pin", "set", "lab", "--pin", secrets["PIN"])
	s.cli("image", "set", "w11", "--comment", "from https://"+secrets["user of a source"]+":"+secrets["user of a source"]+"@files.example.org/w11.wim?sig="+secrets["query of a source"]+
		" with token="+secrets["in a comment"])
	g := s.get(0, "--name", "oddly-named-pc")
	s.proven(g)
	id := s.sessions()[0].ID
	s.cli("session", "stop", id)
	s.cli("point", "add", "spree", "--output", filepath.Join(dir, "spree.point"))
	s.cli("image", "distribute", "w11", "--all")
	s.await("word of the registry in the log", func() bool {
		return len(said(s.lines(), "can't be brought into the registry; it is tried again", "")) > 0
	})
	for name, file := range map[string]string{"join bundle": s.daemon.Bundle(), "operator's bundle": operator.bundle, "key of the CA": filepath.Join(s.daemon.Dir, "ca", "ca.key")} {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) && name == "key of the CA" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if strings.Contains(block.Type, "PRIVATE KEY") {
				secrets[name] = string(block.Bytes)
			}
		}
	}
	if secrets["join bundle"] == "" || secrets["operator's bundle"] == "" {
		t.Fatal("no keys were found to look for")
	}

	t.Run("whole", func(t *testing.T) {
		file := filepath.Join(dir, "whole.tar.gz")
		var made struct {
			File     string
			Bytes    int64
			Manifest struct {
				Parts []struct{ Name, Error string }
			}
		}
		if err := s.daemon.Ask(s.ctx, &made, "support", "-o", file); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil || made.File != file || made.Bytes != info.Size() || info.Mode().Perm() != 0o600 {
			t.Errorf("%+v, %v", made, err)
		}
		t.Logf("a bundle of %d bytes, %d parts", made.Bytes, len(made.Manifest.Parts))
		parts := openBundle(t, file)
		for name, has := range map[string]string{
			"MANIFEST.json": `"left_out"`, "README.txt": "wimcast support", "server/status.json": status.Listen, "server/doctor.json": `"findings"`, "server/sessions.json": `"` + id + `"`, "server/images.json": "w11",
			"server/history/sessions.json": id, "server/history/clients.json": `"proven"`, "server/history/actions.json": `"request"`, "server/events.jsonl": "client_ended", "server/log.jsonl": `"msg":"session ended"`,
			"server/metrics.txt": "wimcast_build_info", "server/config.toml": "(set; left out)", "server/goroutines.txt": "goroutine profile", "server/daemon.json": `"heap_bytes"`, "server/network/memberships.txt": "224.0.0.1",
			"server/network/interfaces.json": "127.0.0.1", "server/network/sockets.txt": "drops", "server/network/settings.txt": "net.core.rmem_max", "server/network/routes.txt": "Destination",
			"server/machine/system.json": `"kernel"`, "server/machine/disk.json": `"free_bytes"`, "server/pins.json": "lab", "server/bundles.json": "ann", "server/deployments.json": "w11", "tool/machine.json": `"version"`,
			"server/schedules.json": "[", "server/queue.json": "[", "server/client-logs.json": "[", "server/points.json": "[",
		} {
			if !strings.Contains(parts[name], has) {
				t.Errorf("%s hasn't %q: %.300q", name, has, parts[name])
			}
		}
		for name, text := range parts {
			if strings.HasSuffix(name, ".json") && !json.Valid([]byte(text)) {
				t.Errorf("%s isn't JSON: %.200q", name, text)
			}
		}
		noSecrets(t, parts, secrets)
	})
	t.Run("from elsewhere, without names", func(t *testing.T) {
		file := filepath.Join(dir, "away.tar.gz")
		if out, err := operator.wimcast("support", "-o", file, "--anonymous", "--session", id); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		parts := openBundle(t, file)
		noSecrets(t, parts, secrets)
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		own := regexp.MustCompile(`(?i)(^|[^\w.-])` + regexp.QuoteMeta(host) + `([^\w-]|$)`)
		clients := map[string]bool{}
		client := regexp.MustCompile(`name-[0-9a-f]{10}`)
		for name, text := range parts {
			if name == "README.txt" {
				continue
			}
			if strings.Contains(text, "oddly-named-pc") || own.MatchString(text) {
				t.Errorf("%s names a machine", name)
			}
			if name == "server/sessions.json" || name == "server/log.jsonl" {
				for _, w := range client.FindAllString(text, -1) {
					clients[w] = clients[w] || name == "server/log.jsonl"
				}
			}
			if _, there := parts["service/journal.txt"]; there {
				t.Error("the journal of this machine is in a bundle of another")
			}
		}
		if !strings.Contains(parts["server/sessions.json"], `"`+id+`"`) || !slices.Contains(slices.Collect(func(yield func(bool) bool) {
			for _, both := range clients {
				if !yield(both) {
					return
				}
			}
		}), true) {
			t.Errorf("sessions and log don't name the client alike: %v", clients)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		out := s.cli("support", "--dry-run", "-o", filepath.Join(dir, "dry.tar.gz"))
		if _, err := os.Stat(filepath.Join(dir, "dry.tar.gz")); err == nil || !strings.Contains(out, "server/log.jsonl") || !strings.Contains(out, "private keys") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("what is refused", func(t *testing.T) {
		for _, args := range [][]string{{"--session", "s404"}, {"-o", filepath.Join(dir, "whole.tar.gz")}, {"--since", "-1h"}} {
			if out, err := s.daemon.CLI(s.ctx, append([]string{"support"}, args...)...); err == nil {
				t.Errorf("%v: %s", args, out)
			}
		}
	})
	t.Run("without a daemon", func(t *testing.T) {
		if err := s.daemon.Stop(); err != nil {
			t.Error(err)
		}
		file := filepath.Join(dir, "alone.tar.gz")
		if out, err := s.daemon.CLI(s.ctx, "support", "-o", file); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if parts := openBundle(t, file); !strings.Contains(parts["MANIFEST.json"], "nothing answers") || !strings.Contains(parts["tool/machine.json"], `"version"`) {
			t.Errorf("%v", parts)
		}
	})
}

// onlyErrors is a registry that takes nothing, and says back what it was shown. It returns host and port.
func onlyErrors(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, shown := r.BasicAuth()
		if !shown {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]any{"code": "DENIED", "message": "no: " + user + " " + password}}})
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// openBundle returns a bundle's files by their names within its folder.
func openBundle(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	in := tar.NewReader(zip)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		folder, rest, ok := strings.Cut(h.Name, "/")
		if !ok || folder+".tar.gz" != filepath.Base(name) || filepath.IsAbs(h.Name) || strings.Contains(h.Name, "..") {
			t.Errorf("a file %q in %s", h.Name, name)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		parts[rest] = string(text)
	}
}

// noSecrets looks for secrets in each part: as they are, and as hex, base64, and escaped.
func noSecrets(t *testing.T, parts, secrets map[string]string) {
	t.Helper()
	for what, secret := range secrets {
		raw := []byte(secret)
		forms := []string{secret, hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), url.QueryEscape(secret)}
		for shift := range 3 {
			text := base64.RawStdEncoding.EncodeToString(append(bytes.Repeat([]byte{0}, shift), raw...))
			forms = append(forms, text[2*shift:len(text)-2])
		}
		for name, text := range parts {
			for _, form := range forms {
				if strings.Contains(text, form) || strings.Contains(strings.ReplaceAll(strings.ReplaceAll(text, "\\n", ""), "\n", ""), form) {
					t.Errorf("%s is in %s", what, name)
				}
			}
		}
	}
}
