package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

func TestCleanRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 1, 40*crypto.BlockSize+12345)
		defer r.stop()
		for i := range 4 {
			r.client(fmt.Sprintf("pc%02d", i)).start()
		}
		r.wait()
		sent := r.sent()
		// A client whose join came after the first turn had begun costs that block once more.
		if sent.SourcePackets > r.sourcePackets()+2*128 || sent.ParityPackets > 128 {
			t.Errorf("sent %+v, want %d source packets and next to no parity", sent, r.sourcePackets())
		}
		time.Sleep(lingerFor + time.Second)
		if ended := r.endedSessions(); len(ended) != 1 || ended[0].Reason != "every client is done" {
			t.Errorf("sessions ended: %+v", ended)
		}
	})
}

func TestLoss(t *testing.T) {
	for _, loss := range []float64{0.01, 0.05, 0.20, 0.30} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%v/%d", loss, seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRoom(t, seed, 60*crypto.BlockSize+777)
					defer r.stop()
					for i := range 4 {
						c := r.client(fmt.Sprintf("pc%02d", i))
						c.link.loss = loss
						c.link.control = loss / 4
						c.start()
					}
					began := time.Now()
					r.wait()
					sent := r.sent()
					ratio := float64(sent.SourcePackets+sent.ParityPackets) / float64(r.sourcePackets())
					t.Logf("%v: packets sent / source %.3f, NACKs %d", time.Since(began), ratio, r.clients[0].result.Totals.NACKs)
					if limit := 1 + 2.5*loss + 0.05; ratio > limit {
						t.Errorf("packets sent / source = %.3f, more than %.3f", ratio, limit)
					}
				})
			})
		}
	}
}

// TestManyRooms casts under every evil at once, over many seeds: all that counts is
// that each client ends with the right bytes.
func TestManyRooms(t *testing.T) {
	seeds := 200
	if testing.Short() || raceEnabled {
		seeds = 20
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 9))
				r := newRoom(t, seed, 1+random.IntN(30*crypto.BlockSize))
				defer r.stop()
				r.encrypt = random.IntN(4) > 0
				for i := range 1 + random.IntN(8) {
					c := r.client(fmt.Sprintf("pc%02d", i))
					c.link.loss = []float64{0, 0.01, 0.05, 0.2, 0.3}[random.IntN(5)]
					c.link.control = []float64{0, 0.01, 0.1}[random.IntN(3)]
					c.link.repeat = []float64{0, 0.05}[random.IntN(2)]
					c.link.damage = []float64{0, 0.01}[random.IntN(2)]
					c.link.jitter = []time.Duration{0, 200 * time.Microsecond, 10 * time.Millisecond}[random.IntN(3)]
					if random.IntN(3) == 0 {
						c.link.burst, c.link.every = 100, 500*time.Millisecond
					}
					c.start()
					if random.IntN(3) == 0 {
						time.Sleep(time.Duration(random.Int64N(int64(2 * time.Second))))
					}
				}
				if random.IntN(4) == 0 {
					time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
					r.kill()
					time.Sleep(time.Duration(random.Int64N(int64(5 * time.Second))))
					r.start()
				}
				r.wait()
			})
		})
	}
}

func TestTwoHundredClients(t *testing.T) {
	many := 200
	if raceEnabled {
		many = 40 // ten times slower there
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 7, 12*crypto.BlockSize)
		defer r.stop()
		for i := range many {
			c := r.client(fmt.Sprintf("pc%03d", i))
			c.link.loss = 0.02
			c.start()
		}
		r.wait()
		sent := r.sent()
		ratio := float64(sent.SourcePackets+sent.ParityPackets) / float64(r.sourcePackets())
		t.Logf("packets sent / source %.3f", ratio)
		if ratio > 1.25 {
			t.Errorf("packets sent / source = %.3f for 200 clients at 2 %% loss", ratio)
		}
	})
}

// TestServerKilled compares rooms whose server is killed in mid-cast with the same rooms left alone: at most a tenth more packets.
func TestServerKilled(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var sent [2]float64
				for i, killed := range []bool{false, true} {
					r := newRoom(t, 100+seed, 100*crypto.BlockSize)
					r.ceiling, r.server.cfg.Ceiling = 10e6, 10e6
					random := rand.New(rand.NewPCG(seed, 5))
					for j := range 3 + int(seed) {
						c := r.client(fmt.Sprintf("pc%02d", j))
						c.link.loss = []float64{0, 0.005, 0.02}[random.IntN(3)]
						c.start()
					}
					if killed {
						time.Sleep(500*time.Millisecond + time.Duration(random.Int64N(int64(900*time.Millisecond))))
						before := r.sent()
						sent[i] = float64(before.SourcePackets + before.ParityPackets)
						r.kill()
						time.Sleep(time.Duration(random.Int64N(int64(8 * time.Second))))
						r.start()
					}
					r.wait()
					after := r.sent()
					sent[i] += float64(after.SourcePackets + after.ParityPackets)
					r.stop()
				}
				t.Logf("packets with the kill / without %.3f", sent[1]/sent[0])
				if sent[1] > 1.1*sent[0] {
					t.Errorf("%.0f packets, %.0f without the kill", sent[1], sent[0])
				}
			})
		})
	}
}

// TestServerRestart kills the server in mid-cast: clients come back by themselves
// with what they have.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 8, 100*crypto.BlockSize)
		r.server.cfg.Ceiling = 10e6
		defer r.stop()
		for i := range 4 {
			c := r.client(fmt.Sprintf("pc%02d", i))
			c.link.loss = 0.02
			c.start()
		}
		time.Sleep(1100 * time.Millisecond)
		before := r.sent()
		r.kill()
		time.Sleep(5 * time.Second)
		r.ceiling = 10e6
		r.start()
		r.wait()
		after := r.sent()
		ratio := float64(before.SourcePackets+before.ParityPackets+after.SourcePackets+after.ParityPackets) / float64(r.sourcePackets())
		t.Logf("sent %d source packets before, %d after; packets sent / source %.3f", before.SourcePackets, after.SourcePackets, ratio)
		if before.SourcePackets == 0 || before.SourcePackets > r.sourcePackets()*9/10 {
			t.Errorf("killed after %d of %d packets; the test wants the middle", before.SourcePackets, r.sourcePackets())
		}
		if ratio > 1.04+0.1 {
			t.Errorf("packets sent / source = %.3f, want at most a tenth more than without the kill", ratio)
		}
		for _, c := range r.clients {
			if c.result.Totals.Reconnects == 0 {
				t.Errorf("%s never came back", c.name)
			}
		}
	})
}

// TestClientResume kills a client and starts it again on the same target.
func TestClientResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 9, 400*crypto.BlockSize)
		r.server.cfg.Ceiling = 10e6
		defer r.stop()
		r.client("stays").start()
		c := r.client("killed")
		c.start()
		time.Sleep(7 * time.Second) // a checkpoint is made every 5 s
		c.stop()
		claimed := len(c.target.have)
		if claimed == 0 || claimed > 390 {
			t.Fatalf("have-map claims %d blocks of 400 when killed", claimed)
		}
		// What the have-map claims isn't always so: a block was torn.
		torn := c.target.have[0]
		c.target.data[torn*crypto.BlockSize] ^= 1
		c.start()
		r.wait()
		got := c.result.Totals
		if want := int64(claimed-1) * crypto.BlockSize; got.Held < want-crypto.BlockSize || got.Held > want {
			t.Errorf("%d bytes held from the first try, want %d", got.Held, want)
		}
		if !c.event(EventResumed) {
			t.Errorf("events: %v", c.events())
		}
	})
}

// TestMemberForges lets somebody who holds the group key send wrong symbols: the
// hashes decide, and the client ends with the right bytes.
func TestMemberForges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 11, 30*crypto.BlockSize)
		defer r.stop()
		victim := r.client("victim")
		var keys *crypto.Keys
		var session *sender
		forged := 0
		victim.link.forge = func(packet []byte) []byte {
			header, _ := wire.ParseHeader(packet)
			if header.Kind != wire.KindSymbol || keys == nil || victim.link.random.IntN(400) > 0 {
				return nil
			}
			payload, err := keys.Open(packet, wire.HeaderLen, header.Number)
			if err != nil {
				return nil
			}
			// A symbol of the next block, so that it's there before the right one.
			symbol, _ := wire.ParseSymbol(payload)
			forged++
			header.Number += 3000 // still to come
			out := make([]byte, wire.HeaderLen+len(payload), len(packet)+64)
			header.Put(out)
			copy(out[wire.HeaderLen:], payload)
			wire.PutSymbol(out[wire.HeaderLen:], symbol.Block+1, symbol.Index, symbol.Follow)
			return keys.Seal(out, wire.HeaderLen, header.Number)
		}
		victim.start()
		synctest.Wait()
		time.Sleep(2 * time.Millisecond)
		running, _ := r.server.Sessions()
		session, _ = r.server.find(running[0].ID)
		session.ask(func(s *sender) {
			keys = crypto.NewKeys(s.mode, s.session, s.info.Digest, s.secret, s.number)
		})
		r.wait()
		if forged == 0 || victim.result.Totals.Rejected == 0 {
			t.Errorf("%d symbols forged, %d blocks rejected; the test wants some", forged, victim.result.Totals.Rejected)
		}
	})
}

func TestDamagedPackageGoesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 12, 30*crypto.BlockSize)
		defer r.stop()
		r.content.damaged = 20
		d := &diary{}
		r.server.cfg.Watcher = d
		c := r.client("pc").start()
		time.Sleep(5 * time.Second)
		if alarms := d.of("alarm s1:"); len(alarms) != 1 || !strings.Contains(alarms[0], "can't be read") {
			t.Errorf("alarms: %q", alarms)
		}
		if ended := r.endedSessions(); len(ended) == 0 || !strings.Contains(ended[0].Reason, "out of service") {
			t.Errorf("sessions ended: %+v", ended)
		}
		c.stop()
		if c.target.finished {
			t.Error("finished with a damaged package")
		}
	})
}

func TestTargetFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 13, 30*crypto.BlockSize)
		defer r.stop()
		c := r.client("pc")
		c.target.full = true
		c.start()
		<-c.done
		if !errors.Is(c.err, ErrTarget) || !strings.Contains(c.err.Error(), "no space left") {
			t.Errorf("full disk: %v", c.err)
		}
	})
}

func TestUnknownPackage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 14, crypto.BlockSize)
		defer r.stop()
		c := r.client("pc")
		cfg := ReceiverConfig{Package: "w12", Dial: c.dial, Hear: c.hear, Target: c.target}
		_, err := NewReceiver(cfg).Run(t.Context())
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no package w12") {
			t.Errorf("unknown package: %v", err)
		}
	})
}

func TestServerUnreachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := ReceiverConfig{Package: "w11", Dial: func(context.Context) (Control, error) { return nil, errors.New("nothing answers") }, Target: &simTarget{}}
		_, err := NewReceiver(cfg).Run(t.Context())
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("no server: %v", err)
		}
	})
}

func TestLateJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 3, 100*crypto.BlockSize)
		r.ceiling = 10e6
		r.server.cfg.Ceiling = 10e6
		defer r.stop()
		r.client("early").start()
		time.Sleep(900 * time.Millisecond) // about half: 18 MB at 10 MB/s
		late := r.client("late").start()
		missed := float64(r.sent().SourcePackets) / float64(r.sourcePackets())
		r.wait()
		sent := r.sent()
		ratio := float64(sent.SourcePackets+sent.ParityPackets) / float64(r.sourcePackets())
		t.Logf("late after %.2f of the image; packets sent / source %.3f", missed, ratio)
		if missed < 0.2 || missed > 0.8 {
			t.Errorf("the late client joined after %.2f of the image; the test wants about half", missed)
		}
		if limit := 1 + missed + 0.05; ratio > limit {
			t.Errorf("packets sent / source = %.3f, want at most %.3f", ratio, limit)
		}
		if late.result.Totals.Multicast != r.content.Size() {
			t.Errorf("late client got %d bytes by multicast, want all %d", late.result.Totals.Multicast, r.content.Size())
		}
	})
}

func TestDeafClientGoesUnicast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 4, 30*crypto.BlockSize)
		defer r.stop()
		r.client("hears").start()
		deaf := r.client("deaf")
		deaf.link.deaf = true
		deaf.start()
		r.wait()
		if got := deaf.result.Totals; got.Unicast != r.content.Size() || got.UnicastReason != "group_silent" {
			t.Errorf("deaf client: %+v", got)
		}
		if !deaf.event(EventUnicast) || !deaf.event(EventRejoined) {
			t.Errorf("deaf client's events: %v", deaf.events())
		}
	})
}

func TestDeafClientOfMulticastOnlyPackage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 5, 30*crypto.BlockSize)
		defer r.stop()
		r.unicast = false
		deaf := r.client("deaf")
		deaf.link.deaf = true
		deaf.start()
		began := time.Now()
		<-deaf.done
		if !errors.Is(deaf.err, ErrSilent) {
			t.Errorf("deaf client: %v, want ErrSilent", deaf.err)
		}
		if d := time.Since(began); d < silentGiveUp || d > silentGiveUp+2*time.Second {
			t.Errorf("gave up after %v, want about %v", d, silentGiveUp)
		}
		if deaf.target.finished {
			t.Error("finished without content")
		}
	})
}
