package wire

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// State is what a session does at the moment, as its status tells.
type State uint8

// The states of a session on the wire.
const (
	Waiting State = iota // nobody needs anything yet
	Casting
	PassEnded // nothing is left to send; clients tell what they lack
	Ended
)

// String returns the state's word, as in the API.
func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Casting:
		return "casting"
	case PassEnded:
		return "pass ended"
	case Ended:
		return "ended"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Limits of a status, so that it fits the smallest symbol packet.
const (
	MaxPromises  = 128
	MaxReporters = 8
)

// statusLabel separates a status's signature from any other.
const statusLabel = "wimcast status v1"

// Promise is repair that the server will send.
type Promise struct {
	Block   uint32
	Symbols uint8
}

// Status is the payload of a status packet (section 4.2).
type Status struct {
	State     State
	Epoch     uint32
	Pass      uint32        // pass ends so far
	Cursor    uint32        // block of the latest turn of needed blocks
	Clients   uint32        // in the session
	Room      uint32        // clients that have a part in the cast or have it all, over all its sessions
	Proven    uint32        // of Room: have it all
	GRTT      time.Duration // whole µs on the wire
	Rate      uint64        // bytes/s, as sent now
	RateLimit uint64        // bytes/s, never exceeded
	Promises  []Promise     // at most MaxPromises
	Reporters []uint32      // client numbers, at most MaxReporters
	// MapsWanted: somebody watches the session, and its clients tell their have-maps.
	MapsWanted bool

	// While the session waits for its start, in state Waiting.
	Scheduled  bool          // it waits for its start; the rest is zero otherwise
	MinClients uint32        // starts once so many wait; 0: not by their number
	WaitingNow uint32        // clients that wait
	StartIn    time.Duration // until it starts at the latest, whole ms on the wire, 49 days at most
}

// Flags of a status. Those that aren't known are ignored: a newer server may have more.
const (
	flagScheduled  = 1
	flagMapsWanted = 2
)

// AppendStatus appends the payload of a status packet with its signature over
// session and header, which must be the packet's header as sent.
func AppendStatus(b []byte, s *Status, session [16]byte, header []byte, key ed25519.PrivateKey) []byte {
	start := len(b)
	promises := s.Promises[:min(len(s.Promises), MaxPromises)]
	reporters := s.Reporters[:min(len(s.Reporters), MaxReporters)]
	var flags byte
	if s.Scheduled {
		flags |= flagScheduled
	}
	if s.MapsWanted {
		flags |= flagMapsWanted
	}
	b = append(b, byte(s.State), flags)
	b = binary.BigEndian.AppendUint16(b, uint16(len(promises)))
	b = append(b, byte(len(reporters)), 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, s.Epoch)
	b = binary.BigEndian.AppendUint32(b, s.Pass)
	b = binary.BigEndian.AppendUint32(b, s.Cursor)
	b = binary.BigEndian.AppendUint32(b, s.Clients)
	b = binary.BigEndian.AppendUint32(b, s.Room)
	b = binary.BigEndian.AppendUint32(b, s.Proven)
	b = binary.BigEndian.AppendUint32(b, uint32(s.GRTT/time.Microsecond))
	b = binary.BigEndian.AppendUint64(b, s.Rate)
	b = binary.BigEndian.AppendUint64(b, s.RateLimit)
	b = binary.BigEndian.AppendUint32(b, s.MinClients)
	b = binary.BigEndian.AppendUint32(b, s.WaitingNow)
	b = binary.BigEndian.AppendUint32(b, uint32(min(max(s.StartIn/time.Millisecond, 0), math.MaxUint32)))
	for _, p := range promises {
		b = append(binary.BigEndian.AppendUint32(b, p.Block), p.Symbols)
	}
	for _, c := range reporters {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	return append(b, ed25519.Sign(key, signedStatus(session, header, b[start:]))...)
}

func signedStatus(session [16]byte, header, body []byte) []byte {
	m := make([]byte, 0, len(statusLabel)+len(session)+len(header)+len(body))
	m = append(m, statusLabel...)
	m = append(m, session[:]...)
	m = append(m, header...)
	return append(m, body...)
}

// ParseStatus verifies and reads the payload of a status packet. The header is
// the packet's, as received.
func ParseStatus(b []byte, session [16]byte, header []byte, key ed25519.PublicKey) (*Status, error) {
	if len(b) < ed25519.SignatureSize {
		return nil, fmt.Errorf("parse status: %w", ErrMalformed)
	}
	body, signature := b[:len(b)-ed25519.SignatureSize], b[len(b)-ed25519.SignatureSize:]
	if !ed25519.Verify(key, signedStatus(session, header, body), signature) {
		return nil, fmt.Errorf("parse status: signature does not verify: %w", ErrMalformed)
	}
	r := reader{b: body}
	s := &Status{State: State(r.u8())}
	r.check(s.State <= Ended)
	flags := r.u8()
	s.Scheduled, s.MapsWanted = flags&flagScheduled != 0, flags&flagMapsWanted != 0
	promises, reporters := int(r.u16()), int(r.u8())
	r.zero(3)
	r.check(promises <= MaxPromises && reporters <= MaxReporters)
	s.Epoch, s.Pass, s.Cursor, s.Clients = r.u32(), r.u32(), r.u32(), r.u32()
	s.Room, s.Proven = r.u32(), r.u32()
	r.check(s.Proven <= s.Room)
	s.GRTT = time.Duration(r.u32()) * time.Microsecond
	s.Rate, s.RateLimit = r.u64(), r.u64()
	s.MinClients, s.WaitingNow = r.u32(), r.u32()
	s.StartIn = time.Duration(r.u32()) * time.Millisecond
	r.check(s.Scheduled && s.State == Waiting || !s.Scheduled && s.MinClients == 0 && s.WaitingNow == 0 && s.StartIn == 0)
	if r.failed {
		return nil, r.end("status")
	}
	for range promises {
		s.Promises = append(s.Promises, Promise{Block: r.u32(), Symbols: r.u8()})
	}
	for range reporters {
		s.Reporters = append(s.Reporters, r.u32())
	}
	if err := r.end("status"); err != nil {
		return nil, err
	}
	return s, nil
}
