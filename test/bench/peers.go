//go:build linux

package main

// peer is a contender of others, which may be missing.
type peer interface {
	contender
	missing() string // the program that isn't installed, or ""
}

func peers(s *site) []peer { return nil }
