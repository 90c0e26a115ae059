package wim

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// goldenHeader is that of the second part of five; every field has another value.
const goldenHeader = "4d5357494d000000" + // MSWIM
	"d0000000" + // 208
	"000d0100" + // version
	"8e000400" + // flags: compressed, read only, spanned, relative path fix-up, LZX
	"00800000" + // chunk size
	"a0a1a2a3a4a5a6a7a8a9aaabacadaeaf" +
	"0200" + "0500" + // part of parts
	"03000000" + // images
	"96000000000000" + "02" + "0010000000000000" + "9600000000000000" + // lookup table
	"34010000000000" + "12" + "5040000000000000" + "3401000000000000" + // XML
	"f1f2f3f4f5f6f7" + "06" + "1112131415161718" + "2122232425262728" + // boot metadata, in part 1
	"02000000" + // boot index
	"20000000000000" + "01" + "0050000000000000" + "2000000000000000" + // integrity table
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" // unused

func TestGoldenHeader(t *testing.T) {
	head, err := hex.DecodeString(goldenHeader)
	if err != nil || len(head) != HeaderSize {
		t.Fatal(len(head), err)
	}
	b := make([]byte, 0x5020)
	copy(b, head)
	xml := encode(`<WIM><IMAGE INDEX="1"/><IMAGE INDEX="2"/><IMAGE INDEX="3"/></WIM>`)
	for len(xml) < 0x134 {
		xml = append(xml, ' ', 0)
	}
	copy(b[0x4050:], xml)

	f := mustOpen(t, b)
	want := Header{
		Version: 0x10d00, Flags: 0x4008e, ChunkSize: 32768,
		GUID: [16]byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf},
		Part: 2, Parts: 5, ImageCount: 3,
		Lookup:    Resource{0x96, 2, 0x1000, 0x96},
		XML:       Resource{0x134, 0x12, 0x4050, 0x134},
		Boot:      Resource{0xf7f6f5f4f3f2f1, 6, 0x1817161514131211, 0x2827262524232221},
		BootIndex: 2,
		Integrity: Resource{0x20, 1, 0x5000, 0x20},
	}
	if f.Header != want {
		t.Errorf("%+v\nwant %+v", f.Header, want)
	}
	if f.Pipable || f.Solid || !f.Split() || f.Compression() != LZX || len(f.Images) != 3 {
		t.Errorf("%+v", f)
	}
}

func TestKinds(t *testing.T) {
	for name, c := range map[string]struct {
		sample
		compression Compression
		solid       bool
		split       bool
	}{
		"none":               {sample{}, None, false, false},
		"type alone":         {sample{flags: 0x40000}, None, false, false},
		"XPRESS":             {sample{flags: 0x20002}, XPRESS, false, false},
		"XPRESS, other flag": {sample{flags: 0x200002}, XPRESS, false, false},
		"LZX":                {sample{flags: 0x40082}, LZX, false, false},
		"LZMS":               {sample{flags: 0x80002}, LZMS, false, false},
		"LZMS, new version":  {sample{flags: 0x80002, version: 0xe00}, LZMS, false, false},
		"solid":              {sample{flags: 0x80002, version: 0xe00, entry: 0x10}, LZMS, true, false},
		"solid, old version": {sample{flags: 0x80002, entry: 0x10}, LZMS, false, false},
		"pipable":            {sample{flags: 0x40002, pipable: true}, LZX, false, false},
		"no type":            {sample{flags: 0x2}, Unknown, false, false},
		"two types":          {sample{flags: 0x60002}, Unknown, false, false},
		"spanned":            {sample{flags: 0x8}, None, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.images, c.data, c.chunk = 2, 900, 100
			b, at := c.build()
			f := mustOpen(t, b)
			if f.Compression() != c.compression || f.Solid != c.solid || f.Split() != c.split || f.Pipable != c.pipable {
				t.Errorf("%s, solid %t, split %t, pipable %t", f.Compression(), f.Solid, f.Split(), f.Pipable)
			}
			if f.Header.Lookup.Offset != uint64(at.lookup) || f.Header.XML.Offset != uint64(at.xml) || f.Header.Integrity.Offset != uint64(at.integrity) {
				t.Errorf("%+v, want the tables at %+v", f.Header, at)
			}
			if opened, lookup, integrity := use(t, b); opened != nil || lookup != nil || integrity != nil {
				t.Error(opened, lookup, integrity)
			}
		})
	}
}

// Where the fields of a header stand.
var headerFields = []struct {
	name   string
	at, by int
}{
	{"header size", 8, 4},
	{"version", 12, 4},
	{"flags", 16, 4},
	{"chunk size", 20, 4},
	{"part", 40, 2},
	{"parts", 42, 2},
	{"images", 44, 4},
	{"lookup size", 48, 7},
	{"lookup flags", 55, 1},
	{"lookup offset", 56, 8},
	{"lookup original", 64, 8},
	{"XML size", 72, 7},
	{"XML flags", 79, 1},
	{"XML offset", 80, 8},
	{"XML original", 88, 8},
	{"boot size", 96, 7},
	{"boot flags", 103, 1},
	{"boot offset", 104, 8},
	{"boot original", 112, 8},
	{"boot index", 120, 4},
	{"integrity size", 124, 7},
	{"integrity flags", 131, 1},
	{"integrity offset", 132, 8},
	{"integrity original", 140, 8},
}

func setField(b []byte, name string, v uint64) {
	for _, f := range headerFields {
		if f.name == name {
			var le [8]byte
			binary.LittleEndian.PutUint64(le[:], v)
			copy(b[f.at:f.at+f.by], le[:])
			return
		}
	}
	panic("no field " + name)
}

func TestHostileFields(t *testing.T) {
	good, at := sample{images: 2, data: 900, chunk: 100}.build()
	size, xml, lookup, integrity := uint64(len(good)), uint64(at.xml), uint64(at.lookup), uint64(at.integrity)
	const most = math.MaxUint64
	type set map[string]uint64
	for name, c := range map[string]struct {
		fields set
		step   string // where the error comes
		want   error
	}{
		"header size 0":        {set{"header size": 0}, "open", ErrDamaged},
		"header size 207":      {set{"header size": 207}, "open", ErrDamaged},
		"header size most":     {set{"header size": most}, "open", ErrDamaged},
		"version 0":            {set{"version": 0}, "open", ErrDamaged},
		"version most":         {set{"version": most}, "open", ErrDamaged},
		"flags most":           {set{"flags": most}, "open", ErrDamaged},
		"being written":        {set{"flags": 0x40}, "open", ErrDamaged},
		"chunk size most":      {set{"chunk size": most}, "", nil}, // nothing is unpacked
		"part 0":               {set{"part": 0}, "open", ErrDamaged},
		"part 2 of 1":          {set{"part": 2}, "open", ErrDamaged},
		"part most":            {set{"part": most}, "open", ErrDamaged},
		"parts 0":              {set{"parts": 0}, "open", ErrDamaged},
		"no images":            {set{"images": 0}, "open", ErrDamaged},
		"an image less":        {set{"images": 1}, "open", ErrDamaged},
		"an image more":        {set{"images": 3}, "open", ErrDamaged},
		"many images":          {set{"images": maxImages + 1}, "open", ErrDamaged},
		"images most":          {set{"images": most}, "open", ErrDamaged},
		"boot index 2":         {set{"boot index": 2}, "", nil},
		"boot index 3":         {set{"boot index": 3}, "open", ErrDamaged},
		"boot index most":      {set{"boot index": most}, "open", ErrDamaged},
		"lookup none":          {set{"lookup size": 0, "lookup original": 0, "lookup offset": 0}, "integrity", ErrDamaged},
		"lookup size 0":        {set{"lookup size": 0}, "lookup", ErrDamaged},
		"lookup size odd":      {set{"lookup size": 149, "lookup original": 149}, "lookup", ErrDamaged},
		"lookup size most":     {set{"lookup size": most}, "open", ErrTruncated},
		"lookup to the end":    {set{"lookup size": size - lookup}, "open", ErrDamaged},
		"lookup over the end":  {set{"lookup size": size - lookup + 1}, "open", ErrTruncated},
		"lookup compressed":    {set{"lookup flags": 4}, "lookup", ErrDamaged},
		"lookup original most": {set{"lookup original": most}, "lookup", ErrDamaged},
		"lookup offset 0":      {set{"lookup offset": 0}, "open", ErrDamaged},
		"lookup on header":     {set{"lookup offset": 207}, "open", ErrDamaged},
		"lookup after header":  {set{"lookup offset": 208}, "lookup", nil}, // other entries, which lie anywhere
		"lookup offset end":    {set{"lookup offset": size}, "open", ErrTruncated},
		"lookup offset end+1":  {set{"lookup offset": size + 1}, "open", ErrTruncated},
		"lookup offset 2^63-1": {set{"lookup offset": 1<<63 - 1}, "open", ErrTruncated},
		"lookup offset 2^63":   {set{"lookup offset": 1 << 63}, "open", ErrDamaged},
		"lookup offset most":   {set{"lookup offset": most}, "open", ErrDamaged},
		"lookup wraps around":  {set{"lookup offset": most - 10, "lookup size": 100, "lookup original": 100}, "open", ErrDamaged},
		"empty lookup far off": {set{"lookup offset": 1 << 62, "lookup size": 0, "lookup original": 0}, "open", ErrTruncated},
		"lookup on XML":        {set{"lookup offset": xml - 1}, "open", ErrDamaged},
		"lookup is XML":        {set{"lookup offset": xml}, "open", ErrDamaged},
		"empty lookup in XML":  {set{"lookup offset": xml + 10, "lookup size": 0, "lookup original": 0}, "integrity", ErrDamaged},
		"XML size 0":           {set{"XML size": 0}, "open", ErrDamaged},
		"XML size 1":           {set{"XML size": 1, "XML original": 1}, "open", ErrDamaged},
		"XML size 2":           {set{"XML size": 2, "XML original": 2}, "open", ErrDamaged},
		"XML size most":        {set{"XML size": most}, "open", ErrTruncated},
		"XML over the end":     {set{"XML size": size - xml + 1}, "open", ErrTruncated},
		"XML compressed":       {set{"XML flags": 6}, "open", ErrDamaged},
		"XML original most":    {set{"XML original": most}, "open", ErrDamaged},
		"XML original 0":       {set{"XML original": 0}, "open", ErrDamaged},
		"XML offset 0":         {set{"XML offset": 0}, "open", ErrDamaged},
		"XML offset + 1":       {set{"XML offset": xml + 1, "XML size": 50, "XML original": 50}, "open", ErrDamaged},
		"XML offset end":       {set{"XML offset": size}, "open", ErrTruncated},
		"XML offset most":      {set{"XML offset": most}, "open", ErrDamaged},
		"XML on integrity":     {set{"XML offset": integrity - 8}, "open", ErrDamaged},
		"boot fits":            {set{"boot size": 100, "boot offset": 208, "boot flags": 6, "boot original": 1 << 40}, "", nil},
		"boot on header":       {set{"boot size": 100, "boot offset": 100}, "open", ErrDamaged},
		"boot on lookup":       {set{"boot size": 100, "boot offset": lookup - 99}, "open", ErrDamaged},
		"boot size most":       {set{"boot size": most, "boot offset": 208}, "open", ErrTruncated},
		"boot offset most":     {set{"boot size": 1, "boot offset": most}, "open", ErrDamaged},
		"boot in part 1":       {set{"boot size": 1, "boot offset": most, "part": 2, "parts": 2}, "", nil},
		"integrity none":       {set{"integrity size": 0, "integrity original": 0, "integrity offset": 0}, "integrity", ErrNoIntegrity},
		"integrity size 0":     {set{"integrity size": 0, "integrity original": 0}, "integrity", ErrDamaged},
		"integrity size 11":    {set{"integrity size": 11, "integrity original": 11}, "integrity", ErrDamaged},
		"integrity size 12":    {set{"integrity size": 12, "integrity original": 12}, "integrity", ErrDamaged},
		"integrity size - 1":   {set{"integrity size": size - integrity - 1, "integrity original": size - integrity - 1}, "integrity", ErrDamaged},
		"integrity size + 1":   {set{"integrity size": size - integrity + 1}, "open", ErrTruncated},
		"integrity size most":  {set{"integrity size": most}, "open", ErrTruncated},
		"integrity compressed": {set{"integrity flags": 4}, "integrity", ErrDamaged},
		"integrity original":   {set{"integrity original": 0}, "integrity", ErrDamaged},
		"integrity offset 0":   {set{"integrity offset": 0}, "open", ErrDamaged},
		"integrity in data":    {set{"integrity offset": 300}, "integrity", ErrDamaged},
		"integrity most":       {set{"integrity offset": most}, "open", ErrDamaged},
		"integrity on XML":     {set{"integrity offset": integrity - 1}, "open", ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			b := append([]byte(nil), good...)
			for field, v := range c.fields {
				setField(b, field, v)
			}
			opened, lookup, integrity := use(t, b)
			for _, step := range []struct {
				name string
				err  error
			}{{"open", opened}, {"lookup", lookup}, {"integrity", integrity}} {
				known(t, step.err)
				if step.name == c.step && c.want != nil && !errors.Is(step.err, c.want) {
					t.Errorf("%s: %v, want %v", step.name, step.err, c.want)
				}
				if c.step == "" && step.err != nil {
					t.Errorf("%s: %v", step.name, step.err)
				}
			}
			if c.step != "open" && opened != nil {
				t.Error(opened)
			}
		})
	}
}

// TestHeaderSweep sets each field of both kinds of file to everything of interest, and flips
// each bit: nothing may panic, take memory, or give an error that says nothing.
func TestHeaderSweep(t *testing.T) {
	for _, pipable := range []bool{false, true} {
		good, at := sample{images: 2, data: 900, chunk: 100, pipable: pipable}.build()
		headers := []int{0}
		if pipable {
			headers = append(headers, len(good)-HeaderSize)
		}
		b := make([]byte, len(good))
		try := func(what string, change func()) {
			copy(b, good)
			change()
			if took := allocated(func() {
				opened, lookup, integrity := use(t, b)
				known(t, opened)
				known(t, lookup)
				known(t, integrity)
			}); took > 4<<20 {
				t.Errorf("%s: took %d bytes", what, took)
			}
		}
		for _, h := range headers {
			for _, field := range headerFields {
				n := uint64(len(good))
				for _, v := range []uint64{
					0, 1, 2, 12, 50, 100, 207, 208, 209, n - 209, n - 208, n - 1, n, n + 1, uint64(at.lookup), uint64(at.xml), uint64(at.integrity),
					1<<15 - 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<55 - 1, 1<<56 - 1, 1 << 56, 1<<63 - 1, 1 << 63, math.MaxUint64 - 207, math.MaxUint64,
				} {
					try(field.name, func() { setField(b[h:], field.name, v) })
				}
			}
			for i := range HeaderSize * 8 {
				try("bit", func() { b[h+i/8] ^= 1 << (i % 8) })
			}
		}
	}
}

func TestPipable(t *testing.T) {
	good, _ := sample{images: 1, data: 300, chunk: 100, pipable: true}.build()
	last := len(good) - HeaderSize
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"good":                      {func(b []byte) []byte { return b }, nil},
		"tables named at the front": {func(b []byte) []byte { copy(b[tables:], "these are of no interest"); return b }, nil},
		"no header at the end":      {func(b []byte) []byte { return b[:last] }, ErrTruncated},
		"one header":                {func(b []byte) []byte { return b[last:] }, ErrTruncated},
		"headers overlap":           {func(b []byte) []byte { return append(b[last:len(b):len(b)], b[last:len(b)-1]...) }, ErrTruncated},
		"other kind at the end":     {func(b []byte) []byte { copy(b[last:], magic); return b }, ErrTruncated},
		"something appended":        {func(b []byte) []byte { return append(b, 0) }, ErrTruncated},
		"GUIDs differ":              {func(b []byte) []byte { b[30]++; return b }, ErrDamaged},
		"image counts differ":       {func(b []byte) []byte { b[last+44]++; return b }, ErrDamaged},
		"integrity on last header":  {func(b []byte) []byte { b[last+132]++; return b }, ErrTruncated},
		"XML on first header":       {func(b []byte) []byte { setField(b[last:], "XML offset", 100); return b }, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := open(c.change(append([]byte(nil), good...))); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// TestTruncated cuts files at every byte, told and untold.
func TestTruncated(t *testing.T) {
	for _, pipable := range []bool{false, true} {
		b, at := sample{images: 2, data: 600, chunk: 100, pipable: pipable}.build()
		for n := range b {
			want := ErrTruncated
			if n < len(magic) {
				want = ErrNotWIM
			}
			if _, err := open(b[:n]); !errors.Is(err, want) {
				t.Fatalf("pipable %t, %d of %d bytes: %v, want %v", pipable, n, len(b), err, want)
			}
			// The file shrinks after its size was asked.
			f, err := Open(strings.NewReader(string(b[:n])), int64(len(b)))
			if err == nil && n >= at.integrity && !pipable {
				err = f.VerifyIntegrity(t.Context(), nil)
			}
			if !errors.Is(err, ErrTruncated) {
				t.Fatalf("pipable %t, shrunk to %d of %d bytes: %v", pipable, n, len(b), err)
			}
		}
	}
}

func TestNotWIM(t *testing.T) {
	for name, b := range map[string]string{
		"empty":      "",
		"short text": "MSWI",
		"text":       strings.Repeat("not a WIM ", 50),
		"zeros":      string(make([]byte, 4096)),
		"ISO":        string(make([]byte, 32769)) + "CD001" + string(make([]byte, 4096)),
		"near":       "MSWIM\x00\x00\x01" + string(make([]byte, 4096)),
	} {
		if _, err := Open(strings.NewReader(b), int64(len(b))); !errors.Is(err, ErrNotWIM) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(strings.NewReader("x"), -1); !errors.Is(err, ErrNotWIM) {
		t.Error(err)
	}
}

// failing is a reader that fails from some byte on, and counts nothing as its end.
type failing struct {
	b    []byte
	from int64
	err  error
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, f.err
	}
	return copy(p, f.b[off:]), nil
}

func TestReaderFails(t *testing.T) {
	broken := errors.New("cable cut")
	b, at := sample{images: 1, data: 600, chunk: 100}.build()
	for from := range int64(len(b)) {
		f, err := Open(failing{b, from, broken}, int64(len(b)))
		if err == nil {
			if from < int64(at.integrity) {
				t.Fatalf("opened with %d bytes", from)
			}
			err = f.VerifyIntegrity(t.Context(), nil)
		}
		if !errors.Is(err, broken) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrDamaged) {
			t.Fatalf("fails from %d on: %v", from, err)
		}
	}
	if _, err := Open(failing{b, 300, io.ErrUnexpectedEOF}, int64(len(b))); !errors.Is(err, ErrTruncated) {
		t.Error(err)
	}
}
