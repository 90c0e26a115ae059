package session

import (
	"strings"
	"testing"
	"time"
)

// TestRulesCheck: each contradiction is refused with both keys; what is no contradiction isn't.
func TestRulesCheck(t *testing.T) {
	clock, err := ParseWallClock("22:00")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		rules Rules
		want  []string // nothing: good
	}{
		{"zero", Rules{}, nil},
		{"auto with limits", Rules{Start: StartAuto, MaxClients: 3, Overflow: OverflowUnicast, Slow: SlowDrop, Floor: 1e6, Grace: time.Minute, Weight: 3}, nil},
		{"scheduled alone", Rules{Start: StartScheduled}, nil},
		{"scheduled by number and time", Rules{Start: StartScheduled, MinClients: 3, MaxClients: 3, Delay: time.Minute, DelayFrom: FromLast}, nil},
		{"scheduled by number and clock", Rules{Start: StartScheduled, MinClients: 3, At: clock}, nil},
		{"floor with every policy", Rules{Floor: 1e6, Slow: SlowWait}, nil},
		{"words", Rules{Start: "a", DelayFrom: "b", Overflow: "c", Slow: "d"}, []string{"start: \"a\"", "delay_from: \"b\"", "overflow: \"c\"", "slow: \"d\""}},
		{"number without schedule", Rules{MinClients: 3}, []string{"min_clients (3)", "start"}},
		{"delay without schedule", Rules{Start: StartAuto, Delay: time.Minute}, []string{"delay (1m0s)", "start"}},
		{"last without schedule", Rules{DelayFrom: FromLast}, []string{"delay_from (last)", "start"}},
		{"clock without schedule", Rules{At: clock}, []string{"at (22:00)", "start"}},
		{"delay and clock", Rules{Start: StartScheduled, Delay: time.Minute, At: clock}, []string{"delay (1m0s) and at (22:00)"}},
		{"last and clock", Rules{Start: StartScheduled, DelayFrom: FromLast, At: clock}, []string{"delay_from (last) and at (22:00)"}},
		{"more than get in", Rules{Start: StartScheduled, MinClients: 4, MaxClients: 3}, []string{"min_clients (4) is above max_clients (3)"}},
		{"negative", Rules{MinClients: -1, MaxClients: -1, Delay: -1, Floor: -1, Weight: -1, Grace: -1}, []string{"min_clients", "max_clients", "delay", "floor", "weight", "grace"}},
		{"too much", Rules{Start: StartScheduled, Delay: maxDelay + 1, Weight: 101, Grace: 2 * time.Hour}, []string{"delay", "weight", "grace"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.rules.Check()
			if len(tt.want) == 0 && err != nil {
				t.Fatalf("refused: %v", err)
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v doesn't say %q", err, want)
				}
			}
		})
	}
}

func TestWallClock(t *testing.T) {
	east := time.FixedZone("east", 2*3600)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("time zones are missing: ", err)
	}
	day := func(hour, minute int) time.Time { return time.Date(2026, 11, 23, hour, minute, 0, 0, east) }
	for _, tt := range []struct {
		text       string
		from, want time.Time
	}{
		{"22:00", day(18, 30), day(22, 0)},
		{"22:00", day(22, 0), day(22, 0)},
		{"22:00", day(22, 1), day(22, 0).AddDate(0, 0, 1)},
		{"00:00", day(23, 59), day(0, 0).AddDate(0, 0, 1)},
		{"22:00", time.Date(2026, 12, 31, 23, 0, 0, 0, east), time.Date(2027, 1, 1, 22, 0, 0, 0, east)},
		{"2026-11-23T22:00:00+02:00", day(3, 0), day(22, 0)},
		{"2026-11-23T20:00:00Z", day(23, 0), day(22, 0)}, // has passed
		// The clocks go back at 3:00 on October 25: the day is 25 hours long.
		{"22:00", time.Date(2026, 10, 24, 22, 30, 0, 0, berlin), time.Date(2026, 10, 25, 22, 0, 0, 0, berlin)},
	} {
		w, err := ParseWallClock(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.After(tt.from); !got.Equal(tt.want) {
			t.Errorf("%s after %v is %v, want %v", tt.text, tt.from, got, tt.want)
		}
		if again, err := ParseWallClock(w.String()); err != nil || again != w {
			t.Errorf("%s prints as %s", tt.text, w)
		}
	}
	// Half past two is left out on March 29: an hour off at most, and not before the day.
	w, _ := ParseWallClock("02:30")
	from := time.Date(2026, 3, 29, 0, 0, 0, 0, berlin)
	if d := w.After(from).Sub(from); d < time.Hour || d > 4*time.Hour {
		t.Errorf("02:30 on the day when the clocks go forward is %v after midnight", d)
	}
	for _, text := range []string{"", "25:00", "7:30", "22:00:00", "22.00", "2026-11-23", "2026-11-23T22:00:00", "tomorrow"} {
		if w, err := ParseWallClock(text); err == nil {
			t.Errorf("%q is taken for %v", text, w)
		}
	}
}
