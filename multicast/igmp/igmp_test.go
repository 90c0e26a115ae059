package igmp

import (
	"encoding/binary"
	"testing"
)

// message makes an IGMP message with a right checksum.
func message(b ...byte) []byte {
	b = append([]byte(nil), b...)
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		b       []byte
		version int
	}{
		"version 1":                {message(0x11, 0, 0, 0, 0, 0, 0, 0), 1},
		"version 2":                {message(0x11, 100, 0, 0, 0, 0, 0, 0), 2},
		"version 3":                {message(0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0), 3},
		"version 3 with a source":  {message(0x11, 100, 0, 0, 239, 1, 2, 3, 2, 125, 0, 1, 10, 0, 0, 1), 3},
		"a report":                 {message(0x22, 0, 0, 0, 0, 0, 0, 0), 0},
		"too short":                {[]byte{0x11, 0, 0xee, 0xff, 0, 0, 0}, 0},
		"between two versions":     {message(0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125), 0},
		"a wrong checksum":         {[]byte{0x11, 100, 0, 0, 0, 0, 0, 0}, 0},
		"nothing":                  {nil, 0},
		"an odd number of its own": {message(0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0, 1), 3},
	} {
		if version, query := parse(tc.b); version != tc.version || query != (tc.version > 0) {
			t.Errorf("%s: version %d, %v, want %d", name, version, query, tc.version)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if version, query := parse(b); query != (version >= 1 && version <= 3) {
			t.Errorf("%x: version %d, %v", b, version, query)
		}
	})
}

func TestVersionIn(t *testing.T) {
	const table = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n" +
		"1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"4\teth0      :     2      V2\n\t\t\t\t0110C3EF     1 1:000003E8\t\t0\n" +
		"5\teth0.100  :     2      V1\n"
	for name, want := range map[string]int{"lo": 3, "eth0": 2, "eth0.100": 1, "eth1": 0, "Device": 0, "": 0} {
		if got, ok := versionIn(table, name); got != want || ok != (want > 0) {
			t.Errorf("%q: version %d, %v, want %d", name, got, ok, want)
		}
	}
}
