package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/session"
)

// upkeepInterval is how often credentials are looked at. A client outlives its
// bundle, or an entry in an organisation's revocation list, by no more than that.
const upkeepInterval = time.Hour

// upkeep keeps the credentials of a long-running daemon current: its own
// certificate is renewed, the revocation list read again, and clients that are here
// judged again. Safe for concurrent use.
type upkeep struct {
	renew  func() (renewed bool, err error) // nil with an organisation's PKI
	reread func() (changed bool, err error)
	// recheck ends the channels of clients whose credentials aren't good any more;
	// before is told of each.
	recheck func(before func(keyex.Identity, *keyex.RefusedError)) int
	// evict takes a credential's holders out of the running sessions.
	evict func(keyex.Identity) []string
	// tidy removes what has been kept long enough.
	tidy func()
	// raise tells operators who follow events.
	raise func(alarm string)
	log   *zap.Logger

	mu sync.Mutex // a signal may come while a tick is served
}

// run does a round at each tick, until ctx ends or ticks is closed.
func (u *upkeep) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, more := <-ticks:
			if !more {
				return
			}
			u.round()
		}
	}
}

// round looks at everything once. What fails is logged and tried again at the next;
// what was good stays in use meanwhile.
func (u *upkeep) round() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tidy != nil {
		u.tidy()
	}
	if u.renew != nil {
		switch renewed, err := u.renew(); {
		case err != nil:
			u.log.Error("the server's certificate can't be renewed", zap.Error(err))
			u.raise(fmt.Sprintf("the server's certificate can't be renewed: %v; look at the state directory's ca", err))
		case renewed:
			u.log.Info("the server's certificate was renewed")
		}
	}
	switch changed, err := u.reread(); {
	case err != nil:
		u.log.Error("pki.crl: the file can't be used; the list that was read before stays in force", zap.Error(err))
		u.raise(fmt.Sprintf("pki.crl: the file can't be used, and the list that was read before stays in force: %v", err))
	case changed:
		u.log.Info("pki.crl: a new revocation list is in force")
	}
	u.recheck(func(holder keyex.Identity, why *keyex.RefusedError) {
		var evicted []string
		// Whoever's time is up may come back with a new bundle; whoever was
		// revoked mustn't read on.
		if why.Reason == keyex.Revoked {
			evicted = u.evict(holder)
		}
		u.log.Warn("control channel ended: the credential isn't good any more", zap.String("client", holder.Name),
			zap.String("serial", holder.Serial), zap.Strings("evicted", evicted), zap.Error(why))
	})
}

// newUpkeep wires the upkeep of a daemon whose listener and sessions are there.
func (d *distributionPoint) newUpkeep() *upkeep {
	u := &upkeep{
		reread: d.trust.ReloadCRL, recheck: d.listener.Recheck, tidy: d.expireLogs, raise: d.events.Raise, log: d.log,
		evict: func(holder keyex.Identity) []string { return evictHolders(d.sessions, holder) },
	}
	if d.authority != nil {
		u.renew = d.authority.Renew
	}
	return u
}

// evictHolders takes everybody who holds a credential out of the running sessions.
// The name is compared as well: two CAs of an organisation may give the same serial.
func evictHolders(sessions *session.Server, holder keyex.Identity) []string {
	var evicted []string
	for _, gone := range sessions.EvictAll(func(c *session.ClientInfo) bool { return c.Peer.Serial == holder.Serial && c.Peer.Name == holder.Name }) {
		evicted = append(evicted, gone.Name)
	}
	return evicted
}
