package fault

// Troubles of a client in a running cast.
const (
	KindServerGone Kind = "server_gone"
	KindOnUnicast  Kind = "on_unicast"
	KindBadBlock   Kind = "block_rejected"
)

// ServerIsGone is a distribution point that doesn't answer any more, or not yet. The cause is what the client saw.
func ServerIsGone(cause string) Fault {
	return Fault{
		Kind: KindServerGone, Text: "no distribution point: " + cause,
		Next: "nothing to do if it is being restarted: this machine keeps trying, and goes on with what it has; else check the cable, then the server",
	}
}

// GoesByUnicast is a client that fetches by unicast. The reason is in words.
func GoesByUnicast(reason string) Fault {
	return Fault{
		Kind: KindOnUnicast, Text: "this machine fetches by unicast: " + reason,
		Next: "let it finish; if others in the room do the same, call whoever runs the switches",
	}
}

// BlockIsBad is content that didn't have its hash. The text is what the client said of it.
func BlockIsBad(text string) Fault {
	return Fault{
		Kind: KindBadBlock, Text: text,
		Next: "nothing to do for one; for many, check this machine's memory and disk",
	}
}
