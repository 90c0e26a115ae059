package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Client talks to a daemon over its socket. Safe for concurrent use.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the socket at a path. Nothing is dialled yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
	}}}
}

// do makes one request; in and out may be nil.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	var size int64
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ask the daemon: %w", err)
		}
		body, size = bytes.NewReader(b), int64(len(b))
	}
	return c.send(ctx, method, path, body, size, out)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, size int64, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://wimcastd"+path, body)
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	request.ContentLength = size
	answer, err := c.http.Do(request)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			return fmt.Errorf("ask the daemon: nothing answers at %s (%w); is wimcastd running? name its socket with --socket", c.socket, op.Err)
		}
		return fmt.Errorf("ask the daemon: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 400 {
		p := new(Problem)
		if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(p); err != nil || p.Detail == "" {
			return fmt.Errorf("ask the daemon: %s", answer.Status)
		}
		return p
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// Status asks how the daemon is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// AddImage adds the size bytes that r holds.
func (c *Client) AddImage(ctx context.Context, r io.Reader, size int64, name, version, comment, stem string) (i Image, err error) {
	q := url.Values{"name": {name}, "version": {version}, "comment": {comment}, "stem": {stem}}
	return i, c.send(ctx, http.MethodPost, "/v1/images?"+q.Encode(), r, size, &i)
}

// Images lists the packages.
func (c *Client) Images(ctx context.Context) (list []Image, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/images", nil, &list)
}

// Image returns one package.
func (c *Client) Image(ctx context.Context, ref string) (i Image, err error) {
	return i, c.do(ctx, http.MethodGet, imagePath(ref), nil, &i)
}

// ChangeImage changes a package.
func (c *Client) ChangeImage(ctx context.Context, ref string, change ImageChange) (i Image, err error) {
	return i, c.do(ctx, http.MethodPatch, imagePath(ref), change, &i)
}

// RemoveImage removes a package.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	return c.do(ctx, http.MethodDelete, imagePath(ref), nil, nil)
}

// VerifyImage hashes a package's content again.
func (c *Client) VerifyImage(ctx context.Context, ref string) (i Image, err error) {
	return i, c.do(ctx, http.MethodPost, imagePath(ref)+"/verify", nil, &i)
}

func imagePath(ref string) string { return "/v1/images/" + url.PathEscape(ref) }

// Sessions lists running sessions, then those that ended lately.
func (c *Client) Sessions(ctx context.Context) (list []Session, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/sessions", nil, &list)
}

// StopSession ends a session.
func (c *Client) StopSession(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(id)+"/stop", nil, nil)
}

// Evict takes a client out of a session, or with session "" out of every one it is in.
// It returns the sessions that it was in.
func (c *Client) Evict(ctx context.Context, session, name string) (from []string, err error) {
	q := url.Values{"session": {session}}
	return from, c.do(ctx, http.MethodPost, "/v1/clients/"+url.PathEscape(name)+"/evict?"+q.Encode(), nil, &from)
}

// Bundles lists the issued bundles.
func (c *Client) Bundles(ctx context.Context) (list []Bundle, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/bundles", nil, &list)
}

// IssueBundle makes a bundle.
func (c *Client) IssueBundle(ctx context.Context, r BundleRequest) (b BundleIssued, err error) {
	return b, c.do(ctx, http.MethodPost, "/v1/bundles", r, &b)
}

// RevokeBundle revokes a bundle by serial or name. Clients of running sessions that hold it are evicted.
func (c *Client) RevokeBundle(ctx context.Context, which string) (r BundleRevoked, err error) {
	return r, c.do(ctx, http.MethodDelete, "/v1/bundles/"+url.PathEscape(which), nil, &r)
}
