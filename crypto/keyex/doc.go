// Package keyex is the control channel and everything that certificates
// decide: it is the only importer of pion/dtls, and the home of the one
// verifier that DTLS and HTTPS share. It knows nothing of sessions, messages,
// packages or files other than its own credentials.
//
// # Who trusts whom
//
// A server owns a [Trust]: its certificate, the pinned CA, what is revoked. It
// comes from an [Authority], the CA that the daemon runs for itself, or from
// [LoadTrust] where an organisation has a PKI of its own. A client owns
// [Credentials], mostly out of a [Bundle], the one text file that goes into a
// boot image. Both sides always prove themselves; there is no anonymous mode.
//
// A certificate says its holder's role in a URI name, "wimcast:role:winpe", its
// holder's name in the subject's common name, and its direction in the extended
// key usage: serverAuth for the role server, clientAuth for all others, never
// both. Refusals have one closed list of words, [Reason].
//
// # The control channel
//
// [Listen] serves DTLS 1.2 associations on one UDP socket, [Dial] makes one.
// [Conn] carries datagrams of at most [MaxMessage] bytes: they may be lost,
// repeated or reordered. The only cipher suite is
// TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 (RFC 7905), with the extended
// master secret (RFC 7627) required. docs/security.md says why.
//
// # Before the handshake
//
// A client puts each first ClientHello into an envelope with a cookie that
// proves its address (file cookie.go); the server keeps nothing for an address
// that hasn't proven itself this way. Implementations that don't know the
// envelope (openssl) get the cookie exchange of RFC 6347, section 4.2.1, out of
// a small table whose entries live one second.
//
// # Concurrency and ownership
//
// All exported types are safe for concurrent use unless they say otherwise.
// Buffers given to Send and Receive stay the caller's. Close of a Listener ends
// its associations and waits for every goroutine.
package keyex
