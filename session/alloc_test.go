package session

import (
	"net/netip"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
)

// steadyWire is a group with one hearer that carries runs without allocating: a fixed number of buffers go
// round. Every so manieth packet is lost.
type steadyWire struct {
	free, full chan *steadyRun
	held       *steadyRun // by the hearer
	packets    int
	lose       int // of so many packets one; 0 for none
	closed     chan struct{}
	at         func(packets int) // is called for each run, by the sender
}

type steadyRun struct {
	data    [runLimit]byte
	n       int
	segment int
}

func newSteadyWire(lose int) *steadyWire {
	const buffers = 64
	w := &steadyWire{free: make(chan *steadyRun, buffers), full: make(chan *steadyRun, buffers), lose: lose, closed: make(chan struct{})}
	for range buffers {
		w.free <- new(steadyRun)
	}
	return w
}

func (w *steadyWire) Send(buf []byte, segment int) error {
	run := <-w.free
	run.n, run.segment = 0, segment
	for len(buf) > 0 {
		n := min(segment, len(buf))
		if w.packets++; w.lose == 0 || w.packets%w.lose > 0 {
			run.n += copy(run.data[run.n:], buf[:n])
		}
		buf = buf[n:]
	}
	w.at(w.packets)
	w.full <- run
	return nil
}

func (w *steadyWire) Receive(runs []multicast.Run) (int, error) {
	if w.held != nil {
		w.free <- w.held
		w.held = nil
	}
	select {
	case <-w.closed:
		return 0, errSimClosed
	case run := <-w.full:
		w.held = run
		runs[0] = multicast.Run{Data: run.data[:run.n], Segment: run.segment}
		return 1, nil
	}
}

func (w *steadyWire) Dropped() uint64 { return 0 }
func (w *steadyWire) Rejoin() error   { return nil }
func (w *steadyWire) Close() error    { return nil }

// steadyHearer is the receiving end, whose Close ends Receive; the sender's does nothing.
type steadyHearer struct{ *steadyWire }

func (h steadyHearer) Close() error { close(h.closed); return nil }

// TestSpeedAllocations casts 288 MB in virtual time and counts the allocations of all that runs, sender and client
// together, once the first second is over, in which much is reported: none for a packet. What remains are those of reports and
// statuses, and one or two for a block of 128 packets; with loss those of NACKs and repair too.
func TestSpeedAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates; go test ./test -run TestSpeedEngine runs it without")
	}
	const blocks, ceiling = 1600, 150e6
	for _, tc := range []struct {
		name string
		lose int
		most float64 // allocations a packet
	}{{"no loss", 0, 0.01}, {"1 % lost", 101, 0.05}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(t, 1, 1)
				defer r.stop()
				r.content = &simContent{data: make([]byte, blocks*crypto.BlockSize), damaged: -1}
				b := crypto.NewManifestBuilder()
				_, _ = b.Write(r.content.data)
				r.content.manifest = b.Manifest()
				total := int(r.sourcePackets())

				wire := newSteadyWire(tc.lose)
				var before, after runtime.MemStats
				from, to := 0, 0
				wire.at = func(packets int) {
					switch {
					case from == 0 && packets > total*65/100:
						from = packets
						runtime.ReadMemStats(&before)
					case to == 0 && packets > total*95/100:
						to = packets
						runtime.ReadMemStats(&after)
					}
				}
				r.server.cfg.Ceiling = ceiling
				r.server.cfg.OpenGroup = func() (*Group, error) {
					return &Group{Addr: netip.MustParseAddrPort("239.195.16.1:63000"), Caster: wire}, nil
				}
				c := r.client("pc")
				receiver := NewReceiver(ReceiverConfig{
					Package: "w11", Dial: c.dial, Target: c.target,
					Hear: func(netip.AddrPort, netip.Addr) (Hearer, error) { return steadyHearer{wire}, nil },
				})
				began := time.Now()
				result, err := receiver.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if tc.lose > 0 && result.Totals.Repaired == 0 {
					t.Error("nothing was repaired")
				}
				mallocs, packets := after.Mallocs-before.Mallocs, to-from
				per := float64(mallocs) / float64(packets)
				t.Logf("%d allocations in %d packets: %.4f a packet, %.1f bytes; %v in all", mallocs, packets, per, float64(after.TotalAlloc-before.TotalAlloc)/float64(packets), time.Since(began))
				if packets < total/5 || per > tc.most {
					t.Errorf("%.4f allocations a packet, want at most %.4f", per, tc.most)
				}
			})
		})
	}
}
