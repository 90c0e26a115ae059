package keyex

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// The envelope around first ClientHellos. The DTLS library keeps two goroutines
// and a key pair for each address that says hello, and can't continue a
// handshake whose cookie somebody else has checked. So the cookie exchange
// happens below it, as in RFC 6347, section 4.2.1, and QUIC's Retry:
//
//	client → server  'W' 1 | 24 cookie (zero at first) | DTLS record with the ClientHello
//	server → client  'W' 2 | 24 cookie                     when the cookie isn't good
//	server → client  DTLS: ServerHello ...                  when it is
//
// 'W' (87) is no DTLS content type (20…63). The answer is smaller than the
// question, so nobody is flooded with our help. The server keeps nothing until
// the address has answered.
const (
	envelopeMagic  = 'W'
	envelopeHello  = 1
	envelopeCookie = 2
	cookieSize     = 24
	envelopeSize   = 2 + cookieSize

	// cookieLife is how long a cookie is good at least; at most twice that.
	cookieLife = 30 * time.Second
)

type cookie [cookieSize]byte

// baker makes and checks cookies: u64 time slot ‖ HMAC-SHA256(key, slot ‖
// address ‖ port), cut to 16 bytes. The key lives as long as the process. Not
// safe for concurrent use.
type baker struct {
	key [32]byte
}

func newBaker() *baker {
	b := &baker{}
	_, _ = rand.Read(b.key[:])
	return b
}

func slotOf(now time.Time) uint64 { return uint64(now.UnixNano() / int64(cookieLife)) }

func (b *baker) bake(addr netip.AddrPort, slot uint64) (c cookie) {
	binary.BigEndian.PutUint64(c[:8], slot)
	var in [8 + 16 + 2]byte
	binary.BigEndian.PutUint64(in[:], slot)
	a := addr.Addr().As16()
	copy(in[8:], a[:])
	binary.BigEndian.PutUint16(in[24:], addr.Port())
	mac := hmac.New(sha256.New, b.key[:])
	_, _ = mac.Write(in[:])
	copy(c[8:], mac.Sum(nil))
	return c
}

// good reports whether c was baked for addr in this slot or the one before.
func (b *baker) good(c cookie, addr netip.AddrPort, now time.Time) bool {
	slot, current := binary.BigEndian.Uint64(c[:8]), slotOf(now)
	if slot != current && slot+1 != current {
		return false
	}
	want := b.bake(addr, slot)
	return hmac.Equal(c[:], want[:])
}

// openEnvelope splits a client's envelope.
func openEnvelope(datagram []byte) (c cookie, inner []byte, ok bool) {
	if len(datagram) < envelopeSize+recordHeader || datagram[0] != envelopeMagic || datagram[1] != envelopeHello {
		return c, nil, false
	}
	copy(c[:], datagram[2:])
	return c, datagram[envelopeSize:], true
}

// sealEnvelope is the inverse.
func sealEnvelope(c cookie, inner []byte) []byte {
	out := make([]byte, 0, envelopeSize+len(inner))
	out = append(out, envelopeMagic, envelopeHello)
	return append(append(out, c[:]...), inner...)
}

// cookieReply is the server's answer, parseCookieReply reads it.
func cookieReply(c cookie) []byte {
	return append([]byte{envelopeMagic, envelopeCookie}, c[:]...)
}

func parseCookieReply(datagram []byte) (c cookie, ok bool) {
	if len(datagram) != envelopeSize || datagram[0] != envelopeMagic || datagram[1] != envelopeCookie {
		return c, false
	}
	copy(c[:], datagram[2:])
	return c, true
}
