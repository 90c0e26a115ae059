package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// States of a recorded session, and of a client that was there when the daemon was killed.
const (
	HistoryRunning     = "running"
	HistoryEnded       = "ended"
	HistoryInterrupted = "interrupted" // nobody saw its end: the daemon was killed, or lost power
)

// HistorySession is the record of a cast.
type HistorySession struct {
	ID          int64     `json:"id"`      // never given twice
	Session     string    `json:"session"` // its name, as "s7": never given twice in the life of a state directory; what ran under older versions may have one in common
	Package     string    `json:"package"`
	Deployment  string    `json:"deployment,omitempty"` // what its clients had the package by
	Digest      string    `json:"digest"`
	Mode        string    `json:"mode"`
	Group       string    `json:"group"`
	Size        int64     `json:"size_bytes"`
	State       string    `json:"state"` // one of the History constants
	Reason      string    `json:"reason,omitempty"`
	Started     time.Time `json:"started"`
	Ended       time.Time `json:"ended,omitzero"` // not of interrupted ones
	Seen        time.Time `json:"seen"`           // when it was last known to run
	Seconds     float64   `json:"seconds"`        // to the end, or until it was last seen
	Sent        Sent      `json:"sent"`
	NACKs       NACKs     `json:"nacks"`
	Clients     int       `json:"clients"`
	Proven      int       `json:"proven"`
	Failed      int       `json:"failed"` // failed, lost, evicted
	Interrupted int       `json:"interrupted"`

	// Only in the answer to a question for one session.
	Members []HistoryClient `json:"members,omitempty"`
	Actions []HistoryAction `json:"actions,omitempty"`
}

// HistoryClient is the record of a client in a session.
type HistoryClient struct {
	ID                int64     `json:"id"`
	SessionID         int64     `json:"session_id"` // of HistorySession
	Session           string    `json:"session"`
	Package           string    `json:"package"`
	Digest            string    `json:"digest"`
	Number            uint32    `json:"number"`
	Name              string    `json:"name"`
	UUID              string    `json:"uuid,omitempty"` // what the machine claims
	Serial            string    `json:"serial,omitempty"`
	MACs              string    `json:"macs,omitempty"`
	Address           string    `json:"address"`
	Certificate       string    `json:"certificate"`
	CertificateSerial string    `json:"certificate_serial"`
	Role              string    `json:"role"`
	State             string    `json:"state"` // those of Member, or interrupted
	Reason            string    `json:"reason,omitempty"`
	Joined            time.Time `json:"joined"`
	Ended             time.Time `json:"ended,omitzero"`
	Proven            time.Time `json:"proven,omitzero"` // when every block was proven
	Seconds           float64   `json:"seconds"`         // to the end, or until it was last seen
	Progress          float64   `json:"progress"`
	LostNetwork       uint64    `json:"lost_network_packets"`
	LostBuffer        uint64    `json:"lost_receive_buffer_packets"`
	LostDisk          uint64    `json:"lost_disk_packets"`
	Rejected          uint32    `json:"blocks_rejected"`
	Rejoins           int       `json:"group_rejoins"`
	NACKs             uint64    `json:"nacks"`
	MulticastBytes    int64     `json:"multicast_bytes"`
	UnicastBytes      int64     `json:"unicast_bytes"`
	HeldBytes         int64     `json:"held_bytes"`
	SeedBytes         int64     `json:"seed_bytes"` // from an older version that it had

	// Where the client applied the image, and said so.
	Applied      time.Time `json:"applied,omitzero"` // when it said so
	AppliedIndex int       `json:"applied_index,omitempty"`
	ApplySeconds float64   `json:"apply_seconds,omitempty"`
	ApplyError   string    `json:"apply_error,omitempty"` // why it failed
}

// HistoryAction is something that an operator did, or tried to.
type HistoryAction struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Who       string    `json:"who"`
	Action    string    `json:"action"` // evict, stop, ...
	SessionID int64     `json:"session_id,omitempty"`
	Session   string    `json:"session,omitempty"`
	Client    string    `json:"client,omitempty"`
	Package   string    `json:"package,omitempty"` // its reference then, of what became of a package
	Digest    string    `json:"digest,omitempty"`  // of the package's content
	Detail    string    `json:"detail,omitempty"`
	Error     string    `json:"error,omitempty"` // why it was refused
	// Request is that of the admin request, as the daemon's log and the answer's X-Request-Id have it; "" of what the daemon did.
	Request string `json:"request,omitempty"`
}

// HistoryQuery narrows a question to the record. Zero fields don't.
type HistoryQuery struct {
	Clients []string  // name, with * and ? as in file names, or a whole MAC address, UUID or serial number; any of them
	Bundle  string    // name of the certificate
	Package string    // name@version, a name for all its versions, or 12 or more digits of the digest
	State   string    // of the session or of the client
	Since   time.Time // what still ran then, or began later
	Until   time.Time // what began before
	Before  int64     // ids below: the page after one that ended there
	Limit   int       // most records in the answer
	Digest  string    // of actions also what became of packages with this content; the daemon finds it for Package
	Changes bool      // of actions only what became of packages
}

// HistoryPage is how many records an answer has when no limit is named, and HistoryMost
// how many it has at most. HistoryNames is how many machines a question names at most, as
// they must fit a request's header.
const (
	HistoryPage  = 100
	HistoryMost  = 10_000
	HistoryNames = 1000
)

func (q *HistoryQuery) path(what string) string {
	v := url.Values{"client": q.Clients}
	for key, value := range map[string]string{"bundle": q.Bundle, "package": q.Package, "state": q.State} {
		if value != "" {
			v.Set(key, value)
		}
	}
	for key, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			v.Set(key, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Changes {
		v.Set("changes", "true")
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatInt(q.Before, 10))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return "/v1/history/" + what + "?" + v.Encode()
}

// Proof answers whether machines have an image, and when each proved it.
type Proof struct {
	Package  string         `json:"package"`
	Digest   string         `json:"digest"`
	Proven   int            `json:"proven"`
	Missing  int            `json:"missing"`
	Machines []ProofMachine `json:"machines"`
}

// States of a ProofMachine.
const (
	ProofProven    = "proven"
	ProofNotProven = "not proven"
	ProofNeverSeen = "never seen"
)

// ProofMachine is one machine of a Proof.
type ProofMachine struct {
	Name        string    `json:"name"` // the latest that it had; what was asked for, where it was never seen
	UUID        string    `json:"uuid,omitempty"`
	Serial      string    `json:"serial,omitempty"`
	MACs        string    `json:"macs,omitempty"`
	Certificate string    `json:"certificate,omitempty"`
	State       string    `json:"state"`                // one of the Proof constants
	Proven      time.Time `json:"proven,omitzero"`      // the latest time
	SessionID   int64     `json:"session_id,omitempty"` // where it proved it
	Path        string    `json:"path,omitempty"`       // multicast, unicast, held, seed: where most of the bytes came from
	LastSeen    time.Time `json:"last_seen,omitzero"`
	LastState   string    `json:"last_state,omitempty"` // of its latest try with this image, where it isn't proven
	LastReason  string    `json:"last_reason,omitempty"`
	Later       string    `json:"later,omitempty"` // another package that it proved after this one
}

// Forgotten says what was taken out of the record.
type Forgotten struct {
	Records int      `json:"records"` // of clients and actions
	Names   []string `json:"names"`   // that they had
	Running int      `json:"running"` // records that stay, as their session still runs
}

// History lists recorded sessions, the latest first.
func (c *Client) History(ctx context.Context, q HistoryQuery) (list []HistorySession, err error) {
	return list, c.do(ctx, http.MethodGet, q.path("sessions"), nil, &list)
}

// HistorySession returns the record of one session with its clients: by id, or by the
// name of the latest that was called so.
func (c *Client) HistorySession(ctx context.Context, which string) (s HistorySession, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/history/sessions/"+url.PathEscape(which), nil, &s)
}

// HistoryClients lists recorded clients, the latest first.
func (c *Client) HistoryClients(ctx context.Context, q HistoryQuery) (list []HistoryClient, err error) {
	return list, c.do(ctx, http.MethodGet, q.path("clients"), nil, &list)
}

// HistoryActions lists what operators did, the latest first. Of the query only
// Package, Changes, Since, Until, Before and Limit count.
func (c *Client) HistoryActions(ctx context.Context, q HistoryQuery) (list []HistoryAction, err error) {
	return list, c.do(ctx, http.MethodGet, q.path("actions"), nil, &list)
}

// HistoryProof asks whether the machines that Clients and Bundle name have an image. Of
// the rest of the query only Since and Until count.
func (c *Client) HistoryProof(ctx context.Context, ref string, q HistoryQuery) (p Proof, err error) {
	return p, c.do(ctx, http.MethodGet, q.path("proof/"+url.PathEscape(ref)), nil, &p)
}

// ForgetClient takes names and numbers of a machine out of the record, or with
// dryRun only says what it would.
func (c *Client) ForgetClient(ctx context.Context, client string, dryRun bool) (f Forgotten, err error) {
	q := url.Values{"dry_run": {strconv.FormatBool(dryRun)}}
	return f, c.do(ctx, http.MethodDelete, "/v1/history/clients/"+url.PathEscape(client)+"?"+q.Encode(), nil, &f)
}
