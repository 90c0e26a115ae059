package main

// One colour for one state, everywhere. They are names of Grafana's palette, so that they fit its dark and
// its light theme.
const (
	green  = "green"
	red    = "red"
	orange = "orange"
	yellow = "yellow"
	blue   = "blue"
	purple = "purple"
	grey   = "text"

	lightGreen  = "light-green"
	lightBlue   = "light-blue"
	lightRed    = "light-red"
	darkRed     = "dark-red"
	darkOrange  = "dark-orange"
	lightOrange = "light-orange"
	darkBlue    = "dark-blue"
	darkGreen   = "dark-green"
	darkPurple  = "dark-purple"
	darkYellow  = "dark-yellow"
	lightPurple = "light-purple"
	lightYellow = "light-yellow"
)

// colours of the words that are values of labels and names of series. Green is
// done, blue works, purple is unicast, yellow waits or warns, orange is worse,
// red is lost.
var colours = map[string]string{
	// Clients.
	"waiting": yellow, "receiving": blue, "demoted": orange, "unicast": purple, "proven": green, "failed": red,
	"left": grey, "lost": lightRed, "evicted": darkPurple, "dropped": darkOrange, "applied": darkGreen, "apply_failed": darkRed,
	// Progress.
	"min": orange, "median": blue, "max": green,
	// Ways.
	"multicast": blue, "seed": lightGreen,
	// Packets.
	"source": blue, "parity": orange, "manifest": lightBlue, "control": grey,
	// NACKs.
	"served": blue, "merged": lightBlue, "limited": orange,
	// Links to the web page.
	"accepted": green, "refused": red,
	// Where packets were lost.
	"network": red, "receive_buffer": orange, "disk": yellow,
	// Why unicast.
	"group_silent": red, "out_of_reach": darkRed, "join_failed": lightRed, "costly": orange, "operator": blue, "too_slow": yellow, "overflow": darkOrange, "unicast_only": purple,
	// Slots.
	"active": blue, "queued": yellow,
	// Content.
	"in_service": green, "out_of_service": red,
	"matches": green, "damaged": red, "refilled": blue, "not_mended": darkRed, "unreadable": orange,
	// Servicing and distribution.
	"in_process": blue, "successful": green, "cancelled": grey,
	"not_told": grey, "in_progress": blue, "success": green, "leaving": orange,
	// PINs, handshakes, logs.
	"right": green, "wrong": red, "closed": grey, "pass": lightGreen,
	"ok": green, "stored": green,
}
