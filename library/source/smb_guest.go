package source

import "encoding/binary"

// Where things stand in a message from the server ([MS-SMB2], sections 2.1, 2.2.1 and 2.2.6).
const (
	frameHeader  = 4  // a zero byte and the message's length, big endian
	smbHeader    = 64 // of the message
	commandAt    = 12
	flagsAt      = smbHeader + 2
	watchedBytes = flagsAt + 2

	sessionSetup = 1
	sessionGuest = 0x1 // SMB2_SESSION_FLAG_IS_GUEST
	sessionNull  = 0x2 // SMB2_SESSION_FLAG_IS_NULL
)

// guestWatch follows the messages of a stream by their lengths, and looks at the beginning of each. Answers to
// SESSION_SETUP are never encrypted; other messages may be, and don't matter.
type guestWatch struct {
	head [frameHeader + watchedBytes]byte
	have int   // bytes of head
	rest int64 // bytes of the message that are still to come after head
}

// take looks at what came next; it reports whether the server said that the session is a guest's or nobody's.
func (w *guestWatch) take(p []byte) (guest bool) {
	for len(p) > 0 {
		if w.rest > 0 {
			n := min(w.rest, int64(len(p)))
			w.rest -= n
			p = p[n:]
			continue
		}
		want := len(w.head)
		if w.have >= frameHeader {
			want = min(want, frameHeader+w.length())
		} else {
			want = frameHeader
		}
		n := copy(w.head[w.have:want], p)
		w.have += n
		p = p[n:]
		if w.have < want || want == frameHeader && w.length() > 0 {
			continue
		}
		guest = guest || w.isGuest()
		w.rest, w.have = int64(w.length()-(want-frameHeader)), 0
	}
	return guest
}

func (w *guestWatch) length() int { return int(binary.BigEndian.Uint32(w.head[:]) & 0xffffff) }

func (w *guestWatch) isGuest() bool {
	m := w.head[frameHeader:w.have]
	return len(m) == watchedBytes && string(m[:4]) == "\xfeSMB" && binary.LittleEndian.Uint16(m[commandAt:]) == sessionSetup &&
		binary.LittleEndian.Uint16(m[flagsAt:])&(sessionGuest|sessionNull) != 0
}
