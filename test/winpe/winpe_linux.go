package winpe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"wimcast/test/lab"
	"wimcast/test/rig"
)

// Where Debian puts what isn't in the path: the package wine, which only has scripts around these, isn't needed.
const (
	wineLoader = "/usr/lib/wine/wine64"
	wineServer = "/usr/lib/wine/wineserver64"
	compiler   = "x86_64-w64-mingw32-gcc"
)

// prefixTime bounds the making of a prefix, which takes 10 s on a quiet machine and two minutes on a very busy one.
const prefixTime = 10 * time.Minute

// Supported returns nil where wimcast.exe can be run, else an error that says what is missing and how to get it.
func Supported() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("wine: this machine is %s: wimcast.exe for amd64 runs on amd64 only", runtime.GOARCH)
	}
	if err := lab.Supported(); err != nil {
		return err
	}
	for _, program := range []string{wineLoader, wineServer, compiler} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("wine: %s isn't there; next: test/setup/install winpe", program)
		}
	}
	return nil
}

// Kit is what machines are made of. Its methods may be called from several goroutines.
type Kit struct {
	// Client is the path of wimcast.exe.
	Client string

	root     string // of the module
	dir      string // of all of it
	prefix   string // that machines get copies of
	machines atomic.Int64
}

// NewKit builds wimcast.exe from the module at root, and a prefix, into dir. Both stay as long as dir does.
func NewKit(ctx context.Context, root, dir string) (*Kit, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("make kit: %w", err)
	}
	k := &Kit{Client: filepath.Join(dir, "wimcast.exe"), root: root, dir: dir, prefix: filepath.Join(dir, "prefix")}
	if err := k.build(ctx, "build", "-trimpath", "-o", k.Client, "./cmd/wimcast"); err != nil { // as the Makefile builds it
		return nil, fmt.Errorf("build wimcast.exe: %w", err)
	}
	if err := k.makePrefix(ctx); err != nil {
		return nil, fmt.Errorf("make prefix: %w", err)
	}
	shim := exec.CommandContext(ctx, compiler, "-shared", "-O2", "-Wall", "-Wextra", "-Werror", "-s",
		"-o", filepath.Join(k.prefix, "drive_c/windows/system32/bcryptprimitives.dll"), "test/winpe/shim/bcryptprimitives.c", "-lws2_32", "-ladvapi32", "-lntdll")
	shim.Dir = root
	if err := run(shim); err != nil {
		return nil, fmt.Errorf("build bcryptprimitives.dll: %w", err)
	}
	return k, nil
}

// Test builds the tests of a package of the module, named as in "./multicast", and returns the program's path.
func (k *Kit) Test(ctx context.Context, pkg string) (program string, err error) {
	program = filepath.Join(k.dir, filepath.Base(pkg)+".test.exe")
	if err := k.build(ctx, "test", "-c", "-o", program, pkg); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w", pkg, err)
	}
	return program, nil
}

// build runs go for Windows.
func (k *Kit) build(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = k.root
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	return run(cmd)
}

// makePrefix has Wine make its drive C: and waits until its registry is on disk.
func (k *Kit) makePrefix(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, prefixTime, fmt.Errorf("wine took more than %v", prefixTime))
	defer cancel()
	line := wrapped(k.prefix, "sh", "-c", `"$1" wineboot.exe -i && "$2" -w`, "sh", wineLoader, wineServer)
	cmd := rig.Loopback("").Command(ctx, line[0], line[1:]...)
	defer forget(k.prefix)
	if err := run(cmd); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(k.prefix, "system.reg")); err != nil {
		return fmt.Errorf("wine left no registry: %w", err)
	}
	return nil
}

// Machine is a host that runs Windows programs.
type Machine struct {
	*lab.Host
	prefix string
}

var _ rig.Place = (*Machine)(nil)

// Machine gives a host a prefix. The caller closes the machine.
func (k *Kit) Machine(host *lab.Host) (*Machine, error) {
	m := &Machine{Host: host, prefix: filepath.Join(k.dir, fmt.Sprintf("%s-%d", host.Name(), k.machines.Add(1)))}
	// Links: the copy of 700 MB costs nothing. Nothing writes to Windows' own files but Wine to its registry.
	if err := run(exec.Command("cp", "-al", k.prefix, m.prefix)); err != nil {
		return nil, fmt.Errorf("make machine: %w", err)
	}
	for _, name := range []string{"system.reg", "user.reg", "userdef.reg"} {
		path := filepath.Join(m.prefix, name)
		b, err := os.ReadFile(path)
		if err == nil {
			err = errors.Join(os.Remove(path), os.WriteFile(path, b, 0o600))
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make machine: %w", err), m.Close())
		}
	}
	return m, nil
}

// Close removes the prefix. No command may be running.
func (m *Machine) Close() error {
	forget(m.prefix)
	if err := os.RemoveAll(m.prefix); err != nil {
		return fmt.Errorf("close machine: %w", err)
	}
	return nil
}

// Command returns a command that runs on the machine: a Windows program by its path on Linux, or one of Wine's
// own by its name ("cmd.exe"). Drive C: is [Machine.C], drive Z: the file system of this machine. A program that is
// killed takes all of Wine on this machine with it.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	line := wrapped(m.prefix, append([]string{wineLoader, name}, args...)...)
	return m.Host.Command(ctx, line[0], line[1:]...)
}

// Run runs a command to its end and returns its exit code and what it wrote. The error says that it couldn't be run.
func (m *Machine) Run(ctx context.Context, name string, args ...string) (code int, stdout, stderr string, err error) {
	cmd := m.Command(ctx, name, args...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); ended && ctx.Err() == nil {
		err = nil
	}
	if err != nil {
		return 0, out.String(), errOut.String(), fmt.Errorf("run %s on %s: %w: %s", name, m.Name(), err, errOut.String())
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String(), nil
}

// C returns the directory that is drive C:.
func (m *Machine) C() string { return filepath.Join(m.prefix, "drive_c") }

// Z names a file of this machine, by its absolute path, as Windows programs do.
func Z(path string) string { return `Z:` + strings.ReplaceAll(path, "/", `\`) }

// wrapped is a command line that runs a command in a prefix, and in a namespace of processes. The shell is its first
// process and collects what Wine leaves behind, which Wine's own programs in its place don't.
func wrapped(prefix string, command ...string) []string {
	return append([]string{
		"env", "WINEPREFIX=" + prefix, "HOME=" + filepath.Dir(prefix), "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=",
		"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave", "--",
		"sh", "-c", `"$@"; exit $?`, "sh",
	}, command...)
}

// forget removes the directory that Wine's server of a prefix meets its programs in; a server that is killed leaves it.
func forget(prefix string) {
	info, err := os.Stat(prefix)
	if err != nil {
		return
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	all := fmt.Sprintf("/tmp/.wine-%d", os.Getuid())
	_ = os.RemoveAll(filepath.Join(all, fmt.Sprintf("server-%x-%x", stat.Dev, stat.Ino)))
	_ = os.Remove(all) // if no other is there
}

// run runs a command to its end. The error ends in what it said.
func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(string(out)))
	}
	return nil
}
