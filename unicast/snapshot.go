package unicast

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Result says how a request ended. It is a closed set, fit for a label.
type Result string

// The results.
const (
	ResultSent          Result = "sent"
	ResultQueued        Result = "queued"
	ResultMulticastOnly Result = "multicast_only"
	ResultUnauthorized  Result = "unauthorized" // no good token
	ResultForbidden     Result = "forbidden"    // a token for other content
	ResultUnknown       Result = "unknown"      // content, path or method
	ResultOutOfService  Result = "out_of_service"
	ResultRange         Result = "range"      // or condition, not met
	ResultFailed        Result = "failed"     // the content couldn't be read
	ResultRevoked       Result = "revoked"    // the token died meanwhile
	ResultSuperseded    Result = "superseded" // the same client asked anew
	ResultStalled       Result = "stalled"    // the client took nothing for too long
	ResultBroken        Result = "broken"     // the connection ended
)

// Snapshot is a server's state at one moment.
type Snapshot struct {
	Slots     int
	Active    int              // clients that hold a slot
	Queued    int              // clients that have a place in the queue
	SentBytes map[string]int64 // of bodies, by package, since the start
	Results   map[Result]int64 // requests, since the start
	Clients   []ClientState    // those with a slot, the longest first, then the queue in order
}

// ClientState is one client of a Snapshot.
type ClientState struct {
	Client   string
	Position int       // in the queue, from 1; 0: it holds a slot
	Since    time.Time // it has the slot, or waits
	Sent     int64     // bytes, under the present slot
}

// Snapshot returns the present state. The caller owns it.
func (s *Server) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots.expire(time.Now())
	snap := Snapshot{
		Slots:     s.config.Slots,
		Active:    len(s.slots.leases),
		Queued:    len(s.slots.queue),
		SentBytes: maps.Clone(s.sent),
		Results:   maps.Clone(s.results),
	}
	for _, l := range s.slots.leases {
		snap.Clients = append(snap.Clients, ClientState{Client: l.grant.Client, Since: l.since, Sent: l.sent})
	}
	slices.SortFunc(snap.Clients, func(a, b ClientState) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Client, b.Client))
	})
	for i, p := range s.slots.queue {
		snap.Clients = append(snap.Clients, ClientState{Client: p.grant.Client, Position: i + 1, Since: p.since})
	}
	return snap
}

func (s *Server) count(result Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results[result]++
}
