package unicast

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// QueuedError says that all slots are taken. The place in the queue is kept for a
// while: ask again after RetryAfter, and listen to the group meanwhile.
type QueuedError struct {
	Position   int           // from 1; 0 where the server didn't tell
	RetryAfter time.Duration // 1 s to 1 min
}

func (e *QueuedError) Error() string {
	return fmt.Sprintf("fetch by unicast: all slots are taken, position %d in the queue; ask again in %v", e.Position, e.RetryAfter)
}

// Queued returns position and waiting time.
func (e *QueuedError) Queued() (position int, retry time.Duration) { return e.Position, e.RetryAfter }

// RefusedError is the server's answer that there is nothing to be had. It matches
// ErrMulticastOnly, ErrUnknown, ErrOutOfService or, for all other answers 401 and
// 403, ErrRefused.
type RefusedError struct {
	Status int    // of HTTP
	Type   string // of the problem, such as "multicast-only"
	Title  string // printable and short, whatever the server sent
	Detail string
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("fetch by unicast: the server refuses (%d): %s", e.Status, e.Title)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Is tells the sentinel errors that the answer stands for.
func (e *RefusedError) Is(target error) bool {
	switch {
	case e.Type == typeMulticastOnly && e.Status == http.StatusForbidden:
		return target == ErrMulticastOnly
	case e.Type == typeOutOfService:
		return target == ErrOutOfService
	case e.Status == http.StatusNotFound || e.Status == http.StatusGone:
		return target == ErrUnknown
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return target == ErrRefused
	}
	return false
}

// Final reports that asking again won't help.
func (e *RefusedError) Final() bool { return true }

// UnreachableError says that the server couldn't be reached, or that connections
// to it broke, too often in a row. Asking later may help.
type UnreachableError struct {
	Address  string
	Attempts int
	Err      error // of the last attempt
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("fetch by unicast: server %s: no progress in %d attempts; check that its HTTPS port is open and that the daemon runs: %s", e.Address, e.Attempts, clean(e.Err.Error()))
}

// Unwrap returns the error of the last attempt.
func (e *UnreachableError) Unwrap() error { return e.Err }

// TrustError says that one end doesn't accept the other's certificate or TLS version.
type TrustError struct {
	Address string
	Err     error
}

func (e *TrustError) Error() string {
	return fmt.Sprintf("fetch by unicast: server %s: no trust between the two ends; take a new join bundle from the server: %s", e.Address, clean(e.Err.Error()))
}

// Unwrap returns what TLS says.
func (e *TrustError) Unwrap() error { return e.Err }

// Final reports that asking again won't help.
func (e *TrustError) Final() bool { return true }

// ProtocolError says that the server's answer isn't one to what was asked for.
type ProtocolError struct {
	Address string
	Text    string
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("fetch by unicast: server %s: %s; this isn't a wimcast server of our version, or something between changes what it sends", e.Address, e.Text)
}

// Final reports that asking again won't help.
func (e *ProtocolError) Final() bool { return true }

// Errors of one attempt, after which another one is made.
var (
	errStalled = errors.New("nothing came for too long")
	errShort   = errors.New("the connection ended early")
)

// statusError is an answer that may be another one the next time.
type statusError struct{ problem problem }

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d: %s", e.problem.Status, e.problem.Title)
}
