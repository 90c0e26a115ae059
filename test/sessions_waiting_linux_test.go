package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wimcast/test/rig"
)

// hurry has the daemon take over a configuration, such as one with a higher ceiling, so that the rest of a test takes less. It returns
// once that is so.
func (s *stage) hurry(c rig.Config) {
	s.t.Helper()
	const done, bad = `"msg":"reloaded"`, `"msg":"reload: the configuration is bad; nothing changed"`
	were, refused := strings.Count(s.daemon.Log(), done), strings.Count(s.daemon.Log(), bad)
	if err := s.daemon.Configure(c); err != nil {
		s.t.Fatal(err)
	}
	if err := s.daemon.Signal(syscall.SIGHUP); err != nil {
		s.t.Fatal(err)
	}
	s.await("the configuration to be taken over", func() bool {
		log := s.daemon.Log()
		if strings.Count(log, bad) > refused {
			s.t.Fatalf("hurry: the configuration is bad: %+v", c)
		}
		return strings.Count(log, done) > were
	})
}

// logged returns when the daemon logged a message, with all the words in its line; zero: it didn't.
func (s *stage) logged(message string, words ...string) time.Time {
	for line := range strings.Lines(s.daemon.Log()) {
		var entry struct {
			Time time.Time
			Msg  string
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Msg != message {
			continue
		}
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			return entry.Time
		}
	}
	return time.Time{}
}

// screen is what a program writes for a person.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestSessionsDelay: a delay starts a session whose number never comes: counted from the first who waits, or from the last. Who waits reads on the
// screen for what, how many are there, and until when at most; and who comes after the start joins all the same.
func TestSessionsDelay(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"first", "last"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			s := inRoom(t, 3, rig.Config{
				Multicast: `ceiling = "6 MB/s"`,
				Top:       fmt.Sprintf("[package.\"w11\"]\nstart = \"scheduled\"\nmin_clients = 9\ndelay = \"20s\"\ndelay_from = %q", from),
			})
			place := s.room.Client(0)
			person := place.Command(s.ctx, s.programs.Client, "get", "w11", "--name", place.Name(), "--bundle", s.daemon.Bundle(), "--output", s.file(place.Name()))
			var shows screen
			person.Stderr = &shows
			if err := person.Start(); err != nil {
				t.Fatal(err)
			}
			one := s.waits(1)
			reads := func(n int) {
				want := regexp.MustCompile(fmt.Sprintf(`waiting for the session to start: %d of 9 clients here, at \d\d:\d\d:\d\d at the latest`, n))
				s.await("what it waits for on the screen", func() bool { return want.MatchString(shows.String()) })
			}
			reads(1)
			second := s.get(1)
			two := s.waits(2)
			switch moved := two.Deadline.Sub(one.Deadline); {
			case from == "first" && moved != 0:
				t.Errorf("the second client moved the start by %v", moved)
			case from == "last" && moved <= 0:
				t.Errorf("the second client moved the start by %v", moved)
			}
			s.await("the start", func() bool { return !s.logged("session starts to cast", "it is time").IsZero() })
			if early := two.Deadline.Sub(s.logged("session starts to cast")); early > 0 {
				t.Errorf("it started %v before its time", early)
			}
			if err := second.AwaitProven(s.ctx, 0.05); err != nil {
				t.Fatal(err)
			}
			late := s.get(2)
			if err := person.Wait(); err != nil {
				t.Errorf("%v:\n%s", err, shows.String())
			}
			if sum(t, s.file(place.Name())) != sum(t, s.image) {
				t.Error("content differs")
			}
			for _, g := range []*rig.Get{second, late} {
				if _, totals := s.proven(g); totals.Unicast > 0 {
					t.Errorf("%s: %+v", g.Place.Name(), totals)
				}
			}
			if list := s.sessions(); len(list) != 1 {
				t.Errorf("%d sessions", len(list))
			}
		})
	}
}

// TestSessionsQueueListens: who waits for a unicast slot says so, and goes on listening to the group: what it hears then, it needn't fetch.
func TestSessionsQueueListens(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 3, rig.Config{Multicast: `ceiling = "1 MB/s"`, Top: "[unicast]\nslots = 1\nbudget = \"100 kB/s\""})
	deaf := s.room.Clients()[1:]
	for _, c := range deaf {
		if err := c.SetPruned(s.ctx, true); err != nil {
			t.Fatal(err)
		}
	}
	gets := []*rig.Get{s.get(0), s.get(1), s.get(2)}
	var queued *rig.Get
	s.await("a client in the queue", func() bool {
		for _, g := range gets[1:] {
			if text, ok := g.Happened("queued"); ok {
				if queued = g; !strings.Contains(text, "waiting for a unicast slot, place 1") {
					t.Errorf("it shows %q", text)
				}
			}
		}
		return queued != nil
	})
	if text, ok := queued.Happened("unicast"); !ok || !strings.Contains(text, "nothing of group") {
		t.Errorf("it doesn't show why: %q, events %v", text, queued.Events())
	}
	for _, c := range deaf {
		if c.Name() == queued.Place.Name() {
			if err := c.SetPruned(s.ctx, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := queued.Await(s.ctx, "packets of the group", func(p rig.Event, _ []rig.Event) bool {
		return p.Totals != nil && p.Totals.Packets > 1000
	}); err != nil {
		t.Fatal(err)
	}
	s.hurry(rig.Config{Multicast: `ceiling = "20 MB/s"`})
	for _, g := range gets {
		_, totals := s.proven(g)
		if by := totals.Unicast > 0; g == gets[0] && by || g != gets[0] && g != queued && !by {
			t.Errorf("%s: %+v", g.Place.Name(), totals)
		}
		if g == queued && totals.Multicast == 0 {
			t.Errorf("%s: %+v", g.Place.Name(), totals)
		}
	}
}
