package keyex

import (
	"maps"
	"slices"
	"sync/atomic"
)

// Results counts handshakes by reason. The zero value is ready for use.
type Results struct {
	counts [14]atomic.Uint64 // in the order of Reasons
}

func (r *Results) add(reason Reason) {
	i := slices.Index(Reasons(), reason)
	if i < 0 {
		panic("keyex: reason " + string(reason) + " isn't in the closed list")
	}
	r.counts[i].Add(1)
}

// Snapshot returns every reason with its count since the start.
func (r *Results) Snapshot() map[Reason]uint64 {
	m := make(map[Reason]uint64, len(r.counts))
	for i, reason := range Reasons() {
		m[reason] = r.counts[i].Load()
	}
	return m
}

// Drop is why a datagram or a hello was dropped before any handshake judged it.
// The list is closed; a word of it is the label of wimcast_dropped_packets_total.
type Drop string

// The drops.
const (
	DropUnknown   Drop = "unknown_peer" // no association, and no well-formed ClientHello
	DropCookie    Drop = "cookie"       // first hello of an address; answered with a cookie, nothing kept
	DropTooLong   Drop = "too_long"     // larger than any of ours
	DropPlain     Drop = "plaintext"    // broken framing, or an unauthenticated record that an association doesn't need
	DropQueue     Drop = "queue_full"   // the association's queue is full: the newest goes
	DropHelloRate Drop = "hello_rate"   // too many hellos without envelope
	DropUnproven  Drop = "unproven"     // a half-open handshake that went for a newer one, or after 1 s
	DropFull      Drop = "full"         // as many associations or half-open handshakes as are allowed
	DropBusy      Drop = "busy"         // another handshake from that address is under way
	DropIdle      Drop = "idle"         // an association that was silent for too long
	DropReplaced  Drop = "replaced"     // an association whose client came again from the same address
	DropRecheck   Drop = "revoked"      // an association whose certificate is no longer good
)

// Drops returns the closed list, in a fixed order.
func Drops() []Drop {
	return []Drop{
		DropUnknown, DropCookie, DropTooLong, DropPlain, DropQueue, DropHelloRate, DropUnproven, DropFull, DropBusy,
		DropIdle, DropReplaced, DropRecheck,
	}
}

// Stats is a snapshot of a listener.
type Stats struct {
	Handshakes    map[Reason]uint64 // ended, by result
	Dropped       map[Drop]uint64
	HalfOpen      int // handshakes under way whose address has answered
	Unproven      int // handshakes under way whose address hasn't
	Associations  int // authenticated and not closed
	ReceiveBuffer int // bytes, as the kernel grants it; 0 when it doesn't tell
	// ReceiveBufferAsked is what was asked for, in bytes.
	ReceiveBufferAsked int
}

type drops struct {
	counts [12]atomic.Uint64 // in the order of Drops
}

func (d *drops) add(reason Drop) {
	i := slices.Index(Drops(), reason)
	if i < 0 {
		panic("keyex: drop " + string(reason) + " isn't in the closed list")
	}
	d.counts[i].Add(1)
}

func (d *drops) snapshot() map[Drop]uint64 {
	return maps.Collect(func(yield func(Drop, uint64) bool) {
		for i, reason := range Drops() {
			if !yield(reason, d.counts[i].Load()) {
				return
			}
		}
	})
}
