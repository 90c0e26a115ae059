// Command report turns the output of go test -json on standard input into what
// a person reads: the closing line of each package, everything that a failing
// test said, the reason of each skip, and at the end a count and the first
// complaints of each failure again. It exits with status 1 when a test or a build failed, and when no test ran at all; with -all
// also when a test was skipped.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// event is a line of go test -json (go doc test2json) or of the build (go help
// buildjson).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

type tally struct {
	passed, failed, skipped, broken int
	gist                            string // of what failed
}

func main() {
	all := flag.Bool("all", false, "a test that is skipped is a failure")
	flag.Parse()
	t, err := report(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: report:", err)
		os.Exit(1)
	}
	fmt.Print(t.gist)
	fmt.Printf("%d tests passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	if !t.good(*all) {
		os.Exit(1)
	}
}

// good reports whether all is well; all asks that nothing was skipped.
func (t *tally) good(all bool) bool {
	return t.passed > 0 && t.failed == 0 && t.broken == 0 && (!all || t.skipped == 0)
}

// report copies what matters from r to w and counts.
func report(r io.Reader, w io.Writer) (tally, error) {
	var t tally
	said := map[[2]string][]string{} // by package and test, until it ended
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(w, "%s", line) // go itself has something to say
			} else {
				t.take(e, said, w)
			}
		}
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return t, err
		}
	}
}

func (t *tally) take(e event, said map[[2]string][]string, w io.Writer) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "build-fail":
		t.broken++
	case "output":
		said[key] = append(said[key], e.Output)
	case "pass":
		if e.Test == "" {
			closing(w, said[key])
		} else {
			t.passed++
		}
		delete(said, key)
	case "skip":
		if e.Test == "" {
			closing(w, said[key]) // a package without tests
		} else {
			t.skipped++
			fmt.Fprintf(w, "skipped: %s: %s\n", e.Test, reason(said[key]))
		}
		delete(said, key)
	case "fail":
		if e.Test == "" {
			t.broken++
			t.failed += unfinished(w, e.Package, said)
		} else {
			t.failed++
			t.gist += gist(e.Test, said[key])
		}
		fmt.Fprint(w, strings.Join(said[key], ""))
		delete(said, key)
	}
}

// unfinished prints what the tests said that a package's end cut off, by a
// panic or the time limit (the trace of goroutines is in it), and returns how
// many there were.
func unfinished(w io.Writer, pkg string, said map[[2]string][]string) int {
	var names []string
	for key := range said {
		if key[0] == pkg && key[1] != "" {
			names = append(names, key[1])
		}
	}
	slices.Sort(names)
	for _, name := range names {
		key := [2]string{pkg, name}
		fmt.Fprintf(w, "unfinished: %s\n%s", name, strings.Join(said[key], ""))
		delete(said, key)
	}
	return len(names)
}

// complaint is how testing begins what a test said of itself.
var complaint = regexp.MustCompile(`^\s+\w+\.go:\d+: `)

// gist is the beginning of what a failing test said: what follows may be the logs of programs, thousands of lines long.
func gist(test string, output []string) string {
	const most, width = 5, 600 // lines, bytes
	said := slices.DeleteFunc(slices.Clone(output), func(line string) bool { return !complaint.MatchString(line) })
	said = said[:min(most, len(said))]
	for i, line := range said {
		if len(line) > width {
			said[i] = strings.ToValidUTF8(line[:width], "") + "...\n"
		}
	}
	return "failed: " + test + "\n" + strings.Join(said, "")
}

// closing prints the line that go test ends a package with.
func closing(w io.Writer, output []string) {
	for _, line := range output {
		if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "?  ") {
			fmt.Fprint(w, line)
		}
	}
}

// reason is what a skipped test said.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(strings.TrimSpace(line), "--- ") {
			words = append(words, strings.TrimSpace(line))
		}
	}
	return strings.Join(words, " ")
}
