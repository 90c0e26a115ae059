package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// PINSet opens a room to machines whose bundles want a PIN.
type PINSet struct {
	Room string  `json:"room"`                  // name of the bundles, or a pattern
	For  float64 `json:"for_seconds,omitempty"` // 0: an hour
	PIN  string  `json:"pin,omitempty"`         // "": one is drawn
	Open bool    `json:"open,omitempty"`        // want none while it lasts
}

// PIN is a room that is open. The PIN itself is shown once, to who has it drawn.
type PIN struct {
	Room      string    `json:"room"`
	Set       time.Time `json:"set"`
	Until     time.Time `json:"until"`
	Open      bool      `json:"open,omitempty"`  // without a PIN
	Right     int       `json:"right"`           // tries
	Wrong     int       `json:"wrong"`           // likewise
	Addresses int       `json:"wrong_addresses"` // that wrong ones came from
	Drawn     string    `json:"pin,omitempty"`   // only in the answer that it was drawn for
}

// SetPIN opens a room.
func (c *Client) SetPIN(ctx context.Context, set PINSet) (p PIN, err error) {
	return p, c.do(ctx, http.MethodPost, "/v1/pins", set, &p)
}

// PINs lists the rooms that are open.
func (c *Client) PINs(ctx context.Context) (list []PIN, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/pins", nil, &list)
}

// ClearPIN closes a room.
func (c *Client) ClearPIN(ctx context.Context, room string) error {
	return c.do(ctx, http.MethodDelete, "/v1/pins/"+url.PathEscape(room), nil, nil)
}
