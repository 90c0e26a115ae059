package apply

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDISMArguments: exactly what DISM is called with.
func TestDISMArguments(t *testing.T) {
	target := &Target{Path: filepath.FromSlash("/W")}
	d := &dism{program: "dism.exe", target: target, log: target.Log()}
	slashes := func(args []string) (out []string) {
		for _, a := range args {
			out = append(out, filepath.ToSlash(a))
		}
		return out
	}
	want := []string{
		"/English", "/Apply-Image", "/ImageFile:/W/wimcast/w 11.wim", "/Index:6", "/ApplyDir:/W", "/ScratchDir:/W/wimcast/scratch", "/LogPath:/W/wimcast/dism.log",
	}
	file := filepath.FromSlash("/W/wimcast/w 11.wim")
	if got := slashes(d.applyArgs(file, 6, false)); !slices.Equal(got, want) {
		t.Errorf("apply: %q, want %q", got, want)
	}
	if got := slashes(d.applyArgs(file, 6, true)); !slices.Equal(got, append(want, "/CheckIntegrity")) {
		t.Errorf("apply with an integrity table: %q", got)
	}
	want = []string{"/English", "/Image:/W", "/Apply-Unattend:/W/Windows/Setup/wimcast/unattend.xml", "/ScratchDir:/W/wimcast/scratch", "/LogPath:/W/wimcast/dism.log"}
	if got := slashes(d.unattendArgs()); !slices.Equal(got, want) {
		t.Errorf("updates: %q, want %q", got, want)
	}
	if got := slashes(d.unattendEnv()); !slices.Equal(got, []string{"configsetroot=/W/Windows/Setup/wimcast"}) {
		t.Errorf("environment: %q", got)
	}
}

// TestDISMCodes: a restart that is wanted is no failure, as it comes anyway; other codes are told as people know them.
func TestDISMCodes(t *testing.T) {
	for code, want := range map[int]bool{0: true, 3010: true, 1: false, 112: false, 1726: false, -2146498530: false} {
		if succeeded(code) != want {
			t.Errorf("%d: %v", code, !want)
		}
	}
	for code, want := range map[int]string{112: "112", -2146498530: "0x800f081e", 0x800f081e: "0x800f081e"} {
		if got := codeText(code); got != want {
			t.Errorf("%d is told as %s, want %s", code, got, want)
		}
	}
}

// TestDISMProgress: bars in every form that DISM has, in pieces of any size, and what it said last.
func TestDISMProgress(t *testing.T) {
	said := "\r\nDeployment Image Servicing and Management tool\r\nVersion: 10.0.26100.1\r\n\r\nApplying image\r\n" +
		"\r[                           0.0%                           ] \r\n[=                          2.0%                           ]" +
		"\r[===========================50.0%                          ] \r[===========================50.0%                          ]" +
		"\r[=====     ten%   ] done 99.0% \r\n[==========================100.0%==========================]\r\n" +
		strings.Repeat("y", 10_000) + "\nError: 112\r\n\r\nThere is not enough space on the disk.\x1b[2J\r\nThe DISM log file can be found at W:\\wimcast\\dism.log"
	for _, size := range []int{1, 5, len(said)} {
		var got []float64
		l := &listener{tell: func(s float64) { got = append(got, s) }}
		for rest := []byte(said); len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if n, err := l.Write(rest[:min(size, len(rest))]); err != nil || n != min(size, len(rest)) {
				t.Fatal(n, err)
			}
		}
		if want := []float64{0.02, 0.5, 1}; !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("in pieces of %d: %v, want %v", size, got, want)
		}
		if want := "Error: 112 There is not enough space on the disk. [2J The DISM log file can be found at W:\\wimcast\\dism.log"; l.last() != want {
			t.Errorf("last words %q, want %q", l.last(), want)
		}
	}
	l := new(listener)
	if l.last() != "no reason given" {
		t.Errorf("%q", l.last())
	}
	_, _ = l.Write([]byte(strings.Repeat("long ", 1000)))
	if got := l.last(); len(got) > maxSaid+10 || !strings.HasPrefix(got, "…") {
		t.Errorf("%d bytes", len(got))
	}
}
