package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// What an Error is at heart.
var (
	// ErrNotFound: the registry has no such blob, manifest or tag.
	ErrNotFound = errors.New("the registry doesn't have it")
	// ErrUnauthorized: the registry doesn't know who asks, or doesn't let them.
	ErrUnauthorized = errors.New("the registry doesn't let us")
	// ErrUnavailable: the network or the registry fails; later it may work.
	ErrUnavailable = errors.New("the registry is out of reach")
	// ErrDamaged: the registry sends something else than what was asked for.
	ErrDamaged = errors.New("the registry sends something else")
	// ErrNoRange: the registry sends blobs from their beginning only.
	ErrNoRange = errors.New("the registry sends no parts")
	// ErrRefused: the registry doesn't do this at all, or finds a fault in what it was asked.
	ErrRefused = errors.New("the registry refuses")
)

// Error is what went wrong with a registry.
type Error struct {
	// Op is what was tried, and on what: "read blob sha256:…".
	Op string
	// Repository is where.
	Repository string
	// Kind is one of the errors above; Cause what is known beyond, or nil.
	Kind, Cause error
	// Next is what to do about it, or "".
	Next string
	// RetryAfter is how long the registry asks to be left alone, at most an hour; 0 where it doesn't say.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s: %v", e.Op, e.Repository, e.Kind)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	if e.RetryAfter > 0 {
		text += fmt.Sprintf("; it asks to wait %v", e.RetryAfter)
	}
	if e.Next != "" {
		text += "; next: " + e.Next
	}
	return text
}

// Unwrap returns kind and cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// longestWait bounds what a registry can ask for.
const longestWait = time.Hour

// RetryAfter returns how long the registry asked to be left alone in an error; 0 where it didn't.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// failed makes an Error of what went wrong with op. Of a cancelled context the cause is returned.
func (r *Repository) failed(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok { // known already, from below oras
		e.Op = op
		return e
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", op, r.name, context.Cause(ctx))
	}
	e := &Error{Op: op, Repository: r.name, Kind: ErrUnavailable}
	e.Cause, e.Next = plain(err), ""
	answer, isAnswer := errors.AsType[*errcode.ErrorResponse](err)
	switch {
	case isAnswer:
		e.Kind = kindOf(answer.StatusCode)
		e.Cause = fmt.Errorf("status %d: %s", answer.StatusCode, r.said(answer))
	case errors.Is(err, errdef.ErrNotFound):
		e.Kind, e.Cause = ErrNotFound, nil
	case errors.Is(err, auth.ErrBasicCredentialNotFound), errors.Is(err, errCredentials):
		e.Kind = ErrUnauthorized
	case isMismatch(err):
		e.Kind = ErrDamaged
	default:
		e.Next = r.reach(err)
	}
	if errors.Is(e.Kind, ErrUnauthorized) {
		e.Next = r.admission()
	}
	return e
}

// kindOf tells what a status means.
func kindOf(status int) error {
	switch {
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return ErrUnauthorized
	case isPassing(status):
		return ErrUnavailable
	}
	return ErrRefused
}

// isPassing tells whether a status may be another one later.
func isPassing(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError
}

// mostSaid bounds a registry's own words in an error.
const mostSaid = 300

// said returns a registry's own words, fit to be shown.
func (r *Repository) said(answer *errcode.ErrorResponse) string {
	if len(answer.Errors) == 0 {
		return strings.ToLower(http.StatusText(answer.StatusCode))
	}
	return printable(r.withoutSecrets(answer.Errors[0].Error()))
}

// printable takes out what isn't for a terminal, and the rest of what is too long.
func printable(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > mostSaid {
		text = strings.ToValidUTF8(text[:mostSaid], "") + "…"
	}
	return text
}

// isMismatch tells what oras says of answers that contradict what was asked for; it has no error of its own for some of them.
func isMismatch(err error) bool {
	for _, known := range []error{content.ErrMismatchedDigest, content.ErrTrailingData, content.ErrInvalidDescriptorSize, errdef.ErrSizeExceedsLimit, errdef.ErrTooManyPages} {
		if errors.Is(err, known) {
			return true
		}
	}
	text := err.Error()
	return strings.Contains(text, "mismatch") || strings.Contains(text, "invalid response") || strings.Contains(text, "missing required header") ||
		strings.Contains(text, "unknown response Content-Length") || strings.Contains(text, "invalid character")
}

// plain takes the address out of an error: after a redirect it may hold a signature.
func plain(err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &silence{err}
	}
	return err
}

// silence is a time-out, in words.
type silence struct{ error }

func (s *silence) Error() string { return "nothing came from it in time" }
func (s *silence) Unwrap() error { return s.error }

// admission is what to do when a registry doesn't let us.
func (r *Repository) admission() string {
	if r.config.Credentials == "" {
		return "set credentials in [registry] to a file with its username and password"
	}
	return "write credentials that are valid there into " + r.config.Credentials + ", or have them granted the right; the file is read again at the next try"
}

// reach is what to do when a registry can't be reached.
func (r *Repository) reach(err error) string {
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return "set ca in [registry] to the PEM file of the CA that its certificate is by"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "look at this machine's clock (date), then at the registry's certificate"
	}
	if _, other := errors.AsType[x509.HostnameError](err); other {
		return "name the registry as its certificate does"
	}
	if _, name := errors.AsType[*net.DNSError](err); name {
		return "look at the name in [registry] repository, and at this machine's name servers"
	}
	if _, noTLS := errors.AsType[tls.RecordHeaderError](err); noTLS || errors.Is(err, http.ErrSchemeMismatch) {
		return "have the registry speak HTTPS, or set plain_http = true in [registry]"
	}
	return "curl " + r.scheme() + "://" + r.host + "/v2/ from this machine"
}
