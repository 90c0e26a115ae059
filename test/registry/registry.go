//go:build linux

// Package registry runs a real OCI registry for tests and the benchmark: Debian's docker-registry
// on a free port, with its storage in a folder of the caller's.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"wimcast/test/rig"
)

// program is the registry's.
const program = "docker-registry"

// readyWithin bounds a registry's start.
const readyWithin = 20 * time.Second

// ErrMissing says that the registry isn't installed here.
var ErrMissing = errors.New(program + " is missing: install " + program + " (make setup-check does)")

// Options say what a registry is like. The zero value is one that anybody may read and write, over plain HTTP.
type Options struct {
	// Htpasswd is who may come in: passwords by name; nil lets in anybody. Whoever is in may do everything.
	Htpasswd map[string]string
	// TLS has it speak HTTPS, with a certificate for its address and localhost, by a CA of its own.
	TLS bool
	// Place is where it runs; nil is this machine's loopback.
	Place rig.Place
	// Keep refuses to delete anything, as registries do that nobody told otherwise.
	Keep bool
}

// Server is a running registry.
type Server struct {
	// Addr is host and port. It stays the same when the server is started again.
	Addr string
	// CA is the PEM file with the CA of its certificate; "" without TLS.
	CA string
	// Storage is where the blobs are: Storage/docker/registry/v2/blobs.
	Storage string

	dir     string
	options Options
	cmd     *exec.Cmd
	exited  chan struct{}
	tail    rig.Tail // of what it wrote
}

// Repository returns the name of a repository of it, as wimcast's configuration has it.
func (s *Server) Repository(name string) string { return s.Addr + "/" + name }

// ForTest starts a registry that ends with the test, or skips the test where none is installed.
func ForTest(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), t.TempDir(), o)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Start starts a registry with everything it has in dir, and waits until it listens. It ends with ctx or Stop.
func Start(ctx context.Context, dir string, o Options) (*Server, error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, ErrMissing
	}
	if o.Place == nil {
		o.Place = rig.Loopback("registry")
	}
	s := &Server{dir: dir, options: o, Storage: filepath.Join(dir, "storage")}
	if err := os.MkdirAll(s.Storage, 0o700); err != nil {
		return nil, err
	}
	if o.TLS {
		s.CA = filepath.Join(dir, "ca.pem")
		if err := certify(dir, o.Place.Addr()); err != nil {
			return nil, fmt.Errorf("start registry: certificate: %w", err)
		}
	}
	if o.Htpasswd != nil {
		if err := s.SetUsers(o.Htpasswd); err != nil {
			return nil, fmt.Errorf("start registry: users: %w", err)
		}
	}
	return s, s.Start(ctx)
}

// SetUsers replaces who may come in; the registry sees it at once.
func (s *Server) SetUsers(users map[string]string) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(users)) {
		hash, err := bcrypt.GenerateFromPassword([]byte(users[name]), bcrypt.MinCost)
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s:%s\n", name, hash)
	}
	name := filepath.Join(s.dir, "htpasswd")
	if err := os.WriteFile(name+".new", []byte(text.String()), 0o600); err != nil {
		return err
	}
	// The registry looks at the time of change only, in the clock's steps.
	if info, err := os.Stat(name); err == nil {
		later := info.ModTime().Add(time.Second)
		if err := os.Chtimes(name+".new", later, later); err != nil {
			return err
		}
	}
	return os.Rename(name+".new", name)
}

// config is the registry's configuration (its docs/configuration.md).
func (s *Server) config() string {
	addr := s.Addr
	if addr == "" {
		addr = s.options.Place.Addr().String() + ":0"
	}
	text := fmt.Sprintf("version: 0.1\nlog:\n  level: info\n  formatter: text\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: %q\n"+
		"  delete:\n    enabled: %t\n  maintenance:\n    uploadpurging:\n      enabled: false\nhttp:\n  addr: %q\n", s.Storage, !s.options.Keep, addr)
	if s.options.TLS {
		text += fmt.Sprintf("  tls:\n    certificate: %q\n    key: %q\n", filepath.Join(s.dir, "server.pem"), filepath.Join(s.dir, "server.key"))
	}
	if s.options.Htpasswd != nil {
		text += fmt.Sprintf("auth:\n  htpasswd:\n    realm: tests\n    path: %q\n", filepath.Join(s.dir, "htpasswd"))
	}
	return text
}

// Start starts a registry that was stopped again, where it was.
func (s *Server) Start(ctx context.Context) error {
	config := filepath.Join(s.dir, "config.yml")
	if err := os.WriteFile(config, []byte(s.config()), 0o600); err != nil {
		return err
	}
	s.cmd = s.options.Place.Command(ctx, program, "serve", config)
	s.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none") // of later versions
	log, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start registry: %w", err)
	}
	s.exited = make(chan struct{})
	listening := make(chan string, 1)
	go func() {
		s.follow(log, listening)
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	select {
	case s.Addr = <-listening:
		return nil
	case <-s.exited:
		return fmt.Errorf("start registry: it ended: %s", s.Log())
	case <-time.After(readyWithin):
		s.Stop()
		return fmt.Errorf("start registry: not ready in %v: %s", readyWithin, s.Log())
	}
}

// follow reads what the registry writes, and tells once where it listens.
func (s *Server) follow(log io.Reader, listening chan<- string) {
	s.tail.Follow(log, func(text string) {
		if _, at, found := strings.Cut(text, `msg="listening on `); found {
			addr, _, _ := strings.Cut(at, `"`)
			addr, _, _ = strings.Cut(addr, ",") // "…, tls"
			select {
			case listening <- addr:
			default:
			}
		}
	})
}

// Log returns the end of what the registry wrote.
func (s *Server) Log() string { return s.tail.String() }

// Stop ends the registry as power loss does, with all its connections. It may be called twice.
func (s *Server) Stop() {
	_ = s.cmd.Cancel() // its process group
	<-s.exited
}

// Freeze holds the registry up: it keeps its connections and says nothing. Thaw lets it go on.
func (s *Server) Freeze() error { return syscall.Kill(s.cmd.Process.Pid, syscall.SIGSTOP) }

// Thaw lets a frozen registry go on.
func (s *Server) Thaw() error { return syscall.Kill(s.cmd.Process.Pid, syscall.SIGCONT) }
