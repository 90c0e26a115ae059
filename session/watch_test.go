package session

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// diary is a watcher that writes down what it is told.
type diary struct {
	mu    sync.Mutex
	lines []string
	at    []time.Time
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines, d.at = append(d.lines, line), append(d.at, time.Now())
}

func (d *diary) SessionChanged(change Change, s SessionInfo) {
	d.write(fmt.Sprintf("%s %s %s", s.ID, change, s.State))
}

func (d *diary) ClientChanged(change Change, s SessionInfo, c ClientInfo) {
	d.write(fmt.Sprintf("%s %s %s %s", s.ID, c.Name, change, c.State))
}

func (d *diary) Alarm(s SessionInfo, text string) { d.write("alarm " + s.ID + ": " + text) }

// of returns what was told of a session ("s1", whose lines have three words), a client
// ("s1 pc01") or by an alarm ("alarm s1:").
func (d *diary) of(subject string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, line := range d.lines {
		rest, ok := strings.CutPrefix(line, subject+" ")
		if ok && (strings.Contains(subject, " ") || strings.Count(line, " ") == 2) {
			out = append(out, rest)
		}
	}
	return out
}

// TestWatcher is told of a room from its start to its end.
func TestWatcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 21, 100*crypto.BlockSize)
		d := &diary{}
		r.server.cfg.Watcher, r.server.cfg.Ceiling = d, 4e6 // for more than a second
		r.client("good").start()
		deaf := r.client("deaf")
		deaf.link.deaf = true
		deaf.start()
		evicted := r.client("bad")
		evicted.link.deaf = true
		evicted.start()
		time.Sleep(100 * time.Millisecond)
		running, _ := r.server.Sessions()
		for _, c := range running[0].Clients {
			if c.Name == "bad" {
				if err := r.server.Evict(running[0].ID, c.Number); err != nil {
					t.Error(err)
				}
			}
		}
		for _, c := range r.clients {
			<-c.done
		}
		r.stop()
		for subject, want := range map[string][]string{
			"s1 good": {"began receiving", "over proven"},
			"s1 bad":  {"began receiving", "over evicted"},
			"s1 deaf": {"began receiving", "changed unicast", "over proven"},
		} {
			if got := d.of(subject); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", subject, got, want)
			}
		}
		of := d.of("s1")
		if len(of) < 3 || of[0] != "began waiting" || of[1] != "changed casting" || of[len(of)-1] != "over ended" {
			t.Errorf("the session: %q", of)
		}
		if last := d.lines[len(d.lines)-1]; last != "s1 over ended" {
			t.Errorf("the last word is %q", last)
		}
	})
}

// TestNews: the same session isn't told of more than once a second, but its end is, and no
// last state is left out.
func TestNews(t *testing.T) {
	var n told[wire.State]
	now := time.Unix(1e9, 0)
	for i, step := range []struct {
		after time.Duration
		state wire.State
		over  bool
		want  Change
	}{
		{0, wire.Waiting, false, Began},
		{time.Minute, wire.Waiting, false, ""},
		{0, wire.Casting, false, Changed},
		{time.Millisecond, wire.PassEnded, false, ""},
		{time.Millisecond, wire.Casting, false, ""},
		{time.Millisecond, wire.PassEnded, false, ""},
		{toldEvery, wire.PassEnded, false, Changed},
		{time.Millisecond, wire.Casting, false, ""},
		{time.Millisecond, wire.Ended, true, Over},
		{time.Minute, wire.Ended, true, ""},
	} {
		now = now.Add(step.after)
		if got := n.news(now, step.state, step.over); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}
