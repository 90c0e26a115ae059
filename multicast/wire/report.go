package wire

import (
	"encoding/binary"
	"time"
)

// Report tells the server how a client receives (section 6.5). Counters run
// from the client's join.
type Report struct {
	Client       uint32
	Sequence     uint32
	AnswerWanted bool
	OnUnicast    bool
	GroupSilent  bool
	Echo         uint64        // packet number of the newest status, 0 for none
	Held         time.Duration // since that status arrived, whole µs
	Highest      uint64        // packet number
	Opened       uint64        // packets
	Lost         uint64        // packets, after hold-off
	KernelDrops  uint64        // datagrams dropped in the receive buffer
	DiskDrops    uint64        // symbols dropped as the disk was late
	Delivery     uint64        // bytes/s of the last period
	Loss         uint32        // of the last period, parts per million
	Delay        time.Duration // one way, above its 10 s minimum, whole µs
	Proven       uint32        // blocks of the image
	Rejected     uint32        // blocks whose hash failed
	Rejoins      uint16        // of the group
}

const (
	flagAnswerWanted = 1
	flagOnUnicast    = 2
	flagGroupSilent  = 4
)

// From implements Addressed.
func (m *Report) From() uint32 { return m.Client }

// Append implements Message.
func (m *Report) Append(b []byte) []byte {
	b = append(b, byte(TypeReport))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = binary.BigEndian.AppendUint32(b, m.Sequence)
	var flags byte
	if m.AnswerWanted {
		flags |= flagAnswerWanted
	}
	if m.OnUnicast {
		flags |= flagOnUnicast
	}
	if m.GroupSilent {
		flags |= flagGroupSilent
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, m.Echo)
	b = binary.BigEndian.AppendUint32(b, uint32(m.Held/time.Microsecond))
	for _, v := range []uint64{m.Highest, m.Opened, m.Lost, m.KernelDrops, m.DiskDrops, m.Delivery} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, m.Loss)
	b = binary.BigEndian.AppendUint32(b, uint32(m.Delay/time.Microsecond))
	b = binary.BigEndian.AppendUint32(b, m.Proven)
	b = binary.BigEndian.AppendUint32(b, m.Rejected)
	return binary.BigEndian.AppendUint16(b, m.Rejoins)
}

func parseReport(r *reader) (*Report, error) {
	m := &Report{Client: r.u32(), Sequence: r.u32()}
	flags := r.u8()
	r.check(flags <= flagAnswerWanted|flagOnUnicast|flagGroupSilent)
	m.AnswerWanted, m.OnUnicast, m.GroupSilent = flags&flagAnswerWanted != 0, flags&flagOnUnicast != 0, flags&flagGroupSilent != 0
	m.Echo = r.u64()
	m.Held = time.Duration(r.u32()) * time.Microsecond
	m.Highest, m.Opened, m.Lost = r.u64(), r.u64(), r.u64()
	m.KernelDrops, m.DiskDrops, m.Delivery = r.u64(), r.u64(), r.u64()
	m.Loss = r.u32()
	m.Delay = time.Duration(r.u32()) * time.Microsecond
	m.Proven, m.Rejected, m.Rejoins = r.u32(), r.u32(), r.u16()
	if err := r.end("report"); err != nil {
		return nil, err
	}
	return m, nil
}

// ReportHeard answers a report that asked for it: the server lives.
//
//	u8 type | u32 client | u32 sequence
type ReportHeard struct {
	Client, Sequence uint32
}

// Append implements Message.
func (m *ReportHeard) Append(b []byte) []byte {
	b = append(b, byte(TypeReportHeard))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	return binary.BigEndian.AppendUint32(b, m.Sequence)
}

func parseReportHeard(r *reader) (*ReportHeard, error) {
	m := &ReportHeard{Client: r.u32(), Sequence: r.u32()}
	if err := r.end("report heard"); err != nil {
		return nil, err
	}
	return m, nil
}
