package wire

import (
	"encoding/binary"
	"fmt"
)

// Kind says what a group packet carries; the high nibble is the version.
type Kind uint8

// The kinds of version 1 (section 4).
const (
	KindSymbol Kind = Version<<4 | 1
	KindStatus Kind = Version<<4 | 2
	KindGuard  Kind = Version<<4 | 3 // reserved, section 8
)

// HeaderLen is the length of a group packet's header, in bytes.
const HeaderLen = 16

// Header starts every group packet and is associated data of its seal
// (section 4):
//
//	 0               1               2               3
//	+---------------+---------------+-------------------------------+
//	| version, kind | epoch         | session tag                   |
//	+---------------+---------------+-------------------------------+
//	| send time (µs of the session's clock, low 32 bits)            |
//	+---------------------------------------------------------------+
//	| packet number                                                 |
//	|                                                               |
//	+---------------------------------------------------------------+
type Header struct {
	Kind   Kind
	Epoch  uint8  // low 8 bits of the epoch number
	Tag    uint16 // first two bytes of the session id
	Sent   uint32 // µs, low 32 bits
	Number uint64 // packet number
}

// Put writes the header into the first HeaderLen bytes of b.
func (h Header) Put(b []byte) {
	_ = b[HeaderLen-1]
	b[0], b[1] = byte(h.Kind), h.Epoch
	binary.BigEndian.PutUint16(b[2:], h.Tag)
	binary.BigEndian.PutUint32(b[4:], h.Sent)
	binary.BigEndian.PutUint64(b[8:], h.Number)
}

// ParseHeader reads the header of a group packet. It proves nothing.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, fmt.Errorf("parse header: %w", ErrMalformed)
	}
	return Header{
		Kind:   Kind(b[0]),
		Epoch:  b[1],
		Tag:    binary.BigEndian.Uint16(b[2:]),
		Sent:   binary.BigEndian.Uint32(b[4:]),
		Number: binary.BigEndian.Uint64(b[8:]),
	}, nil
}
