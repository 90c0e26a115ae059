package release

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"wimcast/crypto"
)

func key(fill byte) (k [KeySize]byte) {
	for i := range k {
		k[i] = fill
	}
	return k
}

func sealer(t *testing.T, fill byte) *Sealer {
	t.Helper()
	s, err := NewSealer(key(fill))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSealGolden holds the sealed form: what stands in registries must open for ever. The nonces, the first 24 bytes,
// were computed a second time with Python's hmac and hashlib.
func TestSealGolden(t *testing.T) {
	block := bytes.Repeat([]byte("wimcast "), 4)
	for _, c := range []struct {
		name  string
		place uint64
		block []byte
		want  string
	}{
		{"a short block", 0, block, "acd9211f1a5044cd217c1c203f98d891b528c8f06f2e9ed62926dee3534d822c999c61e0d3e7b145c2c42c732a0882f4c8e403170d55dbc44cecd5864e13f712b5f5117fa0bd0f6a"},
		{"its neighbour", 1, block, "e8caf40e55bd3371f3eacef7ebeb90f79e801ffa0f7ec4c5d7c9a3ace86b4e261abe767cdd93d28cd80df774de0ec824fc0180d133c5a971160c60d0f2a9e60d98f8463c5f553a87"},
		{"the manifest's place", ManifestPlace, block, "b8c3eeff1e582196d1f04907547c6a915a5f9d9fd2bf24b27273c664a4a88164dd93fb68befc8902f695a1fb51e7f2ae6928f43881ab71258271877d71e125d2181180d8ecaf7735"},
		{"an empty one", 7, nil, "e41c2e395ce9d6b9db0acaecbc013141bffc4ba4d316ef17c9d6323a9d9f91f88d92a1f4dbb1227a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sealed, err := sealer(t, 0x42).Seal(nil, c.place, c.block)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(sealed); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestSealer(t *testing.T) {
	s := sealer(t, 1)
	block := bytes.Repeat([]byte{0xa5}, crypto.BlockSize)
	sealed, err := s.Seal([]byte("before"), 3, block)
	if err != nil || !bytes.HasPrefix(sealed, []byte("before")) || len(sealed) != len("before")+len(block)+Overhead {
		t.Fatalf("%d bytes, %v", len(sealed), err)
	}
	sealed = sealed[len("before"):]
	again, err := s.Seal(nil, 3, slices.Clone(block))
	if err != nil || !bytes.Equal(sealed, again) {
		t.Errorf("the same block at the same place seals to other bytes (%v)", err)
	}
	for name, other := range map[string]func() ([]byte, error){
		"another place": func() ([]byte, error) { return s.Seal(nil, 4, block) },
		"another key":   func() ([]byte, error) { return sealer(t, 2).Seal(nil, 3, block) },
		"another block": func() ([]byte, error) { return s.Seal(nil, 3, append(slices.Clone(block[1:]), 0)) },
	} {
		got, err := other()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(got[:24], sealed[:24]) {
			t.Errorf("%s has the same nonce", name)
		}
		if bytes.Equal(got[24:], sealed[24:]) {
			t.Errorf("%s seals to the same bytes", name)
		}
	}
	open, err := s.Open(nil, 3, sealed)
	if err != nil || !bytes.Equal(open, block) {
		t.Errorf("%d bytes, %v", len(open), err)
	}
	for name, bad := range map[string]func() ([]byte, error){
		"another place":   func() ([]byte, error) { return s.Open(nil, 4, sealed) },
		"another key":     func() ([]byte, error) { return sealer(t, 2).Open(nil, 3, sealed) },
		"a flipped bit":   func() ([]byte, error) { b := slices.Clone(sealed); b[len(b)/2] ^= 1; return s.Open(nil, 3, b) },
		"a flipped nonce": func() ([]byte, error) { b := slices.Clone(sealed); b[0] ^= 1; return s.Open(nil, 3, b) },
		"cut short":       func() ([]byte, error) { return s.Open(nil, 3, sealed[:len(sealed)-1]) },
		"next to nothing": func() ([]byte, error) { return s.Open(nil, 3, sealed[:Overhead-1]) },
	} {
		if got, err := bad(); !errors.Is(err, ErrSealed) || len(got) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestLayout(t *testing.T) {
	const block = crypto.BlockSize
	for _, c := range []struct {
		name         string
		size         int64
		sealed       bool
		chunkBlocks  int
		chunks       int
		last, stored int64
	}{
		{"one byte", 1, false, 16, 1, 1, 1},
		{"one byte, sealed", 1, true, 16, 1, 1 + Overhead, 1 + Overhead},
		{"a block", block, false, 16, 1, block, block},
		{"a chunk", 16 * block, true, 16, 1, 16 * (block + Overhead), 16 * (block + Overhead)},
		{"a byte more", 16*block + 1, true, 16, 2, 1 + Overhead, 16*block + 1 + 17*Overhead},
		{"the last grid of 16", 16 * 16384 * block, false, 16, 16384, 16 * block, 16 * 16384 * block},
		{"the first grid of 64", 16*16384*block + 1, false, 64, 4097, 1, 16*16384*block + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := NewLayout(c.size, c.sealed)
			if l.ChunkBlocks != c.chunkBlocks || l.Chunks() != c.chunks || l.ChunkLen(c.chunks-1) != c.last || l.Stored() != c.stored {
				t.Errorf("chunks of %d blocks, %d of them, the last has %d bytes, all %d", l.ChunkBlocks, l.Chunks(), l.ChunkLen(l.Chunks()-1), l.Stored())
			}
			var sum int64
			for i := range l.Chunks() {
				sum += l.ChunkLen(i)
			}
			if sum != c.stored {
				t.Errorf("the chunks together have %d bytes", sum)
			}
			// Block after block fills each chunk without a gap.
			chunk, at := 0, int64(0)
			for i := range min(crypto.BlockCount(c.size), 100) {
				gotChunk, offset, length := l.Find(i)
				if gotChunk != chunk || offset != at {
					t.Fatalf("block %d is at %d of chunk %d, want %d of %d", i, offset, gotChunk, at, chunk)
				}
				if at += int64(length); at == l.ChunkLen(chunk) {
					chunk, at = chunk+1, 0
				}
			}
			if err := l.check(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, bad := range []Layout{{0, 16, false}, {-1, 16, false}, {1, 0, false}, {1, -1, false}, {1, 1 << 30, false}, {crypto.MaxImageSize, 16, false}, {crypto.MaxImageSize + 1, 1 << 16, false}} {
		if bad.check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestWrap(t *testing.T) {
	var identities, recipients []string
	for range 3 {
		identity, recipient, err := NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Recipient(identity); err != nil || again != recipient {
			t.Errorf("recipient %s, %v, want %s", again, err, recipient)
		}
		identities, recipients = append(identities, identity), append(recipients, recipient)
	}
	wrapped, err := Wrap(key(9), recipients[:2])
	if err != nil {
		t.Fatal(err)
	}
	for _, identity := range identities[:2] {
		if got, err := Unwrap(wrapped, identity); err != nil || got != key(9) {
			t.Errorf("%x, %v", got, err)
		}
	}
	if _, err := Unwrap(wrapped, identities[2]); !errors.Is(err, ErrNotRecipient) {
		t.Errorf("a point that isn't a recipient: %v", err)
	}
	changed := slices.Clone(wrapped)
	changed[len(changed)-1] ^= 1
	if _, err := Unwrap(changed, identities[0]); err == nil || errors.Is(err, ErrNotRecipient) {
		t.Errorf("changed: %v", err)
	}
	if _, err := Wrap(key(9), nil); err == nil {
		t.Error("wrapped to nobody")
	}
	if _, err := Wrap(key(9), []string{"age1nonsense"}); err == nil {
		t.Error("wrapped to nonsense")
	}
	if _, err := Unwrap(wrapped, "AGE-SECRET-KEY-NONSENSE"); err == nil {
		t.Error("unwrapped with nonsense")
	}
}
