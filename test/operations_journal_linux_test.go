package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// checkJournal holds what the journal of a booted system has of wimcastd: each line of the daemon has the priority of its level and no mark of it
// in its text, and `journalctl -p warning` shows those of warn and error alone. run runs a program in the system.
func checkJournal(ctx context.Context, run func(ctx context.Context, name string, args ...string) (string, error)) error {
	priorities := map[string]string{"debug": "7", "info": "6", "warn": "4", "error": "3"}
	all, err := run(ctx, "journalctl", "-u", "wimcastd", "--no-pager", "-o", "json", "_COMM=wimcastd")
	if err != nil {
		return err
	}
	var errs []error
	levels := map[string]int{}
	for line := range strings.Lines(all) {
		var entry struct {
			Priority string `json:"PRIORITY"`
			Message  string `json:"MESSAGE"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return fmt.Errorf("a line of the journal: %w: %.200s", err, line)
		}
		var own struct{ Level, Msg string }
		if json.Unmarshal([]byte(entry.Message), &own) != nil {
			if strings.HasPrefix(entry.Message, "<") {
				errs = append(errs, fmt.Errorf("a mark of the priority is left: %.200s", entry.Message))
			}
			continue // the Go runtime's, of a daemon that broke or was killed
		}
		levels[own.Level]++
		if entry.Priority != priorities[own.Level] {
			errs = append(errs, fmt.Errorf("%q of level %s has priority %s", own.Msg, own.Level, entry.Priority))
		}
	}
	if levels["info"] == 0 {
		errs = append(errs, errors.New("the journal has no line of the daemon"))
	}
	grave, err := run(ctx, "journalctl", "-p", "warning", "-u", "wimcastd", "--no-pager", "-o", "cat", "_COMM=wimcastd")
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(grave) {
		var own struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &own) != nil {
			continue
		}
		if n++; own.Level != "warn" && own.Level != "error" {
			errs = append(errs, fmt.Errorf("%q of level %s is shown as a warning", own.Msg, own.Level))
		}
	}
	if want := levels["warn"] + levels["error"]; n != want {
		errs = append(errs, fmt.Errorf("%d lines are shown as warnings, want %d", n, want))
	}
	return errors.Join(errs...)
}

// TestCheckJournal: it lets a good journal through, and no other.
func TestCheckJournal(t *testing.T) {
	line := func(priority, message string) string {
		text, err := json.Marshal(map[string]string{"PRIORITY": priority, "MESSAGE": message})
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + "\n"
	}
	const info, warn = `{"level":"info","msg":"ready"}`, `{"level":"warn","msg":"no IGMP querier"}`
	for says, tc := range map[string]struct {
		all, grave string
		good       bool
	}{
		"good":               {line("6", info) + line("4", warn), warn + "\n", true},
		"without priorities": {line("6", info) + line("6", warn), "", false},
		"a mark is left":     {line("6", info) + line("6", "<4>"+warn), "", false},
		"too much":           {line("6", info) + line("4", warn), info + "\n" + warn + "\n", false},
		"empty":              {"", "", false},
	} {
		err := checkJournal(t.Context(), func(_ context.Context, _ string, args ...string) (string, error) {
			if args[0] == "-p" {
				return tc.grave, nil
			}
			return tc.all, nil
		})
		if (err == nil) != tc.good {
			t.Errorf("%s: %v", says, err)
		}
	}
}
