package doctor

import (
	"slices"
	"testing"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// packet makes packet i of a burst, from 0.
func packet(g *wire.ProbeGranted, secret crypto.Secret, i, size int) []byte {
	b := make([]byte, size-crypto.Overhead, size)
	wire.Header{Kind: wire.KindProbe, Epoch: 1, Number: uint64(i) + 1}.Put(b)
	return crypto.NewKeys(crypto.Encrypted, g.Session, crypto.Hash{}, secret, 1).Seal(b, wire.HeaderLen, uint64(i)+1)
}

func newEars(g *wire.ProbeGranted) *ears {
	return &ears{
		grant: g, m: &measured{arrived: make([]bool, g.Packets)}, whole: make(chan struct{}),
		keys: crypto.NewKeys(crypto.Encrypted, g.Session, crypto.Hash{}, g.Secret, 1),
	}
}

// TestTake: only packets of the burst count, and each once, whatever else comes in its group.
func TestTake(t *testing.T) {
	g := grant()
	g.Packets, g.Secret = 4, crypto.NewSecret()
	l := newEars(g)
	now := time.Now()
	sized := func(i int) []byte { return packet(g, g.Secret, i, int(g.Sizes[i%len(g.Sizes)])) }
	flipped := sized(0)
	flipped[40] ^= 1
	symbol := sized(0)
	symbol[0] = byte(wire.KindSymbol)
	hostile := [][]byte{
		nil,
		{1},
		make([]byte, wire.HeaderLen), flipped, symbol,
		packet(g, crypto.NewSecret(), 0, int(g.Sizes[0])), // another key
		packet(g, g.Secret, 0, int(g.Sizes[1])),           // another size
		packet(g, g.Secret, 4, int(g.Sizes[0])),           // beyond the burst
		packet(g, g.Secret, -1, int(g.Sizes[3])),          // before it
	}
	for _, b := range hostile {
		l.take(now, slices.Clone(b))
	}
	if l.got != 0 || int(l.m.foreign) != len(hostile) {
		t.Fatalf("%d taken, %d foreign of %d", l.got, l.m.foreign, len(hostile))
	}
	for i := range 3 {
		l.take(now, sized(i))
		l.take(now, sized(i)) // repeated on the way
	}
	if l.got != 3 || l.m.bytes != uint64(g.Sizes[0])+uint64(g.Sizes[1])+uint64(g.Sizes[2]) {
		t.Fatalf("%d taken, %d bytes", l.got, l.m.bytes)
	}
	select {
	case <-l.whole:
		t.Fatal("whole without the last packet")
	default:
	}
	l.take(now, sized(3))
	<-l.whole
}

func FuzzTake(f *testing.F) {
	g := grant()
	f.Add(packet(g, g.Secret, 0, int(g.Sizes[0])))
	f.Add(packet(g, g.Secret, 2, int(g.Sizes[2])))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newEars(g)
		l.take(time.Now(), b)
		if l.got+int(l.m.foreign) != 1 {
			t.Errorf("%x: %d taken, %d foreign", b, l.got, l.m.foreign)
		}
	})
}
