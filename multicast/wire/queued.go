package wire

import (
	"encoding/binary"
	"math"
	"time"
)

// Queued answers a join for which there is no place yet (section 6.2). Whoever asks again in time keeps its place.
type Queued struct {
	Request uint32
	Place   uint32        // from 1 on, among those who wait for the same
	Again   time.Duration // ask again after, whole ms on the wire, at most 65 s
	Text    string        // what for
}

// Append implements Message.
func (m *Queued) Append(b []byte) []byte {
	b = append(b, byte(TypeQueued))
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = binary.BigEndian.AppendUint32(b, m.Place)
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(m.Again/time.Millisecond, 0), math.MaxUint16)))
	return appendText(b, m.Text)
}

func parseQueued(r *reader) (*Queued, error) {
	m := &Queued{Request: r.u32(), Place: r.u32(), Again: time.Duration(r.u16()) * time.Millisecond, Text: r.text()}
	if err := r.end("queued"); err != nil {
		return nil, err
	}
	return m, nil
}
