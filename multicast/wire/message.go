package wire

import "fmt"

// Type is the first byte of a control message (section 6).
type Type uint8

// The control messages: below 0x80 from client to server.
const (
	TypeJoin          Type = 0x01
	TypeRootsWanted   Type = 0x02
	TypeNeed          Type = 0x03
	TypeNACK          Type = 0x04
	TypeReport        Type = 0x05
	TypeEpochWanted   Type = 0x06
	TypeEpochHeard    Type = 0x07
	TypeDone          Type = 0x08
	TypeUnicastWanted Type = 0x09
	TypeApplied       Type = 0x0e
	TypeUnlock        Type = 0x0f
	TypeWelcome       Type = 0x81
	TypeRefused       Type = 0x82
	TypeRoots         Type = 0x83
	TypeNeedHeard     Type = 0x84
	TypeReportHeard   Type = 0x85
	TypeEpoch         Type = 0x86
	TypeDoneHeard     Type = 0x88
	TypeUnicastAnswer Type = 0x89
	TypeNotice        Type = 0x8a
	TypeQueued        Type = 0x8b
	TypeAppliedHeard  Type = 0x8e

	TypeDeploymentsWanted Type = 0x10
	TypeDeployments       Type = 0x90
	TypeProbeWanted       Type = 0x11
	TypeHaveMap           Type = 0x12
	TypeProbeGranted      Type = 0x91
	TypeProbeRefused      Type = 0x92
	TypeProbeSent         Type = 0x93
	TypeUnlocked          Type = 0x8f
)

// Message is a control message.
type Message interface {
	// Append appends the message, type byte first.
	Append(b []byte) []byte
}

// Addressed is a message of a client that has joined.
type Addressed interface {
	Message
	// From returns the client number that the message claims.
	From() uint32
}

// Parse reads one control message. The result is one of the pointer types of this package.
func Parse(b []byte) (Message, error) {
	if len(b) == 0 || len(b) > MaxControl {
		return nil, fmt.Errorf("parse control message of %d bytes: %w", len(b), ErrMalformed)
	}
	r := &reader{b: b[1:]}
	switch t := Type(b[0]); t {
	case TypeJoin:
		return parseJoin(r)
	case TypeRootsWanted:
		return parseRootsWanted(r)
	case TypeNeed:
		return parseNeed(r)
	case TypeNACK:
		return parseNACK(r)
	case TypeReport:
		return parseReport(r)
	case TypeEpochWanted:
		return parseEpochWanted(r)
	case TypeEpochHeard:
		return parseEpochHeard(r)
	case TypeDone:
		return parseDone(r)
	case TypeUnicastWanted:
		return parseUnicastWanted(r)
	case TypeApplied:
		return parseApplied(r)
	case TypeAppliedHeard:
		return parseAppliedHeard(r)
	case TypeUnlock:
		return parseUnlock(r)
	case TypeUnlocked:
		return parseUnlocked(r)
	case TypeWelcome:
		return parseWelcome(r)
	case TypeRefused:
		return parseRefused(r)
	case TypeRoots:
		return parseRoots(r)
	case TypeNeedHeard:
		return parseNeedHeard(r)
	case TypeReportHeard:
		return parseReportHeard(r)
	case TypeEpoch:
		return parseEpoch(r)
	case TypeDoneHeard:
		return parseDoneHeard(r)
	case TypeUnicastAnswer:
		return parseUnicastAnswer(r)
	case TypeNotice:
		return parseNotice(r)
	case TypeQueued:
		return parseQueued(r)
	case TypeDeploymentsWanted:
		return parseDeploymentsWanted(r)
	case TypeDeployments:
		return parseDeployments(r)
	case TypeProbeWanted:
		return parseProbeWanted(r)
	case TypeProbeGranted:
		return parseProbeGranted(r)
	case TypeProbeRefused:
		return parseProbeRefused(r)
	case TypeHaveMap:
		return parseHaveMap(r)
	case TypeProbeSent:
		return parseProbeSent(r)
	default:
		return nil, fmt.Errorf("parse control message of type %#02x: %w", uint8(t), ErrMalformed)
	}
}
