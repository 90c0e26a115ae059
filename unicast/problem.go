package unicast

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// What contents and grants of a Server answer with, and what errors of a Client
// match (errors.Is).
var (
	// ErrMulticastOnly: the package has no unicast path.
	ErrMulticastOnly = errors.New("the package is multicast-only")
	// ErrUnknown: nothing of that name is here (any more).
	ErrUnknown = errors.New("the server has no such content")
	// ErrOutOfService: the content is there but damaged.
	ErrOutOfService = errors.New("the package is out of service")
	// ErrRefused: the token isn't good, or not for this content.
	ErrRefused = errors.New("refused")
)

// The problem types of this package (RFC 9457, section 3.1.1), as relative references.
const (
	typeMulticastOnly = "multicast-only"
	typeOutOfService  = "out-of-service"
	typeQueued        = "queued"
	typeToken         = "token"
	typeOtherContent  = "other-content"
	typeUnknown       = "unknown-content"
	typeRange         = "range"
	typePrecondition  = "precondition"
	typeInternal      = "internal"
)

// problem is an application/problem+json body. Position is our extension: the
// place in the queue, from 1.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Position int    `json:"position,omitempty"`

	retryAfter time.Duration // header Retry-After, where not 0
}

const problemType = "application/problem+json"

// write answers a request with the problem.
func (p *problem) write(w http.ResponseWriter, body bool) {
	encoded, _ := json.Marshal(p) // strings and numbers: never fails
	h := w.Header()
	h.Del("Content-Encoding")
	h.Del("ETag")
	h.Set("Content-Type", problemType)
	h.Set("Content-Length", strconv.Itoa(len(encoded)))
	h.Set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.Status)
	if body {
		_, _ = w.Write(encoded)
	}
}

// Bounds of what is read of a problem, and of what a person is shown of it.
const (
	maxProblem = 16 << 10
	maxText    = 500
)

// readProblem reads a response that isn't what was asked for. Whatever the server
// sent, it returns something bounded and printable.
func readProblem(r *http.Response) problem {
	p := problem{}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	b, err := io.ReadAll(io.LimitReader(r.Body, maxProblem))
	if err != nil || kind != problemType || json.Unmarshal(b, &p) != nil {
		p = problem{}
	}
	p.Status = r.StatusCode
	p.Type, p.Title, p.Detail = clean(p.Type), clean(p.Title), clean(p.Detail)
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	p.Position = max(p.Position, 0)
	p.retryAfter = retryAfter(r.Header.Get("Retry-After"))
	return p
}

// clean makes text from a server fit to be shown: no control characters, no novels.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}

// Bounds of what a server may ask us to wait.
const (
	minRetry     = time.Second
	maxRetry     = time.Minute
	defaultRetry = 5 * time.Second
)

// retryAfter reads the header of that name in its form of seconds (RFC 9110,
// section 10.2.3); a date counts as absent, as clocks in WinPE are wrong.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.Atoi(strings.TrimSpace(header))
	if err != nil || seconds < 0 {
		return defaultRetry
	}
	return min(max(time.Duration(min(seconds, 3600))*time.Second, minRetry), maxRetry)
}
