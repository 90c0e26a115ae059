package wire

import (
	"encoding/binary"
	"fmt"
)

// Reason says why a client takes, or is sent to, unicast. The words are the
// labels of wimcast_unicast_fallbacks_total.
type Reason uint8

// The reasons.
const (
	GroupSilent  Reason = iota + 1 // joined the group, heard nothing
	OutOfReach                     // its packets don't get here: TTL 1 or their size
	JoinFailed                     // the operating system refused to join the group
	Costly                         // the client alone caused more than an image of repair
	OperatorHand                   // the operator decided
	TooSlow                        // slow for the grace, and the policy says so
	Overflow                       // the session has all the clients that it may
	UnicastOnly                    // isn't allowed multicast: by its certificate's role, or by the package's flag
)

var reasonWords = [...]string{"", "group_silent", "out_of_reach", "join_failed", "costly", "operator", "too_slow", "overflow", "unicast_only"}

// String returns the reason's word.
func (r Reason) String() string {
	if r == 0 || int(r) >= len(reasonWords) {
		return fmt.Sprintf("reason(%d)", uint8(r))
	}
	return reasonWords[r]
}

// Reasons returns all of them: a closed list.
func Reasons() []Reason {
	all := make([]Reason, len(reasonWords)-1)
	for i := range all {
		all[i] = Reason(i + 1)
	}
	return all
}

// UnicastWanted asks to take the rest by unicast.
//
//	u8 type | u32 client | u8 reason
type UnicastWanted struct {
	Client uint32
	Reason Reason
}

// From implements Addressed.
func (m *UnicastWanted) From() uint32 { return m.Client }

// Append implements Message.
func (m *UnicastWanted) Append(b []byte) []byte {
	b = append(b, byte(TypeUnicastWanted))
	return append(binary.BigEndian.AppendUint32(b, m.Client), byte(m.Reason))
}

func parseUnicastWanted(r *reader) (*UnicastWanted, error) {
	m := &UnicastWanted{Client: r.u32(), Reason: Reason(r.u8())}
	if err := r.end("unicast wanted"); err != nil {
		return nil, err
	}
	return m, nil
}

// UnicastAnswer answers UnicastWanted.
//
//	u8 type | u32 client | u8 verdict (0 no, 1 granted, 2 later) | string text
type UnicastAnswer struct {
	Client  uint32
	Granted bool
	Later   bool   // ask again: the session hasn't started
	Text    string // why not
}

// Append implements Message.
func (m *UnicastAnswer) Append(b []byte) []byte {
	b = append(b, byte(TypeUnicastAnswer))
	b = binary.BigEndian.AppendUint32(b, m.Client)
	var verdict byte
	switch {
	case m.Granted:
		verdict = 1
	case m.Later:
		verdict = 2
	}
	return appendText(append(b, verdict), m.Text)
}

func parseUnicastAnswer(r *reader) (*UnicastAnswer, error) {
	m := &UnicastAnswer{Client: r.u32()}
	verdict := r.u8()
	r.check(verdict <= 2)
	m.Granted, m.Later, m.Text = verdict == 1, verdict == 2, r.text()
	if err := r.end("unicast answer"); err != nil {
		return nil, err
	}
	return m, nil
}
