package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"wimcast/crypto"
	"wimcast/multicast"
	"wimcast/multicast/wire"
)

// The server's seams.

// Content is an open package. ReadBlock reads block i of the image into dst and
// proves it against the manifest. It is called from the session's goroutine only.
type Content interface {
	Size() int64
	Digest() crypto.Hash
	Manifest() *crypto.Manifest
	ReadBlock(i int, dst []byte) (int, error)
	Close() error
}

// Caster sends to a session's group. buf is a run of datagrams laid end to end,
// each of segment bytes but the last, which may be shorter. Send returns when buf may be used again.
type Caster interface {
	Send(buf []byte, segment int) error
	Close() error
}

// Control is one end of an authenticated control channel: datagrams of at most
// wire.MaxControl bytes. Receive unblocks when the channel is closed.
type Control interface {
	Send(message []byte) error
	Receive(buf []byte) (int, error)
	Close() error
}

// Peer is what the server knows of the other end of a control channel.
type Peer struct {
	Name   string // of the certificate
	Role   string
	Serial string // of the certificate
	Addr   netip.AddrPort
	// PIN: the certificate says that its holder must show one. Alone: it is one machine's, and Machine its SMBIOS UUID (zero: any).
	PIN, Alone bool
	Machine    [16]byte
}

// claims holds a machine's claim against the certificate.
func (p *Peer) claims(m *wire.Machine) error {
	if p.Machine == [16]byte{} || p.Machine == m.UUID {
		return nil
	}
	return &RefusedError{Code: wire.NotAllowed, Text: fmt.Sprintf("bundle %s is for the machine with UUID %s, and this one says %s; next, on the server: wimcast bundle create NAME", p.Name, uuid(p.Machine), uuid(m.UUID))}
}

func uuid(u [16]byte) string {
	if u == [16]byte{} {
		return "nothing of its own"
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Package is a package that may be cast, opened for one session. The session
// closes Content.
type Package struct {
	Name    string // name@version
	Encrypt bool
	Unicast bool // may also be fetched by unicast: the package isn't multicast-only
	Content Content
	Rules   Rules
	// Deployment is what the client has the package by; "" without one. Each has sessions of its own.
	Deployment string
	// UnicastOnly says why the client that it was opened for may not have it by multicast, in words; "" when it may. The package
	// has unicast then.
	UnicastOnly string
	// Apply is what a client is to do with the content once it is proven. The session only passes it on.
	Apply Apply
}

// Apply says which image in a WIM is meant for a client.
type Apply struct {
	Images int   // in the WIM; 0 where that isn't known
	Index  int   // of the one meant, from 1 on; 0: there are several, and none is named
	Room   int64 // bytes that it takes unpacked; the least of all where none is named; 0 where that isn't known
}

// Group is where a session sends.
type Group struct {
	Addr   netip.AddrPort
	Caster Caster
	// Way says which source address the group's packets have for a client at an address (the zero Addr where that
	// isn't known), and whether they get there at all. nil: always, from somewhere.
	Way func(client netip.Addr) (source netip.Addr, reaches bool)
}

// Observer hears of what should be kept or counted one by one. Its methods are
// called from session goroutines and must not block.
type Observer interface {
	ClientEnded(SessionInfo, ClientInfo)
	SessionEnded(SessionInfo)
	// ClientApplied hears what came of applying what a client had proven; its session may have ended.
	ClientApplied(Applied)
}

// RefusedError refuses a join.
type RefusedError struct {
	Code wire.RefusedCode
	Text string // one sentence with the next step
}

func (e *RefusedError) Error() string { return e.Text }

// The client's seams.

// Hearer hears a group. The runs are valid until the next Receive, and may be
// decrypted in place.
type Hearer interface {
	Receive(runs []multicast.Run) (int, error)
	Dropped() uint64
	Rejoin() error
	Close() error
}

// Target is where a client's image goes. Block numbers are of the image. All
// methods are called from one goroutine at a time. Errors end the receiving.
type Target interface {
	// Begin prepares for an image, and returns what an earlier try claims to have
	// (a hint: each block is hashed again) and its manifest, if kept.
	Begin(digest crypto.Hash, size int64) (claimed iter.Seq[int], manifest []byte, err error)
	WriteBlock(i int, data []byte) error
	ReadBlock(i int, dst []byte) (int, error)
	// WriteAt and ReadAt move single symbols of blocks that aren't whole.
	WriteAt(p []byte, off int64) (int, error)
	ReadAt(p []byte, off int64) (int, error)
	// Checkpoint makes the data durable, then the claim that it is there.
	Checkpoint(have iter.Seq[int], manifest []byte) error
	// Finish is called once every block is proven.
	Finish() error
}

// Fetcher gets content by unicast. Fetch delivers whole blocks in order; data is
// valid during the call.
type Fetcher interface {
	Manifest(ctx context.Context) ([]byte, error)
	Fetch(ctx context.Context, first, count int, deliver func(block int, data []byte) error) error
}

// queued is an error of a fetcher: all slots are taken.
type queued interface {
	error
	Queued() (position int, retry time.Duration)
}

// final is an error of a fetcher that trying again won't mend.
type final interface {
	error
	Final() bool
}

func isFinal(err error) bool {
	f, ok := errors.AsType[final](err)
	return ok && f.Final()
}
