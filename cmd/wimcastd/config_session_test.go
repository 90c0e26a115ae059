package main

import (
	"strings"
	"testing"
	"time"

	"wimcast/session"
)

// TestRules: what [session] and the tables of packages say, and which goes before which.
func TestRules(t *testing.T) {
	clock := func(text string) session.WallClock {
		w, err := session.ParseWallClock(text)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	scheduled := "[session]\nstart = \"scheduled\"\nmin_clients = 24\ndelay = \"10m\"\ndelay_from = \"last\"\n"
	plain := session.Rules{
		Start: session.StartAuto, DelayFrom: session.FromFirst, Overflow: session.OverflowQueue,
		Slow: session.SlowDemote, Grace: 10 * time.Second, Weight: 1,
	}
	for _, tt := range []struct {
		name, text, ref string
		want            func(*session.Rules)
	}{
		{"defaults", "", "w11@1", func(*session.Rules) {}},
		{
			"all of it", "[session]\nstart = \"scheduled\"\nmin_clients = 2\ndelay = \"3m\"\ndelay_from = \"last\"\nmax_clients = 4\noverflow = \"unicast\"\nslow = \"drop\"\nfloor = \"5 MB/s\"\ngrace = \"1m\"\nweight = 2.5",
			"w11@1", func(r *session.Rules) {
				*r = session.Rules{
					Start: session.StartScheduled, MinClients: 2, Delay: 3 * time.Minute, DelayFrom: session.FromLast, MaxClients: 4,
					Overflow: session.OverflowUnicast, Slow: session.SlowDrop, Floor: 5e6, Grace: time.Minute, Weight: 2.5,
				}
			},
		},
		{"another's table", "[package.\"w12\"]\nmax_clients = 3", "w11@1", func(*session.Rules) {}},
		{"by name", "[package.\"w11\"]\nmax_clients = 3", "w11@1", func(r *session.Rules) { r.MaxClients = 3 }},
		{"by name, no version", "[package.\"w11\"]\nmax_clients = 3", "w11", func(r *session.Rules) { r.MaxClients = 3 }},
		{"another version", "[package.\"w11@2\"]\nmax_clients = 3", "w11@1", func(*session.Rules) {}},
		{
			"the exact one wins", "[package.\"w11\"]\nmax_clients = 3\nweight = 2.0\n[package.\"w11@1\"]\nmax_clients = 5", "w11@1",
			func(r *session.Rules) { r.MaxClients, r.Weight = 5, 2 },
		},
		{
			"one key of several", scheduled + "[package.\"w11\"]\nmin_clients = 3", "w11@1",
			func(r *session.Rules) {
				r.Start, r.MinClients, r.Delay, r.DelayFrom = session.StartScheduled, 3, 10*time.Minute, session.FromLast
			},
		},
		{"auto lets go of the schedule", scheduled + "[package.\"w11\"]\nstart = \"auto\"", "w11@1", func(*session.Rules) {}},
		{
			"at replaces delay", scheduled + "[package.\"w11\"]\nat = \"22:00\"", "w11@1",
			func(r *session.Rules) { r.Start, r.MinClients, r.At = session.StartScheduled, 24, clock("22:00") },
		},
		{
			"delay replaces at", "[session]\nstart = \"scheduled\"\nat = \"2026-11-30T22:00:00+01:00\"\n[package.\"w11\"]\ndelay = \"5m\"", "w11@1",
			func(r *session.Rules) { r.Start, r.Delay = session.StartScheduled, 5*time.Minute },
		},
		{
			"a limit taken back", "[session]\nmax_clients = 3\n[package.\"w11\"]\nmax_clients = 0", "w11@1",
			func(*session.Rules) {},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, write(t, tt.text))
			want := plain
			tt.want(&want)
			name, version, _ := strings.Cut(tt.ref, "@")
			if got := c.rules(name, version); got != want {
				t.Errorf("rules %+v, want %+v", got, want)
			}
		})
	}
}

// TestContradictions: each is refused, and names both keys.
func TestContradictions(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"[session]\nstart = \"soon\"", []string{"session.start: \"soon\" is none of auto, scheduled"}},
		{"[session]\nstart = \"\"", []string{"session.start: is empty"}},
		{"[session]\noverflow = \"refuse\"", []string{"session.overflow: \"refuse\" is none of"}},
		{"[session]\nslow = \"never\"", []string{"session.slow: \"never\" is none of"}},
		{"[session]\ndelay_from = \"middle\"", []string{"session.delay_from: \"middle\" is none of"}},
		{"[session]\nat = \"10 o'clock\"", []string{"session.at: \"10 o'clock\" is neither"}},
		{"[session]\nat = \"9:30\"", []string{"session.at: "}},
		{"[session]\nat = \"24:00\"", []string{"session.at: "}},
		{"[session]\nmax_clients = -1", []string{"session.max_clients: -1"}},
		{"[session]\nweight = 0.0", []string{"session.weight: 0"}},
		{"[session]\nweight = 1000.0", []string{"session.weight: 1000"}},
		{"[session]\nweight = nan", []string{"session.weight: NaN"}},
		{"[session]\ngrace = \"500ms\"", []string{"session.grace: 500ms"}},
		{"[session]\ngrace = \"0s\"", []string{"session.grace: 0s"}},
		{"[session]\nstart = \"scheduled\"\ndelay = \"200h\"", []string{"session.delay: 200h"}},
		{"[session]\nmin_clients = 5", []string{"session.min_clients (5)", "start"}},
		{"[session]\ndelay = \"5m\"", []string{"session.delay (5m0s)", "start"}},
		{"[session]\ndelay_from = \"last\"", []string{"session.delay_from (last)", "start"}},
		{"[session]\nat = \"22:00\"", []string{"session.at (22:00)", "start"}},
		{"[session]\nstart = \"scheduled\"\ndelay = \"5m\"\nat = \"22:00\"", []string{"session.delay (5m0s) and at (22:00)"}},
		{"[session]\nstart = \"scheduled\"\ndelay_from = \"last\"\nat = \"22:00\"", []string{"session.delay_from (last) and at (22:00)"}},
		{"[session]\nstart = \"scheduled\"\nmin_clients = 5\nmax_clients = 4", []string{"session.min_clients (5) is above max_clients (4)"}},
		{"[session]\nstart = \"scheduled\"\nmin_clients = 5\n[limits]\nmax_clients = 4", []string{"session.min_clients (5) is above limits.max_clients (4)"}},
		{"[session]\nfloor = \"50 MB/s\"\n[multicast]\nceiling = \"20 MB/s\"", []string{"session.floor (50000000 B/s) is above multicast.ceiling (20000000 B/s)"}},
		{"[limits]\nmax_clients = -1\nmax_sessions = -2", []string{"limits.max_clients: -1", "limits.max_sessions: -2"}},
		{"[package.\"w11\"]\nmin_clients = 5", []string{"package.\"w11\".min_clients (5)", "start"}},
		{"[package.\"w11@1\"]\nstart = \"scheduled\"\nmin_clients = 5\n[package.\"w11\"]\nmax_clients = 4", []string{"package.\"w11@1\".min_clients (5) is above max_clients (4)"}},
		{"[package.\"w11\"]\nbegin = \"auto\"", []string{"line 2: unknown key package.w11.begin"}},
		{"[package.\"\"]\nstart = \"auto\"", []string{"package.\"\": a table needs"}},
		{"[package.\"w11@\"]\nstart = \"auto\"", []string{"package.\"w11@\": no package can be called so"}},
		{"[package.\"@1\"]\nstart = \"auto\"", []string{"package.\"@1\": no package"}},
		{"[package.\"w11@1@2\"]\nstart = \"auto\"", []string{"package.\"w11@1@2\": no package"}},
		{"[package]\nstart = \"auto\"", []string{"line 2: package.start: "}},
	} {
		t.Run(strings.ReplaceAll(tt.text, "\n", " "), func(t *testing.T) {
			_, err := loadConfig(write(t, tt.text))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q doesn't say %q", err, want)
				}
			}
		})
	}
}

// TestMulticastOnlyRules: unicast that a package's own table asks for contradicts its flag; what [session] says doesn't.
func TestMulticastOnlyRules(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"[session]\nslow = \"unicast\"\noverflow = \"unicast\"", ""},
		{"[package.\"w12\"]\nslow = \"unicast\"", ""},
		{"[package.\"w11\"]\nslow = \"unicast\"", "[package.\"w11\"]: slow = \"unicast\" and multicast-only"},
		{"[package.\"w11\"]\noverflow = \"unicast\"", "[package.\"w11\"]: overflow = \"unicast\" and multicast-only"},
		{"[package.\"w11@1\"]\noverflow = \"unicast\"", "[package.\"w11@1\"]: overflow = \"unicast\" and multicast-only"},
		{"[package.\"w11@2\"]\noverflow = \"unicast\"", ""},
		{"[package.\"w11\"]\noverflow = \"unicast\"\n[package.\"w11@1\"]\noverflow = \"queue\"", ""},
	} {
		c := load(t, write(t, tt.text))
		err := c.checkMulticastOnly("w11", "1")
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: refused: %v", tt.text, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
	}
}
