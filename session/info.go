package session

import (
	"net/netip"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// ClientState is what a client does, in the words of wimcast_session_clients.
type ClientState string

// The states of a client: a closed set.
const (
	ClientWaiting   ClientState = "waiting"
	ClientReceiving ClientState = "receiving"
	ClientUnicast   ClientState = "unicast"
	ClientDemoted   ClientState = "demoted" // goes on in a slower session of the package
	ClientProven    ClientState = "proven"
	ClientFailed    ClientState = "failed"
	ClientLeft      ClientState = "left"
	ClientLost      ClientState = "lost" // unheard for too long
	ClientEvicted   ClientState = "evicted"
	ClientDropped   ClientState = "dropped" // too slow, and the policy is to drop
)

// Results returns the words for how a client ended, and for what came of its applying: a closed list, the label result of
// wimcast_client_results_total.
func Results() []string {
	return []string{
		string(ClientProven), string(ClientFailed), string(ClientLeft), string(ClientLost), string(ClientEvicted), string(ClientDropped),
		resultApplied, resultApplyFailed,
	}
}

// What came of applying.
const (
	resultApplied     = "applied"
	resultApplyFailed = "apply_failed"
)

// Where most of a client's bytes came from.
const (
	pathMulticast = "multicast"
	pathUnicast   = "unicast"
	pathSeed      = "seed"
)

// Paths returns the words for where most of a client's bytes came from: a closed list.
func Paths() []string { return []string{pathMulticast, pathUnicast, pathSeed} }

// ended reports whether the client has no part in the session any more.
func (s ClientState) ended() bool {
	switch s {
	case ClientWaiting, ClientReceiving, ClientUnicast:
		return false
	}
	return true
}

// ClientInfo is a client as seen by the server at one moment.
type ClientInfo struct {
	Number   uint32 // in this daemon's life
	Name     string // host name, else the certificate's name
	Peer     Peer
	Machine  wire.Machine
	State    ClientState
	Reason   string // why it failed, left, was demoted or takes unicast
	Joined   time.Time
	Began    time.Time // to receive; zero while it waits
	Heard    time.Time
	Ended    time.Time
	Progress float64 // share of blocks proven, 0…1
	Proven   int     // blocks
	Rate     float64 // bytes/s delivered in the last period
	Loss     float64 // share lost in the last period, 0…1
	Delay    time.Duration
	RTT      time.Duration

	// Counted from the client's join.
	Opened, Lost, KernelDrops, DiskDrops uint64
	Rejected                             uint32
	Rejoins                              int
	NACKs                                uint64
	Muted                                bool // NACKs beyond its limits are being ignored

	Slow Slowness

	// Map is what it has proven, as it told while somebody watches the session: MapCells cells of 4 bits, the first in the upper half of
	// the first byte, 15 where all is proven. nil: it told none. Shared, not to be changed.
	Map []byte

	// Bytes of the image, as the client told when it was done.
	Multicast, Unicast, Held, Seed int64
}

// SessionInfo is a session as seen at one moment.
type SessionInfo struct {
	ID        string // short, for people: "s7"
	Session   crypto.SessionID
	Package   string
	Digest    crypto.Hash
	Mode      crypto.Mode
	Unicast   bool
	State     wire.State
	Group     netip.AddrPort
	Lane      int // 0; 1 for the slower session, where demoted clients go; 2 for clients that take unicast alone: beyond a limit, or not allowed multicast
	Start     StartRule
	Deadline  time.Time // starts then at the latest; zero unless clients wait for the start
	Minimum   int       // starts once so many wait; 0: not by their number
	Waiting   int       // clients that wait for the start
	Slow      SlowPolicy
	Floor     float64       // bytes/s, 0 for none
	Grace     time.Duration // how long a client may be slow
	Limit     float64       // bytes/s: the operator's ceiling of this session, 0 for none
	Alarm     string        // what somebody should look at, "" for nothing
	Started   time.Time
	Ended     time.Time
	Reason    string // why it ended
	ImageSize int64
	Blocks    int // of the image
	Symbol    int // bytes
	Epoch     uint32
	Pass      uint32

	Rate       float64    // bytes/s of UDP payload, now
	Ceiling    float64    // bytes/s: its share of the machine's; of the latest cast while nothing is cast
	RateReason RateReason // what decides Rate; the latest while nothing is cast
	Limiting   uint32     // client whose report made the latest cut, 0 before the first; it stays when the rate is back
	GRTT       time.Duration
	Progress   time.Time // of the last block that any client proved

	// Deployment is what its clients have the package by; "" without one.
	Deployment string

	Sent    SentTotals
	NACKs   NACKTotals
	Clients []ClientInfo // by number
}

// SentTotals counts what went out.
type SentTotals struct {
	SourcePackets, ParityPackets, ManifestPackets, ControlPackets uint64
	SourceBytes, ParityBytes, ManifestBytes, ControlBytes         uint64
	Errors                                                        uint64
}

// NACKTotals counts NACKs by what became of them.
type NACKTotals struct {
	Served, Merged, Limited uint64
}
