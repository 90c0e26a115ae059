package unicast

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wimcast/crypto"
)

// curl is somebody else's idea of HTTPS, ranges and conditions.
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl (package curl)")
	}
	h := newHouse(t, nil)
	b := h.shelf.add("w11@1", 30*crypto.BlockSize+17)
	token := h.desk.give("pc01", b.digest).hex()
	url := "https://" + h.addr + "/v1/content/" + b.digest.String()
	run := func(args ...string) ([]byte, int) {
		t.Helper()
		args = append([]string{
			"--silent", "--show-error", "--noproxy", "*", "--cacert", filepath.Join(h.dir, "ca.pem"),
			"--cert", filepath.Join(h.dir, "client.pem"), "--key", filepath.Join(h.dir, "client.key"),
		}, args...)
		cmd := exec.CommandContext(t.Context(), curl, args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if stderr.Len() > 0 {
			t.Log(strings.TrimSpace(stderr.String()))
		}
		return out, cmd.ProcessState.ExitCode()
	}
	bearer := "Authorization: Bearer " + token
	if out, code := run("-H", bearer, url); code != 0 || !bytes.Equal(out, b.data) {
		t.Errorf("all: exit code %d, %d bytes", code, len(out))
	}
	if out, code := run("-H", bearer, "-r", "180224-360447", url); code != 0 || !bytes.Equal(out, b.data[180224:360448]) {
		t.Errorf("range: exit code %d, %d bytes", code, len(out))
	}
	part := filepath.Join(t.TempDir(), "w11.wim")
	if err := os.WriteFile(part, b.data[:1_000_001], 0o644); err != nil {
		t.Fatal(err)
	}
	_, code := run("-H", bearer, "-C", "-", "-o", part, url)
	if got, err := os.ReadFile(part); code != 0 || err != nil || !bytes.Equal(got, b.data) {
		t.Errorf("resumed: exit code %d, %d bytes, %v", code, len(got), err)
	}
	if out, code := run("-I", "-H", bearer, url); code != 0 || !strings.Contains(string(out), "Accept-Ranges: bytes") || !strings.Contains(string(out), b.digest.String()) {
		t.Errorf("head: exit code %d, %s", code, out)
	}
	if out, code := run("--fail-with-body", url); code != 22 || !strings.Contains(string(out), `"status":401`) {
		t.Errorf("no token: exit code %d, %s", code, out)
	}
	if _, code := run("-H", bearer, "--tls-max", "1.2", url); code != 35 {
		t.Errorf("TLS 1.2: exit code %d, want 35", code)
	}
	if out, code := run("-H", bearer, strings.Replace(url, "content", "manifest", 1)); code != 0 || !bytes.Equal(out, b.manifest) {
		t.Errorf("manifest: exit code %d, %d bytes", code, len(out))
	}
}
