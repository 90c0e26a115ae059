package session

import (
	"fmt"
	"time"

	"wimcast/multicast/wire"
)

// nowhere is the group of a session whose clients all take unicast.
type nowhere struct{}

func (nowhere) Send([]byte, int) error { return nil }
func (nowhere) Close() error           { return nil }

// noGroup is where a session sends that has no group.
func noGroup() *Group {
	return &Group{Caster: nowhere{}}
}

// admitUnicast lets a machine in that isn't allowed multicast. It neither waits for others nor takes a place from them. The
// caller holds mu.
func (s *Server) admitUnicast(now time.Time, key sessionKey, machine string, pkg *Package, join *wire.Join) admission {
	if join.NoUnicast {
		return admission{refused: &RefusedError{Code: wire.MulticastOff, Text: pkg.UnicastOnly + ", and this client was told never to fetch by unicast; next: leave out --no-unicast"}}
	}
	s.unqueue(key, machine)
	if book := s.book(key); book.places[machine] == nil || !book.places[machine].bars {
		book.places[machine] = &place{until: now.Add(admitKept), bars: true}
	}
	return admission{lane: unicastLane}
}

// byUnicast sends a client of a session without a group to unicast, and returns what it is told: why it isn't allowed multicast, or
// that it is beyond a limit.
func (s *sender) byUnicast(m *member, why string) string {
	if why != "" {
		s.toUnicast(m, wire.UnicastOnly)
		return why + "; fetching by unicast"
	}
	s.toUnicast(m, wire.Overflow)
	return fmt.Sprintf("the multicast session of %s is full; fetching by unicast", s.pkg.Name)
}

// leaveOthers ends what else is joined over the same channel: one program receives once.
func (s *sender) leaveOthers(now time.Time, l *link, m *member) {
	for _, other := range s.roster.members {
		if other != m && other.link == l && !other.info.State.ended() {
			s.endClient(now, other, ClientLeft, "joined anew")
		}
	}
}

// freePlace gives a client's place back, unless the same machine has another part in the session.
func (s *sender) freePlace(m *member) {
	machine := machineKey(m.info.Peer, m.info.Machine)
	for _, other := range s.roster.members {
		if other != m && !other.info.State.ended() && machineKey(other.info.Peer, other.info.Machine) == machine {
			return
		}
	}
	s.server.leavePlace(s.key, machine, 0)
}

// stopAll ends the session; its clients don't come back by themselves.
func (s *sender) stopAll(reason string) {
	var resumes [][16]byte
	for _, m := range s.roster.members {
		if !m.info.State.ended() {
			m.link.send(&wire.Notice{Client: m.number, Kind: wire.NoticeCancelled, Text: reason})
			resumes = append(resumes, m.resume)
		}
	}
	s.server.keepOut(resumes)
	s.ending = reason
}
