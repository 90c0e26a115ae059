package fault

import (
	"fmt"
	"time"
)

// Troubles of a client in a running cast.
const (
	ServerGone Kind = "server_gone"
	Quiet      Kind = "group_quiet"
	OnUnicast  Kind = "on_unicast"
	BadBlock   Kind = "block_rejected"
)

// ServerIsGone is a distribution point that doesn't answer any more, or not yet. The cause is what the client saw.
func ServerIsGone(cause string) Fault {
	return Fault{
		Kind: ServerGone, Text: "no distribution point: " + cause,
		Next: "nothing to do if it is being restarted: this machine keeps trying, and goes on with what it has; else check the cable, then the server",
	}
}

// GroupIsQuiet is a group of which a client has heard nothing for a while.
func GroupIsQuiet(silent time.Duration) Fault {
	return Fault{
		Kind: Quiet, Text: fmt.Sprintf("nothing heard from the multicast group for %d s", int(silent/time.Second)),
		Next: "if it lasts, check IGMP snooping and querier on the switch, and this machine's firewall",
	}
}

// GoesByUnicast is a client that fetches by unicast. The reason is in words.
func GoesByUnicast(reason string) Fault {
	return Fault{
		Kind: OnUnicast, Text: "this machine fetches by unicast: " + reason,
		Next: "let it finish; if others in the room do the same, call whoever runs the switches",
	}
}

// BlockIsBad is content that didn't have its hash. The text is what the client said of it.
func BlockIsBad(text string) Fault {
	return Fault{
		Kind: BadBlock, Text: text,
		Next: "nothing to do for one; for many, check this machine's memory and disk",
	}
}
