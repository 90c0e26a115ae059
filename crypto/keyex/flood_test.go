package keyex

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestFlood: 10,000 hellos from 10,000 addresses that never answer, as forged
// senders look to a server. Honest clients join meanwhile, and what the server
// keeps stays bounded.
func TestFlood(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a program bind all of 127.0.0.0/8 as it is")
	}
	const hellos, maxUnproven, maxHalfOpen = 10_000, 64, 32
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust(), MaxUnproven: maxUnproven, MaxHalfOpen: maxHalfOpen, HelloRate: 500})
	credentials := issue(t, a, "lab12", WinPE)
	target := net.UDPAddrFromAddrPort(l.Addr())

	var flood, honest sync.WaitGroup
	ended := make(chan struct{})
	flood.Go(func() {
		for i := range hellos {
			var ip [4]byte
			binary.BigEndian.PutUint32(ip[:], 127<<24|1<<16|uint32(i))
			local := netip.AddrPortFrom(netip.AddrFrom4(ip), 0)
			sock, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(local), target)
			if err != nil {
				t.Error(err)
				return
			}
			hello := testHello(byte(i))
			binary.BigEndian.PutUint32(hello[recordHeader+handshakeHeader+2:], uint32(i))
			switch i % 4 {
			case 0: // the first step of our own clients
				hello = sealEnvelope(cookie{}, hello)
			case 1: // a cookie of another key
				hello = sealEnvelope(newBaker().bake(local, slotOf(time.Now())), hello)
			}
			_, _ = sock.Write(hello) // the full socket buffer of the server is part of a flood
			_ = sock.Close()
			if i%8 == 0 {
				if s := l.Stats(); s.Unproven > maxUnproven || s.HalfOpen > maxHalfOpen {
					t.Errorf("%d unproven and %d half-open handshakes, at most %d and %d", s.Unproven, s.HalfOpen, maxUnproven, maxHalfOpen)
				}
			}
		}
	})
	joined := 0
	honest.Go(func() {
		for last := false; !last; joined++ {
			select {
			case <-ended:
				last = true // one more in the flood's wake
			default:
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			conn, err := redial(ctx, l, credentials)
			cancel()
			if err != nil {
				t.Errorf("honest join %d: %v", joined, err)
				return
			}
			server := accept(t, l)
			for server.RemoteAddr() != conn.LocalAddr() { // of an attempt that took too long
				_ = server.Close()
				server = accept(t, l)
			}
			send(t, conn, "here")
			if got := receive(t, server); got != "here" {
				t.Errorf("got %q", got)
			}
			_ = conn.Close()
		}
	})
	flood.Wait()
	close(ended)
	honest.Wait()

	if s := l.Stats(); s.Handshakes[OK] < uint64(joined) || s.Dropped[DropCookie] == 0 || s.Dropped[DropHelloRate]+s.Dropped[DropUnproven] == 0 {
		t.Errorf("%d joined, stats %+v", joined, s)
	}
	t.Logf("%d honest joins; %v", joined, l.Stats().Dropped)
	eventually(t, "nothing stays behind", func() bool {
		s := l.Stats()
		return s.Unproven+s.HalfOpen+s.Associations == 0
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.table.peers) != 0 || len(l.table.byIP) != 0 {
		t.Errorf("the table keeps %d addresses, %d counts", len(l.table.peers), len(l.table.byIP))
	}
}
