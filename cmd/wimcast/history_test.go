package main

import (
	"bytes"
	"encoding/csv"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"wimcast/api"
)

func TestParseMoment(t *testing.T) {
	zone := time.FixedZone("here", 2*60*60)
	now := time.Date(2026, 11, 23, 14, 30, 0, 0, zone)
	for _, tt := range []struct {
		text string
		end  bool
		want string // "" for refused
	}{
		{"2026-11-20", false, "2026-11-20T00:00:00+02:00"},
		{"2026-11-20", true, "2026-11-21T00:00:00+02:00"},
		{"2026-11-20 08:15", true, "2026-11-20T08:15:00+02:00"},
		{"2026-11-20T08:15", false, "2026-11-20T08:15:00+02:00"},
		{"2026-11-20 08:15:30", false, "2026-11-20T08:15:30+02:00"},
		{"2026-11-20T08:15:30Z", false, "2026-11-20T08:15:30Z"},
		{"7d", false, "2026-11-16T14:30:00+02:00"},
		{"90m", true, "2026-11-23T13:00:00+02:00"},
		{"0d", false, "2026-11-23T14:30:00+02:00"},
		{"yesterday", false, ""},
		{"-1d", false, ""},
		{"-1h", false, ""},
		{"1.5d", false, ""},
		{"99999d", false, ""},
		{"2026-13-01", false, ""},
		{"d", false, ""},
		{"7", false, ""},
	} {
		got, err := parseMoment(tt.text, now, tt.end)
		if text := got.Format(time.RFC3339); err == nil && text != tt.want || err != nil && tt.want != "" {
			t.Errorf("%q, end %v: %s, %v; want %q", tt.text, tt.end, text, err, tt.want)
		}
	}
	if got, err := parseMoment("", now, true); err != nil || !got.IsZero() {
		t.Errorf("nothing: %v, %v", got, err)
	}
}

// TestCSV is read back by another reader, and holds formulas down.
func TestCSV(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 0, 0, 5e8, time.FixedZone("here", 3600))
	clients := []api.HistoryClient{
		{ID: 1, Name: `=HYPERLINK("http://x","y")`, Reason: "two\nlines, and \"quotes\"", Joined: at, Progress: 0.25, MulticastBytes: 1 << 40},
		{ID: 2, Name: "-1+1", Address: "10.0.0.1:5", Ended: at},
	}
	var out bytes.Buffer
	if err := writeCSV(&out, clients); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	cell := func(row int, name string) string {
		t.Helper()
		i := slices.Index(rows[0], name)
		if i < 0 {
			t.Fatalf("no column %s in %v", name, rows[0])
		}
		return rows[row][i]
	}
	for _, tt := range []struct {
		row        int
		name, want string
	}{
		{1, "name", `'=HYPERLINK("http://x","y")`},
		{1, "reason", "two\nlines, and \"quotes\""},
		{1, "joined", "2026-11-23T13:00:00.5Z"},
		{1, "ended", ""},
		{1, "progress", "0.25"},
		{1, "multicast_bytes", "1099511627776"},
		{2, "name", "'-1+1"},
		{2, "address", "10.0.0.1:5"},
		{2, "id", "2"},
	} {
		if got := cell(tt.row, tt.name); got != tt.want {
			t.Errorf("row %d, %s: %q, want %q", tt.row, tt.name, got, tt.want)
		}
	}
	// Every record has as many cells as the header, and nested objects are flat.
	for _, records := range []any{[]api.HistorySession{{Sent: api.Sent{ParityPackets: 9}}}, []api.HistoryAction{{}}, []api.ProofMachine{{}}, []api.HistorySession{}} {
		out.Reset()
		if err := writeCSV(&out, records); err != nil {
			t.Fatal(err)
		}
		if rows, err = csv.NewReader(&out).ReadAll(); err != nil || len(rows) != 1+reflect.ValueOf(records).Len() {
			t.Fatalf("%T: %v, %v", records, rows, err)
		}
		if _, ok := records.([]api.HistorySession); ok && len(rows) == 2 && (cell(1, "sent_parity_packets") != "9" || slices.Contains(rows[0], "members")) {
			t.Errorf("%v", rows)
		}
	}
}

// TestPages asks on until there is enough, and knows whether there is more.
func TestPages(t *testing.T) {
	ask := func(there int) func(api.HistoryQuery) ([]int64, error) {
		return func(q api.HistoryQuery) ([]int64, error) {
			if q.Limit < 1 || q.Limit > api.HistoryMost {
				t.Fatalf("asked for %d", q.Limit)
			}
			var page []int64
			next := int64(there)
			if q.Before > 0 {
				next = q.Before - 1
			}
			for ; next > 0 && len(page) < q.Limit; next-- {
				page = append(page, next)
			}
			return page, nil
		}
	}
	const most = api.HistoryMost
	for _, tt := range []struct {
		there, limit, want int
		more               bool
	}{
		{0, 50, 0, false},
		{49, 50, 49, false},
		{50, 50, 50, false},
		{51, 50, 50, true},
		{3*most + 5, 0, 3*most + 5, false},
		{2 * most, 0, 2 * most, false},
		{most + 1, most, most, true},
		{3 * most, 2*most + 1, 2*most + 1, true},
	} {
		all, more, err := pages(api.HistoryQuery{}, tt.limit, ask(tt.there), func(id int64) int64 { return id })
		if err != nil || len(all) != tt.want || more != tt.more || all == nil {
			t.Errorf("%d there, limit %d: %d, more %v, %v", tt.there, tt.limit, len(all), more, err)
		}
		for i, id := range all {
			if id != int64(tt.there-i) {
				t.Fatalf("%d there, limit %d: %d at %d", tt.there, tt.limit, id, i)
			}
		}
	}
}

// TestHistoryUsage refuses what can't be meant before anything is asked.
func TestHistoryUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"history", "proof", "w11"}, "which machines"},
		{[]string{"history", "list", "--since", "soon"}, "--since"},
		{[]string{"history", "actions", "--until", "soon"}, "--until"},
		{[]string{"history", "forget"}, "--client"},
	} {
		var out, errOut bytes.Buffer
		if code := run(tt.args, &out, &errOut); code != exitUsage || !strings.Contains(errOut.String(), tt.says) {
			t.Errorf("%v: %d, %s", tt.args, code, errOut.String())
		}
	}
}
