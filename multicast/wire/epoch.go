package wire

import "encoding/binary"

// EpochWanted asks for the secret of an epoch that a group packet named
// (section 7, rekey).
//
//	u8 type | u32 client | u8 epoch seen
type EpochWanted struct {
	Client uint32
	Seen   uint8 // low 8 bits of the epoch number
}

// From implements Addressed.
func (m *EpochWanted) From() uint32 { return m.Client }

// Append implements Message.
func (m *EpochWanted) Append(b []byte) []byte {
	b = append(b, byte(TypeEpochWanted))
	return append(binary.BigEndian.AppendUint32(b, m.Client), m.Seen)
}

func parseEpochWanted(r *reader) (*EpochWanted, error) {
	m := &EpochWanted{Client: r.u32(), Seen: r.u8()}
	if err := r.end("epoch wanted"); err != nil {
		return nil, err
	}
	return m, nil
}

// Epoch hands out the current epoch's secret.
//
//	u8 type | u32 client | u32 number | 32 secret | u64 position
type Epoch struct {
	Client   uint32
	Number   uint32
	Secret   [32]byte
	Position uint64 // next packet number
}

// Append implements Message.
func (m *Epoch) Append(b []byte) []byte {
	b = append(b, byte(TypeEpoch))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = append(b, m.Secret[:]...)
	return binary.BigEndian.AppendUint64(b, m.Position)
}

func parseEpoch(r *reader) (*Epoch, error) {
	m := &Epoch{Client: r.u32(), Number: r.u32()}
	r.copyTo(m.Secret[:])
	m.Position = r.u64()
	if err := r.end("epoch"); err != nil {
		return nil, err
	}
	return m, nil
}

// EpochHeard tells that a client holds an epoch's secret.
//
//	u8 type | u32 client | u32 number
type EpochHeard struct {
	Client, Number uint32
}

// From implements Addressed.
func (m *EpochHeard) From() uint32 { return m.Client }

// Append implements Message.
func (m *EpochHeard) Append(b []byte) []byte {
	b = append(b, byte(TypeEpochHeard))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	return binary.BigEndian.AppendUint32(b, m.Number)
}

func parseEpochHeard(r *reader) (*EpochHeard, error) {
	m := &EpochHeard{Client: r.u32(), Number: r.u32()}
	if err := r.end("epoch heard"); err != nil {
		return nil, err
	}
	return m, nil
}
