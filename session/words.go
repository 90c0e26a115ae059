package session

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// of is the session's log for what concerns one client, with the name and the number that the API and the history have it by.
// A client may be called what it likes, and two the same: the number, with the session, tells them apart.
func (s *sender) of(m *member) *zap.Logger {
	return s.log.With(zap.String("client", m.info.Name), zap.Uint32("number", m.number))
}

// mute notes that a client's word counts little from now on, and says so once.
func (s *sender) mute(m *member) {
	m.info.Muted = true
	if !m.muteTold {
		m.muteTold = true
		s.of(m).Warn("client is muted: it asks for more than it can lack", zap.Uint64("nacks", m.info.NACKs))
	}
}

// logClientEnd says how a client's part ended, and with what. What didn't go as it should is for somebody to look at.
func (s *sender) logClientEnd(now time.Time, m *member, path string) {
	level := zapcore.InfoLevel
	switch m.info.State {
	case ClientFailed, ClientLost, ClientDropped:
		level = zapcore.WarnLevel
	}
	i := &m.info
	s.of(m).Log(level, "client ended", zap.String("state", string(i.State)), zap.String("reason", i.Reason), zap.String("path", path), zap.Duration("took", now.Sub(i.Began)),
		zap.Float64("progress", i.Progress), zap.Int64("multicast_bytes", i.Multicast), zap.Int64("unicast_bytes", i.Unicast), zap.Int64("seed_bytes", i.Seed), zap.Int64("held_bytes", i.Held),
		zap.Uint64("lost_packets", i.Lost), zap.Uint32("rejected_blocks", i.Rejected))
}

// logEnd says how the session ended. Failed are those of whom the history says so too.
func (s *sender) logEnd(info *SessionInfo) {
	var proven, failed int
	for i := range info.Clients {
		switch info.Clients[i].State {
		case ClientProven:
			proven++
		case ClientFailed, ClientLost, ClientEvicted, ClientDropped:
			failed++
		}
	}
	sent := &info.Sent
	s.log.Info("session ended", zap.String("reason", info.Reason), zap.Int("clients", len(info.Clients)), zap.Int("proven", proven), zap.Int("failed", failed),
		zap.Duration("took", info.Ended.Sub(info.Started)), zap.Uint64("bytes", sent.SourceBytes+sent.ParityBytes+sent.ManifestBytes+sent.ControlBytes),
		zap.Uint64("source_packets", sent.SourcePackets), zap.Uint64("parity_packets", sent.ParityPackets), zap.Uint64("send_errors", sent.Errors))
}
