package api

import "time"

// Image is a package of the library.
type Image struct {
	Name             string      `json:"name"`
	Version          string      `json:"version"`
	Comment          string      `json:"comment,omitempty"`
	Digest           string      `json:"digest"`
	SHA256           string      `json:"sha256"`
	Size             int64       `json:"size_bytes"`
	Added            time.Time   `json:"added"`
	AllowMulticast   bool        `json:"allow_multicast"`
	Encrypt          bool        `json:"encrypt"`
	MulticastOnly    bool        `json:"multicast_only"`
	OutOfService     string      `json:"out_of_service,omitempty"` // why
	AlreadyThere     bool        `json:"already_there,omitempty"`  // answer to an add of what was added before
	Images           []ImageInfo `json:"images"`
	IntegrityChecked bool        `json:"integrity_checked,omitempty"` // its integrity table held when it was added
	Compression      string      `json:"compression,omitempty"`
	Pipable          bool        `json:"pipable,omitempty"` // only wimlib reads it
	Solid            bool        `json:"solid,omitempty"`   // ESD

	AppliesWith []string  `json:"applies_with"`           // the Applies constants
	Source      string    `json:"source,omitempty"`       // where it came from
	SourceAgain string    `json:"source_again,omitempty"` // where the daemon can get it again by itself
	SourceIndex int       `json:"source_index,omitempty"` // the image of the source that was taken alone
	Validated   time.Time `json:"validated,omitzero"`     // when every byte was last found to match
}

// What can apply a package's images to a disk.
const (
	AppliesDISM   = "dism"            // DISM and Windows Setup
	AppliesDISM81 = "dism_8.1"        // DISM of Windows 8.1 and later
	AppliesExport = "dism_export"     // DISM of Windows 8.1 and later, as an .esd, or once dism /Export-Image has unpacked it
	AppliesWimlib = "wimlib"          // wimlib-imagex apply, from the file
	AppliesStream = "wimlib_streamed" // wimlib-imagex apply, while it is still being received
)

// ImageAdd says what to call what is added; zero fields are left to the daemon.
type ImageAdd struct {
	Name    string
	Version string
	Comment string
	Stem    string // the file's name without its extension
	Index   int    // only this image of the file; 0: all of it
	SHA256  string // hexadecimal, of the file; "": anything
	Source  string // where it came from, for people
	Again   string // where the daemon can get it again: an https:// address, or from the socket a path
}

// ImageInfo is one image inside a WIM.
type ImageInfo struct {
	Index              int       `json:"index"`
	Name               string    `json:"name"`
	Description        string    `json:"description,omitempty"`
	DisplayName        string    `json:"display_name,omitempty"`
	DisplayDescription string    `json:"display_description,omitempty"`
	Edition            string    `json:"edition,omitempty"`
	Flags              string    `json:"flags,omitempty"` // the edition as media say it
	InstallationType   string    `json:"installation_type,omitempty"`
	ProductName        string    `json:"product_name,omitempty"`
	ProductType        string    `json:"product_type,omitempty"`
	ProductSuite       string    `json:"product_suite,omitempty"`
	HAL                string    `json:"hal,omitempty"`
	SystemRoot         string    `json:"system_root,omitempty"`
	Architecture       string    `json:"architecture,omitempty"`
	Version            string    `json:"version,omitempty"`
	Build              uint32    `json:"build,omitempty"`
	ServicePackBuild   uint32    `json:"service_pack_build,omitempty"`
	ServicePackLevel   uint32    `json:"service_pack_level,omitempty"`
	Languages          []string  `json:"languages,omitempty"`
	DefaultLanguage    string    `json:"default_language,omitempty"`
	TotalBytes         int64     `json:"total_bytes"`
	HardLinkBytes      int64     `json:"hard_link_bytes,omitempty"` // of TotalBytes, counted more than once
	Directories        int64     `json:"directories,omitempty"`
	Files              int64     `json:"files,omitempty"`
	Created            time.Time `json:"created,omitzero"`
	Modified           time.Time `json:"modified,omitzero"`
}

// ImageChange changes a package; nil fields stay.
type ImageChange struct {
	Name           *string `json:"name,omitempty"`
	Comment        *string `json:"comment,omitempty"`
	AllowMulticast *bool   `json:"allow_multicast,omitempty"`
	Encrypt        *bool   `json:"encrypt,omitempty"`
	MulticastOnly  *bool   `json:"multicast_only,omitempty"`
}

// Session is a cast.
type Session struct {
	ID         string    `json:"id"`
	Package    string    `json:"package"`
	Deployment string    `json:"deployment,omitempty"` // what its clients have the package by
	Digest     string    `json:"digest"`
	Mode       string    `json:"mode"`
	State      string    `json:"state"`
	Group      string    `json:"group"`
	Lane       int       `json:"lane,omitempty"` // 1: the slower session of its package; 2: clients that take unicast alone
	Start      string    `json:"start"`          // auto or scheduled
	Deadline   time.Time `json:"start_deadline,omitzero"`
	Minimum    int       `json:"min_clients,omitempty"`     // start it, while it waits
	Waiting    int       `json:"waiting_clients,omitempty"` // for the start
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended,omitzero"`
	Reason     string    `json:"reason,omitempty"`
	Size       int64     `json:"size_bytes"`
	Blocks     int       `json:"blocks"`
	Rate       float64   `json:"rate_bytes_per_second"`
	Ceiling    float64   `json:"ceiling_bytes_per_second"`
	Limit      float64   `json:"limit_bytes_per_second,omitempty"` // the operator's ceiling of this session
	SlowPolicy string    `json:"slow_policy"`
	Floor      float64   `json:"floor_bytes_per_second,omitempty"`
	Grace      float64   `json:"grace_seconds"`
	Alarm      string    `json:"alarm,omitempty"`
	RateReason string    `json:"rate_reason"`
	Limiting   string    `json:"limiting_client,omitempty"`
	GRTT       float64   `json:"grtt_seconds"`
	Epoch      uint32    `json:"epoch"`
	Pass       uint32    `json:"pass"`
	Progress   float64   `json:"progress"` // least of the clients', 0 to 1
	Median     float64   `json:"progress_median"`
	Most       float64   `json:"progress_max"`
	Sent       Sent      `json:"sent"`
	NACKs      NACKs     `json:"nacks"`
	Clients    []Member  `json:"clients"`
	// States counts the clients by state, those with none left out.
	States map[string]int `json:"client_states"`
}

// Sent counts what a session sent.
type Sent struct {
	SourcePackets   uint64 `json:"source_packets"`
	ParityPackets   uint64 `json:"parity_packets"`
	ManifestPackets uint64 `json:"manifest_packets"`
	ControlPackets  uint64 `json:"control_packets"`
	Bytes           uint64 `json:"bytes"`
	Errors          uint64 `json:"errors"`
}

// NACKs counts NACKs by what became of them.
type NACKs struct {
	Served  uint64 `json:"served"`
	Merged  uint64 `json:"merged"`
	Limited uint64 `json:"limited"`
}

// Member is a client of a session.
type Member struct {
	Number         uint32    `json:"number"`
	Name           string    `json:"name"`
	Address        string    `json:"address"`
	Certificate    string    `json:"certificate"`
	Role           string    `json:"role"`
	State          string    `json:"state"`
	Reason         string    `json:"reason,omitempty"`
	Joined         time.Time `json:"joined"`
	Ended          time.Time `json:"ended,omitzero"`
	Progress       float64   `json:"progress"`
	Rate           float64   `json:"rate_bytes_per_second"`
	Loss           float64   `json:"loss"`
	RTT            float64   `json:"rtt_seconds"`
	LostNetwork    uint64    `json:"lost_network_packets"`
	LostBuffer     uint64    `json:"lost_receive_buffer_packets"`
	LostDisk       uint64    `json:"lost_disk_packets"`
	Rejected       uint32    `json:"blocks_rejected"`
	NACKs          uint64    `json:"nacks"`
	Muted          bool      `json:"muted,omitempty"`
	MulticastBytes int64     `json:"multicast_bytes"`
	UnicastBytes   int64     `json:"unicast_bytes"`
	HeldBytes      int64     `json:"held_bytes"`
	SeedBytes      int64     `json:"seed_bytes"` // from an older version that it had
	Slow           *Slow     `json:"slow,omitempty"`
}

// Slow is how slow a client is.
type Slow struct {
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"` // of the time since then in which it took too little
	Takes   float64   `json:"takes_bytes_per_second"`
	Wanted  float64   `json:"wanted_bytes_per_second"`
	Cause   string    `json:"cause,omitempty"`
	Lost    float64   `json:"lost"` // share of packets lost to the cause
	Acted   time.Time `json:"acted,omitzero"`
	Action  string    `json:"action,omitempty"`
}

// SessionChange changes a running session; nil fields stay.
type SessionChange struct {
	Ceiling    *float64 `json:"ceiling_bytes_per_second,omitempty"` // of this session alone; 0: its part of the machine's
	SlowPolicy *string  `json:"slow_policy,omitempty"`
	Floor      *float64 `json:"floor_bytes_per_second,omitempty"`
	Grace      *float64 `json:"grace_seconds,omitempty"`
}

// SessionWait puts off a session's start.
type SessionWait struct {
	Longer float64 `json:"longer_seconds"`
}

// Queued is a client that waits for a place.
type Queued struct {
	Name        string    `json:"name"`
	Address     string    `json:"address"`
	Certificate string    `json:"certificate"`
	Package     string    `json:"package"`
	Since       time.Time `json:"since"`
	Place       int       `json:"place"` // among those who wait for the same
	Limit       string    `json:"limit"` // the configuration's key
	Reason      string    `json:"reason"`
}

// Bundle is a join bundle that was issued.
type Bundle struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	Serial  string    `json:"serial"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked"`
	PIN     bool      `json:"pin,omitempty"`     // it opens nothing before a PIN was shown
	Alone   bool      `json:"machine,omitempty"` // it is one machine's
}

// BundleRequest asks for a new bundle.
type BundleRequest struct {
	Name     string   `json:"name"`
	Role     string   `json:"role"`
	Lifetime float64  `json:"lifetime_seconds"`
	Servers  []string `json:"servers,omitempty"` // default: the daemon's own addresses
	// Points say which machines go elsewhere first, at most 64; default: what the site knows of its points.
	Points []PointAt `json:"points,omitempty"`
	PIN    bool      `json:"pin,omitempty"`     // it shall open nothing before a PIN was shown
	Alone  bool      `json:"machine,omitempty"` // it is one machine's
	UUID   string    `json:"uuid,omitempty"`    // SMBIOS UUID that this machine must claim; with Alone
}

// BundleIssued answers with the bundle's text.
type BundleIssued struct {
	Bundle
	Text string `json:"text"`
}

// BundleRevoked says what a revocation did.
type BundleRevoked struct {
	Credentials int      `json:"credentials"` // newly revoked
	Evicted     []string `json:"evicted"`     // clients of running sessions that held them
}

// Status is the daemon.
type Status struct {
	Version   string    `json:"version"`
	Started   time.Time `json:"started"`
	Listen    string    `json:"listen"`
	Admin     string    `json:"admin_listen,omitempty"` // this API over HTTPS
	Interface string    `json:"interface"`
	Ceiling   float64   `json:"ceiling_bytes_per_second"`
	Free      uint64    `json:"library_free_bytes"`
}

// Types of a Problem, as relative references (RFC 9457, section 3.1.1).
const (
	TypeOther   = "about:blank" // the status and the detail say it all
	TypeDamaged = "damaged"     // stored content isn't what was added
)

// Problem is an error (RFC 9457).
type Problem struct {
	Type   string `json:"type"` // one of the Type constants
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }
