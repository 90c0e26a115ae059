// Package api is the local admin API of a distribution point: JSON over HTTP on a
// unix socket (mode 0660), documented in docs/api.md. Client is what the command line uses;
// the daemon's side is package api/handler. Both speak the types of this package; durations are seconds,
// sizes bytes, times RFC 3339. Errors are application/problem+json (RFC 9457), whose detail is
// meant to be shown as it is.
//
// The package translates; what is allowed is decided by library, session and keyex.
package api
