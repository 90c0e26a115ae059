package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"wimcast/api/handler"
	"wimcast/library"
)

// point is a distribution point that has a library and nothing else: enough for
// the commands about images.
type point struct {
	dir, socket string
}

func newPoint(t *testing.T) point {
	t.Helper()
	p := point{dir: t.TempDir()}
	l, err := library.Open(filepath.Join(p.dir, "library"))
	if err != nil {
		t.Fatal(err)
	}
	p.socket = filepath.Join(p.dir, "admin.sock")
	listener, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- handler.New(handler.Config{Library: l, Log: zap.NewNop()}).Serve(ctx, listener, nil) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// wimcast runs the command line at the point and returns its exit code and outputs.
func (p point) wimcast(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(append([]string{"--socket", p.socket}, args...), &o, &e)
	return code, o.String(), e.String()
}

// capture makes a WIM of a few kB.
func capture(t *testing.T) string {
	t.Helper()
	tool, err := exec.LookPath("wimlib-imagex")
	if err != nil {
		t.Skip("wimlib-imagex is missing; it is in the package wimtools")
	}
	from, wim := t.TempDir(), filepath.Join(t.TempDir(), "w11.wim")
	if err := os.WriteFile(filepath.Join(from, "file"), []byte(rand.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), tool, "capture", from, wim, "Windows").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return wim
}

// spoil changes a byte in the middle of the library's file of that size.
func (p point) spoil(t *testing.T, size int64) {
	t.Helper()
	spoilt := 0
	err := filepath.WalkDir(filepath.Join(p.dir, "library"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil || int64(len(content)) != size {
			return err
		}
		spoilt++
		content[size/2] ^= 1
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, content, 0o600)
	})
	if err != nil || spoilt != 1 {
		t.Fatalf("%d files of %d bytes spoilt, %v; want the image's", spoilt, size, err)
	}
}

// TestVerifyExitCode: 7 says that the content is damaged, and is said of nothing else.
func TestVerifyExitCode(t *testing.T) {
	p, wim := newPoint(t), capture(t)
	if code, _, says := p.wimcast("image", "add", wim, "--name", "w11"); code != exitProven {
		t.Fatalf("add ends with %d: %s", code, says)
	}
	if code, _, says := p.wimcast("image", "verify", "w11"); code != exitProven {
		t.Errorf("a whole package: exit code %d: %s", code, says)
	}
	if code, _, says := p.wimcast("image", "verify", "w12"); code != exitFailed || !strings.Contains(says, "w12") {
		t.Errorf("an unknown package: exit code %d: %s", code, says)
	}
	if code, _, says := (point{socket: p.socket + ".none"}).wimcast("image", "verify", "w11"); code != exitFailed || !strings.Contains(says, "--socket") {
		t.Errorf("no daemon: exit code %d: %s", code, says)
	}
	info, err := os.Stat(wim)
	if err != nil {
		t.Fatal(err)
	}
	p.spoil(t, info.Size())
	for range 2 { // what is out of service already is damaged as well
		if code, _, says := p.wimcast("image", "verify", "w11"); code != exitDamaged || !strings.Contains(says, "out of service") {
			t.Errorf("a spoilt package: exit code %d: %s", code, says)
		}
	}
}
