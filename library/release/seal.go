package release

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the size of a content key, in bytes.
const KeySize = 32

// Overhead is how many bytes longer a sealed block is: its nonce before it and its tag behind it.
const Overhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// ManifestPlace is the place under which the manifest of blocks is sealed. Blocks have their number.
const ManifestPlace = 1 << 63

// Labels of the keys that are derived from a content key (HKDF-Expand, RFC 5869), and of what a nonce is made of.
const (
	labelSeal  = "wimcast sealed block v1"
	labelNonce = "wimcast block nonce v1"
)

// ErrSealed says that sealed bytes don't open: another key, another place, or they were changed.
var ErrSealed = errors.New("it doesn't open: sealed under another key or for another place, or changed since")

// Sealer seals and opens the blocks of one package. It is safe for concurrent use.
//
// A sealed block is nonce || XChaCha20-Poly1305(key, nonce, block, place), the place being the block's number as 64 bits, big endian, and the
// associated data. The nonce is the first 24 bytes of HMAC-SHA256(nonce key, place || SHA-256(block)), as in synthetic-IV constructions (RFC 5297
// has the idea): two different blocks never share one, and the same block at the same place seals to the same bytes. That this much shows, and
// the length, is what makes a second version cheap; nothing else does.
type Sealer struct {
	seal, nonce []byte
}

// NewSealer derives the keys of a content key.
func NewSealer(key [KeySize]byte) (*Sealer, error) {
	seal, err := hkdf.Expand(sha256.New, key[:], labelSeal, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	nonce, err := hkdf.Expand(sha256.New, key[:], labelNonce, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the nonce key: %w", err)
	}
	return &Sealer{seal, nonce}, nil
}

// Seal appends the sealed block to dst, which must not overlap it.
func (s *Sealer) Seal(dst []byte, place uint64, block []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(s.seal)
	if err != nil {
		return nil, fmt.Errorf("seal block: %w", err)
	}
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], place)
	sum := sha256.Sum256(block)
	mac := hmac.New(sha256.New, s.nonce)
	_, _ = mac.Write(at[:])
	_, _ = mac.Write(sum[:])
	nonce := mac.Sum(nil)[:chacha20poly1305.NonceSizeX]
	dst = append(dst, nonce...)
	return aead.Seal(dst, nonce, block, at[:]), nil
}

// Open appends the opened block to dst, which must not overlap it, or gives ErrSealed.
func (s *Sealer) Open(dst []byte, place uint64, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, ErrSealed
	}
	aead, err := chacha20poly1305.NewX(s.seal)
	if err != nil {
		return nil, fmt.Errorf("open block: %w", err)
	}
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], place)
	out, err := aead.Open(dst, sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:], at[:])
	if err != nil {
		return nil, ErrSealed
	}
	return out, nil
}
