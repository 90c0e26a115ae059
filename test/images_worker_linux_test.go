package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"wimcast/test/rig"
)

// dism stands in for DISM, which is on Windows only: the same commands, with the work done by wimlib. A package
// that has "bad" in it can't be installed.
const dism = `#!/bin/sh
# arguments: /English /Mount-Image /ImageFile:F /Index:N /MountDir:D | /Image:D /Add-Package /PackagePath:P | /Unmount-Image /MountDir:D /Commit or /Discard
set -e
for a; do
	case $a in
	/ImageFile:*) file=${a#*:} ;;
	/Index:*) index=${a#*:} ;;
	/MountDir:*|/Image:*) dir=${a#*:} ;;
	/PackagePath:*) package=${a#*:} ;;
	/Commit) commit=1 ;;
	/ScratchDir:*) [ -d "${a#*:}" ] || exit 87 ;;
	esac
done
echo "$2" >>"$DISM_LOG"
[ -z "$DISM_HANGS" ] || exec sleep infinity
case $* in
*/Mount-Image*) echo "$file" >"$dir/.file"; echo "$index" >"$dir/.index"; mkdir -p "$dir/Windows/servicing/Packages" ;;
*/Add-Package*)
	if grep -q bad "$package"; then echo "Error: 0x800f081e The specified package is not applicable to this image."; exit 30; fi
	name=$(basename "$package" | grep -io 'kb[0-9]*' | tr a-z A-Z)
	echo x >"$dir/Windows/servicing/Packages/Package_for_$name~31bf3856ad364e35~amd64~~22621.1.1.1.mum"
	;;
*/Unmount-Image*)
	if [ -n "$commit" ]; then
		file=$(cat "$dir/.file"); index=$(cat "$dir/.index"); rm "$dir/.file" "$dir/.index"
		echo "add $dir /" | wimlib-imagex update "$file" "$index" >/dev/null
	fi ;;
esac
`

// TestImagesWorker: a worker takes a job over the network, has the stand-in install the packages, and hands the image back; one that
// is killed in the middle loses it to another.
func TestImagesWorker(t *testing.T) {
	s := onLoopback(t, rig.Config{Admin: `listen = "127.0.0.1:0"`})
	s.smallWindows()
	s.catalogue()
	program, log := filepath.Join(s.dir, "dism"), filepath.Join(s.dir, "dism.log")
	if err := os.WriteFile(program, []byte(dism), 0o700); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(s.dir, "worker.join")
	s.cli("bundle", "create", "builder", "--role", "worker", "--output", bundle)
	server := s.adminAt()
	worker := func(args ...string) *exec.Cmd {
		t.Helper()
		all := append([]string{"--bundle", bundle, "--server", server, "worker", "--scratch", s.dir}, args...)
		cmd := rig.Loopback("worker").Command(s.ctx, s.programs.Client, all...)
		cmd.Env = append(os.Environ(), "WIMCAST_TEST_DISM="+program, "DISM_LOG="+log)
		return cmd
	}

	sc := s.service("win", "--update", "KB5000001", "--update", "KB5000002", "--overlay", "drivers", "--executor", "dism")
	if out, err := worker("--once").CombinedOutput(); err != nil {
		t.Fatalf("worker: %v: %s", err, out)
	}
	if sc = s.awaitSchedule(sc.ID, "successful", "failed"); sc.State != "successful" || len(sc.Runs[0].Steps) != 3 || sc.Runs[0].Steps[0].Text != "installed by DISM" {
		t.Fatalf("%+v", sc)
	}
	if did, err := os.ReadFile(log); err != nil || string(did) != "/Mount-Image\n/Image:"+mountOf(string(did))+"\n/Image:"+mountOf(string(did))+"\n/Unmount-Image\n" {
		t.Errorf("what DISM was asked for: %q, %v", did, err)
	}
	if out := s.cli("update", "applicable", "win", "--all"); strings.Count(out, "is installed, as Package_for_KB500000") != 2 || !strings.Contains(out, "3 updates of Windows in it") {
		t.Errorf("what is in the image now:\n%s", out)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "job-*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}

	// DISM refuses one: nothing comes of it, or the rest does.
	bad := s.msu("KB5000005", "x64")
	f, err := os.OpenFile(bad, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("bad"); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	s.cli("update", "add", bad, "--build", "any")
	s.cli("update", "add", s.msu("KB5000006", "x64"), "--build", "any")
	args := []string{"win", "--update", "KB5000005", "--update", "KB5000006", "--executor", "dism"}
	before := s.current("win").Version
	sc = s.service(args...)
	if out, err := worker("--once").CombinedOutput(); err != nil {
		t.Errorf("worker: %v: %s", err, out)
	}
	if sc = s.awaitSchedule(sc.ID, "successful", "failed"); sc.State != "failed" || !strings.Contains(sc.Reason, "0x800f081e") || s.current("win").Version != before {
		t.Errorf("%+v", sc)
	}
	sc = s.service(append(args, "--continue-on-error")...)

	// The first worker is killed in the middle of the job, which would never end; the same bundle asks again, and begins anew.
	first := worker()
	first.Env = append(first.Env, "DISM_HANGS=1")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	begun := func() bool {
		did, err := os.ReadFile(log)
		return err == nil && strings.Count(string(did), "/Mount-Image") == 3
	}
	s.await("the job to be taken and begun", func() bool { return strings.Count(s.daemon.Log(), `"msg":"job taken"`) == 3 && begun() })
	if err := syscall.Kill(-first.Process.Pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = first.Wait()
	if out, err := worker("--once").CombinedOutput(); err != nil {
		t.Errorf("worker: %v: %s", err, out)
	}
	if sc = s.awaitSchedule(sc.ID, "successful", "failed"); sc.State != "successful" || !strings.Contains(sc.Reason, "1 of 2 failed") || s.current("win").Version == before {
		t.Errorf("%+v", sc)
	}

	// A worker is nothing but a worker, and nobody else is one.
	if out, err := exec.CommandContext(s.ctx, s.programs.Client, "--bundle", bundle, "--server", server, "image", "list").CombinedOutput(); err == nil {
		t.Errorf("a worker lists images: %s", out)
	}
	if out, err := exec.CommandContext(s.ctx, s.programs.Client, "--bundle", s.daemon.Bundle(), "worker").CombinedOutput(); err == nil || !strings.Contains(string(out), "DISM is there only") {
		t.Errorf("a worker on Linux: %v: %s", err, out)
	}
}

// mountOf finds the mount directory in the stand-in's log.
func mountOf(log string) string {
	_, rest, _ := strings.Cut(log, "/Image:")
	mount, _, _ := strings.Cut(rest, "\n")
	return mount
}

// adminAt is where the admin API is over HTTPS.
func (s *stage) adminAt() string {
	s.t.Helper()
	var status struct {
		Admin string `json:"admin_listen"`
	}
	s.ask(&status, "/v1/status")
	if status.Admin == "" {
		s.t.Fatal(fmt.Errorf("no admin API over HTTPS"))
	}
	return status.Admin
}
