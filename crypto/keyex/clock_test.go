package keyex

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// in2002 runs f where every clock says 2002. Only what f itself starts is there:
// the server of these tests stands outside, in today's time.
func in2002(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		at := time.Date(2002, 3, 4, 5, 6, 7, 0, time.UTC)
		<-time.After(time.Until(at)) // bubbles begin in 2000, and nothing else runs
		if now := time.Now(); !now.Equal(at) {
			t.Fatalf("the clock says %v", now)
		}
		f(t)
	})
}

// TestClientOf2002: a machine whose clock battery is dead joins over both
// channels. The server's clock is this machine's own.
func TestClientOf2002(t *testing.T) {
	a, err := OpenAuthority(t.TempDir(), AuthorityConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	l := listen(t, ServerConfig{Trust: a.Trust()})
	credentials := issue(t, a, "lab12", WinPE)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server, err := l.Accept(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		b := make([]byte, MaxMessage)
		n, err := server.Receive(b)
		if err != nil || string(b[:n]) != "from 2002" {
			t.Errorf("server got %q, %v", b[:n], err)
		}
		_ = server.Close()
	}()
	in2002(t, func(t *testing.T) {
		if credentials.Expired(time.Now()) {
			t.Error("the credentials have ended before they began")
		}
		conn, err := Dial(context.Background(), l.Addr(), credentials)
		if err != nil {
			t.Fatal(err)
		}
		send(t, conn, "from 2002")
		if _, err := conn.Receive(make([]byte, MaxMessage)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		_ = conn.Close()
	})
	<-done

	ln, err := tls.Listen("tcp", "127.0.0.1:0", ServerTLS(a.Trust(), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done = make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := ln.Accept(); err == nil {
			_, _ = io.WriteString(conn, "welcome")
			_ = conn.Close()
		}
	}()
	in2002(t, func(t *testing.T) {
		conn, err := tls.Dial("tcp", ln.Addr().String(), ClientTLS(credentials))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if b, err := io.ReadAll(conn); err != nil || string(b) != "welcome" {
			t.Errorf("%q, %v", b, err)
		}
	})
	<-done
}

// TestExpiredSeenFrom2002: the client's clock doesn't help an ended bundle, since
// the server's decides.
func TestExpiredSeenFrom2002(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	refused := make(chan error, 1)
	l := listen(t, ServerConfig{Trust: a.Trust(), OnRefused: func(_ netip.AddrPort, err error) { refused <- err }})
	credentials := issue(t, a, "lab12", WinPE)
	c.add(DefaultLifetime + time.Hour)
	in2002(t, func(t *testing.T) {
		if credentials.Expired(time.Now()) {
			t.Error("a clock of 2002 can't see the end")
		}
		_, err := Dial(context.Background(), l.Addr(), credentials)
		if r := refusal(t, err); r.Reason != Expired || !r.ByPeer {
			t.Errorf("client: %v", err)
		}
	})
	if r := refusal(t, <-refused); r.Reason != Expired || r.ByPeer {
		t.Errorf("server: %v", r)
	}
	if n := l.Stats().Handshakes[Expired]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestRecheckEndsExpired: an association that outlives its bundle ends when the
// listener looks again, not before.
func TestRecheckEndsExpired(t *testing.T) {
	c := newClock()
	a := openTestAuthority(t, c)
	l := listen(t, ServerConfig{Trust: a.Trust()})
	dial(t, l, issue(t, a, "lab12", WinPE))
	server := accept(t, l)
	c.add(DefaultLifetime + time.Hour)
	if n := l.Recheck(nil); n != 1 {
		t.Fatalf("Recheck ended %d, want 1", n)
	}
	_, err := server.Receive(make([]byte, MaxMessage))
	if r := refusal(t, err); r.Reason != Expired {
		t.Errorf("Receive: %v", err)
	}
	if s := l.Stats(); s.Dropped[DropRecheck] != 1 || s.Associations != 0 {
		t.Errorf("stats %+v", s)
	}
}
