package api

import (
	"context"
	"net/http"
	"time"
)

// OwnPoint is what a daemon that is a point of a site has and does. Times are by its own clock but for Made.
type OwnPoint struct {
	Name       string         `json:"name"`
	Repository string         `json:"repository"`         // that it pulls from
	Serial     int64          `json:"serial"`             // of the assignments that hold; 0: none came yet
	Made       time.Time      `json:"made,omitzero"`      // they, by the site's clock
	Multicast  bool           `json:"multicast"`          // whether it casts
	Polled     time.Time      `json:"polled,omitzero"`    // when the registry last answered with assignments that hold
	Error      string         `json:"error,omitempty"`    // why it doesn't now
	Next       time.Time      `json:"next_poll,omitzero"` // when it is asked again
	Packages   []PointPackage `json:"packages"`           // that the site has assigned
}

// OwnPoint asks what this daemon has and does as a point.
func (c *Client) OwnPoint(ctx context.Context) (p OwnPoint, err error) {
	return p, c.do(ctx, http.MethodGet, "/v1/point", nil, &p)
}
