package wimlib

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLowPriority has a script in wimlib-imagex' place say what it gets.
func TestLowPriority(t *testing.T) {
	for _, p := range []string{"nice", "ionice"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$(nice) $(ionice) $*\"\n"
	if err := os.WriteFile(filepath.Join(dir, "wimlib-imagex"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	out, err := run(LowPriority(t.Context()), "", "verify", "a b")
	if got := strings.TrimSpace(string(out)); err != nil || got != "19 idle verify a b" {
		t.Errorf("%q, %v", got, err)
	}
	out, err = run(t.Context(), "", "verify")
	if got := string(out); err != nil || strings.Contains(got, "idle") {
		t.Errorf("without it: %q, %v", got, err)
	}
}
