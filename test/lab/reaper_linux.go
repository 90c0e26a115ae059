package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ownerVariable marks, in the environment of every command of a room, the
// process that owns the room: its id and start time.
const ownerVariable = "WIMCAST_ROOM"

// reaperScript waits until its owner closed the pipe or died, then ends every
// process in the room's namespaces. The arguments are the owner's id and the
// words that make find match the namespaces. A process that forks while it is
// looked for is caught in the next round.
const reaperScript = `
owner=$1; shift
cat >/dev/null
round=0
while [ $round -lt 200 ]; do
	pids=$(find /proc/[0-9]*/ns/net -maxdepth 0 \( "$@" \) -printf '%h\n' 2>/dev/null | cut -d/ -f3 | grep -vx "$owner")
	[ -z "$pids" ] && exit 0
	kill -9 $pids 2>/dev/null
	sleep 0.05
	round=$((round + 1))
done
echo "processes that don't end:" $pids >&2
exit 1
`

// reaper is the process that ends a room's processes.
type reaper struct {
	cmd    *exec.Cmd
	pipe   *os.File
	stderr *os.File
}

// startReaper starts the reaper of a room with these namespaces. It holds
// them open, so that their inode numbers can't pass to others before it ends.
func startReaper(namespaces []*namespace) (*reaper, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start reaper: %w", err)
	}
	defer read.Close()
	args := []string{"-c", reaperScript, "room-reaper", strconv.Itoa(os.Getpid())}
	var files []*os.File
	for i, n := range namespaces {
		if i > 0 {
			args = append(args, "-o")
		}
		args = append(args, "-lname", fmt.Sprintf(`net:\[%d\]`, n.inode))
		files = append(files, n.file)
	}
	// A file and not a buffer: no goroutine, and it may be read after a kill.
	stderr, err := os.CreateTemp("", "room-reaper-*")
	if err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("start reaper: %w", err)
	}
	_ = os.Remove(stderr.Name())
	cmd := exec.Command("sh", args...)
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = read, stderr, files
	// A session of its own: an interrupt typed at the terminal isn't for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_, _ = write.Close(), stderr.Close()
		return nil, fmt.Errorf("start reaper: %w", err)
	}
	return &reaper{cmd: cmd, pipe: write, stderr: stderr}, nil
}

// reap has every process of the room ended and waits for it.
func (r *reaper) reap() error {
	defer r.stderr.Close()
	_ = r.pipe.Close()
	if err := r.cmd.Wait(); err != nil {
		said := make([]byte, 1024)
		n, _ := r.stderr.ReadAt(said, 0)
		return fmt.Errorf("end the room's processes: %w: %s", err, bytes.TrimSpace(said[:n]))
	}
	return nil
}

// owner returns the value of ownerVariable for this process.
func owner() (string, error) {
	start, err := startTime(os.Getpid())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d.%s", os.Getpid(), start), nil
}

// startTime returns when a process started, in clock ticks after boot
// (proc(5), field 22 of stat); with the id it names a process for good.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The command's name, in parentheses, may hold spaces and parentheses.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("read start time of process %d: unknown format", pid)
	}
	return fields[19], nil
}

// sweep ends the commands of rooms whose owner and reaper are both dead.
func sweep() error {
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, name := range environments {
		environment, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile, or is another user's
		}
		for variable := range strings.SplitSeq(string(environment), "\x00") {
			value, ok := strings.CutPrefix(variable, ownerVariable+"=")
			if !ok || ownerLives(value) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				continue
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end process %d of a dead room: %w", pid, err)
			}
		}
	}
	return nil
}

// ownerLives reports whether the process that a marker names still runs.
func ownerLives(marker string) bool {
	id, start, ok := strings.Cut(marker, ".")
	pid, err := strconv.Atoi(id)
	if !ok || err != nil {
		return true // not ours: leave it alone
	}
	now, err := startTime(pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	return err != nil || now == start
}
