package keyex

import "encoding/binary"

// The plaintext of DTLS 1.2 as far as the demultiplexer must see it (RFC 6347,
// sections 4.1 and 4.2.2):
//
//	record:    u8 type | u16 version | u16 epoch | u48 number | u16 length
//	handshake: u8 type | u24 length | u16 message | u24 fragment offset | u24 fragment length
//	hello:     u16 version | 32 random | u8 session id | u8 cookie | ...
const (
	recordHeader    = 13
	handshakeHeader = 12

	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23

	handshakeClientHello = 1
	handshakeServerHello = 2

	// maxDatagram is the most that is read of a datagram, in bytes; the library
	// reads as much. Longer ones are refused.
	maxDatagram = 8192
)

// record is one DTLS record inside a datagram.
type record struct {
	kind  byte
	epoch uint16
	body  []byte
}

// records walks a datagram; it returns false when anything about its framing is
// wrong: nothing of a broken datagram is used.
func records(datagram []byte, visit func(record) bool) bool {
	if len(datagram) < recordHeader {
		return false
	}
	for len(datagram) > 0 {
		if len(datagram) < recordHeader {
			return false
		}
		// 254.253 is DTLS 1.2; 254.255 (1.0) stands on first hellos.
		if datagram[1] != 254 || (datagram[2] != 253 && datagram[2] != 255) {
			return false
		}
		n := int(binary.BigEndian.Uint16(datagram[recordHeader-2:]))
		if len(datagram) < recordHeader+n {
			return false
		}
		r := record{kind: datagram[0], epoch: binary.BigEndian.Uint16(datagram[3:]), body: datagram[recordHeader : recordHeader+n]}
		if !visit(r) {
			return false
		}
		datagram = datagram[recordHeader+n:]
	}
	return true
}

// hello is what is looked at in a ClientHello before anything is paid for it.
type hello struct {
	random  [32]byte
	message uint16 // 0 for a first hello, 1 after a cookie
	cookie  bool
}

// parseHello accepts a datagram that is exactly one record with one whole,
// well-formed ClientHello of DTLS 1.2 offering our cipher suite.
func parseHello(datagram []byte) (h hello, ok bool) {
	count := 0
	whole := records(datagram, func(r record) bool {
		count++
		h, ok = parseHelloRecord(r)
		return ok
	})
	return h, whole && ok && count == 1
}

func parseHelloRecord(r record) (h hello, ok bool) {
	b := r.body
	if r.kind != typeHandshake || r.epoch != 0 || len(b) < handshakeHeader || b[0] != handshakeClientHello {
		return h, false
	}
	length, offset, fragment := uint24(b[1:]), uint24(b[6:]), uint24(b[9:])
	h.message = binary.BigEndian.Uint16(b[4:])
	b = b[handshakeHeader:]
	if offset != 0 || fragment != length || length != len(b) || h.message > 1 {
		return h, false
	}
	if len(b) < 34 || b[0] != 254 || b[1] != 253 {
		return h, false
	}
	copy(h.random[:], b[2:34])
	b = b[34:]
	session, b, ok := vector8(b)
	if !ok || len(session) > 32 {
		return h, false
	}
	cookie, b, ok := vector8(b)
	if !ok {
		return h, false
	}
	h.cookie = len(cookie) > 0
	suites, b, ok := vector16(b)
	if !ok || len(suites) == 0 || len(suites)%2 != 0 {
		return h, false
	}
	compression, b, ok := vector8(b)
	if !ok || len(compression) == 0 {
		return h, false
	}
	extensions, b, ok := vector16(b)
	if !ok || len(b) != 0 {
		return h, false
	}
	for len(extensions) > 0 {
		if len(extensions) < 4 {
			return h, false
		}
		if _, extensions, ok = vector16(extensions[2:]); !ok {
			return h, false
		}
	}
	return h, true
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// vector8 and vector16 cut a vector with a one- or two-byte length off b.
func vector8(b []byte) (vector, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	return b[1 : 1+int(b[0])], b[1+int(b[0]):], true
}

func vector16(b []byte) (vector, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return nil, nil, false
	}
	return b[2:n], b[n:], true
}

// plainAlert returns the description when datagram is one unencrypted fatal
// alert.
func plainAlert(datagram []byte) (description byte, ok bool) {
	if len(datagram) != recordHeader+2 {
		return 0, false
	}
	records(datagram, func(r record) bool {
		if r.kind == typeAlert && r.epoch == 0 && len(r.body) == 2 && r.body[0] == 2 {
			description, ok = r.body[1], true
		}
		return true
	})
	return description, ok
}
