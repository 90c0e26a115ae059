package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// maxNeedRuns is the length of the run list of one need message, in bytes.
const maxNeedRuns = 1_000

// Run is a range of blocks, by stream number.
type Run struct {
	First, Count uint32
}

// Need tells blocks that a client lacks as a whole (section 6.4). Parts of one
// telling stand for themselves.
//
//	u8 type | u32 client | u32 pass | u64 highest | u16 part | u16 parts | u32 base | pairs of uvarint (skip, take)
type Need struct {
	Client  uint32
	Pass    uint32 // the pass end that this answers; 0 at join
	Highest uint64 // packet number that the client had seen: turns that began later don't count as missed
	Part    uint16
	Parts   uint16
	Runs    []Run // ascending, not touching
}

// From implements Addressed.
func (m *Need) From() uint32 { return m.Client }

// Append implements Message. It panics when the runs aren't ascending or don't
// fit one message; SplitNeed makes ones that do.
func (m *Need) Append(b []byte) []byte {
	b = append(b, byte(TypeNeed))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = binary.BigEndian.AppendUint32(b, m.Pass)
	b = binary.BigEndian.AppendUint64(b, m.Highest)
	b = binary.BigEndian.AppendUint16(b, m.Part)
	b = binary.BigEndian.AppendUint16(b, m.Parts)
	var base uint32
	if len(m.Runs) > 0 {
		base = m.Runs[0].First
	}
	b = binary.BigEndian.AppendUint32(b, base)
	start := len(b)
	at := base
	for _, run := range m.Runs {
		if run.First < at || run.Count == 0 {
			panic("wire: Need: runs are not ascending")
		}
		b = binary.AppendUvarint(b, uint64(run.First-at))
		b = binary.AppendUvarint(b, uint64(run.Count))
		at = run.First + run.Count
	}
	if len(b)-start > maxNeedRuns {
		panic("wire: Need: too many runs for one message")
	}
	return b
}

// SplitNeed cuts a list of ascending runs into as many messages as it takes;
// at least one, at most 65,535 (the rest is told at the next pass end).
func SplitNeed(client, pass uint32, highest uint64, runs []Run) []*Need {
	var parts []*Need
	for {
		part := &Need{Client: client, Pass: pass, Highest: highest}
		size, n := 0, 0
		var at uint32
		for ; n < len(runs); n++ {
			if n == 0 {
				at = runs[0].First
			}
			size += uvarintLen(runs[n].First-at) + uvarintLen(runs[n].Count)
			if size > maxNeedRuns {
				break
			}
			at = runs[n].First + runs[n].Count
		}
		part.Runs, runs = runs[:n:n], runs[n:]
		parts = append(parts, part)
		if len(runs) == 0 || len(parts) == math.MaxUint16 {
			break
		}
	}
	for i, part := range parts {
		part.Part, part.Parts = uint16(i), uint16(len(parts))
	}
	return parts
}

func uvarintLen(v uint32) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

func parseNeed(r *reader) (*Need, error) {
	m := &Need{Client: r.u32(), Pass: r.u32(), Highest: r.u64(), Part: r.u16(), Parts: r.u16()}
	base := r.u32()
	r.check(m.Part < m.Parts && len(r.b) <= maxNeedRuns)
	at := uint64(base)
	for !r.failed && len(r.b) > 0 {
		skip, take := r.uvarint(), r.uvarint()
		first := at + skip
		r.check(take > 0 && first+take <= math.MaxUint32)
		// One form for each list: the first run starts at the base, later ones don't touch.
		r.check((len(m.Runs) == 0) == (skip == 0))
		if r.failed {
			break
		}
		m.Runs = append(m.Runs, Run{First: uint32(first), Count: uint32(take)})
		at = first + take
	}
	r.check(len(m.Runs) > 0 || base == 0)
	if r.failed {
		return nil, fmt.Errorf("parse need: %w", ErrMalformed)
	}
	return m, nil
}

// uvarint reads a canonical uvarint of at most 32 bits.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.failed || n <= 0 || v > math.MaxUint32 || n != uvarintLen(uint32(v)) {
		r.failed = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// NeedHeard acknowledges one part (section 6.4).
//
//	u8 type | u32 client | u32 pass | u64 highest | u16 part
type NeedHeard struct {
	Client, Pass uint32
	Highest      uint64 // as the part had it
	Part         uint16
}

// Append implements Message.
func (m *NeedHeard) Append(b []byte) []byte {
	b = append(b, byte(TypeNeedHeard))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = binary.BigEndian.AppendUint32(b, m.Pass)
	b = binary.BigEndian.AppendUint64(b, m.Highest)
	return binary.BigEndian.AppendUint16(b, m.Part)
}

func parseNeedHeard(r *reader) (*NeedHeard, error) {
	m := &NeedHeard{Client: r.u32(), Pass: r.u32(), Highest: r.u64(), Part: r.u16()}
	if err := r.end("need heard"); err != nil {
		return nil, err
	}
	return m, nil
}
