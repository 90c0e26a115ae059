package wire

import "encoding/binary"

// Constants of have-maps (section 6.11).
const (
	// MaxCells is how many cells a map has at most.
	MaxCells = 256
	// FullCell is the level of a cell of which every block is proven.
	FullCell = 15
)

// HaveMap tells what a client has proven, roughly, for those who watch the session (section 6.11).
//
//	u8 type | u32 client | u32 sequence | u16 cells | ceil(cells / 2) levels
type HaveMap struct {
	Client   uint32
	Sequence uint32 // grows with each map of a connection, from 1 on
	Cells    uint16 // 1 to MaxCells
	Levels   []byte // 4 bits a cell, the first cell in the upper half of the first byte; what is left over is zero
}

// From implements Addressed.
func (m *HaveMap) From() uint32 { return m.Client }

// Append implements Message.
func (m *HaveMap) Append(b []byte) []byte {
	b = append(b, byte(TypeHaveMap))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = binary.BigEndian.AppendUint32(b, m.Sequence)
	b = binary.BigEndian.AppendUint16(b, m.Cells)
	return append(b, m.Levels...)
}

// parseHaveMap copies the levels: they are kept.
func parseHaveMap(r *reader) (*HaveMap, error) {
	m := &HaveMap{Client: r.u32(), Sequence: r.u32(), Cells: r.u16()}
	r.check(m.Sequence > 0 && m.Cells > 0 && m.Cells <= MaxCells)
	if r.failed {
		return nil, r.end("have map")
	}
	m.Levels = make([]byte, LevelsLen(int(m.Cells)))
	r.copyTo(m.Levels)
	if m.Cells%2 != 0 {
		r.check(m.Levels[len(m.Levels)-1]&0x0f == 0)
	}
	if err := r.end("have map"); err != nil {
		return nil, err
	}
	return m, nil
}

// LevelsLen is how many bytes the levels of so many cells take.
func LevelsLen(cells int) int { return (cells + 1) / 2 }
