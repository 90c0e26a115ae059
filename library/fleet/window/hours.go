package window

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"wimcast/library/release"
)

// Bounds of entries.
const (
	// LeastLimit is the least that a limit can be, in bytes/s: 5 GB take a week. Whoever wants less wants the hours closed.
	LeastLimit = 8192
	// MostLimit is the most, in bytes/s; more is a mistake of units.
	MostLimit = 1e12
	// MostHours is how many entries there can be: one for each hour of the week, and as many again.
	MostHours = 2 * 7 * 24
)

const (
	daySeconds  = 24 * 60 * 60
	weekSeconds = 7 * daySeconds
)

// Allow says which priorities hours are open to.
type Allow string

// The values of Allow: a closed set.
const (
	AllowAll    Allow = "all"
	AllowMedium Allow = "medium" // medium and high
	AllowHigh   Allow = "high"
	AllowNone   Allow = "none" // closed
)

// rank orders priorities; the lowest goes first.
func rank(p release.Priority) int {
	switch p {
	case release.High:
		return 0
	case release.Medium:
		return 1
	}
	return 2
}

// admits reports whether hours are open to a priority. One that isn't known counts as low.
func (a Allow) admits(p release.Priority) bool {
	switch a {
	case AllowMedium:
		return rank(p) <= 1
	case AllowHigh:
		return rank(p) == 0
	case AllowNone:
		return false
	}
	return true
}

// Rule is what holds at a moment. The zero value is open and unlimited.
type Rule struct {
	Allow Allow   // "" is AllowAll
	Limit float64 // bytes/s of all pulls together; 0: none
}

// Hours is an entry: on these days, from From until To, the rule holds.
type Hours struct {
	Days [7]bool // by time.Weekday; the days on which the hours begin
	// From and To are times of day in seconds, whole minutes: 0 to 86,340, and 60 to 86,400. When To isn't after From, the hours pass midnight
	// and end on the day after.
	From, To int
	Rule
}

// ParseHours reads an entry. days is "all", or days and ranges with commas: "mon-fri", "sat,sun", "fri-mon". from and to are "08:00",
// to may be "24:00". limit is in bytes/s, 0 for none. An empty allow is "all". Each error begins with the key that is wrong.
func ParseHours(days, from, to string, limit float64, allow string) (Hours, error) {
	var h Hours
	var errs []error
	bad := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	var err error
	h.Days, err = parseDays(days)
	bad("days", err)
	h.From, err = parseTime(from, false)
	bad("from", err)
	h.To, err = parseTime(to, true)
	bad("to", err)
	if len(errs) == 0 && h.From == h.To {
		bad("to", fmt.Errorf("%q is from too: no time lies between; a whole day is from = \"00:00\", to = \"24:00\"", to))
	}
	h.Limit = limit
	if limit != 0 && !(limit >= LeastLimit && limit <= MostLimit) {
		bad("limit", fmt.Errorf("%.0f B/s isn't between \"%d B/s\" and 1 TB/s; \"0\" is no limit, allow = \"none\" closes the hours", limit, LeastLimit))
	}
	switch h.Allow = Allow(allow); h.Allow {
	case AllowAll, AllowMedium, AllowHigh, AllowNone:
	case "":
		h.Allow = AllowAll
	default:
		bad("allow", fmt.Errorf("%.40q is none of all, medium (medium and high), high, none", allow))
	}
	return h, errors.Join(errs...)
}

// weekdays are the words for days, by time.Weekday.
func weekdays() []string { return []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

func parseDays(text string) (days [7]bool, err error) {
	wrong := fmt.Errorf("%.60q is none of \"all\", \"mon-fri\", \"sat,sun\" and the like, of mon tue wed thu fri sat sun", text)
	if text == "all" {
		return [7]bool{true, true, true, true, true, true, true}, nil
	}
	names := weekdays()
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			last = first
		}
		a, b := slices.Index(names, first), slices.Index(names, last)
		if a < 0 || b < 0 {
			return [7]bool{}, wrong
		}
		for days[a] = true; a != b; days[a] = true {
			a = (a + 1) % 7
		}
	}
	return days, nil
}

// parseTime reads "08:00" as seconds of the day.
func parseTime(text string, end bool) (int, error) {
	hour, minute, ok := strings.Cut(text, ":")
	h, errH := strconv.ParseUint(hour, 10, 8)
	m, errM := strconv.ParseUint(minute, 10, 8)
	if !ok || errH != nil || errM != nil || len(hour) != 2 || len(minute) != 2 || h > 24 || m > 59 || h == 24 && (m != 0 || !end) {
		return 0, fmt.Errorf("%.40q is not a time of day such as \"08:00\"", text)
	}
	return int(h)*3600 + int(m)*60, nil
}

// String returns the entry as people read it.
func (h Hours) String() string {
	var days []string
	for i, name := range weekdays() {
		if h.Days[i] {
			days = append(days, name)
		}
	}
	on := strings.Join(days, ",")
	if len(days) == 7 {
		on = "all"
	}
	limit := "no limit"
	if h.Limit > 0 {
		limit = fmt.Sprintf("%.0f B/s", h.Limit)
	}
	return fmt.Sprintf("%s %02d:%02d-%02d:%02d %s, open to %s", on, h.From/3600, h.From/60%60, h.To/3600, h.To/60%60, limit, h.Allow)
}

// span returns how long the entry's hours are, in seconds.
func (h *Hours) span() int {
	if h.To > h.From {
		return h.To - h.From
	}
	return h.To - h.From + daySeconds
}

// covers reports whether a second of the week (0: the midnight that Sunday begins with) lies in the entry.
func (h *Hours) covers(second int) bool {
	for day, on := range h.Days {
		if on && mod(second-day*daySeconds-h.From, weekSeconds) < h.span() {
			return true
		}
	}
	return false
}

// toBoundary returns how many seconds after a second of the week the entry next begins or ends: 1 to weekSeconds.
func (h *Hours) toBoundary(second int) int {
	least := math.MaxInt
	for day, on := range h.Days {
		if !on {
			continue
		}
		for _, at := range []int{h.From, h.From + h.span()} {
			if until := mod(day*daySeconds+at-second, weekSeconds); until > 0 {
				least = min(least, until)
			} else {
				least = min(least, weekSeconds)
			}
		}
	}
	return least
}

func mod(a, n int) int { return ((a % n) + n) % n }

// week is entries, held against moments.
type week []Hours

// at returns the rule that holds at a moment, by the wall clock of its location.
func (w week) at(now time.Time) Rule {
	second := secondOfWeek(now)
	for i := len(w) - 1; i >= 0; i-- {
		if w[i].covers(second) {
			return w[i].Rule
		}
	}
	return Rule{Allow: AllowAll}
}

func secondOfWeek(t time.Time) int {
	h, m, s := t.Clock()
	return int(t.Weekday())*daySeconds + h*3600 + m*60 + s
}

// horizon is how far ahead is looked for a change: a week has all entries, and a jump of the clock may take one away.
const horizon = 8 * 24 * time.Hour

// next returns the first moment after now whose rule is another in the eyes of same; zero when there is none.
func (w week) next(now time.Time, same func(Rule) bool) time.Time {
	if len(w) == 0 {
		return time.Time{}
	}
	for at := now; at.Sub(now) < horizon; {
		second, step := secondOfWeek(at), weekSeconds
		for i := range w {
			step = min(step, w[i].toBoundary(second))
		}
		next := at.Truncate(time.Second).Add(time.Duration(step) * time.Second)
		// Between two jumps the wall clock runs like any other; at a jump it has to be looked at anew.
		if _, jump := at.ZoneBounds(); !jump.IsZero() && jump.After(at) && jump.Before(next) {
			next = jump
		}
		if at = next; !same(w.at(at)) {
			return at
		}
	}
	return time.Time{}
}
