package igmp

import (
	"fmt"
	"os"
	"strings"
)

// Version returns the IGMP version that the system speaks on an interface: 3, or less while a querier of an older version is heard
// or the system is told so. Only Linux tells.
func Version(interfaceName string) (int, error) {
	const table = "/proc/net/igmp"
	text, err := os.ReadFile(table)
	if err != nil {
		return 0, fmt.Errorf("read IGMP version: %w", err)
	}
	if v, ok := versionIn(string(text), interfaceName); ok {
		return v, nil
	}
	return 0, fmt.Errorf("read IGMP version: %s has no line for %s", table, interfaceName)
}

// versionIn reads the version of an interface in the kernel's table:
//
//	Idx	Device    : Count Querier	Group    Users Timer	Reporter
//	4	eth0      :     1      V3
//					010000E0     1 0:00000000		0
func versionIn(table, interfaceName string) (int, bool) {
	for line := range strings.Lines(table) {
		left, right, found := strings.Cut(line, ":")
		names, words := strings.Fields(left), strings.Fields(right)
		if !found || len(names) != 2 || names[1] != interfaceName || len(words) < 2 {
			continue
		}
		switch words[1] {
		case "V1":
			return 1, true
		case "V2":
			return 2, true
		case "V3":
			return 3, true
		}
	}
	return 0, false
}
