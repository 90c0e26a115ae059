package keyex

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v2"
)

func TestRoundTrip(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	client := dial(t, l, issue(t, a, "lab12", WinPE))
	server := accept(t, l)

	if p := server.Peer(); p.Name != "lab12" || p.Role != WinPE || p.Serial != a.Issued()[0].Serial || !p.NotAfter.Equal(a.Issued()[0].NotAfter) {
		t.Errorf("server sees %+v", p)
	}
	if p := client.Peer(); p.Name != DefaultServerName || p.Role != Server {
		t.Errorf("client sees %+v", p)
	}
	if client.RemoteAddr() != l.Addr() || server.RemoteAddr() != client.LocalAddr() || server.LocalAddr() != l.Addr() {
		t.Errorf("addresses: client %v→%v, server %v→%v", client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr())
	}
	for _, n := range []int{1, 2, 15, 16, 500, MaxMessage} {
		want := strings.Repeat("x", n)
		send(t, client, want)
		if got := receive(t, server); got != want {
			t.Errorf("server got %d bytes, want %d", len(got), n)
		}
		send(t, server, want)
		if got := receive(t, client); got != want {
			t.Errorf("client got %d bytes, want %d", len(got), n)
		}
	}
	for _, n := range []int{0, MaxMessage + 1} {
		if err := client.Send(make([]byte, n)); err == nil {
			t.Errorf("Send took %d bytes", n)
		}
	}
	if _, err := client.Receive(make([]byte, MaxMessage-1)); err == nil {
		t.Error("Receive took a buffer that is too small")
	}
	if s := l.Stats(); s.Handshakes[OK] != 1 || s.Associations != 1 || s.HalfOpen != 0 || s.Unproven != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCloseWakesBothSides(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	client := dial(t, l, issue(t, a, "lab12", WinPE))
	server := accept(t, l)

	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := server.Receive(make([]byte, MaxMessage)); !errors.Is(err, io.EOF) {
			t.Errorf("server's Receive: %v, want EOF", err)
		}
	})
	wg.Go(func() {
		if _, err := client.Receive(make([]byte, MaxMessage)); !errors.Is(err, ErrClosed) {
			t.Errorf("client's Receive: %v, want ErrClosed", err)
		}
	})
	_ = client.Close()
	wg.Wait()
	if err := client.Send([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	eventually(t, "the server forgets the association", func() bool { return l.Stats().Associations == 0 })
	_ = server.Close()
	_ = client.Close()
}

func TestListenerCloseEndsAll(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l, err := Listen(loopback, ServerConfig{Trust: a.Trust()})
	if err != nil {
		t.Fatal(err)
	}
	client := dial(t, l, issue(t, a, "lab12", WinPE))
	server := accept(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Receive(make([]byte, MaxMessage)); !errors.Is(err, ErrClosed) {
		t.Errorf("server's Receive: %v", err)
	}
	if _, err := client.Receive(make([]byte, MaxMessage)); !errors.Is(err, io.EOF) {
		t.Errorf("client's Receive: %v", err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

func TestAcceptHonoursItsContext(t *testing.T) {
	l := listen(t, ServerConfig{Trust: openTestAuthority(t, newClock()).Trust()})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	if _, err := l.Accept(ctx); !errors.Is(err, why) {
		t.Errorf("Accept: %v", err)
	}
}

func TestDialUnreachable(t *testing.T) {
	a := openTestAuthority(t, newClock())
	credentials := issue(t, a, "lab12", WinPE)

	silent, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	addr := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, addr, credentials); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "nothing answers") {
		t.Errorf("silent server: %v", err)
	}
	_ = silent.Close()
	if _, err := Dial(t.Context(), addr, credentials); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "nothing listens") {
		t.Errorf("closed port: %v", err)
	}
	why := errors.New("why")
	cancelled, stop := context.WithCancelCause(t.Context())
	stop(why)
	if _, err := Dial(cancelled, netip.MustParseAddrPort("127.0.0.1:9"), credentials); !errors.Is(err, why) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestFarewellArrives: the library loses about one close_notify in a thousand on
// its own side. Loopback loses none, so every peer must hear.
func TestFarewellArrives(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	credentials := issue(t, a, "lab12", WinPE)
	n := 1000
	if raceEnabled || testing.Short() {
		n = 250
	}
	for i := range n {
		client, err := Dial(t.Context(), l.Addr(), credentials)
		if err != nil {
			t.Fatal(err)
		}
		leaver, stayer := client, accept(t, l)
		if i%2 == 0 {
			leaver, stayer = stayer, leaver
		}
		_ = leaver.Close()
		late := time.AfterFunc(time.Minute, func() { _ = stayer.Close() })
		if _, err := stayer.Receive(make([]byte, MaxMessage)); !errors.Is(err, io.EOF) {
			t.Fatalf("round %d: Receive: %v, want EOF", i, err)
		}
		late.Stop()
		_ = stayer.Close()
	}
	eventually(t, "the server forgets all", func() bool { return l.Stats().Associations == 0 })
}

// TestBurst is a room that boots at once.
func TestBurst(t *testing.T) {
	n := 1000
	switch {
	case raceEnabled:
		n = 50 // which cost as much as 1000 without: where none of them ends within 10 s, none ever does
	case testing.Short():
		n = 200
	}
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	credentials := issue(t, a, "lab12", WinPE)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var clients, server sync.WaitGroup
	for range n {
		clients.Go(func() {
			c, err := redial(ctx, l, credentials)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if err := c.Send([]byte("here")); err != nil {
				t.Error(err)
			}
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			if _, err := c.Receive(make([]byte, MaxMessage)); !errors.Is(err, io.EOF) {
				t.Errorf("the server's farewell: %v", err)
			}
		})
	}
	var heard atomic.Int64
	server.Go(func() {
		for {
			c, err := l.Accept(ctx)
			if err != nil {
				return // the clients are done
			}
			server.Go(func() {
				b := make([]byte, MaxMessage)
				if got, err := c.Receive(b); err == nil && string(b[:got]) == "here" {
					heard.Add(1)
				}
				_ = c.Close()
			})
		}
	})
	clients.Wait()
	cancel()
	server.Wait()
	if got := l.Stats().Handshakes[OK]; heard.Load() != int64(n) || got < uint64(n) {
		t.Errorf("%d handshakes, %d heard, want %d", got, heard.Load(), n)
	}
}

func TestIdleAssociationsEnd(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust(), Idle: 50 * time.Millisecond})
	dial(t, l, issue(t, a, "lab12", WinPE))
	server := accept(t, l)
	if _, err := server.Receive(make([]byte, MaxMessage)); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "silent") {
		t.Errorf("Receive: %v", err)
	}
	if n := l.Stats().Dropped[DropIdle]; n != 1 {
		t.Errorf("idle: %d", n)
	}
}

func TestRecheckEndsRevoked(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	dial(t, l, issue(t, a, "stays", WinPE))
	stays := accept(t, l)
	dial(t, l, issue(t, a, "goes", WinPE))
	goes := accept(t, l)
	if n := l.Recheck(nil); n != 0 {
		t.Fatalf("Recheck ended %d", n)
	}
	if _, err := a.Revoke("goes"); err != nil {
		t.Fatal(err)
	}
	var told []Identity
	n := l.Recheck(func(peer Identity, why *RefusedError) {
		told = append(told, peer)
		if err := goes.Send([]byte("farewell")); err != nil || why.Reason != Revoked {
			t.Errorf("told too late (%v), or the wrong word: %v", err, why)
		}
	})
	if n != 1 || len(told) != 1 || told[0] != goes.Peer() {
		t.Fatalf("Recheck ended %d and told of %+v, want %+v", n, told, goes.Peer())
	}
	_, err := goes.Receive(make([]byte, MaxMessage))
	if r := refusal(t, err); r.Reason != Revoked || !errors.Is(err, ErrClosed) {
		t.Errorf("Receive: %v", err)
	}
	if err := stays.Send([]byte("x")); err != nil {
		t.Error(err)
	}
}

func TestAssociationCap(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust(), MaxAssociations: 1})
	credentials := issue(t, a, "lab12", WinPE)
	dial(t, l, credentials)
	first := accept(t, l)
	for l.Stats().Dropped[DropFull] == 0 { // the first hello may take longer than an attempt here
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		if _, err := Dial(ctx, l.Addr(), credentials); !errors.Is(err, ErrUnreachable) {
			t.Fatalf("beyond the cap: %v", err)
		}
		cancel()
	}
	_ = first.Close()
	dial(t, l, credentials)
}

// dialFrom is Dial from a port of the caller's choice.
func dialFrom(t *testing.T, local, remote netip.AddrPort, c *Credentials) (*dtls.Conn, *wire) {
	t.Helper()
	sock, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(local), net.UDPAddrFromAddrPort(remote))
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(sock)
	cfg := dtlsConfig(c.certificate, func(raw [][]byte) error { return w.judge(c.verifier, raw) })
	cfg.ServerName = c.verifier.serverName
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, err := dtls.ClientWithContext(ctx, w, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d, w
}

// TestRebootOntoTheSamePort: the machine lost power and comes back at once from
// the same address; the server still holds the old association.
func TestRebootOntoTheSamePort(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	credentials := issue(t, a, "lab12", WinPE)
	before, w := dialFrom(t, loopback, l.Addr(), credentials)
	first := accept(t, l)
	local := first.RemoteAddr()
	_ = w.Close() // no farewell: power loss
	_ = before.Close()

	after, w := dialFrom(t, local, l.Addr(), credentials)
	defer w.Close()
	defer after.Close()
	second := accept(t, l)
	if second.RemoteAddr() != local {
		t.Fatalf("from %v, want %v", second.RemoteAddr(), local)
	}
	if _, err := first.Receive(make([]byte, MaxMessage)); !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "came again") {
		t.Errorf("the old association: %v", err)
	}
	if _, err := after.Write([]byte("back")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, second); got != "back" {
		t.Errorf("got %q", got)
	}
	if s := l.Stats(); s.Associations != 1 || s.Dropped[DropReplaced] != 1 {
		t.Errorf("stats %+v", s)
	}
}

// spoofable is a client whose socket a test can use as an attacker who forges its
// address would.
func spoofable(t *testing.T, l *Listener, c *Credentials) (*dtls.Conn, *wire, *Conn) {
	t.Helper()
	d, w := dialFrom(t, loopback, l.Addr(), c)
	t.Cleanup(func() { _ = d.Close(); _ = w.Close() })
	return d, w, accept(t, l)
}

// TestForgedPlaintext: what an attacker sends in a client's name without its
// keys doesn't touch the association.
func TestForgedPlaintext(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	d, w, server := spoofable(t, l, issue(t, a, "lab12", WinPE))

	plain := func(kind byte, epoch byte, body ...byte) []byte {
		return append([]byte{kind, 254, 253, 0, epoch, 0, 0, 0, 0, 1, 0, 0, byte(len(body))}, body...)
	}
	forged := map[string][]byte{
		"fatal alert":              plain(typeAlert, 0, 2, 40),
		"close notify":             plain(typeAlert, 0, 1, 0),
		"application data":         plain(typeApplicationData, 0, 'x'),
		"future epoch":             plain(typeApplicationData, 2, 'x'),
		"epoch 1 alert":            plain(typeAlert, 1, 2, 40),
		"epoch 1 data":             plain(typeApplicationData, 1, bytes.Repeat([]byte{7}, 40)...),
		"epoch 1 change":           plain(typeChangeCipherSpec, 1, 1),
		"unknown type":             plain(99, 0, 1, 2, 3),
		"alert behind a record":    append(plain(typeApplicationData, 1, bytes.Repeat([]byte{7}, 40)...), plain(typeAlert, 0, 2, 40)...),
		"handshake of epoch 1":     plain(typeHandshake, 1, bytes.Repeat([]byte{7}, 40)...),
		"truncated":                plain(typeAlert, 0, 2, 40)[:14],
		"finished in plaintext":    plain(typeHandshake, 0, 20, 0, 0, 12, 0, 9, 0, 0, 0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
		"fragment of a big future": plain(typeHandshake, 0, 11, 255, 255, 255, 0, 40, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4),
	}
	for name, datagram := range forged {
		for range 3 {
			if _, err := w.Conn.Write(datagram); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Write([]byte(name)); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if got := receive(t, server); got != name {
			t.Fatalf("after %s: got %q", name, got)
		}
	}
	if l.Stats().Dropped[DropPlain] == 0 {
		t.Error("nothing counted")
	}
}

// TestForgedHello: hellos in a client's name start handshakes beside the live
// association, which goes on.
func TestForgedHello(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	d, w, server := spoofable(t, l, issue(t, a, "lab12", WinPE))
	for i := range 50 {
		if _, err := w.Conn.Write(testHello(byte(i))); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, server); got != string([]byte{byte(i)}) {
			t.Fatalf("round %d: got %q", i, got)
		}
	}
	if l.Stats().Dropped[DropBusy] == 0 {
		t.Error("no hello was found to be one too many")
	}
	// The forged handshake ends by itself; the client's association stays.
	eventually(t, "the half-open handshake goes", func() bool { return l.Stats().Unproven == 0 })
	if s := l.Stats(); s.Associations != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestQueueOverflowDropsNewest(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	client := dial(t, l, issue(t, a, "lab12", WinPE))
	server := accept(t, l) // never reads until the queue is full
	for i := 0; l.Stats().Dropped[DropQueue] == 0; i++ {
		if i > 10_000 {
			t.Fatal("the queue has no bound")
		}
		send(t, client, strings.Repeat("x", MaxMessage))
	}
	receive(t, server) // and it still works
}
