package test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Where rules have times: how long an alert waits, how far an expression looks back, and what ages in seconds are held against. What is left of
// them is counts and shares, and the 30 days before a certificate's end, as a certificate can be made that ends so soon.
var ruleTimes = []*regexp.Regexp{
	regexp.MustCompile(`(for: )(\d+[smh])()`),
	regexp.MustCompile(`(\[)(\d+[smh])(\])`),
	regexp.MustCompile(`(time\(\) - [^\n]*? [<>] )(\d+)()`),
}

// hasten makes rules whose times are so many times shorter, so that a test can wait for them. The times themselves are held by promtool,
// against made-up numbers.
func hasten(rules string, times int) string {
	for _, re := range ruleTimes {
		rules = re.ReplaceAllStringFunc(rules, func(found string) string {
			part := re.FindStringSubmatch(found)
			if seconds, err := strconv.Atoi(part[2]); err == nil {
				return part[1] + strconv.FormatFloat(float64(seconds)/float64(times), 'f', -1, 64) + part[3]
			}
			length, err := time.ParseDuration(part[2])
			if err != nil {
				return found
			}
			return part[1] + fmt.Sprintf("%dms", (length/time.Duration(times)).Milliseconds()) + part[3]
		})
	}
	return rules
}

// TestOperationsHasten: of rules the times alone become shorter, and all of them.
func TestOperationsHasten(t *testing.T) {
	const rules = `
      - alert: One
        expr: |
          (time() - last_over_time(some_seconds[6h]) > 300) * on (job) info > 7
          and sum(increase(some_total[10m])) > 3.5
        for: 2m
      - alert: Two
        expr: some_end - time() < 30 * 86400
        for: 1h
        labels: {severity: page} # for 5 people
`
	const want = `
      - alert: One
        expr: |
          (time() - last_over_time(some_seconds[1080000ms]) > 15) * on (job) info > 7
          and sum(increase(some_total[30000ms])) > 3.5
        for: 6000ms
      - alert: Two
        expr: some_end - time() < 30 * 86400
        for: 180000ms
        labels: {severity: page} # for 5 people
`
	if got := hasten(rules, 20); got != want {
		t.Errorf("hastened:\n%s", got)
	}
	// Line by line of the real ones: what changed is a time, and every line that has one changed.
	text := readFile(t, rulesFile)
	before, after := strings.Split(text, "\n"), strings.Split(hasten(text, 20), "\n")
	if len(before) != len(after) {
		t.Fatalf("%d lines became %d", len(before), len(after))
	}
	var changed []string
	for i, line := range before {
		timed := !strings.Contains(line, "description:") && (strings.Contains(line, "for: ") || strings.Contains(line, "[") || strings.Contains(line, "time() - "))
		if (line != after[i]) != timed {
			t.Errorf("line %d: %s became %s", i+1, line, after[i])
		}
		if timed {
			changed = append(changed, strings.TrimSpace(line))
		}
	}
	for _, want := range []string{"for: 1h", "(time() - wimcast_session_last_progress_timestamp_seconds > 60)", "expr: rate(wimcast_history_write_failures_total[5m]) > 0.2"} {
		if !slices.Contains(changed, want) {
			t.Errorf("%q isn't among what changed: %q", want, changed)
		}
	}
}
