package session

import "wimcast/multicast"

// runsAtOnce is how many runs of datagrams one reading of the group may bring.
const runsAtOnce = 32

// ears reads a group in a goroutine of its own, which also takes in what it read: the
// buffers belong to the hearer, and handing each batch to another goroutine was measured to cost as
// much as opening its packets.
type ears struct {
	hearer Hearer
	failed chan struct{} // closed when reading ended
	err    error         // why; read after failed is closed
}

// newEars starts to read. take is called with each batch, which is void when it returns.
func newEars(h Hearer, take func([]multicast.Run)) *ears {
	e := &ears{hearer: h, failed: make(chan struct{})}
	go func() {
		defer close(e.failed)
		runs := make([]multicast.Run, runsAtOnce)
		for {
			n, err := h.Receive(runs)
			if err != nil {
				e.err = err
				return
			}
			take(runs[:n])
		}
	}()
	return e
}

// close leaves the group and waits until take isn't called any more.
func (e *ears) close() {
	_ = e.hearer.Close()
	<-e.failed
}
