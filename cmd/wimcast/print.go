package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// print writes a result: as JSON where asked for, else as text does.
func (c *console) print(result any, text func(w io.Writer)) error {
	if c.json {
		encoder := json.NewEncoder(c.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	text(c.out)
	return nil
}

// table writes aligned columns; rows are tab-separated.
func table(w io.Writer, header string, rows []string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, header)
	for _, row := range rows {
		_, _ = fmt.Fprintln(t, row)
	}
	_ = t.Flush()
}

// printable keeps names from elsewhere from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String()
}
