package wire

import "encoding/binary"

// NoticeKind is what a notice is about.
type NoticeKind uint8

// The notices of section 6.
const (
	NoticeEvicted NoticeKind = iota + 1
	NoticeGoUnicast
	NoticeEnded
	NoticeServerStops
	NoticeJoinAgain // with what one has: another session of the package is the right one now
	NoticeDropped   // too slow for the session
	NoticeCancelled // the operator cancelled the session
	NoticeMapWanted // once, of a client that hears no status
)

// Notice tells a client what it must do; sent three times, not acknowledged.
//
//	u8 type | u32 client | u8 kind | string text
type Notice struct {
	Client uint32
	Kind   NoticeKind
	Text   string
}

// Append implements Message.
func (m *Notice) Append(b []byte) []byte {
	b = append(b, byte(TypeNotice))
	return appendText(append(binary.BigEndian.AppendUint32(b, m.Client), byte(m.Kind)), m.Text)
}

func parseNotice(r *reader) (*Notice, error) {
	m := &Notice{Client: r.u32(), Kind: NoticeKind(r.u8()), Text: r.text()}
	r.check(m.Kind >= NoticeEvicted && m.Kind <= NoticeMapWanted)
	if err := r.end("notice"); err != nil {
		return nil, err
	}
	return m, nil
}
