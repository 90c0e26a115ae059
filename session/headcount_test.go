package session

import (
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
	"wimcast/multicast/wire"
)

// TestRoom: every client is told how far the whole room is, and one that is done counts itself.
func TestRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := waitingRoom(t, Rules{MinClients: 3, Delay: time.Hour})
		defer r.stop()
		first, second := r.client("pc01").start(), r.client("pc02").start()
		time.Sleep(2 * time.Second)
		for _, c := range []*roomClient{first, second} {
			if p := c.receiver.Progress(); p.Room != 2 || p.RoomProven != 0 {
				t.Errorf("%s is told of %d of %d done before the start", c.name, p.RoomProven, p.Room)
			}
		}
		third := r.client("pc03").start()
		r.wait()
		for _, c := range []*roomClient{first, second, third} {
			p := c.receiver.Progress()
			if p.Room != 3 || p.RoomProven < 1 || p.RoomProven > 3 {
				t.Errorf("%s ends with %d of %d done", c.name, p.RoomProven, p.Room)
			}
		}
		late := r.client("pc04").start()
		r.wait()
		if p := late.receiver.Progress(); p.Room != 4 || p.RoomProven != 4 {
			t.Errorf("the late one ends with %d of %d done", p.RoomProven, p.Room)
		}
	})
}

// TestRoomUnheard: a client that can't hear the group isn't told of the room, and says nothing of it, also when it is done.
func TestRoomUnheard(t *testing.T) {
	h := &hearing{}
	var p Progress
	if h.hearRoom(&p); p.Room != 0 || p.RoomProven != 0 {
		t.Errorf("%d of %d", p.RoomProven, p.Room)
	}
	h.done = &wire.Done{}
	if h.hearRoom(&p); p.Room != 0 || p.RoomProven != 0 {
		t.Errorf("done: %d of %d", p.RoomProven, p.Room)
	}
}

// TestRoomForgetsTheUnheard: a machine that was switched off isn't waited for on anybody's screen, and one that is done stays.
func TestRoomForgetsTheUnheard(t *testing.T) {
	now := time.Date(2026, 11, 26, 22, 0, 0, 0, time.UTC)
	r := newRoster()
	for number, m := range []member{
		{info: ClientInfo{State: ClientReceiving, Heard: now}},
		{info: ClientInfo{State: ClientUnicast, Heard: now.Add(-2 * time.Second)}},
		{info: ClientInfo{State: ClientReceiving, Heard: now.Add(-10 * time.Second)}},
		{info: ClientInfo{State: ClientProven, Heard: now.Add(-time.Hour)}},
		{info: ClientInfo{State: ClientDemoted, Heard: now}},
		{info: ClientInfo{State: ClientFailed, Heard: now}},
		{info: ClientInfo{State: ClientEvicted, Heard: now}},
	} {
		r.members[uint32(number)] = &m
	}
	if got, want := r.count(now), (headcount{present: 2, proven: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

// TestRoomOfLanes: the sessions of a cast are one room, and one that has ended still counts who is done.
func TestRoomOfLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 52, 40*crypto.BlockSize)
		defer r.stop()
		key := sessionKey{}
		r.server.headcount(key, "s1", headcount{present: 5, proven: 2})
		slow := key
		slow.lane = slowLane
		if got, want := r.server.headcount(slow, "s2", headcount{present: 1, proven: 1}), (headcount{6, 3}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		r.server.headcount(slow, "s2", headcount{proven: 2})
		if got, want := r.server.headcount(key, "s1", headcount{present: 1, proven: 6}), (headcount{1, 8}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
