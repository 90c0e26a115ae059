package api

import (
	"context"
	"net/http"
	"time"
)

// PageLink opens the web page to whoever has it, once. It gives what a viewer may see, and nothing that changes anything.
type PageLink struct {
	Token    string    `json:"token"`
	URLs     []string  `json:"urls"`     // the whole links, token included; all but the first are other addresses of the same page
	Loopback bool      `json:"loopback"` // the page is on the server's loopback alone
	Listen   string    `json:"listen"`   // host:port that the page is at
	Expires  time.Time `json:"expires"`  // of the link; what it opens lasts longer
}

// MakePageLink makes a link.
func (c *Client) MakePageLink(ctx context.Context) (l PageLink, err error) {
	return l, c.do(ctx, http.MethodPost, "/v1/page/tokens", nil, &l)
}
