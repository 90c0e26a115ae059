package test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"wimcast/test/rig"
)

// TestSessionsAPI: a room is run from another machine. An operator and a viewer come over
// HTTPS with bundles of their own, by wimcast and by curl, which knows nothing of us;
// both follow what happens; nobody else gets in.
func TestSessionsAPI(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is missing: install it (make setup does)")
	}
	s := onLoopback(t, rig.Config{Multicast: `ceiling = "2 MB/s"`, Admin: `listen = "127.0.0.1:0"`})
	var status struct {
		Admin string `json:"admin_listen"`
	}
	s.ask(&status, "/v1/status")
	if status.Admin == "" {
		t.Fatal("the API isn't served over HTTPS")
	}
	ann := s.remote("ann", "operator", status.Admin)
	eve := s.remote("eve", "viewer", status.Admin)
	room := &remote{stage: s, server: status.Admin, bundle: s.daemon.Bundle(), credential: s.split(s.daemon.Bundle())}

	t.Run("who gets in", func(t *testing.T) {
		for _, version := range []string{"--http1.1", "--http2"} {
			if code, body := eve.curl(version, "/v1/status"); code != 200 || !bytes.Contains(body, []byte(status.Admin)) {
				t.Errorf("viewer, %s: %d: %s", version, code, body)
			}
		}
		if code, body := eve.curl("/v1/images/w11", "-X", "PATCH", "-d", `{"comment":"eve was here"}`); code != 403 || !bytes.Contains(body, []byte("may only look")) {
			t.Errorf("a viewer who changes something: %d: %s", code, body)
		}
		if code, body := ann.curl("/v1/images/w11", "-X", "PATCH", "-d", `{"comment":"ann was here"}`); code != 200 {
			t.Errorf("an operator who changes something: %d: %s", code, body)
		}
		if code, body := room.curl("/v1/status"); code != 0 {
			t.Errorf("a boot image's bundle gets in: %d: %s", code, body)
		}
		if code, body := (&remote{stage: s, server: status.Admin, credential: credential{ca: room.credential.ca}}).curl("/v1/status"); code != 0 {
			t.Errorf("without a certificate: %d: %s", code, body)
		}
		if _, err := room.wimcast("--server", status.Admin, "session", "list"); err == nil || !strings.Contains(err.Error(), "of role winpe") {
			t.Errorf("wimcast with a boot image's bundle: %v", err)
		}
		out, err := ann.wimcast("--json", "image", "show", "w11")
		if err != nil || !strings.Contains(out, "ann was here") {
			t.Errorf("wimcast with an operator's bundle: %v: %s", err, out)
		}
	})

	t.Run("the same document everywhere", func(t *testing.T) {
		want, err := os.ReadFile("../api/openapi.json")
		if err != nil {
			t.Fatal(err)
		}
		_, remote := eve.curl("/v1/openapi.json")
		if local := s.local("/v1/openapi.json"); !bytes.Equal(local, want) || !bytes.Equal(remote, want) {
			t.Error("what is served isn't api/openapi.json")
		}
	})

	// Both follow; curl is cut off in between, and comes back with the id it saw last.
	mine := ann.start("", s.programs.Client, "--bundle", ann.bundle, "--json", "events", "--after", "nothing") // from the first on
	theirs := eve.events("")
	stays, goes := s.get(0), s.get(1)
	if err := goes.AwaitProven(s.ctx, 0.05); err != nil {
		t.Fatal(err)
	}
	seen := theirs.until(t, "both clients have joined", func(all []happening) bool {
		return kinds(all, "client_joined", "") == 2
	})
	theirs.stop()
	if _, err := eve.wimcast("client", "evict", "pc02"); err == nil {
		t.Error("a viewer evicted somebody")
	}
	if out, err := ann.wimcast("client", "evict", "pc02"); err != nil || !strings.Contains(out, "evicted from s1") {
		t.Errorf("evict: %v: %s", err, out)
	}
	s.ended(goes, 8)
	theirs = eve.events(seen[len(seen)-1].ID)
	s.hurry(rig.Config{Multicast: `ceiling = "8 MB/s"`, Admin: `listen = "127.0.0.1:0"`})
	s.proven(stays)
	theirs.until(t, "one client is proven, the other evicted", func(all []happening) bool {
		return kinds(all, "client_ended", "proven") == 1 && kinds(all, "client_ended", "evicted") == 1
	})
	if out, err := ann.wimcast("session", "stop", "s1"); err != nil && !strings.Contains(err.Error(), "has ended") { // by itself, 10 s after its last client
		t.Errorf("stop: %v: %s", err, out)
	}
	isOver := func(all []happening) bool { return kinds(all, "session_ended", "") == 1 }
	seen = append(seen, theirs.until(t, "the session has ended", isOver)...)
	whole := mine.until(t, "the session has ended", isOver)
	mine.stop()

	if len(whole) < 7 || whole[0].Event != "gap" || whole[1].Event != "session_started" || whole[len(whole)-1].Event != "session_ended" {
		t.Fatalf("what happened: %v", whole)
	}
	whole = whole[1:] // as it knew of nothing
	if !slices.Equal(ids(seen), ids(whole)) {
		t.Errorf("in two pieces curl read\n%v, wimcast in one\n%v", ids(seen), ids(whole))
	}

	t.Run("who did what", func(t *testing.T) {
		var who []string
		for line := range strings.Lines(s.daemon.Log()) {
			var entry struct{ Msg, Path, By string }
			if json.Unmarshal([]byte(line), &entry) == nil && (entry.Path == "/v1/clients/pc02/evict" || entry.Msg == "client evicted by the operator") {
				name, _, _ := strings.Cut(entry.By, ",")
				who = append(who, entry.Msg+": "+name)
			}
		}
		if want := []string{"admin request failed: eve (viewer", "client evicted by the operator: ann (operator"}; !slices.Equal(who, want) {
			t.Errorf("the log says %q, want %q", who, want)
		}
		if !strings.Contains(s.daemon.Log(), fmt.Sprintf("uid %d", os.Getuid())) {
			t.Error("the log doesn't say who was on the socket")
		}
	})

	t.Run("revoked", func(t *testing.T) {
		if out := s.cli("bundle", "revoke", "eve"); !strings.Contains(out, "1 credential") {
			t.Errorf("revoke: %s", out)
		}
		if code, _ := eve.curl("/v1/status"); code != 0 {
			t.Errorf("a revoked viewer gets in: %d", code)
		}
		if _, err := eve.wimcast("session", "list"); err == nil || !strings.Contains(err.Error(), "refuses this bundle") {
			t.Errorf("a revoked viewer is told: %v", err)
		}
		select {
		case <-theirs.ended: // at the next sign of life
		case <-s.ctx.Done():
			t.Error("a revoked viewer still reads events")
		}
		if _, err := ann.wimcast("session", "list"); err != nil {
			t.Errorf("the operator: %v", err)
		}
	})
}

// local asks over the socket by curl.
func (s *stage) local(path string) []byte {
	s.t.Helper()
	out, err := exec.CommandContext(s.ctx, "curl", "-sS", "--fail", "--unix-socket", filepath.Join(s.daemon.Dir, "admin.sock"), "http://wimcastd"+path).Output()
	if err != nil {
		s.t.Fatalf("curl %s: %v", path, err)
	}
	return out
}

// ask asks over the socket and decodes the answer.
func (s *stage) ask(into any, path string) {
	s.t.Helper()
	if err := json.Unmarshal(s.local(path), into); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
}

// credential is a bundle as others' programs want it: files in PEM.
type credential struct{ certificate, key, ca string }

// split takes a bundle apart.
func (s *stage) split(bundle string) credential {
	s.t.Helper()
	text, err := os.ReadFile(bundle)
	if err != nil {
		s.t.Fatal(err)
	}
	c := credential{certificate: bundle + ".pem", key: bundle + ".key", ca: bundle + ".ca"}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		name := c.key
		if block.Type == "CERTIFICATE" {
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				s.t.Fatal(err)
			}
			if name = c.certificate; certificate.IsCA {
				name = c.ca
			}
		}
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return c
}

// remote is somebody who comes over HTTPS.
type remote struct {
	stage      *stage
	server     string
	bundle     string
	credential credential
}

// remote makes a bundle and returns its holder.
func (s *stage) remote(name, role, server string) *remote {
	s.t.Helper()
	bundle := filepath.Join(s.dir, name+".join")
	s.cli("bundle", "create", name, "--role", role, "--output", bundle)
	return &remote{stage: s, server: server, bundle: bundle, credential: s.split(bundle)}
}

// curlArgs are curl's for a request; one of args is the path.
func (r *remote) curlArgs(args ...string) []string {
	all := []string{"-sS", "--cacert", r.credential.ca, "--connect-to", "wimcast.internal:443:" + r.server}
	if r.credential.certificate != "" {
		all = append(all, "--cert", r.credential.certificate, "--key", r.credential.key)
	}
	for _, arg := range args {
		if strings.HasPrefix(arg, "/v1/") {
			arg = "https://wimcast.internal" + arg
		}
		all = append(all, arg)
	}
	return all
}

// curl makes a request; the code is 0 where there was no answer.
func (r *remote) curl(args ...string) (code int, body []byte) {
	r.stage.t.Helper()
	out, err := exec.CommandContext(r.stage.ctx, "curl", append(r.curlArgs(args...), "-w", "\n%{http_code}")...).Output()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		r.stage.t.Fatal(err)
	}
	end := bytes.LastIndexByte(out, '\n')
	if end < 0 {
		return 0, out
	}
	code, _ = strconv.Atoi(string(out[end+1:]))
	return code, out[:end]
}

// wimcast runs the command line with the bundle.
func (r *remote) wimcast(args ...string) (string, error) {
	cmd := exec.CommandContext(r.stage.ctx, r.stage.programs.Client, append([]string{"--bundle", r.bundle}, args...)...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errOut.String())
	}
	return out.String(), nil
}

// happening is an event, as far as this test looks.
type happening struct {
	ID     string `json:"id"`
	Event  string `json:"event"`
	Client struct {
		Name  string `json:"name"`
		State string `json:"state"`
	} `json:"client"`
}

func ids(all []happening) []string {
	var out []string
	for _, h := range all {
		out = append(out, h.ID)
	}
	return out
}

// kinds counts events of a kind; with a state only those whose client has it.
func kinds(all []happening, kind, state string) int {
	n := 0
	for _, h := range all {
		if h.Event == kind && (state == "" || h.Client.State == state) {
			n++
		}
	}
	return n
}

// follower is a program that follows events.
type follower struct {
	stage  *stage
	stop   context.CancelFunc // ends it, and waits
	ended  chan struct{}
	opened chan struct{}

	mu   sync.Mutex
	all  []happening
	wake chan struct{}
}

// events starts curl on the event stream, and returns once it is open.
func (r *remote) events(after string) *follower {
	r.stage.t.Helper()
	args := r.curlArgs("-N", "/v1/events")
	if after != "" {
		args = append(args, "-H", "Last-Event-ID: "+after)
	}
	f := r.start("data: ", "curl", args...)
	select {
	case <-f.opened:
	case <-f.ended:
		r.stage.t.Fatal("curl ended before the stream was open")
	case <-r.stage.ctx.Done():
		r.stage.t.Fatal("the stream doesn't open")
	}
	return f
}

// start starts a program that writes an event on each line that has the prefix.
func (r *remote) start(prefix, name string, args ...string) *follower {
	r.stage.t.Helper()
	ctx, cancel := context.WithCancel(r.stage.ctx)
	cmd := exec.CommandContext(ctx, name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.stage.t.Fatal(err)
	}
	f := &follower{stage: r.stage, ended: make(chan struct{}), opened: make(chan struct{}), wake: make(chan struct{})}
	f.stop = func() { cancel(); <-f.ended }
	if err := cmd.Start(); err != nil {
		r.stage.t.Fatal(err)
	}
	r.stage.t.Cleanup(f.stop)
	go func() {
		defer close(f.ended)
		f.read(out, prefix)
		_ = cmd.Wait() // killed, or cut off
	}()
	return f
}

func (f *follower) read(out io.Reader, prefix string) {
	first := true
	for buf, rest := make([]byte, 4096), ""; ; {
		n, err := out.Read(buf)
		if first && n > 0 {
			first = false
			close(f.opened)
		}
		rest += string(buf[:n])
		for {
			line, after, whole := strings.Cut(rest, "\n")
			if !whole {
				break
			}
			rest = after
			var h happening
			if text, ok := strings.CutPrefix(line, prefix); ok && json.Unmarshal([]byte(text), &h) == nil {
				f.mu.Lock()
				f.all = append(f.all, h)
				close(f.wake)
				f.wake = make(chan struct{})
				f.mu.Unlock()
			}
		}
		if err != nil {
			return
		}
	}
}

// until waits until what has come is enough, and returns it.
func (f *follower) until(t *testing.T, what string, enough func([]happening) bool) []happening {
	t.Helper()
	for {
		f.mu.Lock()
		all, wake := slices.Clone(f.all), f.wake
		f.mu.Unlock()
		if enough(all) {
			return all
		}
		select {
		case <-wake:
		case <-f.ended:
			t.Fatalf("the stream ended before %s: %v", what, all)
		case <-f.stage.ctx.Done():
			t.Fatalf("waiting until %s: %v: %v", what, context.Cause(f.stage.ctx), all)
		}
	}
}
