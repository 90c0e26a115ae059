package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"wimcast/crypto/keyex"
)

// TestExposedBundle: a bundle that others can read works, and is spoken of once.
func TestExposedBundle(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes say nothing on Windows")
	}
	dir := t.TempDir()
	authority, err := keyex.OpenAuthority(filepath.Join(dir, "ca"), keyex.AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = authority.Close() })
	bundle, err := authority.Issue(keyex.Request{Name: "room", Role: keyex.WinPE, Servers: []string{"127.0.0.1:9"}})
	if err != nil {
		t.Fatal(err)
	}
	path, output := filepath.Join(dir, "room.join"), filepath.Join(dir, "w11.wim")
	if err := bundle.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(output, nil, 0o600); err != nil { // ends each run right after the bundle
		t.Fatal(err)
	}
	get := func(args ...string) (out, errOut string) {
		t.Helper()
		var o, e bytes.Buffer
		if code := run(append(args, "get", "w11", "--no-send-log", "--bundle", path, "--output", output), &o, &e); code != exitDisk {
			t.Fatalf("exit code %d: %s", code, &e)
		}
		return o.String(), e.String()
	}
	if _, says := get(); strings.Contains(says, "chmod") {
		t.Errorf("mode 0600: %s", says)
	}
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		out, says := get()
		if strings.Count(says, "chmod 600 "+path+"\n") != 1 || strings.Count(says, "\n") != 2 || out != "" {
			t.Errorf("mode %o: printed %q, and %q; want a line with the next step, and the error", mode, out, says)
		}
	}
	out, says := get("--json")
	var event, end getEvent
	events := json.NewDecoder(strings.NewReader(out))
	if err := errors.Join(events.Decode(&event), events.Decode(&end)); err != nil || event.Event != "notice" || !strings.Contains(event.Text, "chmod 600 "+path) {
		t.Errorf("--json prints %q, %v", out, err)
	}
	if end.Result == nil || end.Result.Code != exitDisk {
		t.Errorf("it ends with %+v", end)
	}
	if strings.Contains(says, "chmod") {
		t.Errorf("with --json, said twice: %s", says)
	}
}

// TestGetResult: with --json a get that ends before it began says so in a result, as one that ends later does.
func TestGetResult(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.join")
	var out, says bytes.Buffer
	if code := run([]string{"--json", "get", "w11", "--bundle", missing}, &out, &says); code != exitRefused {
		t.Fatalf("exit code %d: %s", code, &says)
	}
	var event getEvent
	if err := json.Unmarshal(out.Bytes(), &event); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	if r := event.Result; event.Event != eventResult || r == nil || r.Code != exitRefused || r.Package != "w11" || !strings.Contains(r.Error, missing) {
		t.Errorf("%+v, %+v", event, event.Result)
	}
}
