package session

import (
	"slices"
	"time"
)

// What a client asks for alone is held against what it says that it lost: whoever asks for far more is muted. Its
// NACKs are ignored then, and its need waits until nobody else needs anything. An honest client gets there, too, only later;
// nobody is evicted for it.
const (
	doubtFactor = 2    // times what the client lost may be asked for
	doubtSlack  = 1000 // symbols more,
	doubtSpan   = 2 * time.Second
	doubtShare  = 0.25 // and of what was sent since its latest report, in doubtSpan at most
	mutedBlocks = 64   // blocks that a muted client may need at a time
)

// doubted reports whether a client asked alone for far more than it can have lost.
func (s *sender) doubted(m *member) bool {
	if m.asked <= doubtSlack {
		return false
	}
	lost := float64(m.last.Lost) + float64(m.last.DiskDrops) + float64(m.last.Rejected)*float64(s.geo.k(0))
	since := min(float64(s.number-min(m.reported, s.number)), s.law.rate*doubtSpan.Seconds()/float64(s.geo.packet()))
	return float64(m.asked) > doubtFactor*lost+doubtSlack+doubtShare*since
}

// wantBlock takes a client's need of a whole block. free says that it may have missed that without knowing.
func (s *sender) wantBlock(m *member, block int, free bool) bool {
	if !s.need.set(block) {
		return false
	}
	if !free && s.turnAt[block] > m.from {
		m.asked += int64(s.geo.k(block))
	}
	return true
}

// freeNeed reports whether need tells of what went out before the client heard the group: twice in a join, at most.
func (m *member) freeNeed(pass uint32, highest uint64) bool {
	if pass > 0 {
		return false
	}
	if slices.Contains(m.first, highest) {
		return true
	}
	if len(m.first) == 2 {
		return false
	}
	m.first = append(m.first, highest)
	return true
}
