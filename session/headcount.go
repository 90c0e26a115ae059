package session

import (
	"time"

	"wimcast/multicast/wire"
)

// headcount is a session's part of its room, for the people in front of the machines.
type headcount struct {
	present int // clients that have a part in it, and have been heard lately
	proven  int // clients that have it all
}

// headcountEvery is how often a session counts: a person looks less often than status goes out.
const headcountEvery = 250 * time.Millisecond

// count counts a session's clients. A machine that was demoted is counted where it goes on; one that failed, left or was lost isn't.
func (r *roster) count(now time.Time) (c headcount) {
	heard := max(unheardQuiet, 3*refreshEvery(len(r.members)))
	for _, m := range r.members {
		switch {
		case m.info.State == ClientProven:
			c.proven++
		case !m.info.State.ended() && now.Sub(m.info.Heard) <= heard:
			c.present++
		}
	}
	return c
}

// countRoom counts now and then, in a session without a group too: others tell of its clients.
func (s *sender) countRoom(now time.Time) {
	if now.Sub(s.countedAt) >= headcountEvery {
		s.countedAt, s.room = now, s.server.headcount(s.key, s.id, s.roster.count(now))
	}
}

// tellRoom puts into a status how far the whole room is.
func (s *sender) tellRoom(status *wire.Status) {
	status.Room, status.Proven = uint32(s.room.present+s.room.proven), uint32(s.room.proven)
}

// hearRoom puts into a client's progress how far the room is. What a status says after this client told that it is done is left
// out: it may count this one, or not yet.
func (h *hearing) hearRoom(p *Progress) {
	if h.status != nil && h.done == nil {
		h.room = headcount{present: int(h.status.Room - h.status.Proven), proven: int(h.status.Proven)}
	}
	p.Room, p.RoomProven = h.room.present+h.room.proven, h.room.proven
	if h.done != nil {
		p.RoomProven = min(p.RoomProven+1, p.Room)
	}
}

// headcount notes a session's part of a cast's room and returns the whole. Who is done counts even after the session has ended, as
// long as the cast runs.
func (s *Server) headcount(key sessionKey, id string, part headcount) (room headcount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := s.book(key)
	book.rooms[id] = part
	for _, part := range book.rooms {
		room.present += part.present
		room.proven += part.proven
	}
	return room
}
