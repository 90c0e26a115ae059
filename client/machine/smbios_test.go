package machine

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

// rawSMBIOS makes RawSMBIOSData of structures.
func rawSMBIOS(major, minor byte, structures ...[]byte) []byte {
	body := slices.Concat(structures...)
	return append(binary.LittleEndian.AppendUint32([]byte{0, major, minor, 0}, uint32(len(body))), body...)
}

// structure makes an SMBIOS structure: the formatted area without its head, and strings.
func structure(kind byte, area []byte, texts ...string) []byte {
	b := append([]byte{kind, byte(4 + len(area)), 0x34, 0x12}, area...)
	for _, text := range texts {
		b = append(append(b, text...), 0)
	}
	if len(texts) == 0 {
		b = append(b, 0)
	}
	return append(b, 0)
}

// systemArea is a formatted area of type 1: four string numbers, UUID, and what came later.
func systemArea(serial byte, uuid [16]byte) []byte {
	return slices.Concat([]byte{1, 2, 0, serial}, uuid[:], []byte{6, 0, 0})
}

var (
	// As it lies in a table, and as it is printed: 00112233-4455-6677-8899-aabbccddeeff.
	storedUUID  = [16]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
	printedUUID = parseUUID("00112233-4455-6677-8899-aabbccddeeff")
)

func TestParseFirmwareTable(t *testing.T) {
	bios := structure(0, make([]byte, 20), "Maker", "1.0", "01/02/2026")
	bare := structure(3, []byte{1, 2})
	end := structure(127, nil)
	good := structure(1, systemArea(3, storedUUID), "Maker", "Model 7", " PC-0042 ")
	wanted := System{printedUUID, "PC-0042"}
	for name, tc := range map[string]struct {
		raw  []byte
		want System
	}{
		"first":               {rawSMBIOS(3, 2, good, end), wanted},
		"after others":        {rawSMBIOS(2, 8, bios, bare, good, end), wanted},
		"no end mark":         {rawSMBIOS(2, 6, good), wanted},
		"bytes after its end": {append(rawSMBIOS(2, 6, good), "more"...), wanted},
		"before 2.6":          {rawSMBIOS(2, 5, good), System{storedUUID, "PC-0042"}},
		"no serial":           {rawSMBIOS(3, 0, structure(1, systemArea(0, storedUUID), "Maker", "Model 7")), System{UUID: printedUUID}},
		"of version 2.0":      {rawSMBIOS(2, 0, structure(1, []byte{1, 2, 0, 3}, "Maker", "Model 7", "PC-0042")), System{Serial: "PC-0042"}},
		"of no fields":        {rawSMBIOS(2, 0, structure(1, nil)), System{}},
		"a maker's leavings":  {rawSMBIOS(3, 0, structure(1, systemArea(1, [16]byte{}), "To be filled by O.E.M.")), System{}},
		"all bits one":        {rawSMBIOS(3, 0, structure(1, systemArea(1, [16]byte(slices.Repeat([]byte{0xff}, 16))), "X1")), System{Serial: "X1"}},
		"the maker's example": {rawSMBIOS(3, 0, structure(1, systemArea(1, [16]byte{0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8, 0, 9}), "X1")), System{Serial: "X1"}},
	} {
		if got, err := parseFirmwareTable(tc.raw); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tc.want)
		}
	}

	whole := rawSMBIOS(3, 2, bios, good)
	for n := range len(whole) {
		if _, err := parseFirmwareTable(whole[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: accepted", n, len(whole))
		}
		if n < 8 {
			continue
		}
		cut := slices.Clone(whole[:n])
		binary.LittleEndian.PutUint32(cut[4:], uint32(n-8))
		if _, err := parseFirmwareTable(cut); err == nil {
			t.Errorf("structures cut to %d bytes: accepted", n-8)
		}
	}
	for name, raw := range map[string][]byte{
		"no system":                 rawSMBIOS(3, 0, bios, end),
		"system after the end":      rawSMBIOS(3, 0, end, good),
		"area shorter than a head":  rawSMBIOS(3, 0, []byte{0, 3, 0, 0, 0, 0}, good),
		"area beyond the table":     rawSMBIOS(3, 0, []byte{1, 255, 0, 0, 0, 0}),
		"serial beyond the strings": rawSMBIOS(3, 0, structure(1, systemArea(4, storedUUID), "Maker", "Model 7", "PC-0042")),
		"length of 4 GiB":           {0, 3, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 0},
		"huge":                      make([]byte, maxFirmwareTable+1),
	} {
		if got, err := parseFirmwareTable(raw); err == nil || !strings.HasPrefix(err.Error(), "read SMBIOS table: ") {
			t.Errorf("%s: %+v, %v; want an error", name, got, err)
		}
	}
}

func TestUsable(t *testing.T) {
	for _, filler := range []string{
		"", " ", "0", "00000000", "FFFFFFFF", "ffff", "None", "NONE", "To be filled by O.E.M.", "To Be Filled By O.E.M.", "Default string",
		"System Serial Number", " Default string\n", "a\x1b[2J", "a\xff", strings.Repeat("x", 256),
	} {
		if got := usableSerial(filler); got != "" {
			t.Errorf("serial %q is taken for %q", filler, got)
		}
	}
	for given, want := range map[string]string{"PC-0042\n": "PC-0042", "0042": "0042", "F00D": "F00D", "VMware-56 4d 1e": "VMware-56 4d 1e"} {
		if got := usableSerial(given); got != want {
			t.Errorf("serial %q is taken for %q, want %q", given, got, want)
		}
	}
	for _, filler := range []string{
		"", "x", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "03000200-0400-0500-0006-000700080009",
		"00112233-4455-6677-8899-aabbccddee", "00112233-4455-6677-8899-aabbccddeeff00", "Not Settable",
	} {
		if got := parseUUID(filler); got != [16]byte{} {
			t.Errorf("UUID %q is taken for %x", filler, got)
		}
	}
	if got := parseUUID("00112233-4455-6677-8899-AABBCCDDEEFF\n"); hex.EncodeToString(got[:]) != "00112233445566778899aabbccddeeff" {
		t.Errorf("UUID is read as %x", got)
	}
}

func FuzzParseFirmwareTable(f *testing.F) {
	f.Add(rawSMBIOS(3, 2, structure(0, make([]byte, 20), "Maker"), structure(1, systemArea(3, storedUUID), "Maker", "Model 7", "PC-0042"), structure(127, nil)))
	f.Add(rawSMBIOS(2, 0, structure(1, []byte{0, 0, 0, 0})))
	f.Add([]byte{0, 3, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseFirmwareTable(raw)
		if err != nil && s != (System{}) {
			t.Errorf("%+v beside %v", s, err)
		}
		if !strings.Contains(string(raw), s.Serial) || usableSerial(s.Serial) != s.Serial || usableUUID(s.UUID) != s.UUID {
			t.Errorf("made up %+v", s)
		}
	})
}
