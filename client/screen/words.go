package screen

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// amount writes a number of bytes as people read it: "4.5 GB".
func amount(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for n >= 1000 && i < len(units)-1 {
		n /= 1000
		i++
	}
	if i == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// clock writes a time that runs: "4:05", "1:04:05".
func clock(d time.Duration) string {
	s := int(max(d, 0).Round(time.Second) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// roughly writes a time that is a guess, no finer than the guess is.
func roughly(d time.Duration) string {
	switch {
	case d >= 10*time.Minute:
		m := int(d.Round(time.Minute) / time.Minute)
		if m >= 60 {
			return fmt.Sprintf("%d h %02d min", m/60, m%60)
		}
		return fmt.Sprintf("%d min", m)
	case d >= time.Minute:
		return clock(d.Round(5*time.Second)) + " min"
	}
	return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
}

// clean makes a text from elsewhere harmless, and one column for each rune: no control codes, no marks that combine, no wide
// letters. Without blocks (the terminal's letters aren't known) only ASCII is left.
func clean(text string, blocks bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return -1
		case r < 0x7f:
			return r
		case blocks && r >= 0xa1 && r < 0x0530 && r != 0xad && unicode.IsPrint(r) && !unicode.Is(unicode.M, r):
			return r // Latin, Greek, Cyrillic
		}
		return '?'
	}, text)
}

// cut shortens a text to a width, in columns.
func cut(text string, width int) string {
	r := []rune(text)
	switch {
	case len(r) <= width:
		return text
	case width <= 0:
		return ""
	case width <= 3:
		return string(r[:width])
	}
	return string(r[:width-2]) + ".."
}

// wrap breaks a text at spaces into at most so many lines of a width; what is too much is cut.
func wrap(text string, width, lines int) []string {
	var out []string
	if width <= 0 {
		return nil
	}
	line := ""
	words := strings.Fields(text)
	for i := range words {
		word := words[i]
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			if len(out)+1 == lines {
				return append(out, cut(line+" "+strings.Join(words[i:], " "), width))
			}
			out, line = append(out, line), word
		}
		for r := []rune(line); len(r) > width && len(out)+1 < lines; r = []rune(line) { // a word that has no room: a path, a digest
			out, line = append(out, string(r[:width])), string(r[width:])
		}
	}
	if line == "" {
		return out
	}
	return append(out, cut(line, width))
}
