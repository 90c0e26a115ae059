package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"wimcast/test/booted"
)

// released is the packages of one version, for this machine's kind of processor.
type released struct {
	debs, rpms []string // the command's first
}

// fromCheckout is the packages of this checkout, as make package makes them.
var fromCheckout = sync.OnceValues(func() (*released, error) {
	version, err := quiet("..", nil, "deploy/package/version")
	if err != nil {
		return nil, fmt.Errorf("version of the packages: %w: %s", err, version)
	}
	return pack(version, "")
})

// nextVersion is a version that is higher than any.
const nextVersion = "99.0"

// next is the packages of the next version, made in the same way: with programs that say so, and another configuration file.
var next = sync.OnceValues(func() (*released, error) {
	return pack(nextVersion, "\n# Version "+nextVersion+" has one line more.\n")
})

// pack makes packages of a version, whose configuration file has some lines more, in a copy of the checkout: others may be at work in dist.
func pack(version, more string) (*released, error) {
	dir, err := os.MkdirTemp("", "wimcast-test-")
	if err != nil {
		return nil, err
	}
	scratch.add(dir)
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	if err := likeCheckout(root, dir); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "deploy", "wimcastd.toml")
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, append(text, more...), 0o644); err != nil {
		return nil, err
	}
	made := filepath.Join(dir, "made")
	if err := os.Mkdir(made, 0o755); err != nil {
		return nil, err
	}
	for _, program := range []struct{ file, name, system, arch string }{
		{"wimcast", "wimcast", "linux", runtime.GOARCH},
		{"wimcastd", "wimcastd", "linux", runtime.GOARCH},
		{"wimcast.exe", "wimcast", "windows", "amd64"},
		{"wimcast-arm64.exe", "wimcast", "windows", "arm64"},
	} {
		stamped := "-s -X main.version=" + version
		if program.system == "windows" {
			stamped = "-s" // one build for both versions
		}
		out, err := quiet(root, []string{"CGO_ENABLED=0", "GOOS=" + program.system, "GOARCH=" + program.arch},
			"go", "build", "-trimpath", "-buildvcs=false", "-ldflags", stamped, "-o", filepath.Join(dir, "dist", program.file), "./cmd/"+program.name)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", program.file, err, out)
		}
	}
	nfpm := filepath.Join(dir, "nfpm")
	if out, err := quiet(filepath.Join(root, "tools", "nfpm"), nil, "go", "build", "-o", nfpm, "github.com/goreleaser/nfpm/v2/cmd/nfpm"); err != nil {
		return nil, fmt.Errorf("build nfpm: %w: %s", err, out)
	}
	if out, err := quiet(dir, nil, "deploy/package/build", version, nfpm, made, runtime.GOARCH); err != nil {
		return nil, fmt.Errorf("package version %s: %w: %s", version, err, out)
	}
	return packagesIn(made)
}

// likeCheckout fills dir with what packages are made of: its own deploy and dist, all else is the checkout's.
func likeCheckout(root, dir string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != "deploy" && name != "dist" && !strings.HasPrefix(name, ".") {
			if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "dist"), 0o755); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS(filepath.Join(root, "deploy")))
}

// packagesIn finds the packages for this machine.
func packagesIn(dir string) (*released, error) {
	r := &released{}
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, kind := range []struct {
		pattern string
		into    *[]string
	}{{"*_" + runtime.GOARCH + ".deb", &r.debs}, {"*." + arch + ".rpm", &r.rpms}} {
		found, err := filepath.Glob(filepath.Join(dir, kind.pattern))
		if err != nil || len(found) != 2 {
			return nil, fmt.Errorf("find packages: %s/%s: there are %v (%w), want two", dir, kind.pattern, found, err)
		}
		*kind.into = found
	}
	return r, nil
}

// quiet runs a command and returns all that it wrote.
func quiet(dir string, environment []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MAKE") { // of the make that runs this test
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, environment...)
	out, err := cmd.CombinedOutput()
	return string(bytes.TrimSpace(out)), err
}

// carry copies packages to a machine and returns where they are there.
func carry(m *booted.Machine, files []string) ([]string, error) {
	var there []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := "/srv/" + filepath.Base(file)
		if err := os.WriteFile(m.Path(name), data, 0o644); err != nil {
			return nil, err
		}
		there = append(there, name)
	}
	return there, nil
}

// files lists what is on a machine, with mode and owner, but for what systemd, dpkg and apt write of their own accord.
func files(ctx context.Context, s *booted.System) (map[string]string, error) {
	out, err := s.Run(ctx, "find", "/", "-xdev", "(", "-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/dev", "-o", "-path", "/run", "-o", "-path", "/tmp",
		"-o", "-path", "/var/tmp", "-o", "-path", "/var/log", "-o", "-path", "/var/cache", "-o", "-path", "/var/lib/apt", "-o", "-path", "/var/lib/dpkg", "-o", "-path", "/var/lib/rpm", ")", "-prune", "-o", "-printf", `%p\t%M %u:%g\n`)
	if err != nil {
		return nil, err
	}
	list := map[string]string{}
	for line := range strings.Lines(out) {
		name, is, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		list[name] = is
	}
	return list, nil
}
