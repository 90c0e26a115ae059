package main

import (
	"strings"
	"testing"
	"time"

	"wimcast/library/fleet/window"
	"wimcast/library/release"
)

const threeHours = `
[point]
bundle = "north.point"
[[point.hours]]
days = "all"
from = "00:00"
to = "24:00"
limit = "2 MB/s"
allow = "medium"

[[point.hours]]
days = "mon-fri"
from = "08:00"
to = "18:00"
limit = "0"
allow = "none"

[[point.hours]]
days = "sat,sun"
from = "22:00"
to = "06:00"
`

func TestHoursConfig(t *testing.T) {
	c := load(t, write(t, threeHours))
	hours := c.Point.hours()
	var got []string
	for _, h := range hours {
		got = append(got, h.String())
	}
	const want = "all 00:00-24:00 2000000 B/s, open to medium; mon,tue,wed,thu,fri 08:00-18:00 no limit, open to none; sun,sat 22:00-06:00 no limit, open to all"
	if strings.Join(got, "; ") != want {
		t.Errorf("%q", got)
	}
	for text, want := range map[string]string{
		"days = \"mon\"\nfrom = \"08:00\"\nto = \"9:00\"":                        "point.hours[4].to: \"9:00\" is not a time of day",
		"days = \"mon\"\nfrom = \"08:00\"":                                       "point.hours[4].to: \"\" is not a time of day",
		"days = \"someday\"\nfrom = \"08:00\"\nto = \"09:00\"":                   "point.hours[4].days: \"someday\"",
		"days = \"mon\"\nfrom = \"08:00\"\nto = \"09:00\"\nallow = \"some\"":     "point.hours[4].allow: \"some\"",
		"days = \"mon\"\nfrom = \"08:00\"\nto = \"09:00\"\nlimit = \"1 kB/s\"":   "point.hours[4].limit: 1000 B/s isn't between",
		"days = \"mon\"\nfrom = \"08:00\"\nto = \"09:00\"\nlimit = \"1 parsec\"": "point.hours.limit: \"1 parsec\" is not a rate",
		"days = \"mon\"\nfrom = \"08:00\"\ntill = \"09:00\"":                     "unknown key point.hours.till",
	} {
		if _, err := loadConfig(write(t, threeHours+"[[point.hours]]\n"+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := loadConfig(write(t, "[[point.hours]]\ndays = \"mon\"\nfrom = \"08:00\"\nto = \"09:00\"\n")); err == nil || !strings.Contains(err.Error(), "point.hours: they are of what a point pulls") {
		t.Errorf("without a point file: %v", err)
	}
	many := strings.Repeat("[[point.hours]]\ndays = \"mon\"\nfrom = \"08:00\"\nto = \"09:00\"\n", window.MostHours+1)
	if _, err := loadConfig(write(t, many)); err == nil || !strings.Contains(err.Error(), "point.hours: 337 entries") {
		t.Errorf("%v", err)
	}
}

// TestPullLimit: what the metrics say in open, limited and closed hours.
func TestPullLimit(t *testing.T) {
	d, c := &distributionPoint{point: pointParts{file: &release.PointFile{}}}, load(t, write(t, threeHours))
	day := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC) // a Friday
	d.hours = window.New(c.Point.hours(), func() time.Time { return day })
	for _, tt := range []struct {
		at      time.Duration
		limit   float64
		limited bool
	}{{0, 0, true}, {7 * time.Hour, 2e6, true}, {36 * time.Hour, 0, false}} {
		day = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC).Add(tt.at)
		if limit, limited := d.pullLimit(); limit != tt.limit || limited != tt.limited {
			t.Errorf("%v: %v, %v", day, limit, limited)
		}
	}
}
