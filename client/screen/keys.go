package screen

import "unicode/utf8"

// key is a key that means something here: a letter, or one of those below.
type key rune

const (
	keyCtrlC     key = 0x03
	keyEnter     key = '\r'
	keyEscape    key = 0x1b
	keyBackspace key = 0x7f
	keyNone      key = 0 // one without a meaning here, such as an arrow
)

// keys reads what a terminal sent at once. An escape sequence is one key without a meaning; an escape at the very end is the key
// itself, as terminals send a sequence whole.
func keys(sent []byte) []key {
	var out []key
	for i := 0; i < len(sent); {
		r, n := utf8.DecodeRune(sent[i:])
		switch {
		case r == rune(keyEscape) && i+1 < len(sent):
			n = sequence(sent[i:])
			out = append(out, keyNone)
		case r == '\n':
			out = append(out, keyEnter)
		case r == '\b':
			out = append(out, keyBackspace)
		case r == utf8.RuneError, r < ' ' && r != rune(keyCtrlC) && r != rune(keyEnter) && r != rune(keyEscape):
			out = append(out, keyNone)
		default:
			out = append(out, key(r))
		}
		i += n
	}
	return out
}

// sequence is how long the escape sequence at the front is: ESC [ parameters final, ESC O letter, or ESC and one more.
func sequence(b []byte) int {
	switch {
	case b[1] == '[':
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
		}
		return len(b)
	case b[1] == 'O':
		return min(3, len(b))
	}
	return 2
}
