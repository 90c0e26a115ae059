package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// SupportRequest says what a support bundle shall have.
type SupportRequest struct {
	Since   time.Time `json:"since,omitzero"`    // history and log from then on; the last 24 h without
	Session string    `json:"session,omitempty"` // of sessions this one alone
}

// Support has the daemon put together what somebody needs who has to help, without secrets: a tar, its last file MANIFEST.json
// (api/support reads it). The caller closes it.
func (c *Client) Support(ctx context.Context, r SupportRequest) (io.ReadCloser, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	answer, err := c.open(ctx, http.MethodPost, "/v1/support", bytes.NewReader(b), int64(len(b)), nil)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// Remote reports whether the daemon is asked over HTTPS, and may be elsewhere.
func (c *Client) Remote() bool { return c.secure != nil }
