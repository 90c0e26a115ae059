package keyex

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"sync/atomic"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/crypto/clientcertificate"
	"github.com/pion/dtls/v2/pkg/crypto/prf"
	"github.com/pion/dtls/v2/pkg/protocol/recordlayer"
	"golang.org/x/crypto/chacha20poly1305"
)

// suiteID is TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 (RFC 7905). The
// library's own AEAD suites draw 8-byte nonces at random (CVE-2026-26014); here
// the nonce is the record's number, so it can't repeat under one key.
const suiteID = dtls.CipherSuiteID(0xcca9)

var (
	errSuiteUnready = errors.New("cipher suite has no keys yet")
	errSuiteOpen    = errors.New("record does not authenticate")
)

// suite is one association's instance of the cipher suite. The library gives
// each association its own and calls Init once.
type suite struct {
	keys atomic.Pointer[suiteKeys]
}

var _ dtls.CipherSuite = (*suite)(nil)

type suiteKeys struct {
	local, remote     cipher.AEAD
	localIV, remoteIV [chacha20poly1305.NonceSize]byte
}

func suites() []dtls.CipherSuite { return []dtls.CipherSuite{&suite{}} }

// String returns the suite's IANA name.
func (*suite) String() string { return "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" }

// ID returns the suite's code point.
func (*suite) ID() dtls.CipherSuiteID { return suiteID }

// CertificateType says that certificates sign with ECDSA.
func (*suite) CertificateType() clientcertificate.Type { return clientcertificate.ECDSASign }

// HashFunc returns the hash of the key derivation.
func (*suite) HashFunc() func() hash.Hash { return sha256.New }

// AuthenticationType says that both sides show certificates.
func (*suite) AuthenticationType() dtls.CipherSuiteAuthenticationType {
	return dtls.CipherSuiteAuthenticationTypeCertificate
}

// KeyExchangeAlgorithm says ECDHE.
func (*suite) KeyExchangeAlgorithm() dtls.CipherSuiteKeyExchangeAlgorithm {
	return dtls.CipherSuiteKeyExchangeAlgorithmEcdhe
}

// ECC says that the curve extensions are wanted.
func (*suite) ECC() bool { return true }

// IsInitialized reports whether keys are there.
func (s *suite) IsInitialized() bool { return s.keys.Load() != nil }

// Init derives the keys: two of 32 bytes and two 12-byte IVs (RFC 7905, section 2).
func (s *suite) Init(masterSecret, clientRandom, serverRandom []byte, isClient bool) error {
	k, err := prf.GenerateEncryptionKeys(masterSecret, clientRandom, serverRandom, 0, chacha20poly1305.KeySize, chacha20poly1305.NonceSize, sha256.New)
	if err != nil {
		return err
	}
	if !isClient {
		k.ClientWriteKey, k.ServerWriteKey = k.ServerWriteKey, k.ClientWriteKey
		k.ClientWriteIV, k.ServerWriteIV = k.ServerWriteIV, k.ClientWriteIV
	}
	keys := &suiteKeys{}
	copy(keys.localIV[:], k.ClientWriteIV)
	copy(keys.remoteIV[:], k.ServerWriteIV)
	if keys.local, err = chacha20poly1305.New(k.ClientWriteKey); err != nil {
		return err
	}
	if keys.remote, err = chacha20poly1305.New(k.ServerWriteKey); err != nil {
		return err
	}
	s.keys.Store(keys)
	return nil
}

// suiteNonce is the IV xor the record's epoch and number, left-padded.
func suiteNonce(iv [chacha20poly1305.NonceSize]byte, header []byte) [chacha20poly1305.NonceSize]byte {
	for i := range 8 {
		iv[4+i] ^= header[3+i]
	}
	return iv
}

// suiteData is the associated data: epoch ‖ number ‖ type ‖ version ‖ plaintext length.
func suiteData(header []byte, length int) (data [13]byte) {
	copy(data[:8], header[3:11])
	copy(data[8:11], header[:3])
	binary.BigEndian.PutUint16(data[11:], uint16(length))
	return data
}

// Encrypt seals one record, header included in raw.
func (s *suite) Encrypt(_ *recordlayer.RecordLayer, raw []byte) ([]byte, error) {
	keys := s.keys.Load()
	if keys == nil {
		return nil, errSuiteUnready
	}
	if len(raw) < recordHeader {
		return nil, errSuiteOpen
	}
	nonce, data := suiteNonce(keys.localIV, raw), suiteData(raw, len(raw)-recordHeader)
	out := make([]byte, recordHeader, len(raw)+chacha20poly1305.Overhead)
	copy(out, raw[:recordHeader])
	out = keys.local.Seal(out, nonce[:], raw[recordHeader:], data[:])
	binary.BigEndian.PutUint16(out[recordHeader-2:], uint16(len(out)-recordHeader))
	return out, nil
}

// Decrypt opens one record. Nothing passes unauthenticated: the one legitimate
// ChangeCipherSpec belongs to epoch 0, which isn't decrypted.
func (s *suite) Decrypt(in []byte) ([]byte, error) {
	keys := s.keys.Load()
	switch {
	case keys == nil:
		return nil, errSuiteUnready
	case len(in) < recordHeader:
		return nil, errSuiteOpen
	case len(in) < recordHeader+chacha20poly1305.Overhead:
		return nil, errSuiteOpen
	}
	nonce := suiteNonce(keys.remoteIV, in)
	data := suiteData(in, len(in)-recordHeader-chacha20poly1305.Overhead)
	out := make([]byte, recordHeader, len(in)-chacha20poly1305.Overhead)
	copy(out, in[:recordHeader])
	out, err := keys.remote.Open(out, nonce[:], in[recordHeader:], data[:])
	if err != nil {
		return nil, errSuiteOpen
	}
	return out, nil
}
