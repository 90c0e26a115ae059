package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// TestOffered: a client hears which image is meant before it receives a byte. One that refuses ends with its own words, which the server
// hears; the others aren't held up.
func TestOffered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 15, 40*crypto.BlockSize)
		want := Apply{Images: 11, Index: 6, Room: 15 << 30}
		r.deploy = func(p *Package, _ Peer) { p.Apply = want }
		defer r.stop()
		full := errors.New("no room for an image of 15 GB")
		picky, pc := r.client("picky"), r.client("pc")
		var heard []Offer
		picky.offered = func(Offer) error { return full }
		pc.offered = func(o Offer) error { heard = append(heard, o); return nil }
		picky.start()
		<-picky.done
		if !errors.Is(picky.err, full) || picky.target.writes > 0 {
			t.Errorf("refused: %v, %d blocks written", picky.err, picky.target.writes)
		}
		time.Sleep(50 * time.Millisecond)
		if s, ok := r.session(0); !ok || s.of("picky").State != ClientFailed || s.of("picky").Reason != full.Error() {
			t.Errorf("the server doesn't know: %+v", s.Clients)
		}
		pc.start()
		<-pc.done
		if pc.err != nil || len(heard) == 0 || heard[0] != (Offer{Package: "w11@1", Digest: r.content.Digest(), Size: r.content.Size(), Apply: want}) {
			t.Errorf("%v, heard %+v", pc.err, heard)
		}
	})
}
