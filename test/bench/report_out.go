//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// report writes what was measured: tables or JSON to standard output, and Markdown with plots where asked for.
func (b *bench) report() error {
	b.results = sorted(b.results)
	var err error
	if b.json {
		err = b.writeJSON(os.Stdout)
	} else {
		err = b.writeText(os.Stdout)
	}
	if b.markdown != "" {
		err = errors.Join(err, b.writeMarkdown(b.markdown))
	}
	return err
}

// machine is where it was measured, and what.
type machine struct {
	CPU     string   `json:"cpu"`
	Cores   int      `json:"cores"`
	Kernel  string   `json:"kernel"`
	Go      string   `json:"go"`
	Version string   `json:"wimcast"`
	Peers   []string `json:"peers"` // packages and their versions
}

func thisMachine() machine {
	m := machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	m.Version, _ = firstLine("git", "describe", "--tags", "--always", "--dirty")
	for _, name := range []string{"uftp", "udpcast", "nginx-light", "curl"} {
		if version, ok := firstLine("dpkg-query", "--show", "--showformat=${Version}\n", name); ok {
			m.Peers = append(m.Peers, name+" "+version)
		}
	}
	return m
}

// firstLine returns the first line that a program prints.
func firstLine(name string, args ...string) (string, bool) {
	out, err := exec.Command(name, args...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return line, err == nil && line != ""
}

func (b *bench) writeJSON(to io.Writer) error {
	type row struct {
		Mode      string        `json:"mode"`
		Clients   int           `json:"clients"`
		Network   string        `json:"network"`
		Size      int64         `json:"image_bytes,omitempty"` // where it isn't the run's
		Contender string        `json:"contender"`
		Goodput   *spread       `json:"goodput_bytes_per_second,omitempty"`
		Runs      []measurement `json:"runs"`
		Failures  []string      `json:"failures,omitempty"`
	}
	out := struct {
		Machine machine  `json:"machine"`
		Size    int64    `json:"image_bytes"`
		Runs    int      `json:"runs"`
		Floor   float64  `json:"peak_bytes_floor"` // what is at or below it can't be told apart from it
		Targets []target `json:"targets"`
		compared
		Results []row `json:"results"`
	}{Machine: thisMachine(), Size: b.size, Runs: b.runs, Floor: ownPeak(), compared: compareResults(b.results, b.size)}
	out.Targets = targetsOf(&out.compared)
	for _, r := range b.results {
		next := row{modeName(r.mode), r.clients, r.network(), r.size, r.contender, nil, r.runs, r.failures}
		if len(r.runs) > 0 {
			s := spreadOf(r.runs, goodput)
			next.Goodput = &s
		}
		out.Results = append(out.Results, next)
	}
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// columns head the table of a case. Where clients differ, their own times come in.
func columns(c *testCase) []string {
	columns := []string{
		"contender", "MB/s at each client", "of the ceiling", "seconds", "with start", "CPU s/GiB: sender", "a client",
		"peak MiB: sender", "a client", "packets / source", "wire / image", "failed",
	}
	if c.differ() {
		columns = slices.Insert(columns, eachColumn, "seconds of each client")
	}
	return columns
}

// eachColumn is where the clients' own times stand.
const eachColumn = 4

// differ reports whether some clients of a case have it harder than others.
func (c *testCase) differ() bool { return c.one > 0 || c.late }

// each lists when each client was done, medians of the runs.
func (r *result) each() string {
	var all []string
	for i := range r.clients {
		if slices.ContainsFunc(r.runs, func(m measurement) bool { return i >= len(m.Each) }) {
			return ""
		}
		all = append(all, fmt.Sprintf("%.2f", spreadOf(r.runs, func(m measurement) float64 { return m.Each[i] }).Median))
	}
	return strings.Join(all, " ")
}

// row is a line of a table, in the order of columns.
func (b *bench) row(r *result) []string {
	failed := ""
	if len(r.failures) > 0 {
		failed = fmt.Sprintf("%d of %d", len(r.failures), len(r.failures)+len(r.runs))
	}
	if len(r.runs) == 0 {
		row := make([]string, len(columns(&r.testCase)))
		row[0], row[len(row)-1] = r.contender, failed
		return row
	}
	show := func(figure func(measurement) float64, unit float64, digits int) string {
		s := spreadOf(r.runs, figure)
		text := fmt.Sprintf("%.*f", digits, s.Median/unit)
		if len(r.runs) > 1 {
			text += fmt.Sprintf(" (%.*f–%.*f)", digits, s.Min/unit, digits, s.Max/unit)
		}
		return text
	}
	middle := func(figure func(measurement) float64, digits int) string {
		return fmt.Sprintf("%.*f", digits, spreadOf(r.runs, figure).Median)
	}
	// The kernel counts what a process had before it became the program, which is a copy of this one.
	floor := ownPeak()
	peak := func(figure func(measurement) float64) string {
		if most := spreadOf(r.runs, figure).Median; most > floor {
			return fmt.Sprintf("%.0f", most/(1<<20))
		}
		return fmt.Sprintf("≤ %.0f", floor/(1<<20))
	}
	ofCeiling, sent := "", ""
	if ratio, ok := r.over(ceilingOf(b.results, &r.testCase), goodput); ok {
		ofCeiling = fmt.Sprintf("%.0f %%", 100*ratio)
	}
	if spreadOf(r.runs, packets).Median > 0 {
		sent = middle(packets, 3)
	}
	row := []string{
		r.contender, show(goodput, 1e6, 1), ofCeiling, show(seconds, 1, 2), show(withStart, 1, 2),
		middle(senderCPU, 2), middle(clientCPU, 2), peak(senderMem), peak(clientMem),
		sent, middle(wire, 3), failed,
	}
	if r.differ() {
		row = slices.Insert(row, eachColumn, r.each())
	}
	return row
}

// ownPeak returns the largest memory that this program had, bytes.
func ownPeak() float64 {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage)
	return float64(usage.Maxrss << 10)
}

// title says what a case is.
func (c *testCase) title() string {
	clients := fmt.Sprintf("%d clients", c.clients)
	if c.clients == 1 {
		clients = "1 client"
	}
	if c.size > 0 {
		clients += fmt.Sprintf(", image of %d MiB", c.size>>20)
	}
	switch {
	case c.bursts:
		return fmt.Sprintf("%s, each loses %d packets in a row every %v", clients, burstLength, burstEvery)
	case c.late:
		return clients + ", one of them started when half was sent"
	case c.light:
		return clients + ", light ones, in one process"
	case c.one > 0:
		return fmt.Sprintf("%s, one of them loses %g %%", clients, c.one)
	case c.rate > 0 && c.loss > 0:
		return fmt.Sprintf("%s, %d Mbit/s, %g %% lost", clients, c.rate/1e6, c.loss)
	case c.rate > 0:
		return fmt.Sprintf("%s, %d Mbit/s", clients, c.rate/1e6)
	case c.loss > 0:
		return fmt.Sprintf("%s, %g %% lost", clients, c.loss)
	}
	return clients + ", nothing lost"
}

func (b *bench) writeText(to io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(to, "%s, %d cores, Linux %s, %s, wimcast %s, %s\nimage of %d MiB, median of %d (min–max)\n",
		m.CPU, m.Cores, m.Kernel, m.Go, m.Version, strings.Join(m.Peers, ", "), b.size>>20, b.runs)
	last := ""
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, r := range b.results {
		if r.name() != last {
			if err := table.Flush(); err != nil {
				return err
			}
			last = r.name()
			fmt.Fprintf(to, "\n%s: %s\n", modeName(r.mode), r.title())
			fmt.Fprintln(table, strings.Join(columns(&r.testCase), "\t"))
		}
		fmt.Fprintln(table, strings.Join(b.row(r), "\t"))
	}
	compared := compareResults(b.results, b.size)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(to, "\nwhat it must reach:")
	for _, t := range targetsOf(&compared) {
		if t.Measured != nil {
			fmt.Fprintf(table, "%s\t%s\t%s\t%.3f\t%s\n", t.Case, t.What, t.limit(), *t.Measured, strings.Trim(t.verdict(), "*"))
		}
	}
	return table.Flush()
}

// The part of a Markdown file that a run replaces.
const (
	markBegin = "<!-- bench: begin; written by make bench -->"
	markEnd   = "<!-- bench: end -->"
)

// writeMarkdown puts the tables between the marks of a file, and the plots beside it.
func (b *bench) writeMarkdown(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("write the tables: %w", err)
	}
	var tables bytes.Buffer
	base := strings.TrimSuffix(file, filepath.Ext(file))
	for _, p := range []struct{ name, alt, svg string }{
		{"goodput", "Goodput at each of 8 clients by contender and loss", b.plotGoodput()},
		{"room", "Time until the last client is done, by number of clients", b.plotRoom()},
		{"flat", "Time until the last client is done on a slow link, by number of clients", b.plotFlat()},
	} {
		if p.svg == "" {
			continue
		}
		plot := base + "-" + p.name + ".svg"
		if err := os.WriteFile(plot, []byte(p.svg), 0o644); err != nil {
			return fmt.Errorf("write a plot: %w", err)
		}
		fmt.Fprintf(&tables, "![%s](%s)\n\n", p.alt, filepath.Base(plot))
	}
	b.markdownTables(&tables)
	whole, err := between(string(text), tables.String())
	if err != nil {
		return fmt.Errorf("write the tables: %s: %w", file, err)
	}
	return os.WriteFile(file, []byte(whole), 0o644)
}

// between replaces what stands between the marks of a text.
func between(text, with string) (string, error) {
	head, rest, begun := strings.Cut(text, markBegin)
	_, tail, ended := strings.Cut(rest, markEnd)
	if !begun || !ended {
		return "", fmt.Errorf("no lines %q and %q to write between: put them where the tables belong", markBegin, markEnd)
	}
	return head + markBegin + "\n\n" + strings.TrimSpace(with) + "\n\n" + markEnd + tail, nil
}

func (b *bench) markdownTables(to io.Writer) {
	m := thisMachine()
	kind := ""
	if b.quick {
		kind = " (-quick)"
	}
	fmt.Fprintf(to, "Measured with wimcast %s on %s, %d cores, Linux %s, %s; %s. Image of %d MiB, median of %d runs (min–max)%s.\n",
		m.Version, m.CPU, m.Cores, m.Kernel, strings.TrimPrefix(m.Go, "go"), strings.Join(m.Peers, ", "), b.size>>20, b.runs, kind)
	compared := compareResults(b.results, b.size)
	markdownTargets(to, targetsOf(&compared))
	b.markdownRatios(to, &compared)
	line := func(cells []string) { fmt.Fprintf(to, "| %s |\n", strings.Join(cells, " | ")) }
	last := ""
	for _, mode := range modes(b.results) {
		fmt.Fprintf(to, "\n## %s\n", strings.ToUpper(modeName(mode)[:1])+modeName(mode)[1:])
		for _, r := range b.results {
			if r.mode != mode {
				continue
			}
			if r.name() != last {
				last = r.name()
				fmt.Fprintf(to, "\n### %s: %s\n\n", modeName(mode), r.title())
				heads := columns(&r.testCase)
				line(heads)
				fmt.Fprintln(to, "|---"+strings.Repeat("|---:", len(heads)-1)+"|")
			}
			line(b.row(r))
		}
	}
}

// markdownTargets writes what is asked for and how it stands.
func markdownTargets(to io.Writer, targets []target) {
	fmt.Fprintf(to, "\n## What it must reach\n\nRatios of medians of this run.\n\n")
	fmt.Fprintln(to, "| what | case | asked for | measured | |")
	fmt.Fprintln(to, "|---|---|---:|---:|---|")
	for _, t := range targets {
		measured := ""
		if t.Measured != nil {
			measured = fmt.Sprintf("%.3f", *t.Measured)
		}
		fmt.Fprintf(to, "| %s | %s | %s | %s | %s |\n", t.What, t.Case, t.limit(), measured, t.verdict())
	}
}

// markdownRatios writes one line for each case of wimcast: how it stands to ceiling and peers.
func (b *bench) markdownRatios(to io.Writer, c *compared) {
	fmt.Fprintf(to, "\n## Wimcast, encrypted, beside the others\n\nRatios of medians. The ceiling is the one that hashes, with as many clients and without loss.\n\n")
	fmt.Fprintln(to, "| | goodput / ceiling | / uftp | / udpcast | / nginx + curl | sender CPU / ceiling | client CPU / ceiling | packets / source | ideal | room time / link |")
	fmt.Fprintln(to, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, r := range b.results {
		if r.contender != wimcastName || len(r.runs) == 0 {
			continue
		}
		cells := []string{modeName(r.mode) + ": " + r.title()}
		for _, of := range []ratios{
			c.GoodputCeiling, c.GoodputUFTP, c.GoodputUDPCast, c.GoodputNginx, c.SenderCeiling, c.ClientCeiling,
		} {
			cells = append(cells, of.cell(&r.testCase, 2))
		}
		for _, of := range []ratios{c.Packets, c.Ideal, c.Room} {
			cells = append(cells, of.cell(&r.testCase, 3))
		}
		fmt.Fprintf(to, "| %s |\n", strings.Join(cells, " | "))
	}
}
