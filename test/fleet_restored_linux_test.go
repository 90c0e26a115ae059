package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestFleetRestored: a site whose machine burned down. What comes back is the backup that docs/operations.md has made every night: without the
// library, and older than the second version. The point casts what it has all the while, believes the site that came back, and gets what is
// distributed then. What the site doesn't know of any more it says.
func TestFleetRestored(t *testing.T) {
	f, p, bundle, first, second := onePoint(t)
	tar := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(f.ctx, "tar", args...).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
	}
	backup, site := filepath.Join(f.dir, "wimcast-state.tar.gz"), f.daemon.Dir
	tar("-C", site, "--exclude=./library", "--exclude=./updates", "--exclude=./logs", "--exclude=./history.db*", "-czf", backup, ".")
	f.sendSecond(p, second)
	newest := f.arrived(p, "w11@2", 0).Revision

	f.daemon.Kill()
	if err := errors.Join(os.RemoveAll(site), os.Mkdir(site, 0o700)); err != nil {
		t.Fatal(err)
	}
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second) // nobody there needs the site
	tar("-C", site, "-xzf", backup)
	if err := f.daemon.Start(f.ctx); err != nil {
		t.Fatal(err)
	}
	f.await("word of the restore", func() bool {
		return !f.logged("this site was restored from a backup: the registry has later assignments of a point", `"lost":["w11@2"]`).IsZero()
	})
	f.arrived(p, "w11@1", 0)

	f.cli("image", "add", first, "--name", "w11", "--version", "1")
	f.sendSecond(p, second)
	f.arrived(p, "w11@2", newest)
	f.has(f.getIn(p, bundle, "room", "--no-unicast"), second)
}
