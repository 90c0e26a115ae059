package screen

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wimcast/multicast/fault"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// TestBoardPhases: what a receiver does is told by its progress alone.
func TestBoardPhases(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    session.Progress
		want Phase
	}{
		{"nothing yet", session.Progress{}, Looking},
		{"queued", session.Progress{Waiting: session.Waiting{Place: 1}}, Waiting},
		{"waits", session.Progress{Size: 10, Waiting: session.Waiting{Start: true}}, Waiting},
		{"queued again, half done", session.Progress{Size: 10, Proven: 5, Waiting: session.Waiting{Place: 1}}, Waiting},
		{"joined, nothing heard", session.Progress{Size: 10}, Waiting},
		{"nothing heard, on unicast", session.Progress{Size: 10, OnUnicast: true}, Receiving},
		{"begins", session.Progress{Size: 10, SessionState: wire.Casting}, Receiving},
		{"between passes", session.Progress{Size: 10, Proven: 5, SessionState: wire.Waiting}, Receiving},
		{"receives", session.Progress{Size: 10, Proven: 5, SessionState: wire.Casting}, Receiving},
		{"proves again", session.Progress{Size: 10, Proven: 5, Claimed: 1}, Proving},
		{"writes", session.Progress{Size: 10, Proven: 10}, Writing},
	} {
		b := NewBoard("w11", time.Now())
		b.Follow(func() session.Progress { return tc.p })
		if got := b.State(time.Now()).Phase; got != tc.want {
			t.Errorf("%s: phase %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestBoardPath: the seed is named while it is what brings blocks.
func TestBoardPath(t *testing.T) {
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	b := NewBoard("w11", now)
	p := session.Progress{Size: 100}
	b.Follow(func() session.Progress { return p })
	is := func(want Path) {
		t.Helper()
		now = now.Add(2 * time.Second)
		if got := b.State(now).Path; got != want {
			t.Errorf("by %s, want %s", got, want)
		}
	}
	p.Totals.Seed = 10
	is(FromSeed)
	p.Totals.Multicast = 10
	is(Multicast)
	p.OnUnicast = true
	if got := b.State(now.Add(time.Millisecond)).Path; got != Unicast {
		t.Errorf("by %s right after it went unicast", got)
	}
	is(Unicast)
}

// TestTroubles: one trouble is shown, the one that explains most, and it goes when it is over.
func TestTroubles(t *testing.T) {
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	b := NewBoard("w11", now)
	p := session.Progress{Size: 100, Proven: 50}
	b.Follow(func() session.Progress { return p })
	event := func(kind session.EventKind, text string) { b.Event(now, string(kind), text) }
	shows := func(when string, kind fault.Kind, texts ...string) {
		t.Helper()
		got := b.State(now).Trouble
		if got == nil {
			if kind != "" {
				t.Errorf("%s: no trouble, want %s", when, kind)
			}
			return
		}
		for _, text := range append(texts, "") {
			if got.Kind != kind || !strings.Contains(got.String(), text) {
				t.Errorf("%s: %s: %q, want %s with %q", when, got.Kind, got, kind, text)
			}
		}
	}
	shows("at first", "")
	event(session.EventNotice, "the receive buffer is small; next: sysctl -w net.core.rmem_max=4194304")
	shows("notice", "notice", "the receive buffer is small", "sysctl")
	if got := b.State(now).Trouble; got.Next != "sysctl -w net.core.rmem_max=4194304" {
		t.Errorf("next: %q", got.Next)
	}
	event(session.EventRejected, "block 7 failed its hash and is fetched again")
	shows("bad block", fault.KindBadBlock, "block 7")
	p.Group, p.Silent = netip.MustParseAddrPort("239.195.16.1:63000"), 5*time.Second
	shows("silent", fault.KindGroupSilent, "nothing of group 239.195.16.1:63000 arrived for 5s")
	event(session.EventGone, "dial 10.0.0.1:7600: refused; trying again in 4s")
	shows("gone", fault.KindServerGone, "dial 10.0.0.1:7600: refused")
	if got := b.State(now).Trouble; strings.Contains(got.Text, "trying again") {
		t.Errorf("a moment that passes is in %q", got.Text)
	}
	own := fault.Fault{Kind: "no_link", Text: "the cable isn't in"}
	b.Fault(&own)
	shows("set", "no_link")
	b.Fault(nil)
	event(session.EventJoined, "joined")
	shows("back", fault.KindGroupSilent)
	p.OnUnicast = true
	event(session.EventUnicast, "fetching the rest by unicast (the group's packets don't get to this machine)")
	now = now.Add(badFor)
	shows("unicast", fault.KindOnUnicast, "by unicast: the group's packets don't get to this machine;")
	p = session.Progress{Size: 100, Proven: 60}
	shows("heard again", "notice")
	now = now.Add(noticeFor)
	shows("later", "")
	why := Sentence("failed", "no room on W:; next: another volume")
	event(session.EventNotice, "something")
	b.End(Failed, 6, &why)
	shows("at the end", "failed", "no room on W:")
	if s := b.State(now); s.Phase != Failed || s.Code != 6 || s.Proven != 60 {
		t.Errorf("ends as %+v", s)
	}
	b.End(Done, 0, nil)
	shows("done", "")
}

// TestBoardBounds: a client that runs for days keeps no more than it can show.
func TestBoardBounds(t *testing.T) {
	b := NewBoard("w11", time.Now())
	for i := range 1000 {
		b.Event(time.Now(), "notice", strings.Repeat("x", i))
	}
	if got := b.State(time.Now()).Events; len(got) != eventsKept || len(got[eventsKept-1].Text) != 999 {
		t.Errorf("%d events, the last of %d letters", len(got), len(got[len(got)-1].Text))
	}
}

// TestLines: a log has what a screen has, now and then.
func TestLines(t *testing.T) {
	now := time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, want string
		state      State
		every      time.Duration
	}{
		{"looking", "", State{}, progressEvery},
		{"number", "waiting for the start: 7 of 24 clients, 12m0s at most", State{Phase: Waiting, Waiting: session.Waiting{Start: true, Minimum: 24, Clients: 7, StartIn: 12*time.Minute + 300*time.Millisecond}}, waitingEvery},
		{"clock", "waiting for the start: 7 clients, 1m30s at most", State{Phase: Waiting, Waiting: session.Waiting{Start: true, Clients: 7, StartIn: 90 * time.Second}}, waitingEvery},
		{"queue", "place 3 in the queue: full", State{Phase: Waiting, Waiting: session.Waiting{Place: 3, Reason: "full"}}, waitingEvery},
		{"receiving", "w11@1: 47 % proven, 109 MB/s by multicast, about 21 s left, 12 of 24 done", State{
			Phase: Receiving, Package: "w11@1", Size: 1000, Proven: 479, Rate: 109e6, Path: Multicast, Left: 21 * time.Second, LeftKnown: true, Room: 24, RoomProven: 12,
		}, progressEvery},
		{"alone", "w11@1: 47 % proven, 109 MB/s by unicast", State{Phase: Receiving, Package: "w11@1", Size: 1000, Proven: 479, Rate: 109e6, Path: Unicast}, progressEvery},
		{"proving", "w11@1: 47 % proven, proving what an earlier try left", State{Phase: Proving, Package: "w11@1", Size: 1000, Proven: 479}, progressEvery},
		{"applying", "w11@1: 12 % applied", State{Phase: Applying, Package: "w11@1", Applied: 0.128}, progressEvery},
	} {
		var b strings.Builder
		l := NewLines(&b)
		for d := time.Duration(0); d <= 2*tc.every; d += 250 * time.Millisecond {
			l.Tick(now.Add(d), tc.state)
		}
		var want strings.Builder
		if tc.want != "" {
			for i := range 3 {
				want.WriteString(now.Add(time.Duration(i)*tc.every).Format(time.TimeOnly) + " " + tc.want + "\n")
			}
		}
		if b.String() != want.String() {
			t.Errorf("%s:\n%swant\n%s", tc.name, b.String(), want.String())
		}
	}
}
