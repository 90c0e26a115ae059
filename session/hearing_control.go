package session

import (
	"fmt"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

func (h *hearing) sendDone(result wire.Result, reason string) {
	h.channel.send(&wire.Done{
		Client: h.welcome.Client, Result: result, Multicast: uint64(h.totals.Multicast), Unicast: uint64(h.totals.Unicast),
		Held: uint64(h.totals.Held), Seed: uint64(h.totals.Seed), Reason: reason,
	})
}

func (h *hearing) hearMessage(m wire.Message) {
	now := time.Now()
	switch m := m.(type) {
	case *wire.Roots:
		h.hearRoots(m)
	case *wire.NeedHeard:
		h.asker.heard(m)
	case *wire.ReportHeard:
		h.answered = max(h.answered, m.Sequence)
	case *wire.Epoch:
		h.hearEpoch(now, m)
	case *wire.DoneHeard:
		if h.done != nil {
			h.doneTry = doneTries
		}
	case *wire.UnicastAnswer:
		h.hearUnicastAnswer(m)
	case *wire.Notice:
		h.hearNotice(now, m)
	}
}

func (h *hearing) hearNotice(now time.Time, m *wire.Notice) {
	switch m.Kind {
	case wire.NoticeEvicted:
		h.fatal = fmt.Errorf("%w: %s", ErrEvicted, m.Text)
	case wire.NoticeDropped, wire.NoticeCancelled:
		h.fatal = fmt.Errorf("%w: %s", ErrRefused, m.Text)
	case wire.NoticeJoinAgain:
		if !h.moved {
			h.notify(EventMoved, "%s", m.Text)
		}
		h.moved = true
	case wire.NoticeMapWanted:
		h.maps.asked = true
	case wire.NoticeGoUnicast:
		h.wantUnicast(now, wire.OperatorHand)
	case wire.NoticeEnded, wire.NoticeServerStops:
		if m.Kind == wire.NoticeServerStops && !h.over {
			h.elsewhere(LeaveStops, m.Text)
		}
		h.over = true // join again: another session, or a refusal that says why
		if !h.noticed {
			h.notify(EventNotice, "%s", m.Text)
		}
		h.noticed = true
	}
}

func (h *hearing) hearEpoch(now time.Time, m *wire.Epoch) {
	if m.Number < h.epoch {
		return
	}
	if m.Number > h.epoch {
		for low := range h.keys {
			if low != uint8(h.epoch) {
				delete(h.keys, low)
			}
		}
		h.keys[uint8(m.Number)] = crypto.NewKeys(crypto.Mode(h.welcome.Mode), h.welcome.Session, h.welcome.Digest, m.Secret, m.Position)
		h.epoch = m.Number
		h.meter.restart(now)
		h.notify(EventNewEpoch, "new key, epoch %d", m.Number)
	}
	h.channel.send(&wire.EpochHeard{Client: h.welcome.Client, Number: m.Number})
}

func (h *hearing) hearRoots(m *wire.Roots) {
	s := h.image
	if s.rootsWhole || int(m.First) != len(s.roots) || len(m.Hashes) == 0 || len(s.roots)+len(m.Hashes) > s.geo.m {
		return
	}
	for _, hash := range m.Hashes {
		s.roots = append(s.roots, hash)
	}
	h.rootsAt, h.rootsTry = time.Time{}, 0
	if len(s.roots) < s.geo.m {
		return
	}
	if crypto.Digest(s.geo.image, s.roots) != s.digest {
		h.fatal = fmt.Errorf("%w: the distribution point's manifest doesn't match its own digest %v; verify the package there: wimcast image verify", ErrDamaged, s.digest)
		return
	}
	s.rootsWhole = true
	for block, hash := range s.manifestHash {
		delete(s.manifestHash, block)
		if hash == s.roots[block] {
			s.manifestHave.set(block)
		} else {
			h.rejected(block)
		}
	}
	h.checkManifest()
}

// checkManifest looks whether the manifest is whole.
func (h *hearing) checkManifest() {
	s := h.image
	if s.manifest == nil && s.rootsWhole && s.manifestHave.count == s.geo.m {
		h.manifestWhole()
	}
}
