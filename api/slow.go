package api

import (
	"fmt"
	"time"
)

// WhySlow says in one line how slow a client of the session is and why, or how it keeps up so far. What it says of
// the client is the client's own word: whoever prints it keeps it from steering a terminal.
func (s *Session) WhySlow(m *Member) string {
	if m.Slow == nil {
		return fmt.Sprintf("%s/s  keeps up so far: %.0f%% proven (median %.0f%%), loses %.1f%%", FormatBytes(m.Rate), 100*m.Progress, 100*s.Median, 100*m.Loss)
	}
	if m.Slow.Cause == "sleeping" {
		return "sleeping: unheard for " + time.Since(m.Slow.Since).Round(time.Second).String()
	}
	bound := "half the median " + FormatBytes(m.Slow.Wanted) + "/s"
	if s.Floor > 0 && m.Slow.Wanted == s.Floor {
		bound = "floor " + FormatBytes(s.Floor) + "/s"
	}
	grace := time.Duration(s.Grace * float64(time.Second))
	came := fmt.Sprintf("slow for %v", time.Duration(m.Slow.Seconds*float64(time.Second)).Round(100*time.Millisecond))
	if m.Slow.Action != "" {
		came = m.Slow.Action + " " + m.Slow.Acted.Local().Format("15:04")
	}
	return fmt.Sprintf("%s/s  %s %.1f%% \u2192 %s (%s, grace %v)", FormatBytes(m.Slow.Takes), m.Slow.Cause, 100*m.Slow.Lost, came, bound, grace)
}

// FormatBytes writes a number of bytes as people do, "6.1 MB", in units of 1,000.
func FormatBytes(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}
