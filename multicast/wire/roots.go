package wire

import "encoding/binary"

// MaxRoots is how many root hashes one message carries.
const MaxRoots = 32

// RootsWanted asks for the hashes of the manifest's blocks (section 6.3).
//
//	u8 type | u32 client | u32 first
type RootsWanted struct {
	Client uint32
	First  uint32 // number of the first manifest block wanted
}

// From implements Addressed.
func (m *RootsWanted) From() uint32 { return m.Client }

// Append implements Message.
func (m *RootsWanted) Append(b []byte) []byte {
	b = append(b, byte(TypeRootsWanted))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	return binary.BigEndian.AppendUint32(b, m.First)
}

func parseRootsWanted(r *reader) (*RootsWanted, error) {
	m := &RootsWanted{Client: r.u32(), First: r.u32()}
	if err := r.end("roots wanted"); err != nil {
		return nil, err
	}
	return m, nil
}

// Roots answers RootsWanted (section 6.3).
//
//	u8 type | u32 client | u32 first | u8 count | count × 32
type Roots struct {
	Client uint32
	First  uint32
	Hashes [][32]byte // at most MaxRoots
}

// Append implements Message.
func (m *Roots) Append(b []byte) []byte {
	b = append(b, byte(TypeRoots))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = binary.BigEndian.AppendUint32(b, m.First)
	hashes := m.Hashes[:min(len(m.Hashes), MaxRoots)]
	b = append(b, byte(len(hashes)))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

func parseRoots(r *reader) (*Roots, error) {
	m := &Roots{Client: r.u32(), First: r.u32()}
	count := int(r.u8())
	r.check(count <= MaxRoots)
	if r.failed || len(r.b) != count*32 {
		r.failed = true
		return nil, r.end("roots")
	}
	m.Hashes = make([][32]byte, count)
	for i := range m.Hashes {
		r.copyTo(m.Hashes[i][:])
	}
	return m, r.end("roots")
}
