// Package crypto holds the cryptography of a cast: how a packet is sealed and
// opened, how an epoch's keys are derived, and the hashes that decide whether
// content is what it claims to be.
//
// It knows nothing of sockets, sessions, files or certificates. Nothing here
// logs, reads a clock or starts a goroutine. The control channel that carries
// secrets lives in crypto/keyex. docs/protocol.md, sections 3 and 4, is
// normative; docs/security.md says why each choice was made.
package crypto
