package handler

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"go.uber.org/zap"

	"wimcast/crypto/keyex"
	"wimcast/session"
)

// evictForGood revokes the certificate of a client, where it is one machine's, and takes the client out of its sessions.
func (s *server) evictForGood(r *http.Request) (any, error) {
	a, err := s.authority()
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if r.URL.Query().Get("session") != "" {
		return nil, bad("revoke and session: whose certificate is revoked is taken out of all sessions; leave one of them out")
	}
	own, err := s.ownBundle(a, name)
	if err != nil {
		return nil, err
	}
	// First the certificate, so that it can't come back in between.
	if _, err := a.Revoke(own.Serial); err != nil {
		return nil, err
	}
	defer s.Recheck()
	s.did(r, "bundle revoked", zap.String("which", own.Serial), zap.String("name", own.Name), zap.String("evicted", name))
	from, err := s.onClient(r, "evict", "client evicted by the operator", s.Sessions.Evict)
	s.evictHolders(r, own.Serial) // where it calls itself something else
	return from, err
}

// ownBundle is the bundle that a client of a running session came with, which must be of this machine alone.
func (s *server) ownBundle(a *keyex.Authority, name string) (own keyex.Issued, err error) {
	running, _ := s.Sessions.Sessions()
	peers := map[string]session.Peer{}
	for i := range running {
		for _, c := range named(&running[i], name, "") {
			peers[c.Peer.Serial] = c.Peer
		}
	}
	switch len(peers) {
	case 0:
		return own, &statusError{http.StatusNotFound, fmt.Errorf("no client %s in a running session; nothing changed; to revoke a bundle: wimcast bundle revoke %q", name, name)}
	case 1:
	default:
		return own, &statusError{http.StatusConflict, fmt.Errorf("%d certificates call themselves %s; nothing changed; next: wimcast session show, and evict by number", len(peers), name)}
	}
	issued := a.Issued()
	for serial, peer := range peers {
		i := slices.IndexFunc(issued, func(i keyex.Issued) bool { return i.Serial == serial })
		switch {
		case i < 0:
			return own, &statusError{http.StatusConflict, errors.New("its certificate isn't in the list of those made here; nothing changed")}
		case !issued[i].Alone:
			return own, &statusError{http.StatusConflict, fmt.Errorf("%s came with bundle %s, which isn't of this machine alone: revoking it shuts all out that hold it; nothing changed; next: wimcast client evict %q, or for all of them: wimcast bundle revoke %q", name, peer.Name, name, peer.Name)}
		}
		own = issued[i]
	}
	return own, nil
}
