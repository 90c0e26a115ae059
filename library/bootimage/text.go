package bootimage

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// text is a text file as a list of lines, each with its line end, byte for byte. Lines can be put in; all others stay
// as they are, whatever their encoding.
type text struct {
	mark  []byte // byte order mark
	wide  bool   // UTF-16, little-endian
	lines [][]byte
}

// Byte order marks.
var (
	markUTF8  = []byte{0xef, 0xbb, 0xbf}
	markUTF16 = []byte{0xff, 0xfe}
	markBig   = []byte{0xfe, 0xff}
)

var errNotText = errors.New("it isn't text in a code page, UTF-8 or little-endian UTF-16 with a byte order mark")

func parseText(b []byte) (*text, error) {
	t := &text{}
	switch {
	case bytes.HasPrefix(b, markUTF8):
		t.mark = markUTF8
	case bytes.HasPrefix(b, markUTF16):
		t.mark, t.wide = markUTF16, true
	case bytes.HasPrefix(b, markBig):
		return nil, errNotText
	}
	b = b[len(t.mark):]
	if t.wide && len(b)%2 != 0 || !t.wide && bytes.IndexByte(b, 0) >= 0 {
		return nil, errNotText
	}
	width := t.width()
	for len(b) > 0 {
		end := 0
		for end < len(b) {
			end += width
			if b[end-width] == '\n' && (!t.wide || b[end-1] == 0) {
				break
			}
		}
		t.lines, b = append(t.lines, b[:end:end]), b[end:]
	}
	return t, nil
}

func (t *text) width() int {
	if t.wide {
		return 2
	}
	return 1
}

// line returns a line for comparing, without blanks around it. What isn't ASCII may come out as anything else.
func (t *text) line(i int) string {
	raw := t.lines[i]
	if !t.wide {
		return strings.TrimSpace(strings.ToValidUTF8(string(raw), string(utf8.RuneError)))
	}
	units := make([]uint16, 0, len(raw)/2)
	for ; len(raw) > 1; raw = raw[2:] {
		units = append(units, uint16(raw[0])|uint16(raw[1])<<8)
	}
	return strings.TrimSpace(string(utf16.Decode(units)))
}

// encode returns ASCII in the file's encoding.
func (t *text) encode(ascii string) []byte {
	b := []byte(ascii)
	if !t.wide {
		return b
	}
	var wide []byte
	for _, c := range b {
		wide = append(wide, c, 0)
	}
	return wide
}

// lineEnd is the line end that the file uses: that of its first line, and Windows' where it has none.
func (t *text) lineEnd() string {
	if len(t.lines) == 0 {
		return "\r\n"
	}
	first := t.lines[0]
	if bytes.HasSuffix(first, t.encode("\n")) && !bytes.HasSuffix(first, t.encode("\r\n")) {
		return "\n"
	}
	return "\r\n"
}

// insert puts lines of ASCII before line i; i may be the number of lines.
func (t *text) insert(i int, lines ...string) {
	end := t.lineEnd()
	if i > 0 && !bytes.HasSuffix(t.lines[i-1], t.encode("\n")) {
		t.lines[i-1] = append(slices.Clone(t.lines[i-1]), t.encode(end)...)
	}
	for n, line := range lines {
		t.lines = slices.Insert(t.lines, i+n, t.encode(line+end))
	}
}

func (t *text) bytes() []byte { return append(slices.Clone(t.mark), bytes.Join(t.lines, nil)...) }
