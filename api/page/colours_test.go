package page

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Least contrasts (WCAG 2.2, sections 1.4.3 and 1.4.11).
const (
	leastText = 4.5 // of text on what is behind it
	leastPart = 3.0 // of what has to be seen to understand a picture, and of edges of fields
)

// schemes reads the colours of both schemes from the style sheet; dark are those of light with its own over them.
func schemes(t *testing.T) map[string]map[string]string {
	t.Helper()
	css, err := static.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`:root \{([^}]*)\}`).FindAllStringSubmatch(string(css), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of colours, want one for each scheme", len(blocks))
	}
	out := map[string]map[string]string{"light": {}, "dark": {}}
	for i, scheme := range []string{"light", "dark"} {
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]+);`).FindAllStringSubmatch(blocks[i][1], -1) {
			out[scheme][m[1]] = m[2]
		}
	}
	if len(out["light"]) != len(out["dark"]) || len(out["light"]) < 20 {
		t.Fatalf("%d colours light, %d dark", len(out["light"]), len(out["dark"]))
	}
	return out
}

// luminance is a colour's relative luminance (WCAG 2.2, definition).
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "#"), 16, 32)
	if err != nil || len(hex) != 7 {
		t.Fatalf("%q is no colour", hex)
	}
	linear := func(v uint64) float64 {
		c := float64(v&255) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestContrast of everything that is read, in both schemes.
func TestContrast(t *testing.T) {
	if got := contrast(t, "#000000", "#ffffff"); math.Abs(got-21) > 0.01 {
		t.Fatalf("black on white is %v, not 21", got)
	}
	for scheme, colours := range schemes(t) {
		check := func(front, behind string, least float64) {
			t.Helper()
			for _, name := range []string{front, behind} {
				if colours[name] == "" {
					t.Errorf("%s has no --%s", scheme, name)
					return
				}
			}
			if got := contrast(t, colours[front], colours[behind]); got < least {
				t.Errorf("%s: --%s on --%s is %.2f, less than %v", scheme, front, behind, got, least)
			}
		}
		for _, behind := range []string{"ground", "surface", "raised"} {
			for _, front := range []string{"ink", "muted", "accent", "live", "good", "warn", "bad"} {
				check(front, behind, leastText)
			}
		}
		for _, front := range []string{"ink", "bad", "muted", "live", "warn"} {
			check(front, "bad-ground", leastText)
			check(front, "warn-ground", leastText)
		}
		for _, band := range []string{"free", "ceiling", "held"} {
			check("band-ink", "band-"+band, leastText)
		}
		for _, part := range []string{"strip-full", "strip-told"} {
			check(part, "strip-empty", leastPart)
		}
		for _, line := range []string{"chart-rate", "chart-target", "chart-repair", "chart-loss", "edge"} {
			check(line, "surface", leastPart)
		}
	}
}

// TestFilesAreOurOwn: no file names another place, and none has text become elements.
func TestFilesAreOurOwn(t *testing.T) {
	for name, f := range files() {
		text := strings.ReplaceAll(string(f.content), `xmlns="http://www.w3.org/2000/svg"`, "")
		for _, bad := range []string{"http://", "https://", "//cdn", "@import", "url(", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", " style=", "onclick="} {
			if at := strings.Index(text, bad); at >= 0 && !strings.Contains(text[max(0, at-60):at], "there is no ") {
				t.Errorf("%s has %q: %s", name, bad, fmt.Sprintf("%.80q", text[max(0, at-20):]))
			}
		}
	}
}
