package main

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestNumbersOfSessions: none is given twice, whatever became of the daemon.
func TestNumbersOfSessions(t *testing.T) {
	dir := t.TempDir()
	log := zap.NewNop()
	n := openNumbers(dir, 0, log)
	if a, b := n.next(), n.next(); a != 1 || b != 2 {
		t.Errorf("first %d, then %d", a, b)
	}
	n.close()
	if n = openNumbers(dir, 0, log); n.next() != 3 {
		t.Error("doesn't go on after a stop")
	}
	// Killed: nothing is noted at the end.
	if n = openNumbers(dir, 0, log); n.next() != 3+numbersAhead {
		t.Errorf("after a kill: %d", n.last)
	}
	for range 3 * numbersAhead {
		n.next()
	}
	last := n.last
	if n = openNumbers(dir, 0, log); n.next() <= last {
		t.Errorf("after %d and a kill: %d", last, n.last)
	}
	n.close()
	// An older version left a record and no file; or the file was lost.
	if n = openNumbers(t.TempDir(), 41, log); n.next() != 42 {
		t.Error("doesn't go on after the record")
	}
	// A damaged file is said, and no outage.
	if err := os.WriteFile(filepath.Join(dir, numbersFile), []byte("seven\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	core, said := observer.New(zapcore.ErrorLevel)
	if n = openNumbers(dir, 7, zap.New(core)); n.next() != 8 || said.Len() != 1 {
		t.Errorf("%d, said %v", n.last, said.All())
	}
	// Where it can't be written, numbers are given all the same, and it is said.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	n.noted = n.last
	if n.next() != 9 || said.Len() != 2 {
		t.Errorf("said %v", said.All())
	}
}
