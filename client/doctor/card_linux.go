package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"wimcast/multicast"
)

// cardCount counts packets that came in at an interface, before any firewall; false where the system doesn't tell.
func cardCount(ifc *multicast.Interface) (uint64, bool) {
	if ifc.Name != filepath.Base(ifc.Name) {
		return 0, false
	}
	text, err := os.ReadFile("/sys/class/net/" + ifc.Name + "/statistics/rx_packets")
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
