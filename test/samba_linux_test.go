package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wimcast/test/rig"
)

// samba is a real file server on loopback, with a configuration and users of its own:
//
//	\\127.0.0.1:port\img     the user sambaUser with sambaPassword
//	\\127.0.0.1:port\open    guests too
//	\\127.0.0.1:port\closed  nobody who is known here
//
// All three show the same folder. It is reached through a relay, which can be told to lose the server in mid-stream.
type samba struct {
	dir    string // what the shares show
	port   string // of the relay
	server *exec.Cmd
	exited chan struct{}

	mu        sync.Mutex
	conns     map[net.Conn]bool
	dieAfter  atomic.Int64 // bytes from the server; 0: never
	forwarded atomic.Int64
}

const (
	sambaUser     = "games" // Samba's users are the system's, too
	sambaPassword = "corr3ct horse"
)

// startSamba starts the server, or skips the test where there is none to start.
func startSamba(t *testing.T, ctx context.Context) *samba {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: smbd becomes the users that it serves")
	}
	for _, tool := range []string{"smbd", "smbpasswd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: install samba (make setup-check does)", tool)
		}
	}
	s := &samba{dir: t.TempDir(), exited: make(chan struct{}), conns: map[net.Conn]bool{}}
	own := t.TempDir()
	port := freePort(t)
	var text strings.Builder
	text.WriteString("[global]\nserver role = standalone server\nserver min protocol = SMB2\ndisable netbios = yes\nload printers = no\nmap to guest = Bad User\n" +
		"bind interfaces only = yes\ninterfaces = lo\nlog level = 0\nlogging = file\n" + "smb ports = " + port + "\npassdb backend = tdbsam:" + own + "/passdb.tdb\n" +
		"max log size = 0\nlog file = " + own + "/smbd.log\nncalrpc dir = " + own + "/ncalrpc\n")
	for _, what := range []string{"pid directory", "lock directory", "state directory", "cache directory", "private dir"} {
		text.WriteString(what + " = " + own + "\n")
	}
	for _, share := range []string{"img]\nvalid users = " + sambaUser, "open]\nguest ok = yes", "closed]\nvalid users = daemon"} {
		text.WriteString("[" + share + "\npath = " + s.dir + "\nread only = yes\nforce user = root\n")
	}
	config := filepath.Join(own, "smb.conf")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	add := exec.CommandContext(ctx, "smbpasswd", "-c", config, "-s", "-a", sambaUser)
	add.Stdin = strings.NewReader(sambaPassword + "\n" + sambaPassword + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("smbpasswd: %v: %s", err, out)
	}
	s.server = rig.Loopback("samba").Command(ctx, "smbd", "--foreground", "--no-process-group", "-s", config)
	if err := s.server.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.server.Wait()
		close(s.exited)
	}()
	t.Cleanup(s.kill)
	s.relay(t, "127.0.0.1:"+port)
	s.await(t, ctx, "127.0.0.1:"+port)
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// await waits until the server listens.
func (s *samba) await(t *testing.T, ctx context.Context, at string) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := net.Dial("tcp", at)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-s.exited:
			t.Fatal("smbd ended before it listened")
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-again.C:
		}
	}
}

// kill ends the server with all its connections.
func (s *samba) kill() {
	_ = s.server.Cancel() // its process group
	<-s.exited
}

// relay hands connections on to the server.
func (s *samba) relay(t *testing.T, to string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil { // as if nobody listened
				_ = in.(*net.TCPConn).SetLinger(0)
				_ = in.Close()
				continue
			}
			s.mu.Lock()
			s.conns[in], s.conns[out] = true, true
			s.mu.Unlock()
			running.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			running.Go(func() { _, _ = io.Copy(&dying{in, s}, out); _ = in.Close() })
		}
	})
}

// dying is the way from the server. After so many bytes the server is killed.
type dying struct {
	net.Conn
	samba *samba
}

// Write implements io.Writer.
func (d *dying) Write(p []byte) (int, error) {
	total := d.samba.forwarded.Add(int64(len(p)))
	if limit := d.samba.dieAfter.Load(); limit > 0 && total > limit {
		d.samba.kill()
		return 0, io.ErrClosedPipe
	}
	return d.Conn.Write(p)
}

// ReadFrom isn't for io.Copy to go around Write.
func (d *dying) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{d}, r) }

// address is that of a file on a share.
func (s *samba) address(share, path string) string {
	return fmt.Sprintf("smb://127.0.0.1:%s/%s/%s", s.port, share, path)
}
