package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Welcome gives a client all that it needs to hear a session (section 6.2).
type Welcome struct {
	Request    uint32
	Client     uint32 // the client's number in all further messages
	Session    [16]byte
	Mode       uint8 // crypto.Mode
	Unicast    bool  // the package may also be fetched by unicast
	OutOfReach bool  // TTL 1 won't carry the group to this client; Notice says so in words
	Overflow   bool  // the session has all the clients that it may: fetch by unicast at once; Notice says so in words
	// UnicastOnly: this client isn't allowed multicast, so fetch by unicast at once; Notice says why in words.
	UnicastOnly bool
	SymbolSize  uint16
	ImageSize   uint64
	Images      uint16 // in the WIM, 0 where that isn't known
	Index       uint16 // of the one to apply, from 1 on; 0: none is named, and there are several
	Room        uint64 // bytes that it takes unpacked; the least of all where none is named; 0 where that isn't known
	Digest      [32]byte
	Epoch       uint32
	Secret      [32]byte
	Position    uint64 // next packet number
	RateLimit   uint64 // bytes/s
	Group       netip.AddrPort
	Source      netip.Addr // where the group's packets come from; the zero Addr where it isn't known
	PublicKey   [32]byte   // Ed25519, signs status
	Resume      [16]byte
	HTTPSPort   uint16
	Token       [32]byte // for unicast, zero without
	Package     string   // name@version
	Notice      string
}

// Alone reports whether the client's session has no group.
func (m *Welcome) Alone() bool { return m.Overflow || m.UnicastOnly }

const (
	flagUnicast     = 1
	flagOutOfReach  = 2
	flagOverflow    = 4
	flagUnicastOnly = 8
)

// Append implements Message.
func (m *Welcome) Append(b []byte) []byte {
	b = append(b, byte(TypeWelcome))
	b = binary.BigEndian.AppendUint32(b, m.Request)
	b = binary.BigEndian.AppendUint32(b, m.Client)
	b = append(b, m.Session[:]...)
	var flags byte
	if m.Unicast {
		flags |= flagUnicast
	}
	if m.OutOfReach {
		flags |= flagOutOfReach
	}
	if m.Overflow {
		flags |= flagOverflow
	}
	if m.UnicastOnly {
		flags |= flagUnicastOnly
	}
	b = append(b, m.Mode, flags)
	b = binary.BigEndian.AppendUint16(b, m.SymbolSize)
	b = binary.BigEndian.AppendUint64(b, m.ImageSize)
	b = binary.BigEndian.AppendUint16(b, m.Images)
	b = binary.BigEndian.AppendUint16(b, m.Index)
	b = binary.BigEndian.AppendUint64(b, m.Room)
	b = append(b, m.Digest[:]...)
	b = binary.BigEndian.AppendUint32(b, m.Epoch)
	b = append(b, m.Secret[:]...)
	b = binary.BigEndian.AppendUint64(b, m.Position)
	b = binary.BigEndian.AppendUint64(b, m.RateLimit)
	b = appendAddr(b, m.Group.Addr())
	b = binary.BigEndian.AppendUint16(b, m.Group.Port())
	b = appendAddr(b, m.Source)
	b = append(b, m.PublicKey[:]...)
	b = append(b, m.Resume[:]...)
	b = binary.BigEndian.AppendUint16(b, m.HTTPSPort)
	b = append(b, m.Token[:]...)
	b = appendText(b, m.Package)
	return appendText(b, m.Notice)
}

func parseWelcome(r *reader) (*Welcome, error) {
	m := &Welcome{Request: r.u32(), Client: r.u32()}
	r.copyTo(m.Session[:])
	m.Mode = r.u8()
	flags := r.u8()
	r.check(flags <= flagUnicast|flagOutOfReach|flagOverflow|flagUnicastOnly)
	m.Unicast, m.OutOfReach, m.Overflow = flags&flagUnicast != 0, flags&flagOutOfReach != 0, flags&flagOverflow != 0
	m.UnicastOnly = flags&flagUnicastOnly != 0
	m.SymbolSize, m.ImageSize = r.u16(), r.u64()
	m.Images, m.Index, m.Room = r.u16(), r.u16(), r.u64()
	r.check(m.Index <= m.Images)
	r.copyTo(m.Digest[:])
	m.Epoch = r.u32()
	r.copyTo(m.Secret[:])
	m.Position, m.RateLimit = r.u64(), r.u64()
	addr := r.addr()
	m.Group = netip.AddrPortFrom(addr, r.u16())
	m.Source = r.addr()
	r.copyTo(m.PublicKey[:])
	r.copyTo(m.Resume[:])
	m.HTTPSPort = r.u16()
	r.copyTo(m.Token[:])
	m.Package, m.Notice = r.text(), r.text()
	if err := r.end("welcome"); err != nil {
		return nil, err
	}
	return m, nil
}

// RefusedCode says why a join was refused.
type RefusedCode uint8

// The codes of section 6.2.
const (
	UnknownPackage RefusedCode = iota + 1
	NotAllowed
	MulticastOff
	Full
	OutOfService
	Evicted
	OtherVersion
	ServerStops
	TooSlowRefused // was dropped from the session, as it is too slow for it
	Cancelled      // the operator cancelled the session that this client waited for or was in
	PINWanted      // the certificate opens nothing before a PIN was shown
	PINWrong
	PINLater // too many tries just now, or nobody has set a PIN yet
)

// String returns the code's word, as in metrics and the API.
func (c RefusedCode) String() string {
	words := [...]string{"", "unknown_package", "not_allowed", "multicast_off", "full", "out_of_service", "evicted", "version", "server_stops", "too_slow", "cancelled", "pin_wanted", "pin_wrong", "pin_later"}
	if c == 0 || int(c) >= len(words) {
		return fmt.Sprintf("refused(%d)", uint8(c))
	}
	return words[c]
}

// Refused answers a join that can't be welcomed (section 6.2).
type Refused struct {
	Request uint32
	Code    RefusedCode
	Text    string // one sentence with what to do next
}

// Append implements Message.
func (m *Refused) Append(b []byte) []byte {
	b = append(b, byte(TypeRefused))
	b = binary.BigEndian.AppendUint32(b, m.Request)
	return appendText(append(b, byte(m.Code)), m.Text)
}

func parseRefused(r *reader) (*Refused, error) {
	m := &Refused{Request: r.u32(), Code: RefusedCode(r.u8()), Text: r.text()}
	if err := r.end("refused"); err != nil {
		return nil, err
	}
	return m, nil
}
