package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/crypto"
)

// TestApplied: what a client says of its applying is counted once, long after its session has ended, for the client that proved the image and
// for no other; and it is heard in any case.
func TestApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, 16, 40*crypto.BlockSize)
		defer r.stop()
		pc := r.client("pc01").start()
		<-pc.done
		if pc.err != nil {
			t.Fatal(pc.err)
		}
		time.Sleep(time.Minute) // its session lingers no longer
		if _, running := r.session(0); running {
			t.Fatal("the session is still there")
		}
		tell := func(ticket Ticket, failed bool) {
			t.Helper()
			if err := TellApplied(t.Context(), pc.dial, ticket, failed, 6, 200*time.Second, ""); err != nil {
				t.Error(err)
			}
		}
		tell(Ticket{Client: pc.result.Ticket.Client, Resume: [16]byte{1}}, false)
		tell(Ticket{Client: pc.result.Ticket.Client + 1, Resume: pc.result.Ticket.Resume}, false)
		stranger := r.client("other")
		if err := TellApplied(t.Context(), stranger.dial, pc.result.Ticket, true, 6, time.Second, "not yours"); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		if len(r.applied) > 0 {
			t.Errorf("believed: %+v", r.applied)
		}
		r.mu.Unlock()
		tell(pc.result.Ticket, false)
		tell(pc.result.Ticket, true) // told twice
		r.mu.Lock()
		if len(r.applied) != 1 || r.applied[0].Name != "pc01" || r.applied[0].Failed || r.applied[0].Index != 6 || r.applied[0].Took != 200*time.Second || r.applied[0].Path != "multicast" || r.applied[0].Package != "w11@1" {
			t.Errorf("heard: %+v", r.applied)
		}
		r.mu.Unlock()
		packages, _ := r.server.Totals()
		if n := packages["w11@1"].Results[[2]string{"applied", "multicast"}]; n != 1 || packages["w11@1"].Results[[2]string{"apply_failed", "multicast"}] != 0 {
			t.Errorf("counted: %v", packages["w11@1"].Results)
		}
	})
}

// TestAppliedUnheard: a server that isn't there, or says nothing, holds a client up for no more than ten seconds.
func TestAppliedUnheard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		mute := func(context.Context) (Control, error) { return &silentControl{closed: make(chan struct{})}, nil }
		if err := TellApplied(t.Context(), mute, Ticket{}, false, 1, time.Second, ""); err == nil || time.Since(began) != tellPatience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		gone := errors.New("nobody answers")
		if err := TellApplied(t.Context(), func(context.Context) (Control, error) { return nil, gone }, Ticket{}, false, 1, time.Second, ""); !errors.Is(err, gone) {
			t.Error(err)
		}
	})
}

// TestAppliedIsBounded: a server remembers only so many, and not for ever.
func TestAppliedIsBounded(t *testing.T) {
	server := NewServer(ServerConfig{})
	defer server.Close()
	s := &sender{server: server, pkg: &Package{Name: "w11@1"}}
	now := time.Unix(1_700_000_000, 0)
	note := func(n int, at time.Time) {
		m := &member{number: uint32(n)}
		m.resume[0], m.resume[1], m.resume[2] = byte(n), byte(n>>8), byte(n>>16)
		s.mayApply(at, m, "multicast")
	}
	for n := range provenKept + 50 {
		note(n, now)
	}
	note(provenKept+49, now) // again
	if len(server.applying) != provenKept || len(server.applyOrder) != provenKept || server.applying[[16]byte{49}] != nil || server.applying[[16]byte{50}] == nil {
		t.Errorf("%d remembered, %d in order", len(server.applying), len(server.applyOrder))
	}
	note(1, now.Add(provenFor))
	if len(server.applying) != 1 || len(server.applyOrder) != 1 {
		t.Errorf("a day later: %d remembered, %d in order", len(server.applying), len(server.applyOrder))
	}
}
