package window

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests want summer time on any machine

	"wimcast/library/release"
)

// entry is an entry that must be good.
func entry(t testing.TB, days, from, to string, limit float64, allow string) Hours {
	t.Helper()
	h, err := ParseHours(days, from, to, limit, allow)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestParseHours(t *testing.T) {
	for _, tt := range []struct {
		days, from, to string
		limit          float64
		allow          string
		want           string // String, or a part of the error
	}{
		{"mon-fri", "08:00", "18:00", 2e6, "medium", "mon,tue,wed,thu,fri 08:00-18:00 2000000 B/s, open to medium"},
		{"all", "00:00", "24:00", 0, "", "all 00:00-24:00 no limit, open to all"},
		{"sat, sun", "22:30", "06:05", 0, "none", "sun,sat 22:30-06:05 no limit, open to none"},
		{"fri-mon", "23:59", "00:00", LeastLimit, "high", "sun,mon,fri,sat 23:59-00:00 8192 B/s, open to high"},
		{"wed-wed", "00:00", "00:01", 0, "all", "wed 00:00-00:01 no limit, open to all"},

		{"", "08:00", "18:00", 0, "", "days: "},
		{"Mon", "08:00", "18:00", 0, "", "days: "},
		{"mon-", "08:00", "18:00", 0, "", "days: "},
		{"mon,all", "08:00", "18:00", 0, "", "days: "},
		{"mon,,tue", "08:00", "18:00", 0, "", "days: "},
		{"all", "8:00", "18:00", 0, "", "from: "},
		{"all", "24:00", "18:00", 0, "", "from: "},
		{"all", "08:60", "18:00", 0, "", "from: "},
		{"all", "08.00", "18:00", 0, "", "from: "},
		{"all", "+8:00", "18:00", 0, "", "from: "},
		{"all", "08:00", "24:01", 0, "", "to: "},
		{"all", "08:00", "25:00", 0, "", "to: "},
		{"all", "08:00", "08:00", 0, "", "to: \"08:00\" is from too"},
		{"all", "08:00", "18:00", LeastLimit - 1, "", "limit: "},
		{"all", "08:00", "18:00", -1, "", "limit: "},
		{"all", "08:00", "18:00", 1e13, "", "limit: "},
		{"all", "08:00", "18:00", 0, "low", "allow: "},
	} {
		h, err := ParseHours(tt.days, tt.from, tt.to, tt.limit, tt.allow)
		switch {
		case strings.Contains(tt.want, "open to") && (err != nil || h.String() != tt.want):
			t.Errorf("%+v: %v, %v", tt, h, err)
		case !strings.Contains(tt.want, "open to") && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("%+v: %v, want %q", tt, err, tt.want)
		}
	}
	if _, err := ParseHours("x", "x", "x", -1, "x"); err == nil || len(strings.Split(err.Error(), "\n")) != 5 {
		t.Errorf("not every key that is wrong is named: %v", err)
	}
}

// slowly says what covers must: it walks over the entry's hours second by second, by the calendar of a week.
func slowly(h *Hours, second int) bool {
	for day, on := range h.Days {
		if !on {
			continue
		}
		for s := h.From; ; {
			if (day*daySeconds+s)%weekSeconds == second {
				return true
			}
			if s++; s == h.To || s-daySeconds == h.To {
				break
			}
		}
	}
	return false
}

// TestCoversLikeTheCalendar compares covers with its slow twin at each edge, and a minute to both sides.
func TestCoversLikeTheCalendar(t *testing.T) {
	for _, h := range []Hours{
		entry(t, "mon-fri", "08:00", "18:00", 0, ""), entry(t, "sat", "22:00", "06:00", 0, ""), entry(t, "all", "00:00", "24:00", 0, ""),
		entry(t, "sun", "00:00", "24:00", 0, ""), entry(t, "sat,sun", "23:59", "23:58", 0, ""), entry(t, "wed", "12:00", "00:00", 0, ""),
	} {
		for day := range 7 {
			for _, at := range []int{h.From, h.To} {
				for _, off := range []int{-60, -1, 0, 1, 60} {
					second := mod(day*daySeconds+at+off, weekSeconds)
					if got, want := h.covers(second), slowly(&h, second); got != want {
						t.Errorf("%v covers %s %d: %v, want %v", h, weekdays()[second/daySeconds], second%daySeconds, got, want)
					}
				}
			}
		}
	}
}

// TestLaterEntryWins, and what no entry names is open and unlimited.
func TestLaterEntryWins(t *testing.T) {
	w := week{
		entry(t, "all", "00:00", "24:00", 1e6, "medium"),
		entry(t, "mon-fri", "08:00", "18:00", 5e5, "high"),
		entry(t, "wed", "12:00", "13:00", 0, "none"),
	}
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		after time.Duration
		want  Rule
	}{
		{7*time.Hour + 59*time.Minute, Rule{AllowMedium, 1e6}},
		{8 * time.Hour, Rule{AllowHigh, 5e5}},
		{18*time.Hour - time.Nanosecond, Rule{AllowHigh, 5e5}},
		{18 * time.Hour, Rule{AllowMedium, 1e6}},
		{2*24*time.Hour + 12*time.Hour, Rule{AllowNone, 0}},
		{2*24*time.Hour + 13*time.Hour, Rule{AllowHigh, 5e5}},
		{5*24*time.Hour + 12*time.Hour, Rule{AllowMedium, 1e6}},
	} {
		if got := w.at(monday.Add(tt.after)); got != tt.want {
			t.Errorf("%v: %+v, want %+v", monday.Add(tt.after), got, tt.want)
		}
	}
	if got := week(nil).at(monday); got != (Rule{Allow: AllowAll}) {
		t.Errorf("without entries: %+v", got)
	}
}

func TestAdmits(t *testing.T) {
	for allow, want := range map[Allow]string{AllowAll: "high medium low other", AllowMedium: "high medium", AllowHigh: "high", AllowNone: "", "": "high medium low other"} {
		var got []string
		for _, p := range []release.Priority{release.High, release.Medium, release.Low, "other"} {
			if allow.admits(p) {
				got = append(got, string(p))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q admits %v, want %s", allow, got, want)
		}
	}
}

func berlin(t testing.TB) *time.Location {
	t.Helper()
	place, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// TestAllowed: when the answer changes, by the wall clock, over midnight, over the week's end, and where summer time begins (2026-03-29,
// 02:00 becomes 03:00) and ends (2026-10-25, 03:00 becomes 02:00).
func TestAllowed(t *testing.T) {
	const layout = "2006-01-02 15:04:05 MST"
	work := entry(t, "mon-fri", "08:00", "18:00", 0, "high")
	night := entry(t, "all", "22:00", "06:00", 0, "none")
	gap := entry(t, "sun", "02:30", "03:30", 0, "none")
	inGap := entry(t, "sun", "02:10", "02:50", 0, "none")
	for _, tt := range []struct {
		says  string
		hours []Hours
		now   string
		p     release.Priority
		ok    bool
		next  string // "" for never
	}{
		{"no entry", nil, "2026-11-27 10:00:00 CET", release.Low, true, ""},
		{"at work", []Hours{work}, "2026-11-27 10:00:00 CET", release.Low, false, "2026-11-27 18:00:00 CET"},
		{"at work, high", []Hours{work}, "2026-11-27 10:00:00 CET", release.High, true, ""},
		{"over the weekend", []Hours{work}, "2026-11-27 18:00:00 CET", release.Low, true, "2026-11-30 08:00:00 CET"},
		{"one second before", []Hours{work}, "2026-11-27 17:59:59 CET", release.Medium, false, "2026-11-27 18:00:00 CET"},
		{"over midnight", []Hours{night}, "2026-11-28 23:00:00 CET", release.High, false, "2026-11-29 06:00:00 CET"},
		{"after midnight", []Hours{night}, "2026-11-29 05:59:59 CET", release.High, false, "2026-11-29 06:00:00 CET"},
		{"one after the other", []Hours{work, night}, "2026-11-26 23:00:00 CET", release.Low, false, "2026-11-27 06:00:00 CET"},
		{"never", []Hours{entry(t, "all", "00:00", "24:00", 0, "none")}, "2026-11-27 10:00:00 CET", release.High, false, ""},
		{"never, of two halves", []Hours{entry(t, "all", "00:00", "12:00", 0, "none"), entry(t, "all", "12:00", "24:00", 0, "high")}, "2026-11-27 10:00:00 CET", release.Low, false, ""},
		{"the night of the jump is an hour shorter", []Hours{night}, "2026-03-28 22:00:00 CET", release.Low, false, "2026-03-29 06:00:00 CEST"},
		{"closed from the jump on", []Hours{gap}, "2026-03-29 01:59:59 CET", release.Low, true, "2026-03-29 03:00:00 CEST"},
		{"closed until half past", []Hours{gap}, "2026-03-29 03:00:00 CEST", release.Low, false, "2026-03-29 03:30:00 CEST"},
		{"hours that aren't there", []Hours{inGap}, "2026-03-29 01:00:00 CET", release.Low, true, "2026-04-05 02:10:00 CEST"},
		{"the night that is an hour longer", []Hours{night}, "2026-10-24 22:00:00 CEST", release.Low, false, "2026-10-25 06:00:00 CET"},
		{"the first of two", []Hours{inGap}, "2026-10-25 01:00:00 CEST", release.Low, true, "2026-10-25 02:10:00 CEST"},
		{"between the two", []Hours{inGap}, "2026-10-25 02:55:00 CEST", release.Low, true, "2026-10-25 02:10:00 CET"},
		{"the second of two", []Hours{inGap}, "2026-10-25 02:20:00 CET", release.Low, false, "2026-10-25 02:50:00 CET"},
	} {
		now, err := time.ParseInLocation(layout, tt.now, berlin(t))
		if err != nil {
			t.Fatal(err)
		}
		ok, next := New(tt.hours, func() time.Time { return now }).Allowed(tt.p)
		got := ""
		if !next.IsZero() {
			got = next.Format(layout)
		}
		if ok != tt.ok || got != tt.next {
			t.Errorf("%s, %s: %v until %q, want %v until %q", tt.says, tt.now, ok, got, tt.ok, tt.next)
		}
	}
}

// TestNextLikeSecondBySecond compares next with a walk over every minute.
func TestNextLikeSecondBySecond(t *testing.T) {
	w := week{
		entry(t, "all", "21:15", "05:45", 1e6, "medium"), entry(t, "mon-wed,sun", "02:05", "03:10", 0, "high"),
		entry(t, "sat", "12:00", "00:00", 9e6, "none"), entry(t, "sun,thu", "00:00", "24:00", 2e6, "all"),
	}
	for _, start := range []string{"2026-03-27", "2026-10-23", "2026-11-27"} {
		day, err := time.ParseInLocation(time.DateOnly, start, berlin(t))
		if err != nil {
			t.Fatal(err)
		}
		for hour := range 24 * 4 {
			now := day.Add(time.Duration(hour)*time.Hour + 17*time.Second + time.Millisecond)
			rule := w.at(now)
			want := time.Time{}
			for at := now.Truncate(time.Minute); at.Before(now.Add(horizon)); at = at.Add(time.Minute) {
				if at.After(now) && w.at(at) != rule {
					want = at
					break
				}
			}
			if got := w.next(now, func(r Rule) bool { return r == rule }); !got.Equal(want) {
				t.Errorf("from %v: %v, want %v", now, got, want)
			}
		}
	}
}

// TestHeld says until when in words.
func TestHeld(t *testing.T) {
	now := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		allow, to string
		p         release.Priority
		want      string
	}{
		{"high", "18:00", release.Low, "the hours are open to high priority only, until Fri 18:00"},
		{"high", "18:00", release.High, ""},
		{"medium", "18:00", release.Low, "the hours are open to medium and high priority only, until Fri 18:00"},
		{"none", "08:30", release.High, "the hours are closed, until Sat 08:30"},
	} {
		g := New([]Hours{entry(t, "fri", "09:00", tt.to, 0, tt.allow)}, func() time.Time { return now })
		if got := g.Held(tt.p); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	g := New([]Hours{entry(t, "all", "00:00", "24:00", 0, "none")}, func() time.Time { return now })
	if got := g.Held(release.High); got != "the hours are closed, until the configuration changes" {
		t.Errorf("%q", got)
	}
}

// FuzzParseHours: what is taken is in bounds, is read back from what it says, and can be held against any moment.
func FuzzParseHours(f *testing.F) {
	f.Add("mon-fri", "08:00", "18:00", 2e6, "medium", int64(1_700_000_000))
	f.Add("all", "22:00", "06:00", 0.0, "", int64(-62_135_596_800))
	f.Add("sat,sun", "00:00", "24:00", 8192.0, "none", int64(253_402_300_799))
	place := berlin(f)
	f.Fuzz(func(t *testing.T, days, from, to string, limit float64, allow string, at int64) {
		h, err := ParseHours(days, from, to, limit, allow)
		if err != nil {
			return
		}
		if h.Days == [7]bool{} || h.From < 0 || h.From >= daySeconds || h.To < 0 || h.To > daySeconds || h.From == h.To || h.span() < 60 || h.span() > daySeconds ||
			h.Limit != 0 && (h.Limit < LeastLimit || h.Limit > MostLimit) {
			t.Fatalf("%q %q %q %v %q: %+v", days, from, to, limit, allow, h)
		}
		text := h.String()
		on, rest, _ := strings.Cut(text, " ")
		again, err := ParseHours(on, rest[:5], rest[6:11], limit, string(h.Allow))
		if err != nil || again != h {
			t.Fatalf("%q is read back as %+v, %v; was %+v", text, again, err, h)
		}
		now := time.Unix(at%(1<<40), 0).In(place)
		g := New([]Hours{h}, func() time.Time { return now })
		for _, p := range []release.Priority{release.High, release.Low} {
			if ok, next := g.Allowed(p); !next.IsZero() && (!next.After(now) || g.week.at(next).Allow.admits(p) == ok) {
				t.Fatalf("%v at %v: %v until %v", h, now, ok, next)
			}
		}
	})
}
