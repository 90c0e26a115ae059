package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wimcast/test/rig"
)

// TestOperationsPageSecure: the web page beyond loopback, by other people's tools: openssl makes a browser's certificate of a viewer's bundle,
// as docs/page.md has it, and a certificate of an organisation's; curl is the browser. Whom it lets in, by which names, what it shows of
// itself, and that a new certificate counts from a reload on.
func TestOperationsPageSecure(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	port := freePort(t)
	own, key := filepath.Join(s.dir, "page.pem"), filepath.Join(s.dir, "page.key")
	s.selfSigned(own, key)
	s.start(rig.Loopback("server"), rig.Config{Page: fmt.Sprintf("listen = \"0.0.0.0:%s\"\ncertificate = %q\nkey = %q\n", port, own, key)})
	wall, room := s.browserCertificate("wall", "viewer"), s.browserCertificate("room12", "winpe")
	at := "https://127.0.0.1:" + port
	byName := []string{"--connect-to", "page.example.net:" + port + ":127.0.0.1:" + port}
	status := func(args ...string) string {
		t.Helper()
		out, err := s.curl(append([]string{"--output", "/dev/null", "--write-out", "%{http_code}"}, args...)...)
		if err != nil {
			return err.Error()
		}
		return out
	}
	p12 := func(file string) []string {
		return []string{"--insecure", "--cert-type", "P12", "--cert", file + ":secret"}
	}
	for what, c := range map[string]struct {
		args []string
		want string
	}{
		"a viewer's certificate":      {append(p12(wall), at+"/v1/status"), "200"},
		"no certificate":              {[]string{"--insecure", at + "/v1/status"}, "401"},
		"files need none":             {[]string{"--insecure", at + "/"}, "200"},
		"what the page doesn't show":  {append(p12(wall), at+"/v1/bundles"), "404"},
		"what changes something":      {append(p12(wall), "--request", "POST", at+"/v1/sessions/s1/stop"), "404"},
		"a name of somebody else's":   {append(p12(wall), "--header", "Host: evil.example", at+"/v1/status"), "421"},
		"another page's request":      {append(p12(wall), "--request", "POST", "--header", "Sec-Fetch-Site: cross-site", at+"/login"), "403"},
		"plain HTTP":                  {[]string{"http://127.0.0.1:" + port + "/"}, "400"},
		"by name, and proven":         {append(byName, "--cacert", own, "https://page.example.net:"+port+"/"), "200"},
		"TLS 1.2":                     {append(p12(wall), "--tls-max", "1.2", at+"/"), "exit status 35"},
		"the certificate of a room's": {append(p12(room), at+"/v1/status"), "exit status 5"}, // it is ended while curl sends (55), or waits (56)
	} {
		if got := status(c.args...); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}

	// A link works as it does on loopback, once, and its cookie is for HTTPS alone.
	link, _, _ := strings.Cut(s.cli("page"), "\n") // one for each address
	address, token, ok := strings.Cut(link, "#token=")
	if !ok || !strings.HasPrefix(address, "https://") {
		t.Fatalf("wimcast page prints %q", link)
	}
	login := []string{"--insecure", "--include", "--json", fmt.Sprintf(`{"token":%q}`, token), at + "/login"}
	answer, err := s.curl(login...)
	if err != nil || !strings.Contains(answer, " 204") {
		t.Fatalf("login: %v: %s", err, answer)
	}
	_, cookie, _ := strings.Cut(answer, "set-cookie: ")
	cookie, attributes, _ := strings.Cut(cookie, ";")
	if !strings.HasPrefix(cookie, "__Host-") || !strings.Contains(attributes, "Secure") || !strings.Contains(attributes, "HttpOnly") || !strings.Contains(attributes, "SameSite=Strict") {
		t.Errorf("cookie %q; %q", cookie, attributes)
	}
	if got := status("--insecure", "--cookie", cookie, at+"/v1/images"); got != "200" {
		t.Errorf("with the cookie: %s", got)
	}
	if again, err := s.curl(login...); err != nil || !strings.Contains(again, " 403") {
		t.Errorf("the link again: %v: %s", err, again)
	}

	// A certificate that was renewed counts from a reload on, and one that doesn't fit its key changes nothing.
	before := read(t, own)
	s.selfSigned(own, key)
	s.reload("reloaded")
	if got := status(append(byName, "--cacert", own, "https://page.example.net:"+port+"/")...); got != "200" {
		t.Errorf("by the new certificate: %s", got)
	}
	after := read(t, own)
	if err := os.WriteFile(own, before, 0o600); err != nil {
		t.Fatal(err)
	}
	s.reload("reload: the configuration is bad; nothing changed")
	if err := os.WriteFile(own, after, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := status(append(byName, "--cacert", own, "https://page.example.net:"+port+"/")...); got != "200" {
		t.Errorf("after a certificate that isn't of the key: %s", got)
	}

	s.cli("bundle", "revoke", "wall")
	if got := status(append(p12(wall), at+"/v1/status")...); got == "200" {
		t.Errorf("a revoked certificate: %s", got)
	}
}

// reload has the daemon read its configuration again, until it says so.
func (s *stage) reload(says string) {
	s.t.Helper()
	from := len(s.daemon.Log())
	if err := s.daemon.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	for !strings.Contains(s.daemon.Log()[from:], `"msg":"`+says+`"`) {
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("the daemon doesn't say %q: %v", says, context.Cause(s.ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// selfSigned makes a certificate for page.example.net, and its key.
func (s *stage) selfSigned(certificate, key string) {
	s.t.Helper()
	s.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=page.example.net",
		"-addext", "subjectAltName=DNS:page.example.net", "-keyout", key, "-out", certificate)
}

// browserCertificate makes a bundle of a role, and of it a file that browsers import, with the password secret.
func (s *stage) browserCertificate(name, role string) string {
	s.t.Helper()
	bundle, file := filepath.Join(s.dir, name+".join"), filepath.Join(s.dir, name+".p12")
	s.cli("bundle", "create", name, "--role", role, "--output", bundle)
	s.openssl("pkcs12", "-export", "-in", bundle, "-inkey", bundle, "-out", file, "-name", "wimcast "+name, "-passout", "pass:secret")
	return file
}

func (s *stage) openssl(args ...string) {
	s.t.Helper()
	if out, err := exec.CommandContext(s.ctx, "openssl", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("openssl %v: %v: %s", args, err, out)
	}
}

// curl returns what it writes.
func (s *stage) curl(args ...string) (string, error) {
	out, err := exec.CommandContext(s.ctx, "curl", append([]string{"--silent", "--max-time", "60"}, args...)...).Output()
	return string(out), err
}
