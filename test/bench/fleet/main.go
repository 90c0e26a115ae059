//go:build linux

// Fleet measures how a point pulls an image from a registry, beside a bare download of the same bytes from the same registry:
//
//	go run ./test/bench/fleet [-size MiB] [-runs N] [-dir DIR] [-folder DIR] [-json]
//
// A site releases an image of noise into a registry (Debian's docker-registry, on loopback). Then, by turns, a point pulls it, and oras-go downloads
// the same blobs into an OCI image layout, hashing each, as oras cp does. Both are processes of their own and start with nothing. What the disk has is
// measured too: a point syncs what it writes, so the bare download is also timed until all of it is synced.
//
// Then a point pulls images of several sizes, for its memory, and a new version of a real image that was serviced, for what of it travels.
//
// Only ratios inside one run mean anything. Progress goes to standard error, tables (or, with -json, one object) to standard output.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
)

// options are the command line's.
type options struct {
	size   int64
	runs   int
	dir    string
	folder string
	json   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 5 && os.Args[1] == "bare" {
		end(runBare(ctx, os.Args[2], os.Args[3], os.Args[4]))
	}
	if len(os.Args) == 5 && os.Args[1] == "point" {
		end(runPoint(ctx, os.Args[2], os.Args[3], os.Args[4]))
	}
	var o options
	size := flag.Int64("size", 2048, "MiB of the image that is pulled")
	flag.IntVar(&o.runs, "runs", 3, "runs of each contender")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where registry, site and points have their files: the disk that is measured")
	flag.StringVar(&o.folder, "folder", "/usr/lib", "what the image that is serviced is made of")
	flag.BoolVar(&o.json, "json", false, "print one JSON object in place of tables")
	flag.Parse()
	o.size = *size << 20
	end(run(ctx, o))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// report is what a run measured.
type report struct {
	Size   int64    `json:"size_bytes"`
	Bare   []timing `json:"bare"`
	Points []pulled `json:"points"`
	// Goodput is the point's, by the bare download's: of medians; until it is written, and until the disk has it.
	Written float64 `json:"goodput_written"`
	Lasting float64 `json:"goodput_lasting"`
	Peaks   []peak  `json:"peaks"`
	Moved   []moved `json:"moved"`
}

// peak is a point's memory at an image of a size.
type peak struct {
	Size int64 `json:"size_bytes"`
	Peak int64 `json:"peak_bytes"`
}

// moved is what travelled of a new version.
type moved struct {
	What  string  `json:"what"`
	Size  int64   `json:"size_bytes"`
	Files int64   `json:"files_bytes"` // that were put into it
	Moved int64   `json:"moved_bytes"`
	Ratio float64 `json:"ratio"`
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "wimcast-fleet-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := newSite(ctx, dir)
	if err != nil {
		return err
	}
	defer s.close()
	r := report{Size: o.size}
	if err := r.race(ctx, s, o); err != nil {
		return err
	}
	for _, size := range []int64{o.size / 8, o.size / 2} {
		p, err := s.pull(ctx, fmt.Sprintf("memory-%d", size>>20), size)
		if err != nil {
			return err
		}
		r.Peaks = append(r.Peaks, peak{size, p.Peak})
	}
	r.Peaks = append(r.Peaks, peak{o.size, slices.MaxFunc(r.Points, func(a, b pulled) int { return int(a.Peak - b.Peak) }).Peak})
	if r.Moved, err = serviced(ctx, s, o); err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(os.Stdout).Encode(&r)
	}
	r.print()
	return nil
}

// race has the point and the bare download take turns.
func (r *report) race(ctx context.Context, s *site, o options) error {
	file, tag, err := s.release(ctx, "noise", o.size, 1)
	if err != nil {
		return err
	}
	for i := range o.runs {
		say("run %d of %d", i+1, o.runs)
		var bare timing
		if err := s.process(ctx, &bare, "bare", s.server.Repository(repositoryName), tag); err != nil {
			return err
		}
		var point pulled
		if err := s.process(ctx, &point, "point", file, "noise@1"); err != nil {
			return err
		}
		say("  bare %.2f s, on disk %.2f s; point %.2f s, %d MiB", bare.Written, bare.Lasting, point.Written, point.Peak>>20)
		r.Bare, r.Points = append(r.Bare, bare), append(r.Points, point)
	}
	var written, lasting, points []float64
	for i := range r.Bare {
		written, lasting, points = append(written, r.Bare[i].Written), append(lasting, r.Bare[i].Lasting), append(points, r.Points[i].Lasting)
	}
	r.Written, r.Lasting = median(written)/median(points), median(lasting)/median(points)
	return nil
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// process runs this program as one contender, with an empty folder as its last argument, and reads what it measured.
func (s *site) process(ctx context.Context, into any, args ...string) error {
	dir, err := os.MkdirTemp(s.dir, args[0]+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return s.processIn(ctx, dir, into, args...)
}

func (s *site) processIn(ctx context.Context, dir string, into any, args ...string) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, own, append(args, dir)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return json.Unmarshal(out.Bytes(), into)
}

// print writes the tables, in Markdown.
func (r *report) print() {
	const mega = 1e6
	out := os.Stdout
	rate := func(seconds float64) float64 { return float64(r.Size) / seconds / mega }
	var written, lasting, points []float64
	for i := range r.Bare {
		written, lasting, points = append(written, rate(r.Bare[i].Written)), append(lasting, rate(r.Bare[i].Lasting)), append(points, rate(r.Points[i].Lasting))
	}
	fmt.Fprintf(out, "| image of %d MiB, %d runs | MB/s |\n|---|---:|\n", r.Size>>20, len(r.Bare))
	for _, row := range []struct {
		what   string
		values []float64
	}{{"point", points}, {"bare download, written", written}, {"bare download, on disk", lasting}} {
		fmt.Fprintf(out, "| %s | %.0f (%.0f–%.0f) |\n", row.what, median(row.values), slices.Min(row.values), slices.Max(row.values))
	}
	fmt.Fprintf(out, "\n| what | asked for | measured | |\n|---|---:|---:|---|\n")
	verdict := func(met bool) string {
		if met {
			return "met"
		}
		return "**not met**"
	}
	fmt.Fprintf(out, "| pull / bare download, written | ≥ 0.80 | %.2f | %s |\n", r.Written, verdict(r.Written >= 0.8))
	fmt.Fprintf(out, "| pull / bare download, on disk | ≥ 0.80 | %.2f | %s |\n", r.Lasting, verdict(r.Lasting >= 0.8))
	for _, p := range r.Peaks {
		fmt.Fprintf(out, "| peak memory, image of %d MiB | ≤ 128 MiB | %d MiB | %s |\n", p.Size>>20, p.Peak>>20, verdict(p.Peak <= 128<<20))
	}
	for _, m := range r.Moved {
		fmt.Fprintf(out, "| travels of %s, image of %d MB | ≤ 0.10 | %.3f | %s |\n", m.What, m.Size/mega, m.Ratio, verdict(m.Ratio <= 0.1))
	}
}
