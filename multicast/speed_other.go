//go:build !linux

package multicast

// linkSpeed isn't told: only the daemon asks, and it runs on Linux.
func linkSpeed(string) uint64 { return 0 }
