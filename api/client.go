package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client talks to a daemon. Safe for concurrent use.
type Client struct {
	base  string // of URLs
	where string // for people
	http  *http.Client
	err   error // why it can't talk

	// Over HTTPS.
	secure *tls.Config
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// NewClient returns a client of the socket at a path. Nothing is dialled yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{base: "http://wimcastd", where: socket, http: &http.Client{Transport: &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		ExpectContinueTimeout: wantTimeout,
	}}}
}

// NewRemoteClient returns a client of the first of these servers (host:port) that
// answers, over HTTPS. secure comes from keyex.ClientTLS. Nothing is dialled yet.
func NewRemoteClient(servers []string, secure *tls.Config) *Client {
	d := net.Dialer{Timeout: dialTimeout}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var errs []error
		for _, server := range servers {
			conn, err := d.DialContext(ctx, "tcp", server)
			if err == nil {
				return conn, nil
			}
			errs = append(errs, err)
		}
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.Join(errs...)}
	}
	return &Client{base: "https://wimcastd", where: strings.Join(servers, ", "), secure: secure, dial: dial, http: &http.Client{
		Transport: &http.Transport{TLSClientConfig: secure, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true, DialContext: dial, ExpectContinueTimeout: wantTimeout},
	}}
}

// dialTimeout bounds how long a server is waited for before the next is tried.
const dialTimeout = 10 * time.Second

// wantTimeout is how long an upload waits for the daemon to want it, or to refuse it before a byte is sent.
const wantTimeout = 10 * time.Second

// NewBrokenClient returns a client whose every request ends in err, for those who find out
// before they know what shall be asked.
func NewBrokenClient(err error) *Client { return &Client{err: err} }

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
	answer, err := c.open(ctx, method, path, body, size, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// open makes one request and returns the answer to be read, if it is a good one. A
// refusal is a *Problem.
func (c *Client) open(ctx context.Context, method, path string, body io.Reader, size int64, header http.Header) (*http.Response, error) {
	if c.err != nil {
		return nil, c.err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	request.ContentLength = size
	maps.Copy(request.Header, header)
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if answer.StatusCode < 400 {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	p := new(Problem)
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(p); err != nil || p.Detail == "" {
		return nil, fmt.Errorf("ask the daemon: %s", answer.Status)
	}
	return nil, p
}

// explain says what to do about a request that got no answer.
func (c *Client) explain(ctx context.Context, err error) error {
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case isOp && op.Op == "dial" && c.secure != nil:
		return fmt.Errorf("ask the daemon: nothing answers at %s (%w); is admin.listen set there? name another with --server", c.where, op.Err)
	case isOp && op.Op == "dial" && errors.Is(op.Err, fs.ErrPermission):
		return fmt.Errorf("ask the daemon: %s isn't open to this user (%w); next, as root: usermod -aG wimcast NAME, and log in again", c.where, op.Err)
	case isOp && op.Op == "dial":
		return fmt.Errorf("ask the daemon: nothing answers at %s (%w); is wimcastd running? name its socket with --socket, or a server elsewhere with --server and --bundle", c.where, op.Err)
	case c.secure != nil && ctx.Err() == nil:
		if alert := c.alert(ctx); alert != nil {
			return fmt.Errorf("ask the daemon: %s refuses this bundle (%w): it wants one of role operator or viewer that is good, and its log says why; on the server: wimcast bundle create NAME --role operator", c.where, alert)
		}
	}
	return fmt.Errorf("ask the daemon: %w", err)
}

// alert asks the server whether it refuses us, and returns its alert. In TLS 1.3 a
// server judges the client's certificate when the client has already begun to write
// (RFC 8446, section 4.4.2.4): then the reset of the connection often hides the alert. So
// this one only listens.
func (c *Client) alert(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := c.dial(ctx, "", "")
	if err != nil {
		return nil
	}
	defer func() { _ = raw.Close() }()
	config := c.secure.Clone()
	config.NextProtos = []string{"h2"} // where the server speaks first
	conn := tls.Client(raw, config)
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	err = conn.HandshakeContext(ctx)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return op.Err
	}
	return nil
}

// Status asks how the daemon is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// AddImage adds the size bytes that r holds. Nothing of it is read before the daemon has said that it wants it, or said
// nothing for a while.
func (c *Client) AddImage(ctx context.Context, r io.Reader, size int64, a ImageAdd) (Image, error) {
	q := url.Values{}
	for key, value := range map[string]string{
		"name": a.Name, "version": a.Version, "comment": a.Comment, "stem": a.Stem, "sha256": a.SHA256, "source": a.Source, "again": a.Again,
	} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if a.Index != 0 {
		q.Set("index", strconv.Itoa(a.Index))
	}
	return c.upload(ctx, "/v1/images?"+q.Encode(), r, size)
}

// upload sends a file of size bytes and returns the image that the daemon made of it. Nothing of it is read before the daemon has said that it
// wants it, or said nothing for a while.
func (c *Client) upload(ctx context.Context, path string, r io.Reader, size int64) (i Image, err error) {
	answer, err := c.open(ctx, http.MethodPost, path, r, size, http.Header{"Expect": {"100-continue"}})
	if err != nil {
		return i, err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(answer.Body).Decode(&i); err != nil {
		return i, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return i, nil
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

// RemoveImage removes a package. One that is distributed to points is refused unless it shall be withdrawn from them with it.
func (c *Client) RemoveImage(ctx context.Context, ref string, withdraw bool) error {
	path := imagePath(ref)
	if withdraw {
		path += "?withdraw=true"
	}
	return c.do(ctx, http.MethodDelete, path, nil, nil)
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

// StartSession starts a session whose clients wait for it.
func (c *Client) StartSession(ctx context.Context, id string) (s Session, err error) {
	return s, c.do(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(id)+"/start", nil, &s)
}

// WaitLonger puts off a session's start.
func (c *Client) WaitLonger(ctx context.Context, id string, wait SessionWait) (s Session, err error) {
	return s, c.do(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(id)+"/wait", wait, &s)
}

// CancelSession ends a session before it has started.
func (c *Client) CancelSession(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(id)+"/cancel", nil, nil)
}

// Queue lists the clients that wait for a place.
func (c *Client) Queue(ctx context.Context) (list []Queued, err error) {
	return list, c.do(ctx, http.MethodGet, "/v1/queue", nil, &list)
}

// StopSession ends a session.
func (c *Client) StopSession(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(id)+"/stop", nil, nil)
}

// ChangeSession changes a running session.
func (c *Client) ChangeSession(ctx context.Context, id string, change SessionChange) (s Session, err error) {
	return s, c.do(ctx, http.MethodPatch, "/v1/sessions/"+url.PathEscape(id), change, &s)
}

// SendUnicast sends a client to unicast in a session, or with session "" in every one it is in.
// It returns the sessions that it is in.
func (c *Client) SendUnicast(ctx context.Context, session, name string) (in []string, err error) {
	q := url.Values{"session": {session}}
	return in, c.do(ctx, http.MethodPost, "/v1/clients/"+url.PathEscape(name)+"/unicast?"+q.Encode(), nil, &in)
}

// Evict takes a client out of a session, or with session "" out of every one it is in.
// It returns the sessions that it was in.
func (c *Client) Evict(ctx context.Context, session, name string) (from []string, err error) {
	q := url.Values{"session": {session}}
	return from, c.do(ctx, http.MethodPost, "/v1/clients/"+url.PathEscape(name)+"/evict?"+q.Encode(), nil, &from)
}

// EvictAndRevoke takes a client out of every session, and revokes its certificate where that is one machine's.
func (c *Client) EvictAndRevoke(ctx context.Context, name string) (from []string, err error) {
	return from, c.do(ctx, http.MethodPost, "/v1/clients/"+url.PathEscape(name)+"/evict?revoke=true", nil, &from)
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
