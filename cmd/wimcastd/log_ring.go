package main

import "sync"

// mostRecent is how much of the log is kept in memory, in bytes: a day of a few rooms. Nobody but the daemon may be able to read the
// journal, and who has to help wants to see it.
const mostRecent = 4 << 20

// logRing keeps the latest lines of the log, as JSON. Safe for concurrent use.
type logRing struct {
	mu    sync.Mutex
	lines [][]byte // from first on; oldest first
	first int
	size  int
	gone  uint64 // lines that were dropped for newer ones
}

func newLogRing() *logRing { return &logRing{} }

// put keeps a copy of a line.
func (r *logRing) put(line []byte) {
	line = append([]byte(nil), line...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	r.size += len(line)
	for r.size > mostRecent && r.first < len(r.lines)-1 {
		r.size -= len(r.lines[r.first])
		r.lines[r.first] = nil
		r.first++
		r.gone++
	}
	if r.first > len(r.lines)/2 {
		r.lines = append([][]byte(nil), r.lines[r.first:]...)
		r.first = 0
	}
}

// all returns the lines, and how many older ones are gone.
func (r *logRing) all() (lines [][]byte, gone uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.lines[r.first:]...), r.gone
}
