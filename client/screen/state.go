package screen

import (
	"time"

	"wimcast/multicast/fault"
	"wimcast/session"
)

// Phase is what a client is doing.
type Phase int

// The phases, as a person goes through them.
const (
	Looking   Phase = iota // for the network, or the distribution point
	Waiting                // for the session to start, or for a place
	Receiving              // by multicast or unicast, or reading the seed
	Proving                // again, what an earlier try left
	Writing                // all is proven, and is being made durable
	Applying               // the image to a volume
	Done
	Failed
	Stopped // by the person in front of it
)

// over reports whether nothing more comes.
func (p Phase) over() bool { return p >= Done }

// Path is where the image comes from at the moment.
type Path string

// The paths.
const (
	Multicast Path = "multicast"
	Unicast   Path = "unicast"
	FromSeed  Path = "the seed"
)

// Line is something that happened.
type Line struct {
	At   time.Time
	Text string
}

// State is all that a screen shows at one moment. It is a value: View changes nothing in it.
type State struct {
	Phase   Phase
	Detail  string // of the phase, in a few words; "" for none
	Asked   string // deployment or package that was asked for
	Package string // name@version; "" until a distribution point said it
	Server  string // the distribution point's address
	Elapsed time.Duration

	Size, Proven int64   // bytes
	Rate         float64 // bytes/s, smoothed
	Left         time.Duration
	LeftKnown    bool
	Path         Path
	Applied      float64 // 0…1, while applying

	Room, RoomProven int // clients; Room 0: not known
	Waiting          session.Waiting

	Trouble *fault.Fault // nil for none
	Events  []Line       // oldest first
	Code    int          // exit code, once over

	Prompt   string // a question to the person; "" for none
	Answer   string // what is typed so far, as it may be shown
	Stopping bool   // whether to stop is asked
}

// share is how far the phase's bar is, 0…1, and whether it has one.
func (s *State) share() (float64, bool) {
	switch {
	case s.Phase == Applying:
		return min(max(s.Applied, 0), 1), true
	case s.Phase == Done:
		return 1, true
	case s.Size > 0 && s.Phase != Waiting && s.Phase != Looking:
		return min(max(float64(s.Proven)/float64(s.Size), 0), 1), true
	case s.Size > 0 && s.Proven > 0:
		return min(float64(s.Proven)/float64(s.Size), 1), true
	}
	return 0, false
}

// percent is a share as people read it: 100 only when it is all.
func percent(share float64) int {
	return min(max(int(share*100), 0), 100)
}
