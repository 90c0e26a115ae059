package api

import "time"

// EventKind says what happened.
type EventKind string

// The kinds of events: a closed set. A state that lasts less than a second may be
// left out between two others, never the last one.
const (
	SessionStarted EventKind = "session_started"
	SessionChanged EventKind = "session_changed" // it has another state
	SessionEnded   EventKind = "session_ended"
	ClientJoined   EventKind = "client_joined"
	ClientChanged  EventKind = "client_changed" // it has another state
	ClientEnded    EventKind = "client_ended"
	// A run of a schedule began or ended; text says what of.
	ServicingStarted EventKind = "servicing_started"
	ServicingEnded   EventKind = "servicing_ended"
	// A revision of a package came into service at a point, or failed there; text says how.
	PackageArrived  EventKind = "package_arrived"
	PackageFailedAt EventKind = "package_failed"
	Alarm           EventKind = "alarm" // somebody should look; text says at what
	// Gap: events before this one are lost to the reader, who looks at the sessions anew.
	Gap EventKind = "gap"
)

// Event is something that happened.
type Event struct {
	// ID is where a reader goes on after a break; it means something to the daemon
	// that gave it only.
	ID      string    `json:"id"`
	Kind    EventKind `json:"event"`
	Time    time.Time `json:"time"`
	Session string    `json:"session,omitempty"`
	// Schedule is that of servicing_ events.
	Schedule string       `json:"schedule,omitempty"`
	Point    string       `json:"point,omitempty"` // of package_ events
	Package  string       `json:"package,omitempty"`
	State    string       `json:"state,omitempty"` // of the session, now
	Reason   string       `json:"reason,omitempty"`
	Client   *EventClient `json:"client,omitempty"` // of client_ events
	Text     string       `json:"text,omitempty"`   // of alarm, gap, servicing_ and package_ events: one sentence for people
}

// EventClient is the client that an event is about.
type EventClient struct {
	Number      uint32  `json:"number"`
	Name        string  `json:"name"`
	Address     string  `json:"address"`
	Certificate string  `json:"certificate"`
	Serial      string  `json:"serial"`
	State       string  `json:"state"`
	Reason      string  `json:"reason,omitempty"`
	Progress    float64 `json:"progress"`
}
