package main

import (
	"slices"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, in, out string
		want          tally
	}{
		{
			"a passing package shows its closing line only",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`,
			"ok  \tp\t0.1s\n",
			tally{passed: 1},
		},
		{
			"a failing test shows all it said",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`,
			"    a_test.go:1: wrong\nFAIL\tp\t0.1s\n",
			tally{failed: 1, broken: 1, gist: "failed: TestA\n    a_test.go:1: wrong\n"},
		},
		{
			"a test that never ended shows all it said",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: test timed out\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`,
			"unfinished: TestA\npanic: test timed out\nFAIL\tp\t0.1s\n",
			tally{failed: 1, broken: 1},
		},
		{
			"a skip shows its reason",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: not root\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
`,
			"skipped: TestA: a_test.go:1: not root\n",
			tally{skipped: 1},
		},
		{
			"a build that fails is no success",
			`{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}
{"ImportPath":"p","Action":"build-fail"}
`,
			"p.go:1: no\n",
			tally{broken: 1},
		},
		{"what isn't JSON passes", "no such package\n", "no such package\n", tally{}},
		{"a last line without an end passes", "half", "half", tally{}},
	} {
		var out strings.Builder
		got, err := report(strings.NewReader(c.in), &out)
		if err != nil || got != c.want || out.String() != c.out {
			t.Errorf("%s: %+v, %v, printed %q; want %+v, %q", c.name, got, err, out.String(), c.want, c.out)
		}
	}
}

// TestGist: what a test says of itself comes again at the end, cut, without what programs said.
func TestGist(t *testing.T) {
	long := strings.Repeat("é", 400)
	for _, c := range []struct {
		name   string
		output []string
		want   string
	}{
		{"nothing said", []string{"--- FAIL: TestA (0.00s)\n"}, "failed: TestA\n"},
		{"a log", []string{"    a_linux_test.go:12: wrong\n", "    cast_test.go:1: log:\n", "        {\"level\":\"info\"}\n"}, "failed: TestA\n    a_linux_test.go:12: wrong\n    cast_test.go:1: log:\n"},
		{"many", slices.Repeat([]string{" a.go:1: wrong\n"}, 9), "failed: TestA\n" + strings.Repeat(" a.go:1: wrong\n", 5)},
		{"a long one", []string{"    a.go:1: " + long + "\n"}, "failed: TestA\n    a.go:1: " + long[:588] + "...\n"},
		{"cut in a letter", []string{"    a.go:12: " + long + "\n"}, "failed: TestA\n    a.go:12: " + long[:586] + "...\n"},
	} {
		if got := gist("TestA", c.output); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestGood: a run counts when something passed and nothing failed; where all is asked for, a skip is a failure.
func TestGood(t *testing.T) {
	for _, c := range []struct {
		tally     tally
		good, all bool
	}{
		{tally{}, false, false},
		{tally{skipped: 1}, false, false},
		{tally{passed: 2}, true, true},
		{tally{passed: 2, skipped: 1}, true, false},
		{tally{passed: 2, failed: 1}, false, false},
		{tally{passed: 2, broken: 1}, false, false},
	} {
		if good, all := c.tally.good(false), c.tally.good(true); good != c.good || all != c.all {
			t.Errorf("%+v: %v, with -all %v; want %v, %v", c.tally, good, all, c.good, c.all)
		}
	}
}
