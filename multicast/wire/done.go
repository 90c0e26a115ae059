package wire

import (
	"encoding/binary"
	"fmt"
)

// Result is how a client's receiving ended.
type Result uint8

// The results of section 6.6.
const (
	Proven Result = iota
	Failed
	Left
)

// String returns the result's word, as in metrics and the API.
func (r Result) String() string {
	switch r {
	case Proven:
		return "proven"
	case Failed:
		return "failed"
	case Left:
		return "left"
	}
	return fmt.Sprintf("result(%d)", uint8(r))
}

// Done ends a client's part in a session (section 6.6).
//
//	u8 type | u32 client | u8 result | u64 multicast | u64 unicast | u64 held | u64 seed | string reason
type Done struct {
	Client    uint32
	Result    Result
	Multicast uint64 // bytes of the image proven from the group
	Unicast   uint64 // bytes proven from unicast
	Held      uint64 // bytes proven from what was held at join
	Seed      uint64 // bytes proven from an older version of the image or the like
	Reason    string // one sentence, empty when proven
}

// From implements Addressed.
func (m *Done) From() uint32 { return m.Client }

// Append implements Message.
func (m *Done) Append(b []byte) []byte {
	b = append(b, byte(TypeDone))
	b = append(binary.BigEndian.AppendUint32(b, m.Client), byte(m.Result))
	b = binary.BigEndian.AppendUint64(b, m.Multicast)
	b = binary.BigEndian.AppendUint64(b, m.Unicast)
	b = binary.BigEndian.AppendUint64(b, m.Held)
	b = binary.BigEndian.AppendUint64(b, m.Seed)
	return appendText(b, m.Reason)
}

func parseDone(r *reader) (*Done, error) {
	m := &Done{Client: r.u32(), Result: Result(r.u8()), Multicast: r.u64(), Unicast: r.u64(), Held: r.u64(), Seed: r.u64(), Reason: r.text()}
	r.check(m.Result <= Left)
	if err := r.end("done"); err != nil {
		return nil, err
	}
	return m, nil
}

// DoneHeard acknowledges Done.
//
//	u8 type | u32 client
type DoneHeard struct {
	Client uint32
}

// Append implements Message.
func (m *DoneHeard) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(TypeDoneHeard)), m.Client)
}

func parseDoneHeard(r *reader) (*DoneHeard, error) {
	m := &DoneHeard{Client: r.u32()}
	if err := r.end("done heard"); err != nil {
		return nil, err
	}
	return m, nil
}
