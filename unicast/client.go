package unicast

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"wimcast/crypto"
)

// ClientConfig is what a Client is made of. Address, TLS, Digest and Token are
// required; they come with the welcome.
type ClientConfig struct {
	Address string      // of the HTTPS port, host:port
	TLS     *tls.Config // the one verifier's; cloned
	Token   [32]byte
	Digest  crypto.Hash // of the content
	Size    int64       // of the image, in bytes
	// Stall ends an attempt in which nothing came for so long. 0: 30 s.
	Stall time.Duration
	// Attempts is how many in a row may bring no whole block. 0: 5.
	Attempts int
	// BackOff is the pause after the first attempt that failed; it doubles up to
	// ten times as much. 0: 500 ms.
	BackOff time.Duration
}

const (
	defaultStall    = 30 * time.Second
	defaultAttempts = 5
	defaultBackOff  = 500 * time.Millisecond
	dialTimeout     = 10 * time.Second
	readBuffer      = 128 << 10
)

// Client fetches one image by unicast. Its methods may be called from several
// goroutines, but the server gives a token one transfer at a time: a newer one
// ends the older.
type Client struct {
	config    ClientConfig
	transport *http.Transport
	http      *http.Client
}

// NewClient returns a client; nothing is dialled yet.
func NewClient(config ClientConfig) (*Client, error) {
	if config.TLS == nil {
		panic("unicast: NewClient: a TLS configuration is required")
	}
	if _, _, err := net.SplitHostPort(config.Address); err != nil {
		return nil, fmt.Errorf("unicast client: %w", err)
	}
	if config.Size < 0 || config.Size > crypto.MaxImageSize {
		return nil, fmt.Errorf("unicast client: an image of %d bytes", config.Size)
	}
	config.Stall = orDefault(config.Stall, defaultStall)
	config.Attempts = orDefault(config.Attempts, defaultAttempts)
	config.BackOff = orDefault(config.BackOff, defaultBackOff)
	config.TLS = config.TLS.Clone()
	config.TLS.MinVersion = tls.VersionTLS13
	config.TLS.NextProtos = []string{"http/1.1"}
	if config.TLS.ServerName == "" {
		config.TLS.ServerName, _, _ = net.SplitHostPort(config.Address)
	}
	c := &Client{config: config}
	c.transport = &http.Transport{ // no Proxy: the server is in the next room
		DialTLSContext:         c.dial,
		DisableCompression:     true,
		MaxIdleConns:           2,
		IdleConnTimeout:        idleTimeout / 2, // before the server's
		MaxResponseHeaderBytes: maxHeader,
		ReadBufferSize:         readBuffer,
	}
	c.http = &http.Client{
		Transport:     c.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for nobody else
	}
	return c, nil
}

// Close lets go of idle connections. The client stays usable.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// dial connects and shakes hands, so that "not there" and "not trusted" can be
// told apart.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, c.config.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		if _, network := errors.AsType[net.Error](err); network ||
			errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || ctx.Err() != nil {
			return nil, err
		}
		return nil, &TrustError{Address: address, Err: err}
	}
	return conn, nil
}

// alerted reports whether the other end said why it ends the connection (crypto/tls
// names such errors so), which it does during the handshake or, in TLS 1.3, only at
// the first read after it.
func alerted(err error) bool {
	op, is := errors.AsType[*net.OpError](err)
	return is && op.Op == "remote error"
}

// get makes one request for the bytes [from, to) of a thing of total bytes. The
// caller closes the body, which may be longer than asked for.
func (c *Client) get(ctx context.Context, thing string, from, to, total int64) (*http.Response, error) {
	u := url.URL{Scheme: "https", Host: c.config.Address, Path: "/v1/" + thing + "/" + c.config.Digest.String()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("fetch by unicast: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+hex.EncodeToString(c.config.Token[:]))
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	response, err := c.http.Do(r)
	if err != nil {
		if trust, is := errors.AsType[*TrustError](err); is {
			return nil, trust
		}
		if alerted(err) {
			return nil, &TrustError{Address: c.config.Address, Err: err}
		}
		return nil, err
	}
	if err := c.check(response, from, to, total); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

// check holds a response against what was asked for.
func (c *Client) check(r *http.Response, from, to, total int64) error {
	switch code := r.StatusCode; {
	case code == http.StatusPartialContent:
	case code == http.StatusOK:
		return c.broken("it ignores ranges and sends everything")
	default:
		return c.refusal(readProblem(r))
	}
	if got, want := r.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", from, to-1, total); got != want {
		return c.broken("asked for %q it sends %q", want, clean(got))
	}
	if r.ContentLength >= 0 && r.ContentLength != to-from {
		return c.broken("asked for %d bytes it announces %d", to-from, r.ContentLength)
	}
	if tag := r.Header.Get("ETag"); tag != `"`+c.config.Digest.String()+`"` {
		return c.broken("it sends other content, with ETag %q", clean(tag))
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return c.broken("it encodes content as %q", clean(coding))
	}
	return nil
}

// refusal turns an answer that isn't content into an error.
func (c *Client) refusal(p problem) error {
	switch {
	case p.Status == http.StatusServiceUnavailable && p.Type != typeOutOfService, p.Status == http.StatusTooManyRequests:
		return &QueuedError{Position: p.Position, RetryAfter: p.retryAfter}
	case p.Type == typeOutOfService, p.Status >= 400 && p.Status < 500 && p.Status != http.StatusRequestTimeout:
		return &RefusedError{Status: p.Status, Type: p.Type, Title: p.Title, Detail: p.Detail}
	case p.Status >= 500, p.Status == http.StatusRequestTimeout:
		return &statusError{problem: p}
	}
	return c.broken("status %d", p.Status)
}

func (c *Client) broken(format string, args ...any) error {
	return &ProtocolError{Address: c.config.Address, Text: fmt.Sprintf(format, args...)}
}
