package lab_test

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/test/lab"
)

func TestBursts(t *testing.T) {
	for _, frames := range []lab.Frames{lab.NICLike, lab.FramesWhole} {
		room := newRoom(t, lab.Config{Clients: 1, Frames: frames})
		pc := room.Client(0)
		const packets, length = 200, 20
		r := listen(t, pc, true)
		must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
		sent := 0
		// until casts without a break until so many are lost.
		until := func(want uint64) {
			ctx := within(t, time.Minute)
			lost := make(chan error)
			go func() {
				for {
					if s, err := pc.Stats(ctx); err != nil || s.Lost >= want {
						lost <- err
						return
					}
				}
			}()
			for {
				select {
				case err := <-lost:
					must(t, err)
					return
				default:
					cast(t, room.Server(), group, packets)
					sent += packets
				}
			}
		}
		must(t, pc.SetBursts(t.Context(), length, time.Minute, 10*time.Millisecond))
		until(1)
		got, lost := r.result(t, pc), stats(t, pc).Lost
		if n := got.came() + got.duplicates + int(lost); lost != length || n != sent {
			t.Errorf("frames %d: %d packets lost and %d in all, want one burst of %d of %d", frames, lost, n, length, sent)
		}
		must(t, pc.SetBursts(t.Context(), length, time.Second, 10*time.Millisecond))
		until(3 * length)
		must(t, pc.SetBursts(t.Context(), 0, 0, 0))
		before := stats(t, pc).Lost
		cast(t, room.Server(), group, packets)
		if now := stats(t, pc).Lost; now != before {
			t.Errorf("frames %d: %d packets lost after the bursts were ended", frames, now-before)
		}
	}
}

func TestUplinkLossIsPerPacket(t *testing.T) {
	for _, frames := range []lab.Frames{lab.NICLike, lab.FramesWhole} {
		room := newRoom(t, lab.Config{Clients: 1, Frames: frames})
		pc, server := room.Client(0), room.Server()
		const packets = 20_000
		must(t, pc.SetUplinkLoss(t.Context(), 20))
		r := listen(t, server, false)
		cast(t, pc, netip.AddrPortFrom(server.Addr(), group.Port()), packets)
		got, lost := r.result(t, server), stats(t, pc).LostUplink
		if got.came()+int(lost) != packets {
			t.Errorf("frames %d: %+v and %d lost, want %d together", frames, got, lost, packets)
		}
		if lost < 4000-7*57 || lost > 4000+7*57 { // σ = 57
			t.Errorf("frames %d: %d of %d lost, want about 4000", frames, lost, packets)
		}
	}
}

func TestStatsCountTheWire(t *testing.T) {
	for _, frames := range []lab.Frames{lab.NICLike, lab.FramesWhole} {
		room := newRoom(t, lab.Config{Clients: 1, Frames: frames})
		pc := room.Client(0)
		const packets, frame = 4400, payload + 8 + 20 + 14 // bytes
		r := listen(t, pc, true)
		must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
		sent, got := stats(t, room.Server()), stats(t, pc)
		must(t, room.Server().SetRate(t.Context(), 0, 0)) // new queues keep the count
		cast(t, room.Server(), group, packets)
		if n := r.result(t, pc).came(); n != packets {
			t.Fatalf("frames %d: %d packets received, want %d", frames, n, packets)
		}
		sentNow, gotNow := stats(t, room.Server()), stats(t, pc)
		for _, c := range []struct {
			what        string
			count, want uint64
		}{
			{"sent packets", sentNow.TxPackets - sent.TxPackets, packets},
			{"sent bytes", sentNow.TxBytes - sent.TxBytes, packets * frame},
			{"received packets", gotNow.RxPackets - got.RxPackets, packets},
			{"received bytes", gotNow.RxBytes - got.RxBytes, packets * frame},
		} {
			// A stray ARP or IGMP message may stand in the count.
			if c.count < c.want || c.count > c.want+c.want/100 {
				t.Errorf("frames %d: %s: %d, want %d", frames, c.what, c.count, c.want)
			}
		}
	}
}

func TestStatsOfLossyHostLeaveOutTheLost(t *testing.T) {
	for _, frames := range []lab.Frames{lab.NICLike, lab.FramesWhole} {
		room := newRoom(t, lab.Config{Clients: 1, Frames: frames})
		pc := room.Client(0)
		const packets, frame = 10_000, payload + 8 + 20 + 14 // bytes
		must(t, pc.SetLoss(t.Context(), 50))
		r := listen(t, pc, true)
		must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
		before := stats(t, pc)
		cast(t, room.Server(), group, packets)
		got, now := r.result(t, pc), stats(t, pc)
		if n := int(now.RxPackets - before.RxPackets); n < got.packets || n > got.packets+20 {
			t.Errorf("frames %d: counted %d packets, the socket got %d", frames, n, got.packets)
		}
		if n := int(now.RxBytes - before.RxBytes); n < got.packets*frame || n > got.packets*frame+20*100 {
			t.Errorf("frames %d: counted %d bytes, the socket got %d", frames, n, got.packets*frame)
		}
	}
}

func TestRateLimitsCable(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	pc := room.Client(0)
	// 8 Mbit/s with a queue of 100 ms: of 2,000 packets sent at once the queue
	// takes 100 ms worth, the burst 2 packets, the time of sending some more.
	const bits, packets = 8_000_000, 2000
	must(t, pc.SetRate(t.Context(), bits, 100*time.Millisecond))
	r := listen(t, pc, true)
	must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
	start := time.Now()
	cast(t, room.Server(), group, packets)
	// What the queue took has come when a packet sent behind it has.
	var got received
	for waiting := true; waiting; {
		castEnd(t, room.Server(), group)
		select {
		case got = <-r.count:
			waiting = false
		case <-time.After(10 * time.Millisecond): // one more, until there is room
		}
	}
	must(t, r.conn.Close())
	took, drops := time.Since(start), stats(t, pc).QueueDrops
	if got.packets+int(drops) < packets {
		t.Errorf("%d received and %d dropped by the queue, want %d at least", got.packets, drops, packets)
	}
	const frame = payload + 42
	least := math.Floor(bits / 8 * 0.1 / frame)
	if most := least + 2 + bits/8*took.Seconds()/frame + 1; float64(got.packets) < least || float64(got.packets) > most {
		t.Errorf("%d packets passed in %v, want %.0f to %.0f", got.packets, took, least, most)
	}
	must(t, pc.SetRate(t.Context(), 0, 0))
	r = listen(t, pc, true)
	must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
	cast(t, room.Server(), group, packets)
	if got := r.result(t, pc).packets; got != packets {
		t.Errorf("without a limit %d packets came, want %d", got, packets)
	}
}

func TestPrunedClientHearsNoGroup(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 2})
	pc, other := room.Client(0), room.Client(1)
	const packets = 1000
	// One joins before it is pruned, and again after; the other stays whole.
	first, whole := listen(t, pc, true), listen(t, other, true)
	for _, h := range room.Clients() {
		must(t, h.WaitMember(within(t, time.Minute), group.Addr()))
	}
	must(t, pc.SetPruned(t.Context(), true))
	cast(t, room.Server(), group, packets)
	if got := first.result(t, pc).packets; got != 0 {
		t.Errorf("the pruned client got %d packets", got)
	}
	if got := whole.result(t, other).packets; got != packets {
		t.Errorf("the other client got %d packets, want %d", got, packets)
	}
	second := listen(t, pc, true)
	cast(t, room.Server(), group, packets)
	// Unicast still reaches it.
	cast(t, room.Server(), netip.AddrPortFrom(pc.Addr(), group.Port()), 100)
	if got := second.result(t, pc).packets; got != 100 {
		t.Errorf("the pruned client got %d packets, want the 100 that came by unicast", got)
	}
	for ctx := within(t, time.Minute); stats(t, pc).Pruned == 0; { // a report follows a join after a while
		if ctx.Err() != nil {
			t.Fatal("no IGMP message was kept from the switch")
		}
	}
	members, err := room.Members(t.Context(), group.Addr())
	must(t, err)
	if slices.Contains(members, pc) {
		t.Error("the switch holds the pruned client for a member")
	}

	third := listen(t, pc, true)
	must(t, pc.SetPruned(t.Context(), false))
	must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
	cast(t, room.Server(), group, packets)
	if got := third.result(t, pc).packets; got != packets {
		t.Errorf("the restored client got %d packets, want %d", got, packets)
	}
}

func TestUnprunedClientNeedNotJoinAgain(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	pc := room.Client(0)
	r := listen(t, pc, true)
	must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
	must(t, pc.SetPruned(t.Context(), true))
	must(t, pc.SetPruned(t.Context(), false))
	must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
	cast(t, room.Server(), group, 500)
	if got := r.result(t, pc).packets; got != 500 {
		t.Errorf("got %d packets, want 500", got)
	}
}

func TestBlackholeSwallows(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	pc := room.Client(0)
	target := netip.AddrPortFrom(pc.Addr(), group.Port())
	r := listen(t, pc, false)
	cast(t, room.Server(), target, 10) // resolves the address
	must(t, pc.SetBlackhole(t.Context(), true))
	before := stats(t, pc).Swallowed
	cast(t, room.Server(), target, 100)
	if got := stats(t, pc).Swallowed - before; got < 100 {
		t.Errorf("swallowed %d frames, want 100", got)
	}
	if got := r.result(t, pc).packets; got != 10 {
		t.Errorf("got %d packets, want the 10 from before", got)
	}
	must(t, pc.SetBlackhole(t.Context(), false))
	r = listen(t, pc, false)
	cast(t, room.Server(), target, 100)
	if got := r.result(t, pc).packets; got != 100 {
		t.Errorf("restored, it got %d packets, want 100", got)
	}
}

func TestUnpluggedCable(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	pc := room.Client(0)
	r := listen(t, pc, true)
	must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
	must(t, pc.SetLink(t.Context(), false))
	cast(t, room.Server(), group, 100)
	out, err := pc.Run(t.Context(), "ip", "-o", "link", "show", pc.Interface())
	must(t, err)
	if !strings.Contains(string(out), "NO-CARRIER") {
		t.Errorf("the interface doesn't miss its carrier: %s", out)
	}
	must(t, pc.SetLink(t.Context(), true))
	must(t, pc.WaitMember(within(t, time.Minute), group.Addr()))
	cast(t, room.Server(), group, 300)
	if got := r.result(t, pc).packets; got != 300 {
		t.Errorf("plugged in again, it got %d packets, want 300", got)
	}
}

func TestRefusedSettings(t *testing.T) {
	room := newRoom(t, lab.Config{Clients: 1})
	pc, ctx := room.Client(0), t.Context()
	for what, err := range map[string]error{
		"loss below 0":        pc.SetLoss(ctx, -1),
		"loss above 100":      pc.SetLoss(ctx, 100.5),
		"loss that is no one": pc.SetUplinkLoss(ctx, math.NaN()),
		"bursts all the time": pc.SetBursts(ctx, 100, time.Millisecond, time.Millisecond),
		"endless bursts":      pc.SetBursts(ctx, 1001, 2*time.Second, time.Second),
		"bursts at once":      pc.SetBursts(ctx, 100, 2*time.Second, 0),
		"negative rate":       pc.SetRate(ctx, -1, time.Second),
		"rate without queue":  pc.SetRate(ctx, 1_000_000, 0),
		"packets of nothing":  pc.SetMaxPacket(ctx, 100),
		"no firewall's words": pc.SetFirewall(ctx, "all that is evil"),
		"asks all the time":   room.SetQuerier(ctx, time.Millisecond),
		"forgets at once":     room.SetMemory(ctx, time.Millisecond),
	} {
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for _, config := range []lab.Config{{}, {Clients: lab.MaxClients + 1}, {Clients: 1, MTU: 100}, {Clients: 1, Frames: 9}} {
		if other, err := lab.New(ctx, config); err == nil {
			_ = other.Close()
			t.Errorf("%+v: accepted", config)
		}
	}
}
