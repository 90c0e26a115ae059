package session

import (
	"errors"
	"testing"

	"wimcast/crypto"
	"wimcast/multicast/fec"
	"wimcast/multicast/wire"
)

// silentControl is a control channel into nothing that counts what goes in.
type silentControl struct {
	sent   []byte // types
	closed chan struct{}
}

func (c *silentControl) Send(message []byte) error {
	if len(c.sent) < 1000 {
		c.sent = append(c.sent, message[0])
	}
	return nil
}
func (c *silentControl) Receive([]byte) (int, error) { <-c.closed; return 0, errors.New("closed") }
func (c *silentControl) Close() error                { close(c.closed); return nil }

// quietHearing is a client that has just joined a session with the geometry, deaf
// and mute but for what a test tells it.
func quietHearing(t *testing.T, geo geometry, target Target) *hearing {
	t.Helper()
	r := NewReceiver(ReceiverConfig{Target: target})
	r.random = seeded(1)
	r.image = newImageState(crypto.Hash{1}, geo)
	r.prover = newProver(target)
	t.Cleanup(r.prover.close)
	c := newChannel(&silentControl{closed: make(chan struct{})})
	t.Cleanup(c.close)
	w := &wire.Welcome{Client: 7, Session: crypto.NewSessionID(), Mode: uint8(crypto.Encrypted), Epoch: 1, Position: 1, RateLimit: 100e6}
	h := &hearing{Receiver: r, channel: c, welcome: w, keys: map[uint8]*crypto.Keys{}, epoch: 1, signed: 1, rateLimit: w.RateLimit}
	h.keys[1] = crypto.NewKeys(crypto.Encrypted, w.Session, w.Digest, w.Secret, w.Position)
	h.asker = asker{grtt: grttFloor, clients: 1}
	return h
}

// settleAll takes back what the prover has been given.
func (h *hearing) settleAll() {
	for len(h.image.busy)+len(h.image.ready)+len(h.prover.jobs) > 0 {
		h.feedProver()
		h.hearOutcome(<-h.prover.outcomes)
	}
	for {
		select {
		case out := <-h.prover.outcomes:
			h.hearOutcome(out)
		default:
			return
		}
	}
}

func symbolWith(block, index int, data []byte) wire.Symbol {
	return wire.Symbol{Block: uint32(block), Index: uint8(index), Data: data}
}

// TestPlace: symbols lie end to end in the image, the last one cut at its end.
func TestPlace(t *testing.T) {
	for _, symbol := range symbolSizes {
		for _, size := range []int64{1, 5000, crypto.BlockSize, 3*crypto.BlockSize + 1, 5*crypto.BlockSize - 1} {
			geo := newGeometry(size, symbol)
			at := int64(0)
			for block := geo.m; block < geo.blocks(); block++ {
				if geo.k(block) > 255 || geo.k(block)*symbol < geo.length(block) {
					t.Errorf("block of %d bytes: %d symbols of %d", geo.length(block), geo.k(block), symbol)
				}
				for i := range geo.k(block) {
					off, n := geo.place(block, i)
					if off != at || n < 1 || n > symbol {
						t.Fatalf("image of %d, symbol %d of block %d lies at %d, %d bytes; want %d", size, i, block, off, n, at)
					}
					at += int64(n)
				}
			}
			if at != size {
				t.Errorf("symbols cover %d of %d bytes", at, size)
			}
		}
	}
}

// TestProverJobs: what each kind of job says of good, bad and unknown content.
func TestProverJobs(t *testing.T) {
	r := seeded(2)
	geo := newGeometry(2*crypto.BlockSize+100, defaultSymbol)
	content := randomBytes(r, int(geo.image))
	good := crypto.BlockHash(content[:crypto.BlockSize])
	bad := crypto.Hash{9}
	for _, tc := range []struct {
		name             string
		kind             jobKind
		want             *crypto.Hash
		full             bool
		proven, rejected bool
		writes           int
	}{
		{"fetched, good", jobFetched, &good, false, true, false, 1},
		{"fetched, bad", jobFetched, &bad, false, false, true, 0},
		{"fetched, unknown", jobFetched, nil, false, false, false, 1},
		{"fetched, disk full", jobFetched, &good, true, true, false, 0},
		{"verify, good", jobVerify, &good, false, true, false, 0},
		{"verify, bad", jobVerify, &bad, false, false, true, 0},
		{"verify, unknown", jobVerify, nil, false, false, false, 0},
	} {
		target := &simTarget{data: append([]byte(nil), content...), full: tc.full}
		p := &prover{target: target, codes: codes{}, decoder: fec.NewDecoder(), block: make([]byte, crypto.BlockSize)}
		j := job{kind: tc.kind, block: 0, geo: geo, want: tc.want}
		if tc.kind == jobFetched {
			j.block, j.data = geo.m, content[:crypto.BlockSize]
		}
		out := p.do(j)
		if (out.err != nil) != tc.full || out.proven != tc.proven || out.rejected != tc.rejected || target.writes != tc.writes || out.hash != good {
			t.Errorf("%s: proven %v, rejected %v, %d writes, %v", tc.name, out.proven, out.rejected, target.writes, out.err)
		}
	}
}
