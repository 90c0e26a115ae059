package servicing

import (
	"strings"
	"testing"
	"time"
)

func TestWhen(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	local := time.Local
	time.Local = berlin
	defer func() { time.Local = local }()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, c := range map[string]struct {
		when  When
		now   string
		first string
		next  string // after the first; "" for never
	}{
		"at once":              {When{}, "2026-11-26T12:00:00Z", "2026-11-26T12:00:00Z", ""},
		"once":                 {When{At: at("2026-12-01T03:00:00+01:00")}, "2026-11-26T12:00:00Z", "2026-12-01T02:00:00Z", ""},
		"just missed":          {When{At: at("2026-11-26T11:59:30Z")}, "2026-11-26T12:00:00Z", "2026-11-26T12:00:00Z", ""},
		"sundays, local":       {When{Cron: "0 3 * * SUN"}, "2026-11-26T12:00:00Z", "2026-11-29T02:00:00Z", "2026-12-06T02:00:00Z"},
		"sundays, UTC":         {When{Cron: "0 3 * * SUN", UTC: true}, "2026-11-26T12:00:00Z", "2026-11-29T03:00:00Z", "2026-12-06T03:00:00Z"},
		"over the change":      {When{Cron: "0 3 * * *"}, "2026-10-24T12:00:00Z", "2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"},
		"before the change":    {When{Cron: "0 3 * * *"}, "2026-10-23T12:00:00Z", "2026-10-24T01:00:00Z", "2026-10-25T02:00:00Z"},
		"a descriptor":         {When{Cron: "@monthly", UTC: true}, "2026-11-26T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		"every leap day":       {When{Cron: "0 0 29 2 *", UTC: true}, "2026-11-26T12:00:00Z", "2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"},
		"on the minute itself": {When{Cron: "0 12 * * *", UTC: true}, "2026-11-26T12:00:00Z", "2026-11-27T12:00:00Z", "2026-11-28T12:00:00Z"},
	} {
		now := at(c.now)
		if err := c.when.Check(now); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		first := c.when.First(now)
		if got := first.Format(time.RFC3339); got != c.first {
			t.Errorf("%s: first at %s, want %s", name, got, c.first)
		}
		next := c.when.Next(first)
		if got := next.Format(time.RFC3339); c.next == "" != next.IsZero() || c.next != "" && got != c.next {
			t.Errorf("%s: then at %s, want %s", name, got, c.next)
		}
	}
	now := at("2026-11-26T12:00:00Z")
	for _, c := range []struct {
		when When
		text string
	}{
		{When{At: at("2026-11-26T11:00:00Z")}, "it is past"},
		{When{At: at("2026-12-26T11:00:00Z"), Cron: "@daily"}, "at and cron"},
		{When{Cron: "every sunday"}, "want minute hour day month weekday"},
		{When{Cron: "61 * * * *"}, "want minute"},
		{When{Cron: "0 0 30 2 *"}, "never comes"},
		{When{Cron: "* * * * *"}, "15m0s is the least"},
		{When{Cron: "@every 1m"}, "15m0s is the least"},
		{When{Cron: "CRON_TZ=Asia/Tokyo 0 3 * * *"}, "names a time zone"},
		{When{Cron: strings.Repeat("0", 300)}, "more than 200 bytes"},
	} {
		if err := c.when.Check(now); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want %q", c.when, err, c.text)
		}
	}
}

func TestNextVersion(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	taken := map[string]bool{"3+2026-11-26": true, "4+2026-11-26": true, "4+2026-11-26.2": true}
	for version, want := range map[string]string{
		"": "+2026-11-26", "1": "1+2026-11-26", "2026.11+2026-10-01": "2026.11+2026-11-26", "3": "3+2026-11-26.2", "4+2026-11-26.2": "4+2026-11-26.3",
		strings.Repeat("x", 64): strings.Repeat("x", 44) + "+2026-11-26",
	} {
		if got := nextVersion(version, now, func(v string) bool { return taken[v] }); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

func TestOrder(t *testing.T) {
	now := time.Now()
	good := Order{Image: "w11", Updates: []string{"KB1"}, Executor: ExecutorStage}
	if err := good.check(now); err != nil {
		t.Error(err)
	}
	for text, change := range map[string]func(*Order){
		"the name of an image": func(o *Order) { o.Image = "" },
		"nothing to apply":     func(o *Order) { o.Updates = nil },
		"twice":                func(o *Order) { o.Updates = []string{"KB1", "kb1"} },
		"version and cron":     func(o *Order) { o.Version, o.When.Cron = "2", "@daily" },
		"nothing on this machine can install them": func(o *Order) { o.Executor = "wusa" },
		"at most 200 updates":                      func(o *Order) { o.Updates = make([]string, 201) },
		"it is past":                               func(o *Order) { o.When.At = now.Add(-time.Hour) },
	} {
		o := good
		change(&o)
		if err := o.check(now); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}

func TestGentle(t *testing.T) {
	start := time.Now()
	g := &gentle{last: start, n: gentleChunk}
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: 9 * time.Millisecond, 5 * time.Millisecond: 5 * time.Millisecond, 8 * time.Millisecond: 8 * time.Millisecond, time.Second: time.Second,
	} {
		if got := g.rest(start.Add(took)); got != want {
			t.Errorf("after a piece that took %v: %v of rest, want %v", took, got, want)
		}
	}
	if got := (&gentle{}).rest(start); got != 0 {
		t.Errorf("before the first: %v", got)
	}
}
