package wire

import (
	"encoding/binary"
	"time"
)

// Applied tells what came of applying what a client had proven (section 6.9). It comes long after Done, so on a control channel of its
// own; the resume token of the welcome says whose it is.
//
//	u8 type | u32 client | 16 resume token | u8 flags (1 failed) | u16 index | u64 µs | string reason
type Applied struct {
	Client uint32
	Resume [16]byte
	Failed bool
	Index  uint16        // of the image in the WIM, 0 where it didn't come to that
	Took   time.Duration // in whole microseconds
	Reason string        // one sentence, empty when applied
}

const flagFailed = 1

// Append implements Message.
func (m *Applied) Append(b []byte) []byte {
	b = append(b, byte(TypeApplied))
	b = append(binary.BigEndian.AppendUint32(b, m.Client), m.Resume[:]...)
	var flags byte
	if m.Failed {
		flags |= flagFailed
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint16(b, m.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Took/time.Microsecond))
	return appendText(b, m.Reason)
}

// maxTook bounds a time on the wire, in microseconds: 30 days.
const maxTook = 30 * 24 * 3600 * 1_000_000

func parseApplied(r *reader) (*Applied, error) {
	m := &Applied{Client: r.u32()}
	r.copyTo(m.Resume[:])
	flags := r.u8()
	r.check(flags <= flagFailed)
	m.Failed, m.Index = flags&flagFailed != 0, r.u16()
	took := r.u64()
	r.check(took <= maxTook)
	m.Took, m.Reason = time.Duration(min(took, maxTook))*time.Microsecond, r.text()
	if err := r.end("applied"); err != nil {
		return nil, err
	}
	return m, nil
}

// AppliedHeard acknowledges Applied, also one that the server knows nothing of.
//
//	u8 type | u32 client
type AppliedHeard struct {
	Client uint32
}

// Append implements Message.
func (m *AppliedHeard) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(TypeAppliedHeard)), m.Client)
}

func parseAppliedHeard(r *reader) (*AppliedHeard, error) {
	m := &AppliedHeard{Client: r.u32()}
	if err := r.end("applied heard"); err != nil {
		return nil, err
	}
	return m, nil
}
