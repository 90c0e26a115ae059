package screen

import (
	"slices"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 99_949: "99.9 kB", 109e6: "109 MB", 4.5e9: "4.5 GB", 2e15: "2000 TB"} {
		if got := amount(n); got != want {
			t.Errorf("amount %v: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0:00", 400 * time.Millisecond: "0:00", 65 * time.Second: "1:05", time.Hour + 61*time.Second: "1:01:01"} {
		if got := clock(d); got != want {
			t.Errorf("clock %v: %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 s", 21 * time.Second: "21 s", 62 * time.Second: "1:00 min", 4*time.Minute + 33*time.Second: "4:35 min", 12*time.Minute + 20*time.Second: "12 min", 90 * time.Minute: "1 h 30 min",
	} {
		if got := roughly(d); got != want {
			t.Errorf("roughly %v: %s, want %s", d, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text         string
		width, lines int
		want         []string
	}{
		{"", 10, 3, nil},
		{"short", 10, 3, []string{"short"}},
		{"one two three four", 9, 3, []string{"one two", "three", "four"}},
		{"one two three four five", 9, 2, []string{"one two", "three f.."}},
		{"averyveryverylongword end", 8, 5, []string{"averyver", "yverylon", "gword", "end"}},
		{"averyveryverylongword end", 8, 1, []string{"averyv.."}},
		{"any", 0, 3, nil},
		{"a b c", 1, 9, []string{"a", "b", "c"}},
	} {
		if got := wrap(tc.text, tc.width, tc.lines); !slices.Equal(got, tc.want) {
			t.Errorf("%q at %d: %q, want %q", tc.text, tc.width, got, tc.want)
		}
	}
}
