// Package unicast carries images over HTTPS to clients that can't hear the group
// (docs/protocol.md, section 9). It holds both ends.
//
// The Server is an http.Handler with two paths, /v1/content/{digest} and
// /v1/manifest/{digest}. It checks the bearer token of the welcome, which is good
// for one digest, and hands out slots: one token holds one slot over all its
// range requests, and whoever finds no slot gets a place in a queue that is kept
// while it asks again in time. All transfers share one byte budget. A
// session of a multicast-only package gives no token, and who has none is told why.
// Beside them stands what takes logs of clients, which is plugged in. Every error is an
// application/problem+json (RFC 9457) whose detail names the next step.
//
// The Client fetches ranges of blocks and hands them on in order. It trusts the
// server with nothing but time: sizes and ranges must be exactly what was asked
// for, and whoever takes the blocks proves their hashes; the manifest is proven
// here, against the digest.
//
// TLS configurations come from outside (crypto/keyex). The package knows nothing
// of sessions or files; it neither logs nor prints. The slot table and the budget
// are pure: they take the time as an argument.
package unicast
