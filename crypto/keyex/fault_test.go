package keyex

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pion/dtls/v2"
)

// faulty is a client's socket whose writes fail from some datagram on, as they do when the route goes away.
type faulty struct {
	*net.UDPConn
	left  atomic.Int32 // datagrams that still go out
	errno syscall.Errno
}

func (f *faulty) Write(p []byte) (int, error) {
	if f.left.Add(-1) < 0 {
		return 0, &net.OpError{Op: "write", Net: "udp", Err: os.NewSyscallError("write", f.errno)}
	}
	return f.UDPConn.Write(p)
}

// TestDialSocketFails: a socket that fails in the midst of a handshake is no refusal: nobody said no, and trying again may help.
func TestDialSocketFails(t *testing.T) {
	const wsaConnectionRefused = syscall.Errno(10061) // Windows' own number, whose text differs
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	credentials := issue(t, a, "lab12", WinPE)
	for _, errno := range []syscall.Errno{syscall.ENETUNREACH, syscall.EPERM, wsaConnectionRefused} {
		for _, datagrams := range []int32{0, 1} {
			conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			w := newWire(conn)
			f := &faulty{UDPConn: conn, errno: errno}
			f.left.Store(datagrams)
			w.Conn = f
			cfg := dtlsConfig(credentials.certificate, func(raw [][]byte) error { return w.judge(credentials.verifier, raw) })
			cfg.ServerName = credentials.verifier.serverName
			_, err = dtls.ClientWithContext(t.Context(), w, cfg)
			_ = w.Close()
			if err == nil {
				t.Fatalf("%v after %d datagrams: the handshake ended well", errno, datagrams)
			}
			err = w.explain(t.Context(), netip.MustParseAddrPort("192.0.2.1:7600"), err)
			if _, refused := errors.AsType[*RefusedError](err); refused || !errors.Is(err, ErrUnreachable) || !errors.Is(err, errno) {
				t.Errorf("%v after %d datagrams: %v", errno, datagrams, err)
			}
			if !strings.Contains(err.Error(), "check the address and the network") {
				t.Errorf("no next step: %v", err)
			}
		}
	}
}

// spoiling is a client's socket that spoils the signature in a handshake message of one type, coming or going.
type spoiling struct {
	net.Conn
	kind byte
}

func (s *spoiling) spoil(datagram []byte) {
	records(datagram, func(r record) bool {
		if r.kind == typeHandshake && r.epoch == 0 && len(r.body) > handshakeHeader && r.body[0] == s.kind {
			r.body[len(r.body)-1] ^= 1
		}
		return true
	})
}

func (s *spoiling) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	s.spoil(p)
	return s.Conn.Write(p)
}

func (s *spoiling) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.spoil(p[:n])
	return n, err
}

// TestDialBroken: a signature that doesn't fit is no refusal, on either side: it may be of another handshake, or somebody's who sends in the
// other's name.
func TestDialBroken(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	credentials := issue(t, a, "lab12", WinPE)
	for name, kind := range map[string]byte{"the server's": 12, "the client's": 15} { // ServerKeyExchange, CertificateVerify
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		w := newWire(conn)
		w.Conn = &spoiling{conn, kind}
		cfg := dtlsConfig(credentials.certificate, func(raw [][]byte) error { return w.judge(credentials.verifier, raw) })
		cfg.ServerName = credentials.verifier.serverName
		_, err = dtls.ClientWithContext(t.Context(), w, cfg)
		_ = w.Close()
		if err == nil {
			t.Fatalf("%s: the handshake ended well", name)
		}
		err = w.explain(t.Context(), l.Addr(), err)
		if _, refused := errors.AsType[*RefusedError](err); refused || !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "the handshake broke") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
