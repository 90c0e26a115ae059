package multicast

import (
	"os"
	"strconv"
	"strings"
)

// linkSpeed reads the speed that the driver tells, in Mbit/s there, −1 or an error
// when it doesn't know.
func linkSpeed(name string) uint64 {
	if name == "" || strings.ContainsRune(name, '/') || name == "." || name == ".." {
		return 0
	}
	text, err := os.ReadFile("/sys/class/net/" + name + "/speed")
	if err != nil {
		return 0
	}
	return parseSpeed(string(text))
}

func parseSpeed(text string) uint64 {
	mbit, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil || mbit == 1<<32-1 { // −1 without its sign, as some drivers write it
		return 0
	}
	return mbit * 1_000_000
}
