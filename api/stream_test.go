package api

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func data(t testing.TB, r io.Reader) []string {
	t.Helper()
	var out []string
	if err := readStream(r, maxEventLine, func(_, d string) error { out = append(out, d); return nil }); !errors.Is(err, io.EOF) {
		t.Errorf("ends with %v", err)
	}
	return out
}

// TestReadStream has the examples of WHATWG HTML, section 9.2.6, and what else the format allows.
func TestReadStream(t *testing.T) {
	for says, tc := range map[string]struct {
		stream string
		want   []string
	}{
		"two lines":             {"data: YHOO\ndata: +2\ndata: 10\n\n", []string{"YHOO\n+2\n10"}},
		"comments and ids":      {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []string{"first event", "second event", " third event"}},
		"empty data, no end":    {"data\n\ndata\ndata\n\ndata:", []string{"", "\n"}},
		"a space or none":       {"data:test\n\ndata: test\n\n", []string{"test", "test"}},
		"not whole at the end":  {"data: a\n\ndata: b\n", []string{"a"}},
		"CR LF":                 {"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}},
		"CR":                    {"data: a\r\rdata: b\r\r", []string{"a", "b"}},
		"mixed":                 {"data: a\r\n\ndata: b\n\rdata: c\r\r\n", []string{"a", "b", "c"}},
		"byte order mark":       {"\ufeffdata: a\n\n", []string{"a"}},
		"unknown fields":        {"retry: 10\ncolour: red\n\ndata: a\nretry: x\n\n", []string{"a"}},
		"an event without data": {"event: x\nid: 7\n\n", nil},
	} {
		if got := data(t, strings.NewReader(tc.stream)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", says, got, tc.want)
		}
		if got := data(t, iotest.OneByteReader(strings.NewReader(tc.stream))); !slices.Equal(got, tc.want) {
			t.Errorf("%s, byte by byte: %q, want %q", says, got, tc.want)
		}
	}
}

// TestReadStreamNames: an event has the name that its lines give it, and none where they give none.
func TestReadStreamNames(t *testing.T) {
	var got []string
	each := func(kind, data string) error { got = append(got, kind+"="+data); return nil }
	stream := "event: a\ndata: 1\n\ndata: 2\n\nevent: b\n\ndata: 3\nevent:c\n\n"
	if err := readStream(strings.NewReader(stream), maxEventLine, each); !errors.Is(err, io.EOF) || !slices.Equal(got, []string{"a=1", "=2", "c=3"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestReadStreamEnds(t *testing.T) {
	stop := errors.New("stop")
	if err := readStream(strings.NewReader("data: a\n\ndata: b\n\n"), maxEventLine, func(_, _ string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	never := func(_, _ string) error { t.Error("an event"); return nil }
	for says, stream := range map[string]string{
		"a long line":   "data: " + strings.Repeat("x", maxEventLine) + "\n\n",
		"a large event": strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", 2000) + "\n",
	} {
		if err := readStream(strings.NewReader(stream), maxEventLine, never); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// FuzzReadStream holds the reader against a plain one that has the whole text at once.
func FuzzReadStream(f *testing.F) {
	for _, seed := range []string{"data: a\n\n", "data: a\r\r\n\rdata", ":\n\ndata:\ndata\n\n", "\ufeffdata: x\r\n\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		var want []string
		plain := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(text, "\ufeff"))
		var lines []string
		all := strings.Split(plain, "\n")
		for _, line := range all[:len(all)-1] {
			switch value, found := strings.CutPrefix(line, "data:"); {
			case line == "" && lines != nil:
				want = append(want, strings.Join(lines, "\n"))
				lines = nil
			case found:
				lines = append(lines, strings.TrimPrefix(value, " "))
			case line == "data":
				lines = append(lines, "")
			}
		}
		if got := data(t, strings.NewReader(text)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	})
}
