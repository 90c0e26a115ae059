//go:build !race

package keyex

const raceEnabled = false
