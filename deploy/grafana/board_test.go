package main

import (
	"bytes"
	"os"
	"testing"
)

// TestCommitted: the dashboard beside this is the one that this makes.
func TestCommitted(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("wimcast.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("wimcast.json isn't what this makes; next: make dashboard")
	}
}
