package test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/test/rig"
)

// TestSessionsHistory tells the story that a record is for: a room is cast to, the
// daemon is killed in the middle and comes back, and afterwards an operator proves who has the image.
func TestSessionsHistory(t *testing.T) {
	t.Parallel()
	s := inRoom(t, 3, rig.Config{Multicast: `ceiling = "2 MB/s"`})
	began := time.Now()
	gets := []*rig.Get{s.get(0), s.get(1), s.get(2)}
	name := func(i int) string { return gets[i].Place.Name() }

	// The operator evicts one, then somebody pulls the plug.
	for _, g := range gets {
		if err := g.AwaitProven(s.ctx, 0.1); err != nil {
			t.Fatal(err)
		}
	}
	s.cli("client", "evict", name(2))
	s.ended(gets[2], 8)
	if err := gets[0].AwaitProven(s.ctx, 0.3); err != nil {
		t.Fatal(err)
	}
	if list := s.history(); len(list) != 1 || list[0].State != api.HistoryRunning || list[0].Clients != 3 || !list[0].Ended.IsZero() {
		t.Fatalf("in mid-cast: %+v", list)
	}
	// How far a client is gets written at one write in ten; each question is a write.
	for behind := true; behind; {
		behind = slices.ContainsFunc(s.show(s.history()[0].ID).Members, func(m api.HistoryClient) bool { return m.Progress < 0.1 })
	}
	killed := time.Now()
	s.daemon.Kill()
	if err := s.daemon.Configure(rig.Config{Multicast: `ceiling = "8 MB/s"`}); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	for _, g := range gets[:2] {
		s.proven(g)
	}
	proven := time.Now()
	s.cli("session", "stop", s.sessions()[0].ID)

	// Both sessions, as they were.
	list := s.history()
	if len(list) != 2 {
		t.Fatalf("history: %+v", list)
	}
	first, second := s.show(list[1].ID), s.show(list[0].ID)
	if first.State != api.HistoryInterrupted || !first.Ended.IsZero() || first.Seen.Before(began) || first.Seen.After(killed) || first.Interrupted != 2 || first.Failed != 1 ||
		first.Proven != 0 || first.Package != "w11@1" || first.Sent.SourcePackets == 0 {
		t.Errorf("the session that was killed: %+v", first)
	}
	for _, m := range first.Members {
		state := api.HistoryInterrupted
		if m.Name == name(2) {
			state = "evicted"
		}
		if m.State != state || m.Progress < 0.1 && state == api.HistoryInterrupted || m.Progress >= 1 || m.MACs == "" || m.Certificate != "room" {
			t.Errorf("%s in the session that was killed: %+v", m.Name, m)
		}
	}
	if len(first.Actions) != 1 || first.Actions[0].Action != "evict" || first.Actions[0].Client != name(2) || !strings.Contains(first.Actions[0].Who, "uid 0") {
		t.Errorf("what the operator did: %+v", first.Actions)
	}
	if second.State != api.HistoryEnded || second.Reason != "stopped by the operator" || second.Ended.Before(killed) || second.Proven != 2 || second.Clients != 2 {
		t.Errorf("the session after it: %+v", second)
	}
	for _, m := range second.Members { // bytes are of the client's run, which outlived the daemon
		if m.State != "proven" || m.Proven.Before(killed.Truncate(time.Millisecond)) || m.Proven.After(proven) || m.MulticastBytes != s.size {
			t.Errorf("%s: %+v", m.Name, m)
		}
	}

	// The question that it is for, in one command, before and after another restart.
	for range 2 {
		var proof api.Proof
		if err := s.daemon.Ask(s.ctx, &proof, "history", "proof", "w11", "--client", name(0), "--client", name(1)); err != nil {
			t.Error(err)
		}
		if proof.Proven != 2 || proof.Missing != 0 || proof.Machines[0].SessionID != second.ID || proof.Machines[0].Path == "" {
			t.Errorf("the two: %+v", proof)
		}
		out, err := s.daemon.CLI(s.ctx, "history", "proof", "w11@1", "--room", "room", "--client", name(2), "--client", "pc99", "--client", name(0))
		if err == nil || !strings.Contains(err.Error(), "2 of 3 haven't proven w11@1") || !strings.Contains(string(out), "never seen") {
			t.Errorf("with one that was evicted and one that never came: %v\n%s", err, out)
		}
		if err := s.daemon.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.daemon.Start(s.ctx); err != nil {
			t.Fatal(err)
		}
	}

	// The same as CSV.
	rows, err := csv.NewReader(strings.NewReader(s.cli("history", "list", "--client", "*", "--csv"))).ReadAll()
	if err != nil || len(rows) != 6 {
		t.Fatalf("CSV: %d rows, %v", len(rows), err)
	}
	column := func(row []string, name string) string { return row[slices.Index(rows[0], name)] }
	sum := int64(0)
	for _, row := range rows[1:] {
		n, err := strconv.ParseInt(column(row, "multicast_bytes"), 10, 64)
		if err != nil {
			t.Error(err)
		}
		sum += n
		if at, err := time.Parse(time.RFC3339, column(row, "joined")); err != nil || at.Before(began.Truncate(time.Millisecond)) {
			t.Errorf("CSV: joined at %v, %v", at, err)
		}
	}
	if want := second.Members[0].MulticastBytes + second.Members[1].MulticastBytes; sum != want {
		t.Errorf("CSV: %d bytes by multicast, want %d", sum, want)
	}
	if text := s.cli("history"); !strings.Contains(text, "interrupted, last seen "+first.Seen.Local().Format(time.TimeOnly)) {
		t.Errorf("for people:\n%s", text)
	}

	// One machine is forgotten.
	s.cli("history", "forget", "--client", name(2))
	if got := s.show(first.ID); got.Clients != 3 || got.Failed != 1 || slices.ContainsFunc(got.Members, func(m api.HistoryClient) bool { return m.Name == name(2) }) {
		t.Errorf("after one was forgotten: %+v", got)
	}

	// A record that is damaged costs the record, not the service.
	if err := s.daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.daemon.Dir, "history.db")
	if err := os.WriteFile(file, []byte(strings.Repeat("damaged ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Start(s.ctx); err != nil {
		t.Fatal(err)
	}
	if list := s.history(); len(list) != 0 {
		t.Errorf("after damage: %+v", list)
	}
	if aside, _ := filepath.Glob(file + ".damaged-*"); len(aside) == 0 || !strings.Contains(s.daemon.Log(), "moved aside") {
		t.Errorf("moved aside: %v", aside)
	}
}

// history lists what was recorded.
func (s *stage) history() (list []api.HistorySession) {
	s.t.Helper()
	if err := s.daemon.Ask(s.ctx, &list, "history"); err != nil {
		s.t.Fatal(err)
	}
	return list
}

// show returns the record of one session.
func (s *stage) show(id int64) (one api.HistorySession) {
	s.t.Helper()
	if err := s.daemon.Ask(s.ctx, &one, "history", "show", strconv.FormatInt(id, 10)); err != nil {
		s.t.Fatal(err)
	}
	return one
}
