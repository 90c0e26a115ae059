package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// States of what goes to a point, at the site: a closed set.
const (
	FleetWaiting    = "waiting"     // it hasn't begun
	FleetInProgress = "in_progress" // it is being sent
	FleetSuccess    = "success"     // it is in the registry
	FleetFailed     = "failed"      // it is tried again
)

// Priorities of what is distributed.
const (
	PriorityHigh   = "high"
	PriorityMedium = "medium"
	PriorityLow    = "low"
)

// Point is another distribution point, as its site knows it.
type Point struct {
	Name      string            `json:"name"`
	Groups    []string          `json:"groups"`
	Multicast bool              `json:"multicast"` // whether it casts
	Subnets   []string          `json:"subnets"`   // whose clients go to it, such as 10.1.0.0/16
	Addresses []string          `json:"addresses"` // where they reach it, host:port
	Added     time.Time         `json:"added"`
	Expires   time.Time         `json:"expires,omitzero"` // the latest of its certificates
	Packages  []AssignedPackage `json:"packages"`         // that it shall have
	LeftOut   []PointLeftOut    `json:"left_out"`         // what goes to its groups, or to all, and not to it
	Serial    int64             `json:"serial"`           // of the assignments that it finds in the registry; 0: none yet
	Published time.Time         `json:"published,omitzero"`
	Error     string            `json:"error,omitempty"` // why newer ones aren't there
	Retry     time.Time         `json:"retry,omitzero"`
}

// AssignedPackage is a version that a point shall have, and how far it is on its way to the registry. What the point
// has made of it is told elsewhere.
type AssignedPackage struct {
	Package  string    `json:"package"`  // name@version
	Current  bool      `json:"current"`  // the name alone means it there
	Priority string    `json:"priority"` // one of the Priority constants
	Revision int64     `json:"revision"` // the latest that is in the registry; 0: none yet
	State    string    `json:"state"`    // one of the Fleet constants
	Since    time.Time `json:"since,omitzero"`
	Bytes    int64     `json:"bytes,omitempty"` // of Total, that are in the registry; while it is in progress
	Total    int64     `json:"total_bytes,omitempty"`
	Sent     int64     `json:"sent_bytes,omitempty"` // of Bytes, those that weren't there before
	Error    string    `json:"error,omitempty"`
	Retry    time.Time `json:"retry,omitzero"`
}

// PointLeftOut is a package that doesn't go to a point of those it is distributed to.
type PointLeftOut struct {
	Point   string `json:"point"`
	Package string `json:"package"`
	Reason  string `json:"reason"`
}

// PointAdd adds a point.
type PointAdd struct {
	Name      string   `json:"name"`
	Groups    []string `json:"groups,omitempty"`
	Multicast *bool    `json:"multicast,omitempty"` // default: true
	Subnets   []string `json:"subnets,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Lifetime  float64  `json:"lifetime_seconds,omitempty"` // of its certificates; 0: a year
}

// PointAdded answers with the point's file, which is nowhere else.
type PointAdded struct {
	Point
	Text string `json:"text"`
}

// PointChange changes a point; nil fields stay, lists are replaced.
type PointChange struct {
	Groups    *[]string `json:"groups,omitempty"`
	Multicast *bool     `json:"multicast,omitempty"`
	Subnets   *[]string `json:"subnets,omitempty"`
	Addresses *[]string `json:"addresses,omitempty"`
}

// PointRemoved says what came of removing a point.
type PointRemoved struct {
	Name        string   `json:"name"`
	Lost        bool     `json:"lost"`
	Credentials int      `json:"credentials"` // newly revoked
	Keys        []string `json:"keys"`        // packages whose next versions are sealed under another key
}

// Distribute says whom to distribute a package to.
type Distribute struct {
	To       []string `json:"to,omitempty"` // points and groups
	All      bool     `json:"all,omitempty"`
	Priority string   `json:"priority,omitempty"` // default: medium
	Keep     int      `json:"keep,omitempty"`     // versions that stay at a point; default: 2
}

// Distributed says which points shall have a package now.
type Distributed struct {
	Package string         `json:"package"` // name@version
	Points  []string       `json:"points"`
	LeftOut []PointLeftOut `json:"left_out"`
}

// Withdraw says whom to take a package from.
type Withdraw struct {
	From []string `json:"from,omitempty"` // points and groups
	All  bool     `json:"all,omitempty"`
}

// Withdrawn says what was withdrawn.
type Withdrawn struct {
	Packages []string `json:"packages"` // versions that somebody had
	Points   []string `json:"points"`   // that had one, and none now
}

// Points lists the points.
func (c *Client) Points(ctx context.Context) (list []Point, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/points", nil, &list)
}

// Point returns one.
func (c *Client) Point(ctx context.Context, name string) (p Point, err error) {
	return p, c.do(ctx, http.MethodGet, "/v1/points/"+url.PathEscape(name), nil, &p)
}

// AddPoint adds one.
func (c *Client) AddPoint(ctx context.Context, add PointAdd) (p PointAdded, err error) {
	return p, c.do(ctx, http.MethodPost, "/v1/points", add, &p)
}

// ChangePoint changes one.
func (c *Client) ChangePoint(ctx context.Context, name string, change PointChange) (p Point, err error) {
	return p, c.do(ctx, http.MethodPatch, "/v1/points/"+url.PathEscape(name), change, &p)
}

// RemovePoint removes one; lost says that strangers may have it.
func (c *Client) RemovePoint(ctx context.Context, name string, lost bool) (out PointRemoved, err error) {
	return out, c.do(ctx, http.MethodDelete, "/v1/points/"+url.PathEscape(name)+"?lost="+strconv.FormatBool(lost), nil, &out)
}

// Distribute has a package go to points.
func (c *Client) Distribute(ctx context.Context, ref string, d Distribute) (out Distributed, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/images/"+url.PathEscape(ref)+"/distribute", d, &out)
}

// Withdraw takes a package from points.
func (c *Client) Withdraw(ctx context.Context, ref string, w Withdraw) (out Withdrawn, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/images/"+url.PathEscape(ref)+"/withdraw", w, &out)
}
