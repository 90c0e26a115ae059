package keyex

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v2"
)

// opensslFiles writes a credential as openssl takes it.
func opensslFiles(t *testing.T, a *Authority, cert *tls.Certificate) (ca, credential string) {
	t.Helper()
	dir := t.TempDir()
	ca, credential = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "own.pem")
	writePEM(t, ca, nil, a.ca)
	writePEM(t, credential, cert.PrivateKey, cert.Leaf)
	return ca, credential
}

func needOpenssl(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl isn't installed; it is the oracle of this test")
	}
}

// openssl starts it with pipes to both ends; it ends with the test.
func openssl(t *testing.T, args ...string) (in io.WriteCloser, out *bufio.Reader, wait func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, "openssl", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed
	})
	return in, bufio.NewReader(stdout), func() error { return cmd.Wait() }
}

// until reads lines up to the first that contains what, and returns it.
func until(t *testing.T, out *bufio.Reader, what string) string {
	t.Helper()
	var all strings.Builder
	for {
		line, err := out.ReadString('\n')
		all.WriteString(line)
		if strings.Contains(line, what) {
			return line
		}
		if err != nil {
			t.Fatalf("openssl never said %q (%v):\n%s", what, err, all.String())
		}
	}
}

// TestOpensslClient: a client of other people, which knows no envelope and no
// suite of our making, joins; so what we call RFC 7905 and RFC 7627 is that.
func TestOpensslClient(t *testing.T) {
	needOpenssl(t)
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	ca, own := opensslFiles(t, a, issue(t, a, "lab12", WinPE).certificate)
	in, out, _ := openssl(t, "s_client", "-dtls1_2", "-connect", l.Addr().String(), "-CAfile", ca, "-cert", own, "-key", own,
		"-verify_return_error", "-verify_hostname", DefaultServerName, "-attime", attime(a), "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305")
	server := accept(t, l)
	if p := server.Peer(); p.Name != "lab12" || p.Role != WinPE {
		t.Errorf("peer %+v", p)
	}
	until(t, out, "Extended master secret: yes")
	if _, err := io.WriteString(in, "from openssl\n"); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, server); got != "from openssl\n" {
		t.Errorf("server got %q", got)
	}
	send(t, server, "from the point\n")
	until(t, out, "from the point")
	_ = in.Close() // ends s_client with a farewell
	b := make([]byte, MaxMessage)
	if _, err := server.Receive(b); err != io.EOF { //nolint:errorlint // the contract is io.EOF itself
		t.Errorf("after the end: %v", err)
	}
}

// TestOpensslClientWithForeignSuite is refused with an alert.
func TestOpensslClientWithForeignSuite(t *testing.T) {
	needOpenssl(t)
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	ca, own := opensslFiles(t, a, issue(t, a, "lab12", WinPE).certificate)
	_, out, wait := openssl(t, "s_client", "-dtls1_2", "-connect", l.Addr().String(), "-CAfile", ca, "-cert", own, "-key", own,
		"-attime", attime(a), "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
	until(t, out, "alert")
	_, _ = io.Copy(io.Discard, out)
	if err := wait(); err == nil {
		t.Error("openssl is content")
	}
	eventually(t, "counted", func() bool { return l.Stats().Handshakes[Incompatible] == 1 })
}

// TestOpensslServer: our client's side of the suite against a server of other
// people. It goes without the envelope, which openssl doesn't know.
func TestOpensslServer(t *testing.T) {
	needOpenssl(t)
	a := openTestAuthority(t, newClock())
	c := issue(t, a, "lab12", WinPE)
	ca, own := opensslFiles(t, a, a.trust.certificate.Load())
	in, out, _ := openssl(t, "s_server", "-dtls1_2", "-accept", "127.0.0.1:0", "-CAfile", ca, "-cert", own, "-key", own,
		"-Verify", "2", "-verify_return_error", "-attime", attime(a), "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305")
	line := until(t, out, "ACCEPT")
	sock, err := net.Dial("udp4", strings.TrimSpace(strings.TrimPrefix(line, "ACCEPT ")))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	var v verdict
	cfg := dtlsConfig(c.certificate, func(raw [][]byte) error { return v.judge(c.verifier, raw) })
	cfg.ServerName = c.ServerName()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := dtls.ClientWithContext(ctx, sock, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if id := v.identity.Load(); id == nil || id.Role != Server || id.Name != DefaultServerName {
		t.Errorf("judged %+v", id)
	}
	if _, err := d.Write([]byte("from the client\n")); err != nil {
		t.Fatal(err)
	}
	until(t, out, "from the client")
	if _, err := io.WriteString(in, "from openssl\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, MaxMessage)
	if n, err := d.Read(b); err != nil || string(b[:n]) != "from openssl\n" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

// TestOpensslReadsWhatWeMake: certificates pass openssl's own judgement, each for
// its direction only.
func TestOpensslReadsWhatWeMake(t *testing.T) {
	needOpenssl(t)
	a := openTestAuthority(t, newClock())
	ca, client := opensslFiles(t, a, issue(t, a, "lab12", WinPE).certificate)
	_, server := opensslFiles(t, a, a.trust.certificate.Load())
	for _, tc := range []struct {
		file, purpose string
		ok            bool
	}{
		{client, "sslclient", true},
		{client, "sslserver", false},
		{server, "sslserver", true},
		{server, "sslclient", false},
	} {
		out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-x509_strict", "-attime", attime(a), "-CAfile", ca, "-purpose", tc.purpose, tc.file).CombinedOutput()
		if (err == nil) != tc.ok {
			t.Errorf("%s for %s: %v\n%s", filepath.Base(filepath.Dir(tc.file)), tc.purpose, err, out)
		}
	}
}
