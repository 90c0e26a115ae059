// Package api is the local admin API of a distribution point: JSON over HTTP on a
// unix socket (mode 0660), documented in docs/api.md. Server is the daemon's side,
// Client what the command line uses. Both speak the types of this package; durations are seconds, sizes
// bytes, times RFC 3339. Errors are application/problem+json (RFC 9457), whose detail is
// meant to be shown as it is.
//
// The package translates; what is allowed is decided by library, session and keyex.
package api
