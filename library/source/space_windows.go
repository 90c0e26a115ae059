package source

import "golang.org/x/sys/windows"

// freeBytes returns how many bytes can be written in a folder; false where the system doesn't say.
func freeBytes(dir string) (uint64, bool) {
	at, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(at, &free, nil, nil); err != nil {
		return 0, false
	}
	return free, true
}
