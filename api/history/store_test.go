package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// TestLife follows a session from its first second to its end.
func TestLife(t *testing.T) {
	s := fresh(t)
	info := cast(7, "w11@2026.11", 0)
	pc1, pc2 := joined(1, "pc01", 0), joined(2, "pc02", 1)
	pc2.Machine.UUID, pc2.Lost, pc2.KernelDrops = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 30, 10
	info.Clients = []session.ClientInfo{pc1, pc2}
	s.write(live(info))

	show := func() api.HistorySession {
		t.Helper()
		got, err := s.Session(t.Context(), "s7")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := show()
	if got.State != api.HistoryRunning || !got.Ended.IsZero() || got.Clients != 2 || got.Proven != 0 || len(got.Members) != 2 || !got.Started.Equal(monday) {
		t.Errorf("while it runs: %+v", got)
	}
	if m := got.Members[1]; m.State != "receiving" || m.UUID != "01020304-0506-0708-090a-0b0c0d0e0f10" || m.LostNetwork != 20 || m.LostBuffer != 10 || m.Certificate != "room12" || m.MACs != "02:00:00:00:00:02" {
		t.Errorf("a client while it runs: %+v", m)
	}

	s.Action(api.HistoryAction{At: monday.Add(time.Minute), Who: "anna", Action: "evict", Session: "s7", Client: "pc02"})
	info.Sent.ParityPackets = 99
	told(s, over(info, 3, ended(pc1, session.ClientProven, 2), ended(pc2, session.ClientEvicted, 1)))
	s.write(nil)
	got = show()
	if got.State != api.HistoryEnded || !got.Ended.Equal(monday.Add(3*time.Minute)) || got.Seconds != 180 || got.Reason != "every client is done" || got.Sent.ParityPackets != 99 ||
		got.Sent.SourcePackets != 1000 || got.Sent.Bytes != 1_436_160 || got.NACKs != (api.NACKs{Served: 7, Merged: 3}) || got.Proven != 1 || got.Failed != 1 {
		t.Errorf("when it ended: %+v", got)
	}
	if m := got.Members[0]; m.State != "proven" || !m.Proven.Equal(monday.Add(2*time.Minute)) || m.Seconds != 120 || m.MulticastBytes != 1e9 {
		t.Errorf("the client that proved it: %+v", m)
	}
	if m := got.Members[1]; m.State != "evicted" || !m.Proven.IsZero() {
		t.Errorf("the client that was evicted: %+v", m)
	}
	if len(got.Actions) != 1 || got.Actions[0].Who != "anna" || got.Actions[0].SessionID != got.ID {
		t.Errorf("actions: %+v", got.Actions)
	}
	// Old news change nothing any more.
	s.write(live(info))
	if got := show(); got.State != api.HistoryEnded || got.Ended.IsZero() {
		t.Errorf("after old news: %+v", got)
	}
	if _, err := s.Session(t.Context(), "s8"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown session: %v", err)
	}
}

// TestProofStays when a client that has proven comes back in the same session.
func TestProofStays(t *testing.T) {
	s := fresh(t)
	info, pc := cast(1, "w11@1", 0), joined(1, "pc01", 0)
	s.ClientEnded(info, ended(pc, session.ClientProven, 2))
	info.Clients = []session.ClientInfo{pc} // receiving again
	s.write(live(info))
	list, err := s.Clients(t.Context(), api.HistoryQuery{})
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if c := list[0]; c.State != "receiving" || !c.Ended.IsZero() || !c.Proven.Equal(monday.Add(2*time.Minute)) {
		t.Errorf("%+v", c)
	}
}

// snapshot copies the files as kill -9 would leave them.
func snapshot(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "history.db")
	for _, part := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + part)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+part, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestKilled shows what a daemon left running as interrupted, and lets names begin again.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	s := open(t, path, Config{})
	info := cast(1, "w11@1", 0)
	info.Clients = []session.ClientInfo{ended(joined(1, "pc01", 0), session.ClientProven, 1), joined(2, "pc02", 0)}
	s.write(live(info))

	after := open(t, snapshot(t, path), Config{})
	next := cast(1, "w11@1", 10)
	next.Clients = []session.ClientInfo{joined(1, "pc02", 10)}
	after.Action(api.HistoryAction{Who: "anna", Action: "stop", Session: "s1"})
	after.write(live(next))
	list, err := after.Sessions(t.Context(), api.HistoryQuery{})
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if list[0].State != api.HistoryRunning || list[0].ID <= list[1].ID || list[0].Session != "s1" {
		t.Errorf("the new one: %+v", list[0])
	}
	old := list[1]
	if old.State != api.HistoryInterrupted || !old.Ended.IsZero() || !strings.Contains(old.Reason, "killed") || old.Proven != 1 || old.Interrupted != 1 {
		t.Errorf("the old one: %+v", old)
	}
	show, err := after.Session(t.Context(), "s1") // the latest of that name
	if err != nil || show.ID != list[0].ID || len(show.Actions) != 1 {
		t.Errorf("s1: %+v, %v", show, err)
	}
}

// TestQueueIsBounded: what doesn't fit is counted, nobody waits, and an end is learned all the same.
func TestQueueIsBounded(t *testing.T) {
	s := fresh(t)
	info := cast(1, "w11@1", 0)
	s.write(live(info))
	for range queueLength + 5 {
		s.Action(api.HistoryAction{Who: "anna", Action: "set"})
	}
	end := over(info, 3, ended(joined(1, "pc01", 0), session.ClientProven, 2))
	told(s, end)
	if got := s.Stats().Dropped; got != 7 {
		t.Errorf("%d dropped, want 5 actions, a client and an end", got)
	}
	s.write(func() (running, ended []session.SessionInfo) { return nil, []session.SessionInfo{end} })
	got, err := s.Session(t.Context(), "s1")
	if err != nil || got.State != api.HistoryEnded || got.Proven != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDiskFull keeps what can't be written until it can.
func TestDiskFull(t *testing.T) {
	s := fresh(t)
	s.db.SetMaxOpenConns(1) // what follows is a connection's
	var pages int
	if err := s.db.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		t.Helper()
		if _, err := s.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages)
	info := cast(1, "w11@1", 0)
	for i := range 200 {
		s.ClientEnded(info, ended(joined(uint32(i), fmt.Sprintf("pc%03d", i), 0), session.ClientProven, 1))
	}
	s.SessionEnded(over(info, 3))
	s.write(nil)
	s.write(nil)
	if got := s.Stats(); got.Failed != 2 || got.Dropped != 0 {
		t.Fatalf("with a full disk: %+v", got)
	}
	// Meanwhile another ends, and the queue has no room for that.
	s.write(func() (running, ended []session.SessionInfo) { return []session.SessionInfo{cast(2, "w10@1", 0)}, nil })
	limit(1 << 20)
	lost := over(cast(3, "w10@1", 0), 4)
	s.write(func() (running, ended []session.SessionInfo) { return nil, []session.SessionInfo{lost} })
	if got, err := s.Session(t.Context(), "s3"); err != nil || got.State != api.HistoryEnded {
		t.Errorf("an end during the trouble: %+v, %v", got, err)
	}
	got, err := s.Session(t.Context(), "s1")
	if err != nil || got.Proven != 200 || got.State != api.HistoryEnded {
		t.Errorf("when there is room again: %+v, %v", got, err)
	}
}

// TestWrittenEverySecond holds Run to its word, in virtual time.
func TestWrittenEverySecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(path, Config{})
		if err != nil {
			t.Fatal(err)
		}
		info := cast(1, "w11@1", 0)
		info.Started = time.Now()
		pc := joined(1, "pc01", 0)
		var progress atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			s.Run(ctx, func() (running, ended []session.SessionInfo) {
				now, c := info, pc
				c.Progress = float64(progress.Add(1))
				now.Clients = []session.ClientInfo{c}
				return []session.SessionInfo{now}, nil
			})
		})
		has := func() (seen time.Time, progress float64) {
			t.Helper()
			list, err := s.clients(t.Context(), filter{}, "c.id", 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				return time.Time{}, 0
			}
			sessions, err := s.sessions(t.Context(), filter{}, 1)
			if err != nil {
				t.Fatal(err)
			}
			return sessions[0].Seen, list[0].Progress
		}
		time.Sleep(900 * time.Millisecond) //nolint:forbidigo // virtual time
		synctest.Wait()
		if seen, _ := has(); !seen.IsZero() {
			t.Errorf("written before its time: %v", seen)
		}
		time.Sleep(200 * time.Millisecond) //nolint:forbidigo // virtual time
		synctest.Wait()
		if _, p := has(); p != 1 {
			t.Errorf("after a second: progress %v, want 1", p)
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // virtual time
		synctest.Wait()
		if seen, p := has(); p != 1 || time.Since(seen) > writeEvery {
			t.Errorf("after 6 s: seen %v ago, progress %v; that is written every %d writes", time.Since(seen), p, refreshEvery)
		}
		time.Sleep(5 * time.Second) //nolint:forbidigo // virtual time
		synctest.Wait()
		if _, p := has(); p != refreshEvery+1 {
			t.Errorf("after 11 s: progress %v, want %d", p, refreshEvery+1)
		}
		s.ClientEnded(info, ended(pc, session.ClientProven, 1))
		stop()
		running.Wait()
		if _, p := has(); p <= refreshEvery+1 {
			t.Errorf("at the end: progress %v", p)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestManyAtOnce uses everything at the same time; the race detector watches.
func TestManyAtOnce(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "history.db"), Config{Keep: 100 * 365 * 24 * time.Hour, MaxRows: 1e6})
	ctx, stop := context.WithCancel(t.Context())
	var writer, others sync.WaitGroup
	casting := cast(99, "w10@1", 0)
	casting.Clients = []session.ClientInfo{joined(1, "pc01", 0)}
	writer.Go(func() { s.Run(ctx, live(casting)) })
	const sessions, clients = 20, 20
	for n := range sessions {
		others.Go(func() {
			info := cast(n, "w11@1", n)
			var list []session.ClientInfo
			for c := range clients {
				list = append(list, ended(joined(uint32(c), fmt.Sprintf("pc%02d", c), n), session.ClientProven, n+1))
			}
			told(s, over(info, n+2, list...))
			s.Action(api.HistoryAction{Who: "anna", Action: "stop", Session: info.ID})
		})
	}
	for range 3 {
		others.Go(func() {
			for i := range 5 {
				_, err1 := s.Sessions(ctx, api.HistoryQuery{Package: "w11"})
				_, err2 := s.Clients(ctx, api.HistoryQuery{Clients: []string{"pc0*"}})
				_, err3 := s.Proof(ctx, "", api.HistoryQuery{Bundle: "room12"})
				_, err4 := s.Forget(ctx, "nobody", i%2 == 0)
				_, err5 := s.prune(ctx, monday)
				_ = s.Stats()
				if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
					t.Error(err)
				}
			}
		})
	}
	others.Wait()
	list, err := s.Sessions(ctx, api.HistoryQuery{Package: "w11@1"})
	if err != nil || len(list) != sessions {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	for _, r := range list {
		if r.State != api.HistoryEnded || r.Proven != clients {
			t.Errorf("%+v", r)
		}
	}
	stop()
	writer.Wait()
	s.Sync(t.Context()) // after Run it has nothing to wait for
	if got := s.Stats(); got.Dropped != 0 || got.Failed != 0 {
		t.Errorf("%+v", got)
	}
}

// TestClosed answers with an error, and closes again.
func TestClosed(t *testing.T) {
	s := fresh(t)
	s.SessionEnded(over(cast(1, "w11@1", 0), 1)) // written by Close
	path := s.path
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.SessionEnded(over(cast(2, "w11@1", 0), 1)) // nobody hears
	if _, err := s.Sessions(t.Context(), api.HistoryQuery{}); !errors.Is(err, errClosed) {
		t.Errorf("%v", err)
	}
	again := open(t, path, Config{})
	list, err := again.Sessions(t.Context(), api.HistoryQuery{})
	if err != nil || len(list) != 1 || list[0].Session != "s1" {
		t.Errorf("%v, %v", list, err)
	}
}
