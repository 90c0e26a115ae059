package session

import "sync/atomic"

// dropReason is why something from the network was thrown away; its word is the
// label of wimcast_dropped_packets_total. The set is closed.
type dropReason int

const (
	dropMalformed   dropReason = iota
	dropStranger               // a message that doesn't fit its association
	dropRange                  // names a block that isn't there
	dropMailbox                // the session's mailbox was full
	dropMap                    // nobody watches, or the client tells too often
	dropControlSend            // the control channel didn't take a message
	dropLength
	dropKind
	dropTag
	dropEpoch
	dropWindow
	dropDuplicate
	dropSeal
	dropStatus
	dropReasons // how many there are
)

var dropWords = [dropReasons]string{
	"malformed", "stranger", "range", "mailbox_full", "map_ignored", "control_send",
	"length", "kind", "session_tag", "unknown_epoch", "window", "duplicate", "seal", "status",
}

// dropCounter counts drops by reason; safe for concurrent use.
type dropCounter [dropReasons]atomic.Uint64

func (c *dropCounter) add(r dropReason) { c[r].Add(1) }

// snapshot returns the counts by word; reasons that never occurred are there with 0.
func (c *dropCounter) snapshot() map[string]uint64 {
	out := make(map[string]uint64, dropReasons)
	for r := range dropReasons {
		out[dropWords[r]] = c[r].Load()
	}
	return out
}
