package session

import (
	"fmt"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// Leave is why a server has no place for a client.
type Leave string

// Why a client may have to go elsewhere: a closed set.
const (
	LeaveStops   Leave = "stops"   // the server is stopping
	LeaveFull    Leave = "full"    // it has a place in a queue at most
	LeaveRefused Leave = "refused" // it hasn't got the package, another version of it, or doesn't give it to this client
)

// Other is what Dial may bring to a client that a server has no place for.
type Other int

// What may be: a closed set.
const (
	OtherNone  Other = iota // every server that there is was asked
	OtherLater              // one that can't be reached now, but may be again
	OtherNow                // one that hasn't been asked
)

// elsewhere tells that the server has no place for this client.
func (r *Receiver) elsewhere(why Leave, text string) (other Other, all string) {
	if r.cfg.Elsewhere == nil {
		return OtherNone, text
	}
	return r.cfg.Elsewhere(why, text)
}

// refusal is what a refused join ends in: the receiving, unless there is another server.
func (r *Receiver) refusal(code wire.RefusedCode, text string) error {
	switch code {
	case wire.PINWanted, wire.PINLater:
		return &heldError{code, text}
	case wire.Evicted:
		return fmt.Errorf("%w: %s", ErrEvicted, text)
	case wire.Cancelled: // by an operator, who means this client wherever it goes
		return fmt.Errorf("%w: %s", ErrRefused, text)
	case wire.ServerStops:
		r.elsewhere(LeaveStops, text)
		return again("%s", text)
	case wire.Full:
		return r.leave(LeaveFull, text)
	}
	return r.leave(LeaveRefused, text)
}

// otherVersion is what a welcome ends in that is for other content than what is there in part.
func (r *Receiver) otherVersion(digest crypto.Hash) error {
	return r.leave(LeaveRefused, fmt.Sprintf("the package changed while it was being received (%v, now %v); start again", r.image.digest, digest))
}

// leave goes to another server, now or when one is there again; without one the receiving ends.
func (r *Receiver) leave(why Leave, text string) error {
	other, all := r.elsewhere(why, text)
	refused := fmt.Errorf("%w: %s", ErrRefused, all)
	switch other {
	case OtherNow:
		return &againError{cause: refused, now: true}
	case OtherLater:
		return &againError{cause: refused}
	}
	return refused
}
