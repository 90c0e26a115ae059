package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/crypto/pin"
	"wimcast/multicast/wire"
	"wimcast/session"
)

// pinConfig says which certificates want a PIN beside those that say so themselves.
type pinConfig struct {
	Require []string `toml:"require"` // names of certificates, or patterns
}

func (p *pinConfig) check(bad func(key, format string, args ...any)) {
	for _, name := range p.Require {
		if _, err := path.Match(name, ""); err != nil || name == "" {
			bad("pin.require", "%q is neither a name of bundles nor a pattern such as \"lab*\"", name)
		}
	}
}

// pinLock holds clients back until they have shown the PIN of their room. It implements what session.ServerConfig wants.
type pinLock struct {
	book    *pin.Book
	require func() []string
}

// newPINs makes the book of PINs.
func (d *distributionPoint) newPINs() *pin.Book {
	return pin.New(func(text string) {
		d.log.Warn("somebody guesses a PIN", zap.String("text", text))
		d.events.Raise(text)
	})
}

// wants reports whether the holder of a certificate must show a PIN: the certificate says so, or the configuration. Operators have
// the whole point in their hands anyway.
func (p *pinLock) wants(peer *session.Peer) bool {
	if peer.PIN {
		return true
	}
	return peer.Role != string(keyex.Operator) && slices.ContainsFunc(p.require(), func(pattern string) bool {
		fits, _ := path.Match(pattern, peer.Name)
		return fits
	})
}

// Held implements what session.ServerConfig wants.
func (p *pinLock) Held(peer session.Peer) *session.RefusedError {
	if !p.wants(&peer) {
		return nil
	}
	switch p.book.State(peer.Name) {
	case pin.IsOpen:
		return nil
	case pin.IsWanted:
		return &session.RefusedError{Code: wire.PINWanted, Text: fmt.Sprintf("bundle %s wants the PIN of its room; ask the operator, who set it", peer.Name)}
	}
	return &session.RefusedError{Code: wire.PINLater, Text: fmt.Sprintf("bundle %s wants a PIN, and its room is closed; next, on the server: wimcast pin set %q", peer.Name, peer.Name)}
}

// Unlock implements what session.ServerConfig wants.
func (p *pinLock) Unlock(ctx context.Context, peer session.Peer, shown string, pass [16]byte) (next [16]byte, refused *session.RefusedError, again time.Duration) {
	who := pin.Who{Name: peer.Name, Serial: peer.Serial, Alone: peer.Alone, Addr: peer.Addr.Addr().Unmap().WithZone("")}
	if pass != [16]byte{} {
		if p.book.Enter(who, pass) {
			return pass, nil, 0
		}
		return next, p.Held(peer), 0
	}
	next, err := p.book.Try(ctx, who, shown)
	no, _ := errors.AsType[*pin.RefusedError](err)
	switch {
	case err == nil:
		return next, nil, 0
	case no.Result == pin.Wrong:
		return next, &session.RefusedError{Code: wire.PINWrong, Text: fmt.Sprintf("the PIN of bundle %s is another one; ask the operator, who set it", peer.Name)}, 0
	case no.Result == pin.Closed:
		if held := p.Held(peer); held != nil {
			return next, held, no.Again
		}
	}
	return next, &session.RefusedError{Code: wire.PINLater, Text: fmt.Sprintf("too many tries of the PIN of bundle %s; the next one in %v", peer.Name, no.Again.Round(time.Second))}, no.Again
}

// pinCounts counts tries by what came of them.
func (d *distributionPoint) pinCounts() map[string]uint64 {
	out := map[string]uint64{}
	for r, n := range d.pins.Counts() {
		out[string(r)] = n
	}
	return out
}

// peerOf is the other end of a control channel, as sessions know it.
func peerOf(conn *keyex.Conn) session.Peer {
	who := conn.Peer()
	return session.Peer{
		Name: who.Name, Role: string(who.Role), Serial: who.Serial, Addr: conn.RemoteAddr(), PIN: who.Marks.PIN, Alone: who.Marks.Alone, Machine: who.Marks.Machine,
	}
}
