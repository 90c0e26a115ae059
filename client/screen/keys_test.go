package screen

import (
	"slices"
	"testing"
)

func TestKeys(t *testing.T) {
	for _, tc := range []struct {
		sent string
		want []key
	}{
		{"", nil},
		{"q", []key{'q'}},
		{"1q\u00e4", []key{'1', 'q', 0xe4}},
		{"\r\n\b\x7f\x03", []key{keyEnter, keyEnter, keyBackspace, keyBackspace, keyCtrlC}},
		{"\x1b", []key{keyEscape}},
		{"\x1b[A\x1b[1;5Cq", []key{keyNone, keyNone, 'q'}},
		{"\x1bOPq", []key{keyNone, 'q'}},
		{"\x1b]", []key{keyNone}},
		{"\x1bqq", []key{keyNone, 'q'}},
		{"\x1b[", []key{keyNone}},
		{"\x1b[200", []key{keyNone}},
		{"\x00\x1a\xff", []key{keyNone, keyNone, keyNone}},
	} {
		if got := keys([]byte(tc.sent)); !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q, want %q", tc.sent, got, tc.want)
		}
	}
}

// FuzzKeys: whatever is sent, it ends, and makes no more keys than bytes.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("\x1b[1;5Cq\x1bO"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if got := keys(sent); len(got) > len(sent) {
			t.Errorf("%d keys of %d bytes", len(got), len(sent))
		}
	})
}
