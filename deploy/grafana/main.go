// Command grafana prints the Grafana dashboard of wimcast, which is committed
// beside it as wimcast.json. It is made from types, since Grafana takes any JSON
// and leaves out in silence what it doesn't know: the types of Grafana's own
// schema refuse a misspelled field when this is compiled.
//
// It knows nothing of the daemon but the names in docs/metrics.md; a test in
// package test holds each of its expressions against a real Prometheus.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	text, err := render()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: make the dashboard: %v\n", err)
		os.Exit(1)
	}
	if _, err := os.Stdout.Write(text); err != nil {
		fmt.Fprintf(os.Stderr, "error: write the dashboard: %v\n", err)
		os.Exit(1)
	}
}

// render returns the dashboard as JSON.
func render() ([]byte, error) {
	d, err := board()
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}
