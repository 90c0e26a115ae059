package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Live is an event of the stream of one session: LiveSnapshot is all of it, and comes first, and again to a reader who
// couldn't follow; LiveChange is what a second brought. The session comes without its clients. Once it has ended
// (Session.Ended is set) the stream ends.
type Live struct {
	Session Session `json:"session"`
	// Cells is how many cells a map has, 256 at most, and fewer only where the image has fewer blocks: block i of the
	// image is in cell i*Cells/Session.Blocks, rounded down.
	Cells int `json:"cells"`
	// Clients by number; in a change only those of which something changed.
	Clients []LiveClient `json:"clients"`
	// Gone are the numbers of clients that were there and aren't any more; in a change alone.
	Gone []uint32 `json:"gone,omitempty"`
	// Samples are the last ten minutes, one a second, the oldest first; in a change those that are new.
	Samples []LiveSample `json:"samples"`
}

// The kinds of events of a live stream: a closed set.
const (
	LiveSnapshot = "snapshot"
	LiveChange   = "change"
)

// LiveClient is a client as the live stream has it.
type LiveClient struct {
	Number uint32  `json:"number"`
	Name   string  `json:"name"`
	State  string  `json:"state"`                 // as in Member
	Path   string  `json:"path"`                  // multicast, unicast or seed: what it gets most by
	Proven float64 `json:"proven"`                // share of the image, 0 to 1, in steps of 0.0001
	Rate   float64 `json:"rate_bytes_per_second"` // three digits that count
	Loss   float64 `json:"loss"`                  // share of packets, 0 to 1, in steps of 0.0001
	Cause  string  `json:"cause,omitempty"`       // where a slow client loses: network, receive_buffer, disk, or sleeping
	// Reason says why it is slow, or why it failed, left, was demoted or takes unicast.
	Reason string `json:"reason,omitempty"`
	// Map is what it has proven: Live.Cells cells of 4 bits, the first in the upper half of the first byte; 0 is nothing of the cell,
	// 15 all of it, else the share. Absent where the client told none; in a change also where it is what it was.
	Map []byte `json:"map,omitempty"`
}

// LiveSample is how a session went for one second.
type LiveSample struct {
	Time   time.Time `json:"time"`                    // of its end
	Rate   float64   `json:"sent_bytes_per_second"`   // of UDP payload
	Target float64   `json:"target_bytes_per_second"` // 0 while nothing is cast
	Reason string    `json:"rate_reason"`             // what decides the target, as Session's rate_reason
	Parity float64   `json:"parity_ratio"`
	Loss   float64   `json:"loss"` // share of packets that clients told as lost, over all of them, 0 to 1
	// Proven is what all clients together proved, in bytes/s.
	Proven float64 `json:"proven_bytes_per_second"`
}

// maxLive bounds an event of a live stream, in bytes: 10,000 clients and ten minutes of samples, and as much again.
const maxLive = 16 << 20

// Live calls each with how a session goes: a snapshot first (kind is LiveSnapshot), then about one change a second. It returns nil when the
// session has ended, and else when ctx ends, the stream breaks off (io.EOF, or an error that wraps ErrBroken), or each fails.
// While it runs, the session's clients are asked for their maps.
func (c *Client) Live(ctx context.Context, id string, each func(kind string, l Live) error) error {
	return follow(ctx, c, "/v1/sessions/"+url.PathEscape(id)+"/live", http.Header{}, maxLive, func(kind string, l Live) (bool, error) {
		return !l.Session.Ended.IsZero(), each(kind, l)
	})
}
