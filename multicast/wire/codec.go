package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// reader takes fields off the front of b. After the first field that doesn't
// fit it fails, and all further fields are zero.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.b) {
		r.failed = true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// copyTo fills dst.
func (r *reader) copyTo(dst []byte) { copy(dst, r.take(len(dst))) }

func (r *reader) text() string { return string(r.take(int(r.u8()))) }

// addr reads a length and that many bytes of an IP address; length 0 is the
// zero Addr. Only the canonical form passes: no IPv4 address in 16 bytes.
func (r *reader) addr() netip.Addr {
	b := r.take(int(r.u8()))
	if len(b) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok || a.Is4In6() {
		r.failed = true
		return netip.Addr{}
	}
	return a
}

// zero reads n bytes that must be zero.
func (r *reader) zero(n int) {
	for _, b := range r.take(n) {
		if b != 0 {
			r.failed = true
		}
	}
}

// check fails the message for a value out of range.
func (r *reader) check(ok bool) {
	if !ok {
		r.failed = true
	}
}

// end reports whether the whole of a message of the named kind was read, and
// nothing is left over.
func (r *reader) end(name string) error {
	if r.failed || len(r.b) != 0 {
		return fmt.Errorf("parse %s: %w", name, ErrMalformed)
	}
	return nil
}

// appendText appends a string, cut to the longest that fits its length byte.
func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), maxText)]
	return append(append(b, byte(len(s))), s...)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	raw := a.Unmap().AsSlice()
	return append(append(b, byte(len(raw))), raw...)
}
