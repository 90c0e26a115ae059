package api

import (
	"fmt"
	"strconv"
	"strings"
)

// rateUnits are what ParseRate reads, in bytes/s.
var rateUnits = []struct {
	suffix string
	bytes  float64
}{
	{"gbit/s", 1e9 / 8}, {"mbit/s", 1e6 / 8}, {"kbit/s", 1e3 / 8}, {"gb/s", 1e9}, {"mb/s", 1e6}, {"kb/s", 1e3}, {"b/s", 1},
}

// ParseRate reads a rate as people write it, "900 Mbit/s" or "100 MB/s", and returns bytes/s: more than 0, at most 1e12.
func ParseRate(text string) (float64, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	for _, unit := range rateUnits {
		if number, ok := strings.CutSuffix(s, unit.suffix); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			if v *= unit.bytes; err != nil || !(v > 0) || v > 1e12 {
				break
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("%q is not a rate such as \"900 Mbit/s\" or \"100 MB/s\"", text)
}
