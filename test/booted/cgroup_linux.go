package booted

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cgroupScript gives the boot a control group of its own where no systemd manages this machine's: two systems in the same one would take
// each other's services for theirs. Then it becomes nspawn.
const cgroupScript = `
name=$1; shift
if [ ! -d /run/systemd/system ]; then
	for top in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
		if [ -w "$top/cgroup.procs" ]; then
			mkdir -p "$top/$name" && echo $$ >"$top/$name/cgroup.procs"
		fi
	done
fi
exec "$@"
`

// cgroupTops are where cgroupScript makes groups.
var cgroupTops = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"}

// cgroupPrefix begins the names of groups; the process that owns one follows.
const cgroupPrefix = "wimcast-booted-"

// cgroupName names the control group of a boot.
func cgroupName(machine, boot int) string {
	return fmt.Sprintf("%s%d-%d-%d", cgroupPrefix, os.Getpid(), machine, boot)
}

// removeCgroup removes the empty control groups of a boot that has ended.
func removeCgroup(name string) {
	for _, top := range cgroupTops {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(top, name), func(dir string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, dir)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			_ = os.Remove(dir) // one that isn't empty stays, for the next sweep
		}
	}
}

// sweep removes the control groups of owners that were killed.
func sweep() {
	for _, top := range cgroupTops {
		left, _ := filepath.Glob(filepath.Join(top, cgroupPrefix+"*"))
		for _, dir := range left {
			name := filepath.Base(dir)
			owner, _, _ := strings.Cut(strings.TrimPrefix(name, cgroupPrefix), "-")
			if _, err := strconv.Atoi(owner); err != nil {
				continue
			}
			if _, err := os.Stat("/proc/" + owner); err != nil {
				removeCgroup(name)
			}
		}
	}
}
