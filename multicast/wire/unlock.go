package wire

import (
	"encoding/binary"
	"math"
	"time"
)

// Unlock shows a PIN, or the pass of an earlier answer, before a join that wants one (section 6.10).
//
//	u8 type | u32 request | 16 pass | string PIN
type Unlock struct {
	Request uint32   // repeated in the answer; one for each try, so that a repeated message isn't another one
	Pass    [16]byte // of an earlier Unlocked, or zero
	PIN     string   // empty with a pass
}

// Append implements Message.
func (m *Unlock) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(TypeUnlock)), m.Request)
	return appendText(append(b, m.Pass[:]...), m.PIN)
}

func parseUnlock(r *reader) (*Unlock, error) {
	m := &Unlock{Request: r.u32()}
	r.copyTo(m.Pass[:])
	m.PIN = r.text()
	if err := r.end("unlock"); err != nil {
		return nil, err
	}
	return m, nil
}

// Unlocked answers Unlock.
//
//	u8 type | u32 request | u8 code (0 unlocked, or of refused: 11, 12, 13) | u16 ms | 16 pass | string text
type Unlocked struct {
	Request uint32
	Code    RefusedCode   // 0: the control channel is unlocked
	Again   time.Duration // with PINLater: try again after, whole ms on the wire, at most 65 s
	Pass    [16]byte      // opens another control channel to the same server without the PIN
	Text    string        // why not, one sentence
}

// Append implements Message.
func (m *Unlocked) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(TypeUnlocked)), m.Request)
	b = append(b, byte(m.Code))
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(m.Again/time.Millisecond, 0), math.MaxUint16)))
	return appendText(append(b, m.Pass[:]...), m.Text)
}

func parseUnlocked(r *reader) (*Unlocked, error) {
	m := &Unlocked{Request: r.u32(), Code: RefusedCode(r.u8()), Again: time.Duration(r.u16()) * time.Millisecond}
	r.check(m.Code == 0 || m.Code >= PINWanted && m.Code <= PINLater)
	r.copyTo(m.Pass[:])
	m.Text = r.text()
	if err := r.end("unlocked"); err != nil {
		return nil, err
	}
	return m, nil
}
