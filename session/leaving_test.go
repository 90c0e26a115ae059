package session

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// leavingRoom is three clients in the middle of a cast of 3.6 s.
func leavingRoom(t *testing.T, rules Rules) *room {
	r := newRoom(t, 71, 100*crypto.BlockSize)
	r.ceiling, r.server.cfg.Ceiling = 5e6, 5e6
	r.rules = rules
	for i := range 3 {
		r.client(fmt.Sprintf("pc%02d", i)).start()
	}
	time.Sleep(time.Second)
	return r
}

// TestDrain: those who receive may end, nobody new gets in, and the server doesn't stay for late ones.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := leavingRoom(t, Rules{})
		defer r.stop()
		began := time.Now()
		late := r.client("late")
		r.clients = r.clients[:3]
		go func() {
			time.Sleep(500 * time.Millisecond)
			late.start()
		}()
		if err := r.server.Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > 4*time.Second {
			t.Errorf("drained after %v: it lingers", d)
		}
		r.hangUp() // before anybody has heard that its word was heard
		r.kill()
		r.wait()
		if d := time.Since(began); d > 6*time.Second {
			t.Errorf("the clients ended after %v", d)
		}
		if late.event(EventJoined) || !late.event(EventGone) {
			t.Errorf("late: %v", late.events())
		}
		r.start() // the next daemon
		<-late.done
		if late.elsewhere() == 0 {
			t.Error("the late one isn't told to go elsewhere")
		}
		if late.err != nil {
			t.Error(late.err)
		}
	})
}

// TestDrainEnds: a drain that takes too long is cut short; clients go on at the next daemon, with what they have.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := leavingRoom(t, Rules{})
		defer r.stop()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := r.server.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		before := r.sent()
		r.handOver()
		r.wait()
		after := r.sent()
		all := float64(before.SourcePackets + before.ParityPackets + after.SourcePackets + after.ParityPackets)
		if ratio := all / float64(r.sourcePackets()); ratio > 1.1 {
			t.Errorf("%.3f packets for each of the source", ratio)
		}
		for _, c := range r.clients {
			if c.elsewhere() == 0 || c.result.Totals.Reconnects == 0 {
				t.Errorf("%s: %v", c.name, c.events())
			}
		}
	})
}

// hangUp closes all control channels at the clients' ends, with what is still in them.
func (r *room) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.controls {
		c.out.close()
	}
}

// handOver closes the server, as one that stops does, and starts another a second later.
func (r *room) handOver() {
	r.mu.Lock()
	s := r.server
	r.server = nil
	r.mu.Unlock()
	s.Close()
	r.mu.Lock()
	controls := r.controls
	r.controls = nil
	r.mu.Unlock()
	time.Sleep(100 * time.Millisecond) // the last words get there
	for _, c := range controls {
		c.dead.Store(true)
		c.in.close()
	}
	r.serving.Wait()
	time.Sleep(time.Second)
	r.start()
}

// TestDrainWaiting: a session that waits for its start isn't waited for; its clients wait at the next daemon.
func TestDrainWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := leavingRoom(t, Rules{Start: StartScheduled, MinClients: 4, Delay: time.Hour})
		defer r.stop()
		began := time.Now()
		if err := r.server.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("drained after %v", d)
		}
		r.handOver()
		time.Sleep(10 * time.Second)
		if !r.waits() {
			t.Error("they don't wait at the next daemon")
		}
		r.client("fourth").start()
		r.wait()
	})
}

// TestAdjust: a running session takes over a ceiling and rules that changed, unless an operator changed them there.
func TestAdjust(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 72, 400*crypto.BlockSize)
		r.ceiling, r.server.cfg.Ceiling = 10e6, 10e6
		defer r.stop()
		r.client("pc").start()
		time.Sleep(time.Second)
		adjust := func(ceiling float64, rules Rules) []string {
			return r.server.Adjust(Conditions{Ceiling: ceiling, Limits: Limits{MaxClients: 1}, Rules: func(deployment, pkg string) (Rules, bool) {
				if pkg != "w11@1" || deployment != "" {
					t.Errorf("asked for %s", pkg)
				}
				return rules, true
			}})
		}
		if got := fmt.Sprint(adjust(2e6, Rules{Slow: SlowDrop, Floor: 1e5, Grace: time.Minute})); got != "[s1]" {
			t.Errorf("adjusted %s", got)
		}
		time.Sleep(500 * time.Millisecond)
		before := r.sent().SourceBytes
		time.Sleep(time.Second)
		if got := float64(r.sent().SourceBytes - before); got < 1.6e6 || got > 2.05e6 {
			t.Errorf("%.2f MB/s under a ceiling of 2", got/1e6)
		}
		if s, _ := r.session(0); s.Slow != SlowDrop || s.Floor != 1e5 || s.Grace != time.Minute {
			t.Errorf("%+v", s)
		}
		if got := adjust(2e6, Rules{Slow: SlowDrop, Floor: 1e5, Grace: time.Minute}); len(got) > 0 {
			t.Errorf("nothing changed, adjusted %v", got)
		}
		// The limit holds for who comes now; the one who is there stays.
		r.client("second").start()
		time.Sleep(time.Second)
		if len(r.server.Queue()) != 1 {
			t.Errorf("queue %+v", r.server.Queue())
		}
		// The operator's hand is the last.
		if _, err := r.server.Steer("s1", Steering{Slow: new(SlowWait)}); err != nil {
			t.Fatal(err)
		}
		if got := adjust(40e6, Rules{Slow: SlowDemote}); len(got) > 0 {
			t.Errorf("adjusted %v over the operator", got)
		}
		if s, _ := r.session(0); s.Slow != SlowWait {
			t.Errorf("%+v", s)
		}
		r.wait()
	})
}

// TestAdjustStart: a session that waits takes over the rules of its start.
func TestAdjustStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waitingRoom(t, Rules{MinClients: 3, Delay: time.Hour})
		defer r.stop()
		r.client("pc01").start()
		r.client("pc02").start()
		time.Sleep(time.Second)
		r.server.Adjust(Conditions{Ceiling: 40e6, Rules: func(string, string) (Rules, bool) { return Rules{Start: StartScheduled, MinClients: 2}, true }})
		time.Sleep(time.Second)
		if r.waits() {
			t.Error("still waits")
		}
		r.wait()
	})
}
