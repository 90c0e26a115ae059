package wire

import "encoding/binary"

// MaxNACKBlocks is how many blocks one NACK names.
const MaxNACKBlocks = 64

// Lack is a block that lacks symbols.
type Lack struct {
	Block   uint32
	Symbols uint8 // how many are lacking, 1…k/2
}

// NACK asks for a few symbols of several blocks (section 6).
//
//	u8 type | u32 client | u64 highest packet number | u8 count | count × (u32 block, u8 n)
type NACK struct {
	Client  uint32
	Highest uint64 // packet number
	Lacks   []Lack // 1…MaxNACKBlocks
}

// From implements Addressed.
func (m *NACK) From() uint32 { return m.Client }

// Append implements Message.
func (m *NACK) Append(b []byte) []byte {
	b = append(b, byte(TypeNACK))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = binary.BigEndian.AppendUint64(b, m.Highest)
	lacks := m.Lacks[:min(len(m.Lacks), MaxNACKBlocks)]
	b = append(b, byte(len(lacks)))
	for _, l := range lacks {
		b = append(binary.BigEndian.AppendUint32(b, l.Block), l.Symbols)
	}
	return b
}

func parseNACK(r *reader) (*NACK, error) {
	m := &NACK{Client: r.u32(), Highest: r.u64()}
	count := int(r.u8())
	r.check(count > 0 && count <= MaxNACKBlocks && len(r.b) == count*5)
	if r.failed {
		return nil, r.end("NACK")
	}
	m.Lacks = make([]Lack, count)
	for i := range m.Lacks {
		m.Lacks[i] = Lack{Block: r.u32(), Symbols: r.u8()}
		r.check(m.Lacks[i].Symbols > 0)
	}
	if err := r.end("NACK"); err != nil {
		return nil, err
	}
	return m, nil
}
