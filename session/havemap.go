package session

import (
	"bytes"
	"time"

	"wimcast/multicast/wire"
)

// Protocol constants of have-maps (section 6.11).
const (
	mapPeriod = time.Second     // between two maps of a client, at least;
	mapRate   = 100             // maps a second of a session's clients together
	mapFresh  = 3 * time.Second // a status says so long that maps are wanted
	mapRepeat = 10              // periods after which a map that hasn't changed is told again
	mapJitter = 0.5             // of a period, around it
)

// Implementation constants of have-maps.
const (
	mapsPerSec = 2                // that the server takes of a client
	mapsAtOnce = 3                // likewise, when they come late
	mapsKept   = 10 * time.Second // after nobody watches any more: a page that is loaded anew sees them at once
)

// MapCells returns how many cells the have-map of an image of so many blocks has (section 6.11).
func MapCells(blocks int) int { return min(wire.MaxCells, blocks) }

// periodOf is how often each of so many clients tells its map.
func periodOf(clients int) time.Duration {
	return max(mapPeriod, time.Duration(clients)*time.Second/mapRate)
}

// cellCounts counts the proven blocks of each cell, so that a map costs nothing while blocks come, and what 256 cells take when it is told.
type cellCounts struct {
	blocks int
	proven []int32 // by cell
}

func newCellCounts(blocks int) cellCounts {
	return cellCounts{blocks: blocks, proven: make([]int32, MapCells(blocks))}
}

// cellOf is the cell that a block is in.
func (c *cellCounts) cellOf(block int) int {
	return int(int64(block) * int64(len(c.proven)) / int64(c.blocks))
}

// first is the first block of a cell; of the one behind the last, how many blocks there are.
func (c *cellCounts) first(cell int) int {
	cells := int64(len(c.proven))
	return int((int64(cell)*int64(c.blocks) + cells - 1) / cells)
}

// add counts a block that is newly proven.
func (c *cellCounts) add(block int) { c.proven[c.cellOf(block)]++ }

// levels returns the map as it goes over the wire.
func (c *cellCounts) levels() []byte {
	out := make([]byte, wire.LevelsLen(len(c.proven)))
	for cell, proven := range c.proven {
		setLevel(out, cell, levelOf(int(proven), c.first(cell+1)-c.first(cell)))
	}
	return out
}

// levelOf is the level of a cell with so many of its blocks proven.
func levelOf(proven, blocks int) byte {
	if proven == 0 {
		return 0
	}
	return byte(max(1, int64(wire.FullCell)*int64(proven)/int64(blocks)))
}

// setLevel sets the level of a cell that was 0.
func setLevel(levels []byte, cell int, level byte) {
	if cell%2 == 0 {
		level <<= 4
	}
	levels[cell/2] |= level
}

// fullLevels is the map of a client that has it all.
func fullLevels(cells int) []byte {
	out := make([]byte, wire.LevelsLen(cells))
	for cell := range cells {
		setLevel(out, cell, wire.FullCell)
	}
	return out
}

// mapTeller is a client's telling of its map, over one connection.
type mapTeller struct {
	wanted   bool // by the newest status
	asked    bool // by a notice, once
	next     time.Time
	told     []byte // levels; nil before the first
	quiet    int    // periods since
	sequence uint32
}

// tickMap tells the server what is proven, while somebody watches.
func (h *hearing) tickMap(now time.Time) {
	t, clients := &h.maps, 1
	wanted := false
	if h.status != nil && now.Sub(h.signedAt) < mapFresh {
		wanted, clients = h.status.MapsWanted, int(min(h.status.Clients, 1<<20))
	}
	period := periodOf(clients)
	if wanted != t.wanted {
		t.wanted, t.told, t.quiet = wanted, nil, 0
		t.next = now.Add(time.Duration(h.random.Float64() * float64(period)))
	}
	if h.image.geo.b == 0 || !t.asked && (!wanted || now.Before(t.next)) {
		return
	}
	t.next = now.Add(time.Duration((1 - mapJitter/2 + mapJitter*h.random.Float64()) * float64(period)))
	levels := h.image.cells.levels()
	if t.quiet++; !t.asked && t.quiet < mapRepeat && bytes.Equal(levels, t.told) {
		return
	}
	t.asked, t.told, t.quiet = false, levels, 0
	h.sendMap(levels)
}

func (h *hearing) sendMap(levels []byte) {
	h.maps.sequence++
	h.channel.send(&wire.HaveMap{Client: h.welcome.Client, Sequence: h.maps.sequence, Cells: uint16(MapCells(h.image.geo.b)), Levels: levels})
}

// mapHearing is what the server knows of a client's telling of its map.
type mapHearing struct {
	sequence  uint32
	allowance float64 // maps that are still taken
	refilled  time.Time
	asked     time.Time // by a notice
}

// allow takes one from the client's allowance.
func (t *mapHearing) allow(now time.Time) bool {
	if t.refilled.IsZero() {
		t.allowance = mapsAtOnce
	} else {
		t.allowance = min(mapsAtOnce, t.allowance+now.Sub(t.refilled).Seconds()*mapsPerSec)
	}
	t.refilled = now
	if t.allowance < 1 {
		return false
	}
	t.allowance--
	return true
}

// hearMap keeps the latest map of a client. It is the client's word, and moves nothing but what is shown of it.
func (s *sender) hearMap(now time.Time, m *member, message *wire.HaveMap) {
	switch {
	case int(message.Cells) != MapCells(s.geo.b):
		s.server.dropped.add(dropRange)
	case s.watched.Load() == 0 || message.Sequence <= m.maps.sequence || !m.maps.allow(now):
		s.server.dropped.add(dropMap)
	default:
		m.maps.sequence = message.Sequence
		m.info.Map = message.Levels
	}
}

// askMap asks a client for its map that hears no status.
func (s *sender) askMap(now time.Time, m *member, r *wire.Report) {
	if s.watched.Load() == 0 || s.lane != unicastLane && !r.GroupSilent || s.geo.b == 0 {
		return
	}
	if now.Sub(m.maps.asked) < periodOf(s.roster.present()) {
		return
	}
	m.maps.asked = now
	m.link.send(&wire.Notice{Client: m.number, Kind: wire.NoticeMapWanted})
}

// tendWatch forgets the clients' maps some time after the last who watched has gone: they are of then.
func (s *sender) tendWatch(now time.Time) {
	switch {
	case s.watched.Load() > 0:
		s.watchedAt = now
	case !s.watchedAt.IsZero() && now.Sub(s.watchedAt) >= mapsKept:
		s.watchedAt = time.Time{}
		for _, m := range s.roster.members {
			m.info.Map = nil
		}
	}
}

// mapOf is what is shown of what a client has: all of it needs no telling.
func (s *sender) mapOf(m *member) []byte {
	if m.info.State != ClientProven {
		return m.info.Map
	}
	if s.full == nil {
		s.full = fullLevels(MapCells(s.geo.b))
	}
	return s.full
}
