package keyex

import (
	"net/netip"
	"testing"
	"time"
)

// TestHelloRate: a tenth of a second's hellos at once, then the rate and no more,
// however long it was quiet.
func TestHelloRate(t *testing.T) {
	table := newTable(ServerConfig{HelloRate: 500})
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	burst := func() (n int) {
		for table.take(now) {
			n++
		}
		return n
	}
	if got := burst(); got != 50 {
		t.Errorf("at first %d, want 50", got)
	}
	now = now.Add(20 * time.Millisecond)
	if got := burst(); got != 10 {
		t.Errorf("after 20 ms %d, want 10", got)
	}
	now = now.Add(time.Hour)
	if got := burst(); got != 50 {
		t.Errorf("after an hour %d, want 50", got)
	}
	// A rate below ten a second still lets one in at a time.
	table = newTable(ServerConfig{HelloRate: 1})
	taken := 0
	for range 10 {
		now = now.Add(time.Second)
		taken += burst()
	}
	if taken != 9 { // the first look only starts the clock
		t.Errorf("one a second took %d in 10 s, want 9", taken)
	}
}

// TestRoomFor: half-open handshakes are bounded in all, and half of them for one
// address.
func TestRoomFor(t *testing.T) {
	table := newTable(ServerConfig{MaxHalfOpen: 4})
	one, two, three := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	fill := func(ip netip.Addr) (n int) {
		for table.roomFor(ip) {
			table.countAnswered(ip, 1)
			n++
		}
		return n
	}
	if a, b, c := fill(one), fill(two), fill(three); a != 2 || b != 2 || c != 0 {
		t.Errorf("%d, %d, %d; want 2, 2, 0", a, b, c)
	}
	table.countAnswered(one, -1)
	if n := fill(three); n != 1 {
		t.Errorf("one place was given to %d", n)
	}
	for _, ip := range []netip.Addr{one, two, two, three} {
		table.countAnswered(ip, -1)
	}
	if len(table.byIP) != 0 || table.answered != 0 {
		t.Errorf("left behind: %v, %d", table.byIP, table.answered)
	}
}

// TestBadCookieStartsNothing: only a cookie of ours for this address costs more
// than an answer.
func TestBadCookieStartsNothing(t *testing.T) {
	a := openTestAuthority(t, newClock())
	l := listen(t, ServerConfig{Trust: a.Trust()})
	from := netip.MustParseAddrPort("127.0.0.1:9")
	begun := func() int { s := l.Stats(); return s.HalfOpen + s.Unproven }
	other := netip.MustParseAddrPort("127.0.0.1:10")
	for name, c := range map[string]cookie{
		"none":             {},
		"another's key":    newBaker().bake(from, slotOf(time.Now())),
		"another address'": l.baker.bake(other, slotOf(time.Now())),
	} {
		l.dispatch(sealEnvelope(c, testHello(1)), from, netip.Addr{})
		if n := begun(); n != 0 {
			t.Errorf("%s: %d handshakes begun", name, n)
		}
	}
	if n := l.Stats().Dropped[DropCookie]; n != 3 {
		t.Errorf("%d answered with a cookie, want 3", n)
	}
	l.dispatch(sealEnvelope(l.baker.bake(from, slotOf(time.Now())), testHello(1)), from, netip.Addr{})
	if n := begun(); n != 1 {
		t.Errorf("a good cookie: %d handshakes begun, want 1", n)
	}
}
