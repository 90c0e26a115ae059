package session

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// evictedText tells an evicted client.
const evictedText = "this machine was evicted from the session by the operator; ask there"

// errNoClient says that a session has no such client.
var errNoClient = errors.New("no such client in the session")

// evict takes a client out and starts a new epoch. When it returns nothing is
// sealed any more under an epoch that the client was given.
func (s *sender) evict(number uint32) error {
	now := time.Now()
	m := s.roster.members[number]
	if m == nil {
		return errNoClient
	}
	if m.info.State.ended() {
		return fmt.Errorf("client %s has already ended (%s); nothing changed", m.info.Name, m.info.State)
	}
	machine := machineKey(m.info.Peer, m.info.Machine)
	s.roster.evicted[machine] = true
	s.server.refuse(s.key, machine, &RefusedError{Code: wire.Evicted, Text: evictedText})
	s.endClient(now, m, ClientEvicted, "evicted by the operator")
	m.notify(now, wire.NoticeEvicted, "evicted by the operator")
	s.startRekey(now)
	return nil
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
