package multicast

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkCable sends as fast as one receiver takes it, by a credit window. NIC-like
// means that the sender's veth cuts runs into packets, as a NIC does.
func BenchmarkCable(b *testing.B) {
	for _, mode := range []struct {
		name     string
		cut, gro bool
		rate     float64 // bytes/s, 0 for all that goes
	}{
		{"whole", false, false, 0},
		{"cut", true, false, 0},
		{"joined", true, true, 0},
		{"cut/60 MB", true, false, 60e6},
		{"joined/60 MB", true, true, 60e6},
	} {
		b.Run(mode.name, func(b *testing.B) {
			needRoot(b, "ip", "ethtool")
			c := newCable(b)
			if mode.cut {
				c.tx.run(b, "ethtool -K veth0 tx-udp-segmentation off")
			}
			if mode.gro {
				c.rx.run(b, "ethtool -K veth1 gro on")
				c.tx.run(b, "ethtool -K veth0 tso off")
			}
			s, r := c.newSender(b), c.newReceiver(b, ReceiverConfig{ReadBuffer: 8 << 20})
			const packets = 40
			run := pattern(packets, 1472, 1472)
			credit := make(chan struct{}, 40)
			done := make(chan struct{})
			want := int64(b.N) * int64(len(run))
			var reads, pieces int
			go func() {
				defer close(done)
				runs := make([]Run, 32)
				for got, paid := int64(0), int64(0); got < want; {
					n, err := r.Receive(runs)
					if err != nil {
						return
					}
					reads++
					pieces += n
					for _, x := range runs[:n] {
						got += int64(len(x.Data))
					}
					for ; (paid+1)*int64(len(run)) <= got; paid++ {
						<-credit
					}
				}
			}()
			b.SetBytes(int64(len(run)))
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuSeconds(b)
			pacer := NewPacer(mode.rate, len(run), 0)
			for range b.N {
				for mode.rate > 0 {
					wait := pacer.Take(time.Now(), len(run))
					if wait == 0 {
						break
					}
					time.Sleep(wait) //nolint:forbidigo // it paces the load
				}
				credit <- struct{}{}
				send(b, s, run, 1472)
			}
			<-done
			b.ReportMetric((cpuSeconds(b)-before)/(float64(b.N*len(run))/(1<<30)), "cpu-s/GiB")
			b.ReportMetric(float64(b.N*packets)/float64(reads), "packets/read")
			b.ReportMetric(float64(b.N*packets)/float64(pieces), "packets/run")
			if n := r.Dropped(); n > 0 {
				b.Errorf("%d dropped", n)
			}
		})
	}
}

// cpuSeconds returns the processor time that the process has used.
func cpuSeconds(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
