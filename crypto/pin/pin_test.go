package pin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// quick returns a book whose hash costs nothing: where thousands of tries are counted, it isn't the hash that is looked at.
func quick(alarm func(string)) *Book {
	b := New(alarm)
	b.slow = func(pin string, salt []byte) []byte { return append([]byte(pin), salt...) }
	return b
}

// someone tries from an address with the bundle of room12.
func someone(addr string) Who {
	return Who{Name: "room12", Serial: "01", Addr: netip.MustParseAddr(addr)}
}

// try tries a PIN, and says in a word what came of it.
func (b *Book) try(t *testing.T, who Who, shown string) Result {
	t.Helper()
	_, err := b.Try(t.Context(), who, shown)
	if err == nil {
		return Right
	}
	no, ok := errors.AsType[*RefusedError](err)
	if !ok {
		t.Fatal(err)
	}
	if (no.Result == Limited || no.Result == Closed) && no.Again <= 0 {
		t.Errorf("%v: doesn't say when to come again", no)
	}
	return no.Result
}

func set(t *testing.T, b *Book, room, pin string) {
	t.Helper()
	if _, err := b.Set(room, pin, 0, false); err != nil {
		t.Fatal(err)
	}
}

func TestRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(nil)
		pc := someone("10.0.0.1")
		if got := b.try(t, pc, "123456"); got != Closed || b.State("room12") != IsClosed {
			t.Errorf("nothing set: %s, %v", got, b.State("room12"))
		}
		set(t, b, "room1*", "654321")
		set(t, b, "room12", "123456")
		if got := b.try(t, pc, "654321"); got != Wrong {
			t.Errorf("the pattern's PIN: %s", got)
		}
		pass, err := b.Try(t.Context(), pc, "123456")
		if err != nil {
			t.Fatal(err)
		}
		other := pc
		other.Serial = "02"
		if !b.Enter(pc, pass) || b.Enter(other, pass) || b.Enter(pc, [16]byte{1}) {
			t.Error("a pass is good for its certificate alone")
		}
		if list := b.List(); len(list) != 2 || list[1].Room != "room12" || list[1].Right != 1 || list[1].Wrong != 1 || list[1].Addresses != 1 {
			t.Errorf("%+v", list)
		}
		<-time.After(DefaultFor) // virtual time
		if got := b.try(t, pc, "123456"); got != Closed || len(b.List()) != 0 {
			t.Errorf("an hour later: %s, %+v", got, b.List())
		}
		if !b.Enter(pc, pass) {
			t.Error("the pass ended with the hour")
		}
		set(t, b, "room12", "123456")
		if !b.Clear("room12") || b.Clear("room12") || b.Enter(pc, pass) {
			t.Error("the pass outlived its room's closing")
		}
		if _, err := b.Set("room12", "", time.Minute, true); err != nil || b.State("room12") != IsOpen || b.try(t, pc, "") != Right {
			t.Errorf("open: %v, %v", err, b.State("room12"))
		}
		<-time.After(time.Minute) // virtual time
		if b.State("room12") != IsClosed {
			t.Error("open for more than a minute")
		}
	})
}

func TestBadPINs(t *testing.T) {
	b := New(nil)
	for name, set := range map[string]func() (Room, error){
		"short":      func() (Room, error) { return b.Set("a", "12345", 0, false) },
		"long":       func() (Room, error) { return b.Set("a", strings.Repeat("1", MaxLength+1), 0, false) },
		"space":      func() (Room, error) { return b.Set("a", "123 456", 0, false) },
		"not ASCII":  func() (Room, error) { return b.Set("a", "12345é", 0, false) },
		"pattern":    func() (Room, error) { return b.Set("a[", "123456", 0, false) },
		"no room":    func() (Room, error) { return b.Set("", "123456", 0, false) },
		"too long":   func() (Room, error) { return b.Set("a", "123456", 25*time.Hour, false) },
		"both":       func() (Room, error) { return b.Set("a", "123456", 0, true) },
		"open short": func() (Room, error) { return b.Set("a", "", time.Second, true) },
	} {
		if r, err := set(); err == nil {
			t.Errorf("%s: %+v", name, r)
		} else if strings.Contains(err.Error(), "123") {
			t.Errorf("%s: the error tells the PIN: %v", name, err)
		}
	}
	for length, digits := range map[time.Duration]int{0: 6, time.Hour: 6, 3 * time.Hour: 8} {
		if pin := Draw(length); len(pin) != digits || strings.Trim(pin, "0123456789") != "" {
			t.Errorf("for %v: %q", length, pin)
		}
	}
}

// TestGuessing: how often one address may guess in an hour; and that the others of its room get in meanwhile.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var alarms []string
		b := quick(func(text string) { alarms = append(alarms, text) })
		set(t, b, "room12", "123456")
		wrong := 0
		for range 3600 {
			if b.try(t, someone("10.0.0.66"), "000000") == Wrong {
				wrong++
			}
			<-time.After(time.Second - time.Millisecond) // virtual time
		}
		if most := sourceBurst + int(time.Hour/sourceEvery); wrong > most || wrong < most-5 {
			t.Errorf("%d guesses in an hour, want about %d", wrong, most)
		}
		if got := b.try(t, someone("10.0.0.2"), "123456"); got != Right {
			t.Errorf("another machine of the room: %s", got)
		}
		if len(alarms) != 2 || !strings.Contains(alarms[0], "room12: 25 wrong tries from 1 addresses") || strings.Contains(alarms[0], "123456") {
			t.Errorf("%q", alarms)
		}
	})
}

// TestRoomUnderAttack: 60 addresses guess as fast as they may. A room of 200 that comes at once gets in within half a minute all
// the same, one that mistyped within a minute; the guesses are bounded by the room.
func TestRoomUnderAttack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quick(nil)
		set(t, b, "room12", "123456")
		attack := func() (wrong int) {
			for i := range 60 {
				if b.try(t, someone(fmt.Sprintf("10.0.1.%d", i+1)), "000000") == Wrong {
					wrong++
				}
			}
			return wrong
		}
		guesses := 0
		for range 600 {
			guesses += attack()
			<-time.After(time.Second) // virtual time
		}
		if most := 60 + knownBurst + 600/10 + 1; guesses > most {
			t.Errorf("%d guesses in ten minutes, want at most %d", guesses, most)
		}
		began := time.Now()
		for i := range 200 {
			pc := someone(fmt.Sprintf("10.0.2.%d", i+1))
			for b.try(t, pc, "123456") != Right {
				<-time.After(time.Second) // virtual time
				attack()
			}
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the room took %v", took)
		}
	})
}

// TestOwnCertificate: a stolen bundle of one machine guesses no faster from many addresses.
func TestOwnCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := quick(nil)
		set(t, b, "pc*", "123456")
		wrong := 0
		for i := range 100 {
			who := Who{Name: "pc07", Serial: "07", Alone: true, Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}
			if b.try(t, who, "000000") == Wrong {
				wrong++
			}
		}
		if wrong != sourceBurst {
			t.Errorf("%d guesses at once, want %d", wrong, sourceBurst)
		}
		if got := b.try(t, Who{Name: "pc08", Serial: "08", Alone: true, Addr: netip.MustParseAddr("10.0.1.1")}, "123456"); got != Right {
			t.Errorf("another machine: %s", got)
		}
	})
}

// TestOneAtATime: tries that come together are looked at one after the other, and those beyond a bound not at all.
func TestOneAtATime(t *testing.T) {
	b := quick(nil)
	set(t, b, "room12", "123456")
	b.checking <- struct{}{} // one is being looked at
	ctx, cancel := context.WithCancel(t.Context())
	var trying sync.WaitGroup
	for i := range 2 * maxWaiting {
		trying.Go(func() {
			_, err := b.Try(ctx, Who{Name: "room12", Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}, "123456")
			if no, ok := errors.AsType[*RefusedError](err); !ok || no.Result != Limited {
				t.Errorf("%v", err)
			}
		})
	}
	for {
		b.mu.Lock()
		waiting, limited := b.waiting, b.counts[Limited]
		b.mu.Unlock()
		if waiting > maxWaiting || waiting > checksBurst+5 {
			t.Fatalf("%d wait", waiting)
		}
		if waiting+int(limited) == 2*maxWaiting {
			break
		}
		<-time.After(time.Millisecond)
	}
	cancel()
	trying.Wait()
	<-b.checking
	if b.waiting != 0 {
		t.Errorf("%d still wait", b.waiting)
	}
	if got := b.try(t, someone("10.1.0.1"), "123456"); got == Wrong {
		t.Errorf("afterwards: %s", got)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := sources{}
	now := time.Unix(1_800_000_000, 0)
	for i := range 3 * maxSources {
		s.of(now, fmt.Sprint(i)).take(now, sourceBurst, sourceEvery)
	}
	if len(s) > maxSources {
		t.Errorf("%d sources are remembered", len(s))
	}
}
