package session

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// evictedText tells an evicted client.
const evictedText = "this machine was evicted from the session by the operator; ask there"

// errNoClient says that a session has no such client.
var errNoClient = errors.New("no such client in the session")

// eviction is a client that is taken out, as the sessions of its cast know it.
type eviction struct {
	machine string
	link    *link
}

// Evict takes a client, by its number, out of a session and out of the others of the same cast. One that has ended by
// itself may still hold keys and listen: it can be evicted too, and keeps the state that it ended in. When Evict
// returns nothing is sealed any more under an epoch that the client was ever given, in any of those sessions.
func (s *Server) Evict(id string, number uint32) error {
	session, err := s.find(id)
	if err != nil {
		return err
	}
	var gone eviction
	if !session.ask(func(sender *sender) { gone, err = sender.evict(number) }) {
		return fmt.Errorf("session %s has just ended; nothing changed", id)
	}
	if err != nil {
		return err
	}
	// It may hold keys of these too: it was there before it was demoted, or moved up. Whoever joins from now on finds it refused.
	for _, other := range s.lanesOf(session.key) {
		if other != session {
			_ = other.ask(func(sender *sender) { sender.evictToo(gone) }) // one that has just ended seals nothing more
		}
	}
	return nil
}

// Evicted is a client that was taken out.
type Evicted struct {
	Session string // short id
	Name    string
}

// EvictAll evicts every client that it is asked for, in all running sessions, and returns those that had a part in one. Those
// that have ended by themselves are kept out too, as they may still hold keys, and aren't in the list.
func (s *Server) EvictAll(is func(*ClientInfo) bool) (evicted []Evicted) {
	running, _ := s.Sessions()
	for _, over := range []bool{false, true} {
		for i := range running {
			for j := range running[i].Clients {
				c := &running[i].Clients[j]
				if c.State.ended() != over || !is(c) {
					continue
				}
				if s.Evict(running[i].ID, c.Number) == nil && !over { // one that ended meanwhile is no matter
					evicted = append(evicted, Evicted{running[i].ID, c.Name})
				}
			}
		}
	}
	return evicted
}

// evict takes a client out, and starts a new epoch where it was given the current one. When it returns nothing is
// sealed any more in this session under an epoch that the client was given.
func (s *sender) evict(number uint32) (eviction, error) {
	m := s.roster.members[number]
	switch {
	case m == nil:
		return eviction{}, errNoClient
	case m.info.State == ClientEvicted || m.barred:
		return eviction{}, fmt.Errorf("client %s has already ended (evicted); nothing changed", m.info.Name)
	}
	gone := eviction{machineKey(m.info.Peer, m.info.Machine), m.link}
	s.server.bar(s.key, gone, &RefusedError{Code: wire.Evicted, Text: evictedText})
	s.takeOut(time.Now(), m)
	return gone, nil
}

// evictToo takes out what a client that was evicted from another session of the cast has, or had, in this one. A machine that
// merely claims to be the same one isn't taken out for that: it can be evicted by its own name.
func (s *sender) evictToo(gone eviction) {
	now := time.Now()
	for _, m := range s.roster.members {
		if m.link == gone.link || m.info.State.ended() && machineKey(m.info.Peer, m.info.Machine) == gone.machine {
			s.takeOut(now, m)
		}
	}
}

// takeOut ends a client's part in the session, and draws a new key unless it has none of the current one.
func (s *sender) takeOut(now time.Time, m *member) {
	if m.info.State == ClientEvicted || m.barred {
		return
	}
	if m.info.State.ended() {
		m.barred = true
		m.info.Reason = strings.TrimPrefix(m.info.Reason+"; then evicted by the operator", "; then ")
	} else {
		s.endClient(now, m, ClientEvicted, "evicted by the operator")
	}
	m.notify(now, wire.NoticeEvicted, "evicted by the operator")
	m.tendNotice(now) // at once: where the certificate is revoked too, the client's channel is closed next
	if m.given == s.epoch {
		s.startRekey(now)
	}
}

// startRekey stops sealing and hands the next epoch's secret to all who stay.
func (s *sender) startRekey(now time.Time) {
	old := s.epoch
	if s.rekey != nil {
		old = s.rekey.old
	}
	s.epoch++
	s.secret = crypto.NewSecret()
	s.keys = crypto.NewKeys(s.mode, s.session, s.info.Digest, s.secret, s.number)
	s.rekey = &rekeying{until: now.Add(rekeyWait), again: now.Add(rekeyWait / 3), old: old}
	s.offerEpoch()
}

func (s *sender) offerEpoch() {
	for _, m := range s.roster.members {
		if !m.info.State.ended() && m.epoch != s.epoch {
			s.sendEpoch(m)
		}
	}
}

func (s *sender) sendEpoch(m *member) {
	m.given = s.epoch
	m.link.send(&wire.Epoch{Client: m.number, Number: s.epoch, Secret: s.secret, Position: s.number})
}

// tendRekey goes on once enough clients hold the new secret, or it took too long.
func (s *sender) tendRekey(now time.Time) {
	present, heard := 0, 0
	for _, m := range s.roster.members {
		if m.info.State.ended() {
			continue
		}
		present++
		if m.epoch == s.epoch {
			heard++
		}
	}
	switch {
	case now.Before(s.rekey.until) && float64(heard) < rekeyShare*float64(present):
		if !now.Before(s.rekey.again) {
			s.rekey.again = now.Add(rekeyWait / 3)
			s.offerEpoch()
		}
	default:
		s.log.Info("new epoch", zap.Uint32("epoch", s.epoch), zap.Int("clients", present), zap.Int("heard", heard))
		s.rekey = nil
	}
}
