package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"wimcast/api"
)

// sockets are where a daemon's admin socket is looked for, in this order: wherever
// wimcastd puts it by itself.
func sockets() []string {
	list := []string{"/run/wimcast/admin.sock", "/var/lib/wimcast/admin.sock"}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		list = append(list, filepath.Join(dir, "wimcast", "admin.sock"))
	}
	if home, err := os.UserHomeDir(); err == nil {
		list = append(list, filepath.Join(home, ".local", "state", "wimcast", "admin.sock"))
	}
	return list
}

// admin returns a client of the daemon.
func (c *console) admin() *api.Client { return api.NewClient(c.socketPath()) }

// socketPath is the socket that was named, else the first that is there, else the
// first, so that an error names it.
func (c *console) socketPath() string {
	if c.socket != "" {
		return c.socket
	}
	for _, path := range sockets() {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return sockets()[0]
}

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
