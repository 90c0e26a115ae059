package rig

import (
	"bufio"
	"io"
	"strings"
	"sync"
)

const (
	tailLines = 200     // that are kept
	tailLine  = 1 << 20 // bytes of a line, at most
)

// Tail is the end of what a program writes. The zero value is empty. Safe for concurrent use.
type Tail struct {
	mu    sync.Mutex
	lines []string
}

// Follow reads to the end, keeps the last lines, and calls each with every one of them. What comes after a line that is too long is thrown
// away, so that the program never waits for a reader.
func (t *Tail) Follow(log io.Reader, each func(line string)) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, tailLine)
	for lines.Scan() {
		text := lines.Text()
		t.mu.Lock()
		t.lines = append(t.lines, text)
		t.lines = t.lines[max(0, len(t.lines)-tailLines):]
		t.mu.Unlock()
		each(text)
	}
	_, _ = io.Copy(io.Discard, log)
}

// String returns the lines that are kept.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
