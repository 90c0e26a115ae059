package api

import (
	"context"
	"net/http"
)

// The states of a finding.
const (
	FindingOK   = "ok"
	FindingWarn = "warn" // works, but not as it should
	FindingFail = "fail" // casts fail or stop by it
	FindingSkip = "skip" // couldn't be looked at, or needn't
)

// Finding is what the doctor says of one thing: a plain sentence, and what to do.
type Finding struct {
	State string `json:"state"`           // ok, warn, fail, skip
	Check string `json:"check"`           // what was looked at: querier, group, clock, ...
	Text  string `json:"text"`            // what was seen
	Next  string `json:"next,omitempty"`  // what to do
	Fault string `json:"fault,omitempty"` // the trouble's name, the same wherever it is met; empty with ok
}

// Doctor is all that the doctor found on one side.
type Doctor struct {
	Side     string    `json:"side"` // server, client
	Host     string    `json:"host"` // whose it is
	Findings []Finding `json:"findings"`
}

// Failed reports whether anything failed.
func (d *Doctor) Failed() bool {
	for _, f := range d.Findings {
		if f.State == FindingFail {
			return true
		}
	}
	return false
}

// Doctor has the daemon look at itself. It takes up to two seconds.
func (c *Client) Doctor(ctx context.Context) (d Doctor, err error) {
	return d, c.do(ctx, http.MethodGet, "/v1/doctor", nil, &d)
}
