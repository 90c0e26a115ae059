package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// PointRenewed are new credentials of a point, as they stand in a point file.
type PointRenewed struct {
	Expires time.Time `json:"expires"` // both of them
	Server  string    `json:"server"`  // PEM: certificate, CA, private key
	Bundle  string    `json:"bundle"`  // text of a bundle of role point
}

// RenewPoint asks the site for new credentials, in the name of the certificate that is about to end.
func (c *Client) RenewPoint(ctx context.Context, name string) (r PointRenewed, err error) {
	return r, c.do(ctx, http.MethodPost, "/v1/points/"+url.PathEscape(name)+"/renew", nil, &r)
}
