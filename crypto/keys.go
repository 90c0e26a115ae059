package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Protocol constants of docs/protocol.md, section 4.
const (
	// Overhead is what sealing adds to a packet: the GCM tag, in bytes.
	Overhead = 16
	// generationShift cuts packet numbers into generations of 2^22 packets,
	// each under a subkey of its own (about 6 GB of 1,408-byte symbols).
	generationShift = 22
	// keyLabel starts the HKDF info string.
	keyLabel = "wimcast v1"
)

// Mode says whether a session's payload is encrypted or only authenticated. It
// is fixed by the welcome; no packet can change it.
type Mode uint8

// The two modes. The zero Mode is not valid.
const (
	Encrypted Mode = 1
	Clear     Mode = 2
)

// String returns the mode's word, as used in the API and in metrics.
func (m Mode) String() string {
	switch m {
	case Encrypted:
		return "encrypted"
	case Clear:
		return "clear"
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// SessionID names one cast; it is random and salts every key of the session.
type SessionID [16]byte

// Secret is the random input of one epoch's keys. It travels over the control
// channel only and is never written to disk.
type Secret [32]byte

// NewSessionID draws a session id from the system's random source.
func NewSessionID() (id SessionID) {
	_, _ = rand.Read(id[:]) // never fails: crypto/rand aborts the program instead
	return id
}

// NewSecret draws an epoch secret from the system's random source.
func NewSecret() (s Secret) {
	_, _ = rand.Read(s[:])
	return s
}

// ErrOpen is returned for a packet that doesn't authenticate. It says no more
// on purpose.
var ErrOpen = errors.New("packet does not authenticate")

// ErrGeneration is returned for a packet whose number lies more than one key
// generation away from the newest packet that authenticated: no key is derived
// on the word of a stranger.
var ErrGeneration = errors.New("packet number is out of the key window")

// Keys seals and opens the packets of one epoch of one session. Keys is not
// safe for concurrent use: the goroutine that owns the session owns its keys.
type Keys struct {
	mode    Mode
	id      SessionID
	digest  Hash
	secret  Secret
	newest  uint64 // generation of the newest authenticated packet
	subkeys [3]subkey
	nonce   [12]byte // scratch, so that sealing doesn't allocate
}

type subkey struct {
	generation uint64
	aead       cipher.AEAD
}

// NewKeys returns the keys of one epoch. position is the packet number at which
// the caller expects the stream to stand (the welcome tells it); packets within
// one generation of it can be opened.
func NewKeys(mode Mode, id SessionID, digest Hash, secret Secret, position uint64) *Keys {
	if mode != Encrypted && mode != Clear {
		panic("crypto: NewKeys: invalid mode")
	}
	return &Keys{mode: mode, id: id, digest: digest, secret: secret, newest: position >> generationShift}
}

// Seal seals packet, whose first header bytes are associated data, in place
// under packet number pn and returns it with the tag appended. packet must have
// Overhead bytes of spare capacity; otherwise Seal panics, as it would copy. A
// caller must never use a pn twice under one Keys.
func (k *Keys) Seal(packet []byte, header int, pn uint64) []byte {
	if cap(packet)-len(packet) < Overhead {
		panic("crypto: Seal: no room for the tag")
	}
	aead := k.subkey(pn >> generationShift)
	binary.BigEndian.PutUint64(k.nonce[4:], pn)
	if k.mode == Clear {
		return aead.Seal(packet, k.nonce[:], nil, packet)
	}
	sealed := aead.Seal(packet[header:header], k.nonce[:], packet[header:], packet[:header])
	return packet[:header+len(sealed)]
}

// Open authenticates packet and, when the mode is Encrypted, decrypts it in
// place. It returns the payload between header and tag, which aliases packet.
// The errors are ErrOpen and ErrGeneration; neither moves any state.
func (k *Keys) Open(packet []byte, header int, pn uint64) ([]byte, error) {
	if len(packet) < header+Overhead {
		return nil, ErrOpen
	}
	generation := pn >> generationShift
	if generation > k.newest+1 || generation+1 < k.newest {
		return nil, ErrGeneration
	}
	aead := k.subkey(generation)
	binary.BigEndian.PutUint64(k.nonce[4:], pn)
	end := len(packet) - Overhead
	if k.mode == Clear {
		if _, err := aead.Open(packet[end:end], k.nonce[:], packet[end:], packet[:end]); err != nil {
			return nil, ErrOpen
		}
	} else if _, err := aead.Open(packet[header:header], k.nonce[:], packet[header:], packet[:header]); err != nil {
		return nil, ErrOpen
	}
	k.newest = max(k.newest, generation)
	return packet[header:end], nil
}

// subkey returns the AEAD of one generation, keeping the last three.
func (k *Keys) subkey(generation uint64) cipher.AEAD {
	slot := &k.subkeys[generation%uint64(len(k.subkeys))]
	if slot.aead == nil || slot.generation != generation {
		slot.generation, slot.aead = generation, k.derive(generation)
	}
	return slot.aead
}

// derive makes the subkey of a generation: HKDF-SHA256 (RFC 5869) over the
// epoch secret, salted with session id ‖ manifest digest.
func (k *Keys) derive(generation uint64) cipher.AEAD {
	salt := make([]byte, 0, len(k.id)+len(k.digest))
	salt = append(append(salt, k.id[:]...), k.digest[:]...)
	info := append([]byte(keyLabel), byte(k.mode))
	info = binary.BigEndian.AppendUint64(info, generation)
	key, err := hkdf.Key(sha256.New, k.secret[:], salt, string(info), 32)
	if err != nil {
		panic("crypto: derive: " + err.Error()) // only for absurd lengths
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("crypto: derive: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("crypto: derive: " + err.Error())
	}
	return aead
}
