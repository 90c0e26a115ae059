package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Bounds of a probe burst (section 6.8).
const (
	// MaxProbeSizes is how many sizes of packets a burst has at most.
	MaxProbeSizes = 16
	// MinProbeSize is the least UDP payload of its packets: header, seal, and a byte.
	MinProbeSize = HeaderLen + 16 + 1
	// MaxProbePackets bounds a burst.
	MaxProbePackets = 1 << 20
)

// KindProbe is a packet of a probe burst: header, zeros, sealed (section 4.3). Its tag and its keys are the grant's.
const KindProbe Kind = Version<<4 | 4

// ProbeWanted asks for a probe burst (section 6.8). It needs no join.
//
//	u8 type | u32 request | u16 largest UDP payload the client takes
type ProbeWanted struct {
	Request    uint32
	MaxPayload uint16
}

// Append implements Message.
func (m *ProbeWanted) Append(b []byte) []byte {
	b = append(b, byte(TypeProbeWanted))
	b = binary.BigEndian.AppendUint32(b, m.Request)
	return binary.BigEndian.AppendUint16(b, m.MaxPayload)
}

func parseProbeWanted(r *reader) (*ProbeWanted, error) {
	m := &ProbeWanted{Request: r.u32(), MaxPayload: r.u16()}
	if err := r.end("probe wanted"); err != nil {
		return nil, err
	}
	return m, nil
}

// Querier is what a server knows of the IGMP querier of a client's network.
type Querier uint8

// What a server may know.
const (
	QuerierUnknown Querier = iota // it can't listen, or not long enough
	QuerierHeard
	QuerierNone // it listened for the time that is told, and heard none
)

// ProbeGranted announces a probe burst. Packet i of the burst, counted from 0, has packet number i + 1 and Sizes[i mod
// len(Sizes)] bytes of UDP payload, header and seal included.
//
//	u8 type | u32 request | 16 session id | 32 secret | u8 flags (1 out of reach) | u8 querier | u32 seconds of it
//	u8 address length, group address, u16 port | u8 address length, source address
//	u32 packets | u16 ms until the first | u16 ms of the burst | u16 session's packet | u64 ceiling
//	u8 count, count × u16 size
type ProbeGranted struct {
	Request     uint32
	Session     [16]byte
	Secret      [32]byte
	OutOfReach  bool    // TTL 1 doesn't get to this client
	Querier     Querier // on the client's network
	QuerierFor  time.Duration
	Group       netip.AddrPort
	Source      netip.Addr // that packets come from; may be zero
	Packets     uint32
	Start       time.Duration // from this message to the first packet, whole ms
	Length      time.Duration // of the burst, whole ms
	SessionSize uint16        // UDP payload of a session's packets, bytes
	Ceiling     uint64        // bytes/s that all sessions together may send
	Sizes       []uint16
}

const flagProbeOutOfReach = 1

// Append implements Message.
func (m *ProbeGranted) Append(b []byte) []byte {
	b = append(b, byte(TypeProbeGranted))
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = append(append(b, m.Session[:]...), m.Secret[:]...)
	var flags byte
	if m.OutOfReach {
		flags |= flagProbeOutOfReach
	}
	b = append(b, flags, byte(m.Querier))
	b = binary.BigEndian.AppendUint32(b, uint32(min(max(m.QuerierFor/time.Second, 0), math.MaxUint32)))
	b = binary.BigEndian.AppendUint16(appendAddr(b, m.Group.Addr()), m.Group.Port())
	b = appendAddr(b, m.Source)
	b = binary.BigEndian.AppendUint32(b, m.Packets)
	for _, d := range []time.Duration{m.Start, m.Length} {
		b = binary.BigEndian.AppendUint16(b, uint16(min(max(d/time.Millisecond, 0), math.MaxUint16)))
	}
	b = binary.BigEndian.AppendUint16(b, m.SessionSize)
	b = binary.BigEndian.AppendUint64(b, m.Ceiling)
	sizes := m.Sizes[:min(len(m.Sizes), MaxProbeSizes)]
	b = append(b, byte(len(sizes)))
	for _, size := range sizes {
		b = binary.BigEndian.AppendUint16(b, size)
	}
	return b
}

func parseProbeGranted(r *reader) (*ProbeGranted, error) {
	m := &ProbeGranted{Request: r.u32()}
	r.copyTo(m.Session[:])
	r.copyTo(m.Secret[:])
	flags := r.u8()
	r.check(flags <= flagProbeOutOfReach)
	m.OutOfReach = flags != 0
	m.Querier = Querier(r.u8())
	r.check(m.Querier <= QuerierNone)
	m.QuerierFor = time.Duration(r.u32()) * time.Second
	addr := r.addr()
	m.Group = netip.AddrPortFrom(addr, r.u16())
	r.check(addr.IsMulticast() && m.Group.Port() != 0)
	m.Source = r.addr()
	m.Packets = r.u32()
	r.check(m.Packets > 0 && m.Packets <= MaxProbePackets)
	m.Start, m.Length = time.Duration(r.u16())*time.Millisecond, time.Duration(r.u16())*time.Millisecond
	m.SessionSize, m.Ceiling = r.u16(), r.u64()
	n := int(r.u8())
	r.check(n > 0 && n <= MaxProbeSizes)
	for range n {
		size := r.u16()
		r.check(size >= MinProbeSize)
		if r.failed {
			break
		}
		m.Sizes = append(m.Sizes, size)
	}
	if err := r.end("probe granted"); err != nil {
		return nil, err
	}
	return m, nil
}

// ProbeCode says why there is no probe burst.
type ProbeCode uint8

// The reasons.
const (
	ProbeForbidden ProbeCode = iota + 1 // by the operator
	ProbeTooSoon                        // one a minute for a network
	ProbeNoGroup                        // no group or no interface for it
	ProbeStops                          // the server stops
)

// String returns the reason's word.
func (c ProbeCode) String() string {
	words := [...]string{"", "forbidden", "too_soon", "no_group", "server_stops"}
	if c == 0 || int(c) >= len(words) {
		return fmt.Sprintf("code(%d)", uint8(c))
	}
	return words[c]
}

// ProbeRefused says that there is no probe burst.
//
//	u8 type | u32 request | u8 code | u32 ms after which it may be asked for again (0: never) | string text
type ProbeRefused struct {
	Request uint32
	Code    ProbeCode
	Again   time.Duration
	Text    string
}

// Append implements Message.
func (m *ProbeRefused) Append(b []byte) []byte {
	b = append(b, byte(TypeProbeRefused))
	b = append(binary.BigEndian.AppendUint32(b, m.Request), byte(m.Code))
	b = binary.BigEndian.AppendUint32(b, uint32(min(max(m.Again/time.Millisecond, 0), math.MaxUint32)))
	return appendText(b, m.Text)
}

func parseProbeRefused(r *reader) (*ProbeRefused, error) {
	m := &ProbeRefused{Request: r.u32(), Code: ProbeCode(r.u8()), Again: time.Duration(r.u32()) * time.Millisecond}
	r.check(m.Code >= ProbeForbidden && m.Code <= ProbeStops)
	m.Text = r.text()
	if err := r.end("probe refused"); err != nil {
		return nil, err
	}
	return m, nil
}

// ProbeSent says that a burst is over, and how many of its packets were sent: fewer than granted where the server was late. It is sent three times.
//
//	u8 type | u32 request | u32 packets
type ProbeSent struct {
	Request uint32
	Packets uint32
}

// Append implements Message.
func (m *ProbeSent) Append(b []byte) []byte {
	b = append(b, byte(TypeProbeSent))
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, m.Request), m.Packets)
}

func parseProbeSent(r *reader) (*ProbeSent, error) {
	m := &ProbeSent{Request: r.u32(), Packets: r.u32()}
	r.check(m.Packets <= MaxProbePackets)
	if err := r.end("probe sent"); err != nil {
		return nil, err
	}
	return m, nil
}
