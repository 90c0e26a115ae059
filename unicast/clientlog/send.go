package clientlog

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// SendTimeout is how long a client may be busy with its log in all: nobody waits longer at a machine for it.
const SendTimeout = 10 * time.Second

// Bounds of one attempt.
const (
	dialTimeout = 3 * time.Second // so that a second server has its turn
	maxAnswer   = 16 << 10        // bytes
	maxRetry    = 3 * time.Second
)

// Send sends a report to the first of the servers (host:port) that takes it, within SendTimeout, and returns the name
// under which it is kept there. secure is keyex.ClientTLS's.
func Send(ctx context.Context, servers []string, secure *tls.Config, r Report, files []File) (id string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, SendTimeout, fmt.Errorf("no answer within %v", SendTimeout))
	defer cancel()
	body, kind, err := encode(r, files)
	if err != nil {
		return "", fmt.Errorf("send log: %w", err)
	}
	var errs []error
	for _, server := range servers {
		id, err := sendTo(ctx, server, secure, body, kind)
		if err == nil {
			return id, nil
		}
		errs = append(errs, fmt.Errorf("send log: %s: %w", server, err))
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("send log: no server to send it to"))
	}
	return "", errors.Join(errs...)
}

// sendTo sends a report to one server; while that is busy it comes again.
func sendTo(ctx context.Context, server string, secure *tls.Config, body []byte, kind string) (string, error) {
	secure = secure.Clone()
	secure.NextProtos = []string{"http/1.1"}
	dialer := net.Dialer{Timeout: dialTimeout}
	transport := &http.Transport{ // no Proxy: the server is in the next room
		TLSClientConfig: secure, TLSHandshakeTimeout: dialTimeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", server)
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+server+Path, bytes.NewReader(body))
		if err != nil {
			return "", err
		}
		request.Header.Set("Content-Type", kind)
		response, err := client.Do(request) //nolint:bodyclose // readAnswer closes it
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return "", cause
			}
			return "", err
		}
		id, retry, err := readAnswer(response)
		if retry == 0 {
			return id, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(retry):
		}
	}
}

// readAnswer reads what the server says; retry isn't 0 where it wants to be asked again soon.
func readAnswer(response *http.Response) (id string, retry time.Duration, err error) {
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", 0, err
	}
	if response.StatusCode == http.StatusCreated {
		var a answer
		if err := json.Unmarshal(text, &a); err != nil || !idPattern.MatchString(a.ID) {
			return "", 0, errors.New("an answer that isn't one of this version")
		}
		return a.ID, 0, nil
	}
	var p problem
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		p.Detail = response.Status
	}
	err = errors.New(Harmless(p.Detail))
	if response.StatusCode == http.StatusServiceUnavailable {
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return "", min(max(time.Duration(seconds)*time.Second, time.Second), maxRetry), err
	}
	return "", 0, err
}

// Harmless makes a line from elsewhere fit for a terminal: what isn't a printable character (escape codes, line ends, marks
// that turn the direction of writing) becomes '?'; tabs stay.
func Harmless(line string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, line)
}
