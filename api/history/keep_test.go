package history

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// TestRetention deletes by age and by number, the oldest first, whole sessions, and
// never one that runs.
func TestRetention(t *testing.T) {
	day := 24 * 60
	now := monday.Add(10 * 24 * time.Hour)
	for _, c := range []struct {
		says string
		cfg  Config
		want []string
	}{
		{"everything", Config{}, []string{"s9", "s5", "s4", "s3", "s2", "s1"}},
		{"7 days and a half", Config{Keep: 180 * time.Hour}, []string{"s9", "s5", "s4", "s3"}},
		{"nothing is so young", Config{Keep: time.Hour}, []string{"s9"}},
		{"seven records", Config{MaxRows: 7}, []string{"s9", "s5", "s4"}}, // 1 + 3 + 3, and an action makes it 8
		{"six records", Config{MaxRows: 6}, []string{"s9", "s5"}},
		{"hardly any", Config{MaxRows: 1}, []string{"s9"}},
		{"both", Config{Keep: 180 * time.Hour, MaxRows: 8}, []string{"s9", "s5", "s4"}},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "history.db"), c.cfg)
			running := cast(9, "w11@1", 0) // long, and still
			for n := 1; n <= 5; n++ {
				told(s, over(cast(n, "w11@1", n*day-60), n*day, ended(joined(1, "pc01", n*day-60), session.ClientProven, n*day), ended(joined(2, "pc02", n*day-60), session.ClientFailed, n*day)))
			}
			s.write(nil)
			s.write(live(running))
			s.Action(api.HistoryAction{At: monday.Add(24 * time.Hour), Who: "anna", Action: "stop", Session: "s1"})
			s.Action(api.HistoryAction{At: now, Who: "anna", Action: "revoke"}) // of no session
			s.write(nil)
			if _, err := s.prune(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			list, err := s.Sessions(t.Context(), api.HistoryQuery{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range list {
				got = append(got, r.Session)
			}
			slices.SortFunc(got, func(a, b string) int { return -bytes.Compare([]byte(a), []byte(b)) })
			if !slices.Equal(got, c.want) {
				t.Errorf("left: %v, want %v", got, c.want)
			}
			clients, err := s.Clients(t.Context(), api.HistoryQuery{})
			if err != nil || len(clients) != 2*(len(c.want)-1) {
				t.Errorf("%d clients of %d sessions are left, %v", len(clients), len(c.want), err)
			}
			actions, err := s.Actions(t.Context(), api.HistoryQuery{})
			if err != nil || len(actions) != 1+min(1, len(c.want)/6) {
				t.Errorf("actions: %+v, %v", actions, err)
			}
			if err := s.count(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.Stats().Rows; got["session"] != int64(len(c.want)) || got["client"] != int64(len(clients)) || got["action"] != int64(len(actions)) {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// TestForget takes a machine's words out of the answers and out of the file, and leaves sums.
func TestForget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	s := open(t, path, Config{})
	pc := joined(1, "pc-of-somebody", 0)
	pc.Machine.Serial, pc.Machine.UUID = "SERIAL-4711", [16]byte{0xab, 0xcd}
	told(s, over(cast(1, "w11@1", 0), 3, ended(pc, session.ClientProven, 2), ended(joined(2, "pc02", 0), session.ClientProven, 2)))
	s.Action(api.HistoryAction{Who: "anna", Action: "evict", Session: "s1", Client: "PC-of-somebody", Error: "client pc-of-somebody has already ended"})
	s.write(nil)
	running := cast(2, "w11@1", 5)
	running.Clients = []session.ClientInfo{pc}
	s.write(live(running))

	holds := func(word string) bool {
		t.Helper()
		for _, part := range []string{"", "-wal"} {
			b, err := os.ReadFile(path + part)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(bytes.ToLower(b), []byte(word)) {
				return true
			}
		}
		return false
	}
	want := func(got api.Forgotten, err error, records, running int) {
		t.Helper()
		if err != nil || got.Records != records || got.Running != running || records > 0 && !slices.Equal(got.Names, []string{"pc-of-somebody"}) {
			t.Errorf("%+v, %v; want %d records, %d running", got, err, records, running)
		}
	}
	got, err := s.Forget(t.Context(), "pc-of-*", true)
	want(got, err, 2, 1)
	if list, _ := s.Clients(t.Context(), api.HistoryQuery{Clients: []string{"pc-of-somebody"}}); len(list) != 2 {
		t.Errorf("a dry run: %+v", list)
	}
	got, err = s.Forget(t.Context(), "serial-4711", false)
	want(got, err, 2, 1)
	if list, _ := s.Clients(t.Context(), api.HistoryQuery{Clients: []string{"pc-of-somebody"}}); len(list) != 1 || list[0].SessionID != 2 {
		t.Errorf("the running one stays: %+v", list)
	}
	told(s, over(running, 9, ended(pc, session.ClientFailed, 8)))
	got, err = s.Forget(t.Context(), "pc-of-somebody", false)
	want(got, err, 1, 0)
	for _, word := range []string{"somebody", "serial-4711", "abcd0000", "02:00:00:00:00:01"} {
		if holds(word) {
			t.Errorf("the file still holds %q", word)
		}
	}
	if !holds("pc02") {
		t.Error("the test can't tell: the file doesn't hold the other client either")
	}
	one, err := s.Session(t.Context(), "1")
	if err != nil || one.Clients != 2 || one.Proven != 2 || one.Members[0].Name != forgottenName || one.Members[0].MulticastBytes != 1e9 || one.Actions[0].Client != forgottenName {
		t.Errorf("%+v, %v", one, err)
	}
	got, err = s.Forget(t.Context(), "pc-of-somebody", false)
	want(got, err, 0, 0)
	if got, err := s.Forget(t.Context(), "*", true); err != nil || !slices.Equal(got.Names, []string{"pc02"}) {
		t.Errorf("everybody: %+v, %v", got, err)
	}
}
