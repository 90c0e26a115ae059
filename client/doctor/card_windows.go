package doctor

import (
	"golang.org/x/sys/windows"

	"wimcast/multicast"
)

// cardCount counts packets to groups and to all that came in at an interface, before any firewall; false where the system doesn't tell.
func cardCount(ifc *multicast.Interface) (uint64, bool) {
	// x/sys panics where the function isn't there (before Windows 10 1703).
	if windows.NewLazySystemDLL("iphlpapi.dll").NewProc("GetIfEntry2Ex").Find() != nil {
		return 0, false
	}
	row := windows.MibIfRow2{InterfaceIndex: uint32(ifc.Index)}
	if err := windows.GetIfEntry2Ex(windows.MibIfEntryNormal, &row); err != nil {
		return 0, false
	}
	return row.InNUcastPkts, true
}
