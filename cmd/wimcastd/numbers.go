package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"

	"wimcast/statefile"
)

const (
	// numbersFile has the number up to which sessions may have been numbered, in the state directory.
	numbersFile = "session-numbers"
	// numbersAhead is how many numbers are noted at a time, so that few sessions wait for the disk. A daemon that is killed
	// leaves out as many at most.
	numbersAhead = 10
)

// numbers numbers sessions, each number once in the life of a state directory: what the log, the API and the history call s7
// is one session, before and after a restart. Safe for concurrent use.
type numbers struct {
	path string
	log  *zap.Logger

	mu    sync.Mutex
	last  int // the latest that was given
	noted int // in the file
}

// openNumbers goes on after the last number that was given, and after those that the record has.
func openNumbers(dir string, recorded int, log *zap.Logger) *numbers {
	n := &numbers{path: filepath.Join(dir, numbersFile), log: log}
	text, err := os.ReadFile(n.path)
	if err == nil {
		n.noted, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) || n.noted < 0 {
		log.Error("numbers of sessions can't be read; they go on after those of the history", zap.String("file", n.path), zap.Int("after", recorded), zap.Error(err))
		n.noted = 0
	}
	n.last = max(n.noted, recorded)
	return n
}

// next returns the next number.
func (n *numbers) next() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	if n.last > n.noted {
		n.note(n.last + numbersAhead - 1)
	}
	return n.last
}

// close notes what was really given.
func (n *numbers) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.noted > n.last {
		n.note(n.last)
	}
}

// note writes the file. A number isn't worth an outage. The caller holds mu.
func (n *numbers) note(number int) {
	if err := statefile.ReplacePath(n.path, 0o600, []byte(strconv.Itoa(number)+"\n")); err != nil {
		n.log.Error("numbers of sessions can't be noted; after a restart some may be given again", zap.Error(err))
		return
	}
	n.noted = number
}

// recorded returns the last number of the record; 0 where there is none.
func (d *distributionPoint) recorded() int {
	if d.history == nil {
		return 0
	}
	number, err := d.history.LastNumber(context.Background())
	if err != nil {
		d.log.Error("numbers of sessions can't be looked up in the history", zap.Error(err))
	}
	return number
}
