package machine

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// System is what a machine's firmware says of the machine (SMBIOS, DSP0134, section
// 7.2). Fields that aren't there, or hold what makers leave in them, are zero.
type System struct {
	UUID   [16]byte // in the order that it is printed in
	Serial string
}

// maxFirmwareTable bounds a firmware table that is read, in bytes. Real ones have a
// few kB.
const maxFirmwareTable = 1 << 20

// parseFirmwareTable reads what Windows' GetSystemFirmwareTable returns for 'RSMB'
// (RawSMBIOSData): a header, then SMBIOS structures.
//
//	u8 calling method | u8 major | u8 minor | u8 DMI revision | u32 length of what follows, little-endian
func parseFirmwareTable(b []byte) (System, error) {
	const header = 8
	if len(b) < header || len(b) > maxFirmwareTable {
		return System{}, fmt.Errorf("read SMBIOS table: it has %d bytes", len(b))
	}
	length := binary.LittleEndian.Uint32(b[4:])
	if uint64(length) > uint64(len(b)-header) {
		return System{}, fmt.Errorf("read SMBIOS table: %d bytes where it claims %d", len(b)-header, length)
	}
	// Before 2.6 the order of a UUID's bytes wasn't said; Linux prints it as it lies.
	swapped := b[1] > 2 || b[1] == 2 && b[2] >= 6
	s, err := parseStructures(b[header:][:length], swapped)
	if err != nil {
		return System{}, fmt.Errorf("read SMBIOS table: %w", err)
	}
	return s, nil
}

// parseStructures finds the structure of type 1 among SMBIOS structures (section 6.1):
// a formatted area, then its strings, each ended by a zero byte, and one more.
//
//	u8 type | u8 length of the formatted area | u16 handle | ...
func parseStructures(b []byte, swapped bool) (System, error) {
	const (
		head       = 4
		typeSystem = 1
		typeEnd    = 127
	)
	for len(b) > 0 {
		if len(b) < head || b[1] < head || int(b[1]) > len(b) {
			return System{}, errors.New("a structure breaks off")
		}
		kind, area := b[0], b[:b[1]]
		if kind == typeEnd {
			break
		}
		texts, after, ok := bytes.Cut(b[len(area):], []byte{0, 0})
		if !ok {
			return System{}, errors.New("the strings of a structure have no end")
		}
		if kind == typeSystem {
			return parseSystem(area, bytes.Split(texts, []byte{0}), swapped)
		}
		b = after
	}
	return System{}, errors.New("no structure describes the system")
}

// parseSystem reads a structure of type 1.
//
//	head | u8 manufacturer | u8 product | u8 version | u8 serial | 16 UUID | ...   (string numbers from 1, 0 is none)
func parseSystem(area []byte, texts [][]byte, swapped bool) (System, error) {
	const serialAt, uuidAt = 7, 8
	var s System
	if len(area) > serialAt {
		switch n := int(area[serialAt]); {
		case n > len(texts):
			return System{}, fmt.Errorf("the serial number is string %d of %d", n, len(texts))
		case n > 0:
			s.Serial = usableSerial(string(texts[n-1]))
		}
	}
	if len(area) >= uuidAt+len(s.UUID) {
		uuid := [16]byte(area[uuidAt:])
		if swapped { // the first three fields are little-endian (section 7.2.1)
			slices.Reverse(uuid[0:4])
			slices.Reverse(uuid[4:6])
			slices.Reverse(uuid[6:8])
		}
		s.UUID = usableUUID(uuid)
	}
	return s, nil
}

// parseUUID reads a UUID as Linux prints it; what isn't one is zero.
func parseUUID(text string) [16]byte {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), "-", ""))
	if err != nil || len(b) != 16 {
		return [16]byte{}
	}
	return usableUUID([16]byte(b))
}

// usableUUID makes zero of those that tell no machine from another: all bits one, and
// the one that a maker of firmware gives as an example, which many boards have.
func usableUUID(u [16]byte) [16]byte {
	example := [16]byte{0x03, 0x00, 0x02, 0x00, 0x04, 0x00, 0x05, 0x00, 0x00, 0x06, 0x00, 0x07, 0x00, 0x08, 0x00, 0x09}
	if u == example || u == [16]byte(slices.Repeat([]byte{0xff}, 16)) {
		return [16]byte{}
	}
	return u
}

// usableSerial makes nothing of what makers leave in the field of a serial number,
// and of what isn't text.
func usableSerial(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 255 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	for _, filler := range []string{"To be filled by O.E.M.", "Default string", "System Serial Number", "None"} {
		if strings.EqualFold(s, filler) {
			return ""
		}
	}
	if strings.Trim(s, "0") == "" || strings.Trim(s, "Ff") == "" {
		return ""
	}
	return s
}
