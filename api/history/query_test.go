package history

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"wimcast/api"
	"wimcast/session"
)

// TestQueries narrows lists down by each field.
func TestQueries(t *testing.T) {
	s := fresh(t)
	other := ended(joined(3, "PC03", 60), session.ClientFailed, 70)
	other.Peer.Name, other.Reason = "room13", "disk full"
	told(s, over(cast(1, "w11@2026.10", 0), 10, ended(joined(1, "pc01", 0), session.ClientProven, 5), ended(joined(2, "pc02", 0), session.ClientLost, 9)))
	told(s, over(cast(2, "w11@2026.11", 60), 70, ended(joined(1, "pc01", 60), session.ClientProven, 65), other))
	s.write(nil)
	running := cast(3, "w10@1", 120)
	running.Clients = []session.ClientInfo{joined(1, "pc01", 120)}
	s.write(live(running))
	digest := running.Digest.String()
	at := func(minute int) time.Time { return monday.Add(time.Duration(minute) * time.Minute) }

	for _, c := range []struct {
		says     string
		q        api.HistoryQuery
		sessions string // the numbers of those found
		clients  string
	}{
		{"everything", api.HistoryQuery{}, "321", "32211"},
		{"a client", api.HistoryQuery{Clients: []string{"pc02"}}, "1", "1"},
		{"in other letters", api.HistoryQuery{Clients: []string{"pc03"}}, "2", "2"},
		{"some", api.HistoryQuery{Clients: []string{"pc0[12]"}}, "321", "3211"},
		{"two", api.HistoryQuery{Clients: []string{"pc02", "pc03"}}, "21", "21"},
		{"a MAC", api.HistoryQuery{Clients: []string{"02-00-00-00-00-02"}}, "1", "1"},
		{"part of a MAC", api.HistoryQuery{Clients: []string{"02:00:00"}}, "", ""},
		{"nobody", api.HistoryQuery{Clients: []string{"' OR 1=1 --"}}, "", ""},
		{"an empty name", api.HistoryQuery{Clients: []string{""}}, "", ""},
		{"a long list", api.HistoryQuery{Clients: append(slices.Repeat([]string{"pc99"}, api.HistoryMost), "pc02")}, "1", "1"},
		{"a room", api.HistoryQuery{Bundle: "room13"}, "2", "2"},
		{"a package", api.HistoryQuery{Package: "w11@2026.11"}, "2", "22"},
		{"all its versions", api.HistoryQuery{Package: "w11"}, "21", "2211"},
		{"part of a name", api.HistoryQuery{Package: "w1"}, "", ""},
		{"a digest", api.HistoryQuery{Package: digest[:12]}, "3", "3"},
		{"less of a digest", api.HistoryQuery{Package: digest[:11]}, "", ""},
		{"since, while one ran", api.HistoryQuery{Since: at(65), Until: at(120)}, "2", "22"},
		{"until", api.HistoryQuery{Until: at(60)}, "1", "11"},
		{"state of a session", api.HistoryQuery{State: "running"}, "3", ""},
		{"state of a client", api.HistoryQuery{State: "failed"}, "", "2"},
		{"a page", api.HistoryQuery{Limit: 2}, "32", "32"},
		{"the next", api.HistoryQuery{Limit: 2, Before: 2}, "1", "1"},
	} {
		sessions, err := s.Sessions(t.Context(), c.q)
		var got string
		for _, r := range sessions {
			got += r.Session[1:]
		}
		if err != nil || got != c.sessions {
			t.Errorf("%s: sessions %q, want %q; %v", c.says, got, c.sessions, err)
		}
		clients, err := s.Clients(t.Context(), c.q)
		got = ""
		for _, r := range clients {
			got += r.Session[1:]
		}
		if err != nil || got != c.clients {
			t.Errorf("%s: clients of sessions %q, want %q; %v", c.says, got, c.clients, err)
		}
	}
	for ref, want := range map[string]string{"w11": "w11@2026.11", "w11@2026.10": "w11@2026.10", digest: "w10@1", "w12": ""} {
		if _, name, err := s.Resolve(t.Context(), ref); name != want || (err == nil) != (want != "") {
			t.Errorf("resolve %s: %q, %v", ref, name, err)
		}
	}
	for i := range 3 {
		s.Action(api.HistoryAction{At: at(i), Who: "anna", Action: "set", Detail: strconv.Itoa(i)})
	}
	actions, err := s.Actions(t.Context(), api.HistoryQuery{Since: at(1), Until: at(2)})
	if err != nil || len(actions) != 1 || actions[0].Detail != "1" {
		t.Errorf("actions: %+v, %v", actions, err)
	}
}

// TestProof answers whether every machine of a room has an image.
func TestProof(t *testing.T) {
	s := fresh(t)
	number := uint32(0)
	// in is a client in a session of its own, from one minute to another.
	in := func(pkg, name, mac string, from, to int, state session.ClientState) {
		t.Helper()
		number++
		c := joined(number, name, from)
		c.Machine.MACs = mac
		told(s, over(cast(int(number), pkg, from), to, ended(c, state, to)))
	}
	const w11, w10 = "w11@1", "w10@2"
	in(w11, "pc01", "02:00:00:00:01:00", 0, 5, session.ClientProven)
	in(w11, "pc01", "02:00:00:00:01:00", 100, 105, session.ClientFailed) // proven all the same
	in(w11, "pc02", "02:00:00:00:02:00", 0, 5, session.ClientFailed)
	in(w11, "pc02", "02:00:00:00:02:00", 10, 15, session.ClientProven)
	in(w10, "pc02", "02:00:00:00:02:00", 20, 25, session.ClientProven) // and then another
	in(w11, "pc03", "02:00:00:00:03:00", 0, 5, session.ClientLost)
	in(w11, "MININT-AAA", "02:00:00:00:04:00", 0, 5, session.ClientFailed) // a name for each boot
	in(w11, "MININT-BBB", "02:00:00:00:04:00", 10, 15, session.ClientProven)
	in(w11, "clone1", "02:00:00:00:05:00", 0, 10, session.ClientProven) // two at once claim one MAC
	in(w11, "clone2", "02:00:00:00:05:00", 5, 8, session.ClientFailed)
	in(w10, "pc06", "02:00:00:00:06:00", 0, 5, session.ClientProven) // never tried this one
	s.write(nil)
	digest := func(pkg string) string { d := cast(1, pkg, 0).Digest; return d.String() }

	for _, c := range []struct {
		says string
		pkg  string
		q    api.HistoryQuery
		want []string // name, state, minute of the proof
	}{
		{
			"the room", w11,
			api.HistoryQuery{Bundle: "room12"},
			[]string{"clone1 proven 10", "clone2 not proven", "MININT-BBB proven 15", "pc01 proven 5", "pc02 proven 15 then w10@2", "pc03 not proven", "pc06 not proven"},
		},
		{"another image", w10, api.HistoryQuery{Clients: []string{"pc0*"}}, []string{"pc01 not proven", "pc02 proven 25", "pc03 not proven", "pc06 proven 5"}},
		{"by its old name", w11, api.HistoryQuery{Clients: []string{"minint-aaa"}}, []string{"MININT-BBB proven 15"}},
		{"a clone", w11, api.HistoryQuery{Clients: []string{"clone2"}}, []string{"clone2 not proven"}},
		{"a list", w11, api.HistoryQuery{Clients: []string{"PC01", "pc99", "02-00-00-00-02-00"}}, []string{"pc01 proven 5", "pc02 proven 15 then w10@2", "pc99 never seen"}},
		{"since", w11, api.HistoryQuery{Clients: []string{"pc0[12]"}, Since: monday.Add(30 * time.Minute)}, []string{"pc01 not proven"}},
		{"nobody", w11, api.HistoryQuery{Bundle: "room99"}, nil},
	} {
		proof, err := s.Proof(t.Context(), digest(c.pkg), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		proven := 0
		for _, m := range proof.Machines {
			line := m.Name + " " + m.State
			if m.State == api.ProofProven {
				proven++
				line += " " + strconv.Itoa(int(m.Proven.Sub(monday).Minutes()))
				if m.Path != "multicast" || m.SessionID == 0 {
					t.Errorf("%s: %+v", c.says, m)
				}
			}
			if m.Later != "" {
				line += " then " + m.Later
			}
			got = append(got, line)
		}
		if !slices.Equal(got, c.want) || proof.Proven != proven || proof.Missing != len(got)-proven {
			t.Errorf("%s: %q (%d proven, %d missing)\nwant %q", c.says, got, proof.Proven, proof.Missing, c.want)
		}
	}
	proof, err := s.Proof(t.Context(), digest(w11), api.HistoryQuery{Clients: []string{"pc03"}})
	if m := proof.Machines[0]; err != nil || m.LastState != "lost" || !m.LastSeen.Equal(monday.Add(5*time.Minute)) {
		t.Errorf("what became of pc03: %+v, %v", m, err)
	}
}

// FuzzClientFits holds what SQL finds for a name against the obvious way, and hostile
// names and patterns against the store.
func FuzzClientFits(f *testing.F) {
	for _, seed := range [][3]string{
		{"pc01", "02:00:00:00:00:01,02:00:00:00:00:02", "PC01"},
		{"pc'01", "", "pc'01"},
		{"a\x00b", "\xff", "a\x00b"},
		{"x", "02:00:00:00:00:01", "02-00-00-00-00-01"},
		{"", ",", ""},
		{"\"", "\",\"", "\""},
		{"a", "a,\\\",b", "b"},
		{"[", "", "["},
		{"%", "_", "%"},
		{"İ", "", "i̇"},
		{"(forgotten)", "", "(forgotten)"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	s, err := Open(f.TempDir()+"/history.db", Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	s.db.SetMaxOpenConns(1) // what follows is a connection's
	if _, err := s.db.Exec("PRAGMA synchronous = OFF"); err != nil {
		f.Fatal(err)
	}
	number := uint32(0)
	f.Fuzz(func(t *testing.T, name, macs, pattern string) {
		number++
		info := cast(int(number), "w11@1", 0)
		c := ended(joined(number, name, 0), session.ClientProven, 1)
		c.Machine.MACs = macs
		told(s, over(info, 2, c))
		list, err := s.Clients(t.Context(), api.HistoryQuery{Clients: []string{pattern}, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		found := len(list) == 1 && list[0].Session == info.ID
		row := rowOf(&c)
		twin := sighting{HistoryClient: api.HistoryClient{Name: row.name, MACs: row.macs}}
		if want := twin.is(clean(pattern)); !isGlob(pattern) && ascii(name+macs+pattern) && found != want {
			t.Errorf("name %q, macs %q, pattern %q: found %v, want %v", name, macs, pattern, found, want)
		}
		if _, err := s.Proof(t.Context(), "", api.HistoryQuery{Clients: []string{pattern}}); err != nil {
			t.Error(err)
		}
		if _, err := s.Forget(t.Context(), pattern, true); err != nil {
			t.Error(err)
		}
	})
}

// ascii reports whether SQL's lower and Go's agree about a text.
func ascii(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(b byte) bool { return b >= 0x80 })
}
