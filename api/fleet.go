package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// PointStatus is what a point says of itself to its site. Its times are by the point's own clock.
type PointStatus struct {
	Version      string         `json:"version"`
	Started      time.Time      `json:"started"`
	Clock        time.Time      `json:"clock"` // when it said so
	Free         uint64         `json:"library_free_bytes"`
	Limit        float64        `json:"pull_limit_bytes_per_second,omitempty"` // that the hours set now; 0: none, or closed
	Packages     []PointPackage `json:"packages"`
	Casts        []PointCast    `json:"casts"` // what it casts now
	OutOfService []PointFault   `json:"out_of_service,omitempty"`
}

// States of a package at a point: the first four are the point's words.
const (
	PackageWaiting    = "waiting"
	PackageInProgress = "in_progress"
	PackageSuccess    = "success"
	PackageFailed     = "failed"
	// PackageNotTold: the site has assigned it, and the point hasn't said anything of that revision yet.
	PackageNotTold = "not_told"
	// PackageLeaving: the point still has it, and shall not any more.
	PackageLeaving = "leaving"
)

// PackageStates returns all of them.
func PackageStates() []string {
	return []string{PackageNotTold, PackageWaiting, PackageInProgress, PackageSuccess, PackageFailed, PackageLeaving}
}

// PointPackage is one version of a package at a point.
type PointPackage struct {
	Package   string    `json:"package"`            // name@version
	Revision  int64     `json:"revision,omitempty"` // that State is about; 0: the point has told of none
	Digest    string    `json:"digest,omitempty"`
	State     string    `json:"state"`
	Priority  string    `json:"priority,omitempty"`
	Bytes     int64     `json:"bytes,omitempty"`       // that have travelled
	Total     int64     `json:"total_bytes,omitempty"` // that have to
	Rate      float64   `json:"rate_bytes_per_second,omitempty"`
	ETA       float64   `json:"eta_seconds,omitempty"`
	Since     time.Time `json:"since,omitzero"`     // it is in this state
	Error     string    `json:"error,omitempty"`    // why it failed
	Retry     time.Time `json:"retry,omitzero"`     // when it is tried again
	Validated time.Time `json:"validated,omitzero"` // when every byte was last found to match
	Held      string    `json:"held,omitempty"`     // why it waits
}

// PointCast is a session of a point, in short.
type PointCast struct {
	Session    string         `json:"session"`
	Package    string         `json:"package"`
	Deployment string         `json:"deployment,omitempty"`
	State      string         `json:"state"`
	Clients    map[string]int `json:"clients"` // by state, those with none left out
	Progress   float64        `json:"progress"`
	Median     float64        `json:"progress_median"`
	Most       float64        `json:"progress_max"`
	Rate       float64        `json:"rate_bytes_per_second"`
	RateReason string         `json:"rate_reason,omitempty"`
}

// PointFault is a package that is out of service at a point.
type PointFault struct {
	Package string `json:"package"`
	Reason  string `json:"reason"`
}

// Fleet is every point of a site, by name.
type Fleet struct {
	Points []FleetPoint `json:"points"`
}

// FleetPoint is a point as the site sees it. Times are by the site's clock.
type FleetPoint struct {
	Name         string         `json:"name"`
	Reported     time.Time      `json:"reported,omitzero"`             // when its status last came; missing: never
	OutOfReach   time.Time      `json:"out_of_reach_since,omitzero"`   // what follows was so then
	ClockAhead   float64        `json:"clock_ahead_seconds,omitempty"` // of the point's clock before the site's, where that is more than a minute
	Version      string         `json:"version,omitempty"`
	Started      time.Time      `json:"started,omitzero"`
	Free         uint64         `json:"library_free_bytes,omitempty"`
	Limit        float64        `json:"pull_limit_bytes_per_second,omitempty"`
	Packages     []FleetPackage `json:"packages"`
	Casts        []PointCast    `json:"casts"`
	OutOfService []PointFault   `json:"out_of_service,omitempty"`
}

// FleetPackage is a package at a point, as the site sees it.
type FleetPackage struct {
	PointPackage
	Wanted int64 `json:"wanted_revision,omitempty"` // what the site has assigned; 0: nothing, or nothing yet
}

// ReportPoint tells the site how a point is, in the name of its certificate.
func (c *Client) ReportPoint(ctx context.Context, name string, status PointStatus) error {
	return c.do(ctx, http.MethodPut, "/v1/points/"+url.PathEscape(name)+"/status", status, nil)
}

// Fleet asks how every point is.
func (c *Client) Fleet(ctx context.Context) (f Fleet, err error) {
	return f, c.do(ctx, http.MethodGet, "/v1/fleet", nil, &f)
}
