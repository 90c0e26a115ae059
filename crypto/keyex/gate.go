package keyex

import "sync/atomic"

// gate decides, for one association, which datagrams the DTLS library may see.
// The library handles plaintext records even after the handshake, where one
// forged alert or stray record would end an association or grow its buffers.
// Records of epoch 1 authenticate themselves; everything else is held to what an
// honest peer sends, and to a budget.
//
//   - While the handshake runs: epochs 0 and 1, a budget of bytes in all.
//   - Afterwards: epoch 1; application data and alerts at will. Handshake
//     messages and ChangeCipherSpec (the peer repeats its last flight when ours got
//     lost) within a second budget.
type gate struct {
	open  atomic.Bool // the handshake is done
	spent atomic.Int64
	// late is what the handshake records after completion may sum up to.
	late int64
}

const (
	// handshakeBudget bounds the bytes of one handshake in one direction: a
	// flight of two certificates is about 2 KB, repeated 40 times in 10 s.
	handshakeBudget = 128 << 10
	// lateBudget bounds repeated last flights after the handshake.
	lateBudget = 32 << 10
)

// finish marks the handshake as done. A client's own last flight is answered by
// the server's, so afterwards it needs no plaintext at all: late is 0 there.
func (g *gate) finish(late int64) {
	g.late = late
	g.spent.Store(0)
	g.open.Store(true)
}

// admits reports whether the library may see the datagram.
func (g *gate) admits(datagram []byte) bool {
	open, costs := g.open.Load(), false
	ok := records(datagram, func(r record) bool {
		switch {
		case !open:
			costs = true
			return r.epoch <= 1
		case r.epoch == 1 && (r.kind == typeApplicationData || r.kind == typeAlert):
			return true
		case r.epoch <= 1 && r.kind == typeHandshake, r.epoch == 0 && r.kind == typeChangeCipherSpec:
			costs = true
			return g.late > 0
		}
		return false
	})
	if !ok || !costs {
		return ok
	}
	limit := int64(handshakeBudget)
	if open {
		limit = g.late
	}
	return g.spent.Add(int64(len(datagram))) <= limit
}
