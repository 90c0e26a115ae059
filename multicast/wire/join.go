package wire

import "encoding/binary"

// Join asks for a place in a session of a package (section 6.1).
//
//	u8 type | u8 version | u32 request | 16 client nonce | 16 resume token | u8 flags (1 no unicast, 2 cast begun) | u16 largest UDP payload
//	16 SMBIOS UUID | string serial | string MACs | string host | string package | 32 digest held | u32 blocks held
type Join struct {
	Request    uint32   // repeated in the answer
	Nonce      [16]byte // one for each run of the client program
	Resume     [16]byte // token of an earlier welcome, or zero
	NoUnicast  bool     // the client won't fetch by unicast
	Begun      bool     // the package was being cast already when the client last heard: there is nothing more to wait for
	MaxPayload uint16   // largest UDP payload that reaches the client, in bytes
	Machine    Machine
	Package    string   // name, name@version or digest
	Held       [32]byte // digest of what is held already, or zero
	HeldBlocks uint32
}

// Machine is what a client claims to be. It is shown, never trusted.
type Machine struct {
	UUID   [16]byte // SMBIOS system UUID, or zero
	Serial string
	MACs   string // comma-separated
	Host   string
}

const (
	flagNoUnicast = 1
	flagBegun     = 2
)

// Append implements Message.
func (m *Join) Append(b []byte) []byte {
	b = append(b, byte(TypeJoin), Version)
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = append(b, m.Nonce[:]...)
	b = append(b, m.Resume[:]...)
	var flags byte
	if m.NoUnicast {
		flags |= flagNoUnicast
	}
	if m.Begun {
		flags |= flagBegun
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint16(b, m.MaxPayload)
	b = append(b, m.Machine.UUID[:]...)
	b = appendText(b, m.Machine.Serial)
	b = appendText(b, m.Machine.MACs)
	b = appendText(b, m.Machine.Host)
	b = appendText(b, m.Package)
	b = append(b, m.Held[:]...)
	return binary.BigEndian.AppendUint32(b, m.HeldBlocks)
}

func parseJoin(r *reader) (*Join, error) {
	m := new(Join)
	r.check(r.u8() == Version)
	m.Request = r.u32()
	r.copyTo(m.Nonce[:])
	r.copyTo(m.Resume[:])
	flags := r.u8()
	r.check(flags <= flagNoUnicast|flagBegun)
	m.NoUnicast, m.Begun = flags&flagNoUnicast != 0, flags&flagBegun != 0
	m.MaxPayload = r.u16()
	r.copyTo(m.Machine.UUID[:])
	m.Machine.Serial, m.Machine.MACs, m.Machine.Host, m.Package = r.text(), r.text(), r.text(), r.text()
	r.copyTo(m.Held[:])
	m.HeldBlocks = r.u32()
	if err := r.end("join"); err != nil {
		return nil, err
	}
	return m, nil
}
