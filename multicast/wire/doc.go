// Package wire is every byte that wimcast puts on a network: the packets of a
// session's group and the messages of the control channel. docs/protocol.md
// is normative; each message has a file of its own that cites its section.
//
// The package only turns structs into bytes and back. It imports nothing else
// of wimcast, keeps no state, reads no clock, and never panics on input: every
// parse function accepts exactly what the append function of the same type
// writes, and returns ErrMalformed for all else; but for flags of a status that it
// doesn't know, which it ignores. Parsed messages don't alias the
// input, except where a comment says so.
package wire

import "errors"

// ErrMalformed is wrapped by every parse error.
var ErrMalformed = errors.New("malformed message")

// Protocol constants.
const (
	// Version is the protocol's version.
	Version = 1
	// MaxControl is the largest control message, in bytes (section 1).
	MaxControl = 1_100
)

// Implementation constants: bounds of what is parsed, so that a hostile message
// can't make us allocate.
const (
	maxText = 255 // a string's length is one byte
)
