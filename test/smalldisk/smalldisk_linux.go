// Package smalldisk runs tests on a real volume that is small: a tmpfs in a mount namespace of its own.
package smalldisk

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// variable tells the test binary that it runs inside the namespace, with the volume at the path that it names.
const variable = "WIMCAST_TEST_SMALL_DISK"

// Run runs on with an empty volume of a size in mount's words, such as 4m, at dir. It starts the calling test, which must be no
// subtest, once more in the namespace. Without root it is skipped.
func Run(t *testing.T, size string, on func(t *testing.T, dir string)) {
	t.Helper()
	if dir := os.Getenv(variable); dir != "" {
		on(t, dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small tmpfs in a namespace of its own")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("needs unshare (package util-linux)")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), unshare, "--mount", "sh", "-ec",
		`mount -t tmpfs -o size="$1" none "$2"; shift 2; exec "$@"`, "sh", size, dir, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"="+dir)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "mount:") {
		t.Skipf("can't mount a tmpfs here: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
}
