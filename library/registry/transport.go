package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Bounds of what goes over the network.
const (
	// idleTime is how long a registry may neither send nor take a byte before it counts as away. What it does slowly may take any time.
	idleTime = 30 * time.Second
	dialTime = 15 * time.Second
	// sendBuffer is how much the kernel keeps of what was sent. While it empties no byte moves that we could see, so over a line of
	// 70 kbit/s it must empty within idleTime; 256 KiB take 30 s there.
	sendBuffer   = 256 << 10
	copyBuffer   = 64 << 10
	maxRedirects = 5
	maxCAFile    = 4 << 20
	maxHeader    = 256 << 10
	maxRefusal   = 8 << 10
)

// newTransport returns connections that are kept for use again. HTTP/1.1 alone: a connection that waits for its reader must not hold up another.
func newTransport(c *Config, idle time.Duration) (*http.Transport, error) {
	secure, err := trust(c.CA)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTime}
	var only http.Protocols
	only.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, TLSHandshakeTimeout: dialTime, Protocols: &only,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetWriteBuffer(sendBuffer) // without it long uploads over thin lines are given up too early, that's all
			}
			return &idleConn{Conn: conn, idle: idle}, nil
		},
		MaxIdleConnsPerHost: c.Parallel + 1, IdleConnTimeout: idle, DisableCompression: true,
		MaxResponseHeaderBytes: maxHeader, WriteBufferSize: copyBuffer, ReadBufferSize: copyBuffer,
	}, nil
}

// trust trusts the system's CAs, or those of a file alone.
func trust(file string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxCAFile))
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca: %s: no certificate in PEM in it", file)
	}
	return c, nil
}

// idleConn is a connection that breaks when nothing moves on it for idle. A reader that doesn't read doesn't count: the time runs
// while somebody waits for the other end.
type idleConn struct {
	net.Conn
	idle time.Duration
}

func (c *idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write puts off the end of a read that waits for the answer, too.
func (c *idleConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.SetReadDeadline(time.Now().Add(c.idle))
}

// checkRedirect follows a few redirects, as of registries that keep blobs elsewhere, and none to where anybody can listen. That the
// credentials stay behind sees oras to: it drops them at another scheme, host or port.
func (c *Config) checkRedirect(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case to.URL.Scheme != "https" && (to.URL.Scheme != "http" || !c.PlainHTTP):
		return fmt.Errorf("it sends us on to %s://%s, and plain_http isn't set", to.URL.Scheme, to.URL.Host)
	}
	return nil
}

// client is oras' client with authentication; what the registry says beyond oras' reach becomes an Error here.
type client struct {
	auth       *auth.Client
	repository string
	said       func(*errcode.ErrorResponse) string // the registry's own words, fit to be shown
}

// Do implements remote.Client. Of an answer that says "later" it keeps how much later.
func (c *client) Do(r *http.Request) (*http.Response, error) {
	answer, err := c.auth.Do(r)
	if err != nil || !isPassing(answer.StatusCode) {
		return answer, err
	}
	return nil, &Error{
		Repository: c.repository, Kind: ErrUnavailable, Cause: fmt.Errorf("status %d: %s", answer.StatusCode, c.said(refusal(answer))),
		RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
	}
}

// refusal reads and closes an answer that isn't what was asked for (OCI distribution specification, section Error codes).
func refusal(answer *http.Response) *errcode.ErrorResponse {
	defer func() { _ = answer.Body.Close() }()
	var body struct {
		Errors errcode.Errors `json:"errors"`
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	if err != nil || json.Unmarshal(text, &body) != nil {
		body.Errors = nil // whoever sits between us and the registry has words of their own
	}
	return &errcode.ErrorResponse{StatusCode: answer.StatusCode, Errors: body.Errors}
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), longestWait)
}
