package booted

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// The tree. A change of any of these is another tree in the cache.
const (
	// suite is the oldest Debian that wimcast is for.
	suite = "bookworm"
	// recipe is counted up when what is done to the tree after debootstrap changes.
	recipe = "2"
)

// contents is what the tree has beside Debian's essential packages.
var contents = []string{
	"systemd", "systemd-sysv", // what it boots
	"dbus",     // systemctl asks by it
	"iproute2", // for a look at the network
	"rpm",      // installs the other kind of package
}

// idle are programs with services that are there and don't run until a test starts them. debootstrap can't configure what they need; apt can.
var idle = []string{"firewalld", "ufw"}

// tools are the programs that a boot takes, with their Debian packages.
var tools = [...]struct{ name, pkg string }{
	{"debootstrap", "debootstrap"},
	{"systemd-nspawn", "systemd-container"},
	{"nsenter", "util-linux"},
	{"mount", "mount"},
}

// Supported returns nil where a system can be booted, else an error that says what is missing and how to get it.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("boot a system: not root: run it as root, or with sudo")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool.name); err != nil {
			return fmt.Errorf("boot a system: %s isn't there: apt-get install %s", tool.name, tool.pkg)
		}
	}
	return nil
}

// Tree returns the directory of Debian's files that all machines share and none may change. The first call on a machine makes it, in a
// minute or a few, from the mirror that debootstrap takes by itself; it takes 500 MB of the user's cache directory. One that was
// interrupted is never taken: a tree gets its name when it is whole, and a second process waits for the first.
func Tree(ctx context.Context) (string, error) {
	if err := Supported(); err != nil {
		return "", err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("make Debian tree: %w", err)
	}
	base = filepath.Join(base, "wimcast")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("make Debian tree: %w", err)
	}
	key := sha256.Sum256([]byte(strings.Join(slices.Concat([]string{suite, recipe}, contents, idle), "\n")))
	return keep(ctx, filepath.Join(base, fmt.Sprintf("debian-%s-%x", suite, key[:6])), debootstrap)
}

// keep returns the directory name, which is made once: beside it first, then renamed. The lock is for whoever makes it and for the programs
// that it starts, so that nobody takes away a directory in which one still writes, although who started it is gone.
func keep(ctx context.Context, name string, fill func(ctx context.Context, dir string, lock *os.File) error) (string, error) {
	lock, err := locked(ctx, name+".lock")
	if err != nil {
		return "", fmt.Errorf("make Debian tree: %w", err)
	}
	defer lock.Close() // the lock ends with the last who has the file open
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	part := name + ".part"
	if err := os.RemoveAll(part); err != nil { // of somebody who was interrupted
		return "", fmt.Errorf("make Debian tree: %w", err)
	}
	if err := fill(ctx, part, lock); err != nil {
		return "", errors.Join(fmt.Errorf("make Debian tree: %w", err), os.RemoveAll(part))
	}
	if err := os.Rename(part, name); err != nil {
		return "", fmt.Errorf("make Debian tree: %w", err)
	}
	return name, nil
}

// locked opens a file once nobody else has it locked.
func locked(ctx context.Context, name string) (*os.File, error) {
	lock, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	got := make(chan error, 1)
	go func() { got <- syscall.Flock(int(lock.Fd()), syscall.LOCK_EX) }()
	select {
	case err = <-got:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for who has %s: %w", name, context.Cause(ctx)) // the file stays open for the goroutine that waits
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return lock, nil
}

// debootstrap makes the tree in dir.
func debootstrap(ctx context.Context, dir string, lock *os.File) error {
	in := func(words ...string) []string {
		return append([]string{"chroot", dir, "/usr/bin/env", "PATH=" + path, "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}, words...)
	}
	for _, words := range [][]string{
		{"debootstrap", "--variant=minbase", "--include=" + strings.Join(contents, ","), suite, dir},
		in("apt-get", "--quiet", "update"),
		append(in("apt-get", "--quiet", "--yes", "--no-install-recommends", "install"), idle...),
		append(in("systemctl", "disable"), idle...),
	} {
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.ExtraFiles = []*os.File{lock}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, tail(out, 2000))
		}
	}
	// A first boot enables what no preset disables.
	presets := filepath.Join(dir, "etc/systemd/system-preset")
	if err := os.MkdirAll(presets, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(presets, "00-idle.preset"), []byte("disable "+strings.Join(idle, ".service\ndisable ")+".service\n"), 0o644); err != nil {
		return err
	}
	// What it downloaded isn't needed again; a machine's id is drawn at its first boot.
	for _, name := range []string{"var/cache/apt/archives", "var/lib/apt/lists"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(dir, name, "partial"), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "etc/machine-id"), nil, 0o444)
}

// tail returns the end of what a program wrote, trimmed.
func tail(out []byte, most int) string {
	return strings.TrimSpace(string(out[max(0, len(out)-most):]))
}
