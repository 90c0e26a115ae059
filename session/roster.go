package session

import (
	"cmp"
	"crypto/rand"
	"slices"
	"time"

	"wimcast/multicast/wire"
)

// Implementation constants of membership (section 7).
const (
	unheardQuiet = 3 * time.Second  // counts neither for rate nor for need
	unheardLost  = 60 * time.Second // leaves the session
	nacksPerSec  = 50               // a client's NACK allowance
)

// member is a client in the books of its session. Only the session's goroutine
// touches it.
type member struct {
	number uint32
	link   *link
	nonce  [16]byte
	resume [16]byte
	token  [32]byte // for unicast; zero once revoked

	unicast bool // the package allows it, and the client wants it

	info    ClientInfo
	told    told[ClientState]
	epoch   uint32 // the newest it confirmed
	given   uint32 // the newest that it was sent
	barred  bool   // evicted after it had ended
	caused  int64  // symbols sent for this client alone
	notices notices

	most     int  // blocks that it said at most to have proven
	muteTold bool // the log says that it is muted

	allowance float64 // NACKs it may still send
	refilled  time.Time
	last      wire.Report // for differences between reports
	pace      pace
	maps      mapHearing
	asked     int64         // symbols that it alone asked for, of what went out since its join
	from      uint64        // packet number at its join
	reported  uint64        // packet number at its latest report
	first     []uint64      // packet numbers up to which it told need at its join
	clean     time.Duration // in a slower session: how long it has kept up
}

// lossSoFar is the share of packets that the client lost since its join.
func (m *member) lossSoFar() float64 {
	if m.info.Lost == 0 {
		return 0
	}
	return float64(m.info.Lost) / float64(m.info.Lost+m.info.Opened)
}

// quiet reports whether the client has been unheard for so long that it doesn't count.
func (m *member) quiet(now time.Time) bool { return now.Sub(m.info.Heard) > unheardQuiet }

// allowNACK takes one from the client's allowance.
func (m *member) allowNACK(now time.Time) bool {
	m.allowance = min(nacksPerSec, m.allowance+now.Sub(m.refilled).Seconds()*nacksPerSec)
	m.refilled = now
	if m.allowance < 1 {
		m.info.Muted = true
		return false
	}
	m.allowance--
	m.info.Muted = false
	return true
}

// key identifies a machine for as long as a session lasts: SMBIOS UUID, then
// serial, then MAC, then the name (docs/security.md says what that proves).
func machineKey(peer Peer, m wire.Machine) string {
	switch {
	case m.UUID != [16]byte{} && m.UUID != [16]byte(slices.Repeat([]byte{0xff}, 16)):
		return "uuid:" + string(m.UUID[:])
	case m.Serial != "":
		return "serial:" + m.Serial
	case m.MACs != "":
		return "mac:" + m.MACs
	}
	return "name:" + peer.Serial + "/" + m.Host
}

// roster is the clients of one session.
type roster struct {
	members map[uint32]*member
}

func newRoster() *roster {
	return &roster{members: map[uint32]*member{}}
}

// sorted returns the members by number.
func (r *roster) sorted() []*member {
	out := make([]*member, 0, len(r.members))
	for _, m := range r.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *member) int { return cmp.Compare(a.number, b.number) })
	return out
}

// present counts members that haven't ended.
func (r *roster) present() int {
	n := 0
	for _, m := range r.members {
		if !m.info.State.ended() {
			n++
		}
	}
	return n
}

// find returns the member that a join belongs to: the same program run on the
// same association, or the holder of the resume token. Nothing else that a join claims takes over a place.
func (r *roster) find(l *link, join *wire.Join) *member {
	for _, m := range r.members {
		if m.link == l && m.nonce == join.Nonce {
			return m
		}
		if join.Resume != [16]byte{} && join.Resume == m.resume {
			return m
		}
	}
	return nil
}

// notices repeats a notice to a client, as it isn't acknowledged.
type notices struct {
	message *wire.Notice
	left    int
	next    time.Time
}

const (
	noticeTimes = 3
	noticeEvery = 200 * time.Millisecond
)

func (m *member) notify(now time.Time, kind wire.NoticeKind, text string) {
	m.notices = notices{message: &wire.Notice{Client: m.number, Kind: kind, Text: text}, left: noticeTimes, next: now}
}

// tendNotice sends a notice that is due.
func (m *member) tendNotice(now time.Time) {
	if m.notices.left == 0 || now.Before(m.notices.next) {
		return
	}
	m.notices.left--
	m.notices.next = now.Add(noticeEvery)
	m.link.send(m.notices.message)
}

func randomToken[T [16]byte | [32]byte]() T {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	var t T
	switch p := any(&t).(type) {
	case *[16]byte:
		copy(p[:], b[:])
	case *[32]byte:
		copy(p[:], b[:])
	}
	return t
}
