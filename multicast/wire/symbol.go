package wire

import (
	"encoding/binary"
	"fmt"
)

// SymbolHeaderLen is what stands before a symbol in its packet's payload.
const SymbolHeaderLen = 8

// Symbol is the payload of a symbol packet (section 4.1):
//
//	+-------------------------------+
//	| block (u32)                   |
//	+-------+-------+---------------+
//	| index | zero  | follow (u16)  |
//	+-------+-------+---------------+
//	| symbol, S bytes               |
type Symbol struct {
	Block  uint32 // stream number
	Index  uint8  // 0…k−1 source, k…255 parity
	Follow uint16 // symbols of this turn still to come
	Data   []byte // aliases the packet
}

// PutSymbol writes what stands before the symbol into b.
func PutSymbol(b []byte, block uint32, index uint8, follow uint16) {
	_ = b[SymbolHeaderLen-1]
	binary.BigEndian.PutUint32(b, block)
	b[4], b[5] = index, 0
	binary.BigEndian.PutUint16(b[6:], follow)
}

// ParseSymbol reads the payload of a symbol packet. Data aliases b.
func ParseSymbol(b []byte) (Symbol, error) {
	if len(b) <= SymbolHeaderLen || b[5] != 0 {
		return Symbol{}, fmt.Errorf("parse symbol: %w", ErrMalformed)
	}
	return Symbol{
		Block:  binary.BigEndian.Uint32(b),
		Index:  b[4],
		Follow: binary.BigEndian.Uint16(b[6:]),
		Data:   b[SymbolHeaderLen:],
	}, nil
}
