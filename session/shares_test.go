package session

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

func TestSharesDivide(t *testing.T) {
	inf := math.Inf(1)
	type one struct{ weight, wants, share float64 }
	for name, parts := range map[string][]one{
		"alone":                    {{1, inf, 100}},
		"equal":                    {{1, inf, 50}, {1, inf, 50}},
		"by weight":                {{1, inf, 20}, {3, inf, 60}, {1, inf, 20}},
		"one is idle":              {{1, 0, 0}, {1, inf, 100}},
		"one can't use it all":     {{1, 10, 10}, {1, inf, 45}, {1, inf, 45}},
		"each of two wants little": {{1, 10, 10}, {2, 30, 30}, {1, inf, 60}},
		"all want little":          {{1, 10, 40}, {1, 30, 60}},
		"nobody":                   {{1, 0, 0}, {2, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShares(100, 1472)
			senders := make([]*sender, len(parts))
			held := func() (sum float64) {
				for _, p := range s.parts {
					sum += p.holds
				}
				return sum
			}
			for round := range 3 {
				for i, p := range parts {
					if senders[i] == nil {
						senders[i] = &sender{mail: make(chan func(*sender), 10)}
					}
					share, holds := s.claim(senders[i], p.weight, p.wants)
					if held() > 100+1e-9 {
						t.Fatalf("they hold %v together", held())
					}
					if round == 2 && (math.Abs(share-p.share) > 1e-9 || math.Abs(holds-p.share) > 1e-9) {
						t.Errorf("session %d: share %v, holds %v, want %v", i, share, holds, p.share)
					}
				}
			}
			for _, session := range senders[1:] {
				s.leave(session)
			}
			if _, holds := s.claim(senders[0], 1, inf); holds != 100 {
				t.Errorf("the last one holds %v", holds)
			}
		})
	}
}

// outlet notes what goes out of several groups, and when.
type outlet struct {
	mu  sync.Mutex
	log []departure
}

type departure struct {
	at    time.Time
	group int
	bytes int
}

// watch taps the groups that are there.
func (o *outlet) watch(r *room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, g := range r.groups {
		g.mu.Lock()
		g.taps = append(g.taps, func(packet []byte) {
			o.mu.Lock()
			o.log = append(o.log, departure{time.Now(), i, len(packet)})
			o.mu.Unlock()
		})
		g.mu.Unlock()
	}
}

const outletPacket = 1476 - 28

// held checks that in any 100 ms no more than the ceiling goes out, and in no moment more than 1 ms of it.
func (o *outlet) held(t *testing.T, ceiling float64) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	const window = 100 * time.Millisecond
	slack := max(0.02*ceiling*window.Seconds(), 4*outletPacket)
	from, sum, worst, burst, most := 0, 0, 0.0, 0, 0
	for i, d := range o.log {
		sum += d.bytes
		for d.at.Sub(o.log[from].at) >= window {
			sum -= o.log[from].bytes
			from++
		}
		worst = max(worst, float64(sum)-ceiling*window.Seconds())
		if i > 0 && !d.at.Equal(o.log[i-1].at) {
			burst = 0
		}
		burst += d.bytes
		most = max(most, burst)
	}
	t.Logf("ceiling %.0f: worst 100 ms %+.0f bytes of %.0f allowed, longest burst %d of %.0f", ceiling, worst, slack, most, max(ceiling/1000, 4*outletPacket))
	if worst > slack {
		t.Errorf("ceiling %.0f: %.0f bytes too much in 100 ms, %.0f allowed", ceiling, worst, slack)
	}
	if float64(most) > max(ceiling/1000, 4*outletPacket)+statusMost {
		t.Errorf("ceiling %.0f: a burst of %d bytes", ceiling, most)
	}
}

// statusMost is about as long as a status gets: it goes out when it is due and is taken from what comes after it.
const statusMost = 1200

// TestCeilingHeld: a session alone, with loss, a late joiner and idle time between; nothing goes out above the ceiling.
func TestCeilingHeld(t *testing.T) {
	longUnderRace(t)
	for _, ceiling := range []float64{500e3, 4e6, 40e6} {
		t.Run(fmt.Sprint(ceiling), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 5, int(ceiling*1.5))
				r.server.cfg.Ceiling = ceiling
				defer r.stop()
				for i := range 3 {
					c := r.client(fmt.Sprintf("pc%02d", i))
					c.link.loss = 0.02
					c.start()
				}
				time.Sleep(100 * time.Millisecond)
				var o outlet
				o.watch(r)
				time.Sleep(time.Second)
				r.client("late").start()
				r.wait()
				o.held(t, ceiling)
			})
		})
	}
}

// groupBytes is what went out of each group.
func (r *room) groupBytes() (out []float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.groups {
		g.mu.Lock()
		out = append(out, float64(g.bytes))
		g.mu.Unlock()
	}
	return out
}

// TestTwoSessionsShare: two sessions of one daemon get the same within a tenth, never more than the ceiling together, and the
// second gets all of it when the first is done. One that a slow client holds back leaves the rest to the other.
func TestTwoSessionsShare(t *testing.T) {
	longUnderRace(t)
	for name, slow := range map[string]float64{"equal": 0, "one is slow": 3e6} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const ceiling = 20e6
				r := newRoom(t, 6, 300*crypto.BlockSize)
				r.server.cfg.Ceiling = ceiling
				defer r.stop()
				for i := range 2 {
					c := r.client(fmt.Sprintf("first%d", i))
					if slow > 0 {
						c.link.rate, c.link.queue = slow, 20*time.Millisecond
					}
					c.start()
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				r.encrypt = false
				for i := range 2 {
					r.client(fmt.Sprintf("second%d", i)).start()
				}
				time.Sleep(50 * time.Millisecond)
				var o outlet
				o.watch(r)
				time.Sleep(1500 * time.Millisecond)
				before := r.groupBytes()
				time.Sleep(time.Second)
				after := r.groupBytes()
				got := [2]float64{after[0] - before[0], after[1] - before[1]}
				t.Logf("%.2f and %.2f MB/s", got[0]/1e6, got[1]/1e6)
				switch {
				case slow == 0 && math.Abs(got[0]-got[1]) > 0.1*max(got[0], got[1]):
					t.Error("they don't share evenly")
				case slow == 0 && got[0]+got[1] < 0.97*ceiling:
					t.Error("they leave some of the ceiling")
				case slow > 0 && (got[0] < 0.85*slow || got[1] < ceiling-2*slow):
					t.Error("what one can't use the other doesn't get")
				}
				r.wait()
				o.held(t, ceiling)
			})
		})
	}
}

// TestSlowDisk: a client whose disk is slow isn't taken for a slow network, and the others lose nothing.
func TestSlowDisk(t *testing.T) {
	longUnderRace(t)
	took := map[bool]time.Duration{}
	for _, slow := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(t, 7, 400*crypto.BlockSize)
			r.server.cfg.Ceiling = 20e6
			defer r.stop()
			bad := r.client("slow disk")
			if slow {
				bad.target.slow = 50 * time.Millisecond // 3.6 MB/s
			}
			bad.start()
			others := []*roomClient{r.client("a").start(), r.client("b").start()}
			began := time.Now()
			time.Sleep(2 * time.Second)
			running, _ := r.server.Sessions()
			if len(running) == 1 && (running[0].RateReason != RateCeiling || running[0].Rate < 19e6) {
				t.Errorf("slow disk %v: rate %.1f MB/s, reason %s", slow, running[0].Rate/1e6, running[0].RateReason)
			}
			for _, c := range others {
				<-c.done
			}
			took[slow] = time.Since(began)
			r.wait()
			drops := bad.result.Totals.DiskDrops
			t.Logf("slow disk %v: the others took %v, all %v, %d packets came too early for the disk", slow, took[slow], time.Since(began), drops)
			if slow && drops == 0 {
				t.Error("the disk wasn't too slow for anything")
			}
		})
	}
	if took[true] > took[false]*11/10 {
		t.Errorf("the others took %v beside a slow disk, %v without", took[true], took[false])
	}
}

// TestWeights: two sessions share the ceiling by their packages' weights, and by others once those have changed.
func TestWeights(t *testing.T) {
	longUnderRace(t)
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 8, 400*crypto.BlockSize)
		r.server.cfg.Ceiling, r.ceiling = 8e6, 8e6
		defer r.stop()
		r.others = map[string]*simContent{"light": newSimContent(r.random, 400*crypto.BlockSize)}
		r.deploy = func(p *Package, _ Peer) {
			if p.Rules.Weight = 3; p.Name == "light@1" {
				p.Rules.Weight = 1
			}
		}
		r.client("heavy").start()
		time.Sleep(100 * time.Millisecond)
		light := r.client("light")
		light.pkg = "light"
		light.start()
		ratio := func() float64 {
			time.Sleep(2 * time.Second)
			before := r.groupBytes()
			time.Sleep(time.Second)
			after := r.groupBytes()
			if sum := after[0] + after[1] - before[0] - before[1]; sum < 7.5e6 || sum > 8.2e6 {
				t.Errorf("together they sent %.2f MB/s of 8", sum/1e6)
			}
			return (after[0] - before[0]) / (after[1] - before[1])
		}
		if got := ratio(); got < 2.8 || got > 3.2 {
			t.Errorf("%.2f times as much with 3 times the weight", got)
		}
		r.server.Adjust(Conditions{Ceiling: 8e6, Rules: func(_, pkg string) (Rules, bool) {
			if pkg == "light@1" {
				return Rules{Weight: 2}, true
			}
			return Rules{Weight: 1}, true
		}})
		if got := ratio(); got < 0.45 || got > 0.55 {
			t.Errorf("%.2f times as much with half the weight", got)
		}
		r.wait()
	})
}
