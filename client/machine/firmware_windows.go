package machine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// ReadSystem asks Windows for the firmware's table; what can't be read stays zero.
func ReadSystem() System {
	table, err := firmwareTable()
	if err != nil {
		return System{}
	}
	s, err := parseFirmwareTable(table)
	if err != nil {
		return System{}
	}
	return s
}

// firmwareTable returns RawSMBIOSData. It needs no rights, in Windows PE neither.
func firmwareTable() ([]byte, error) {
	const provider = 'R'<<24 | 'S'<<16 | 'M'<<8 | 'B'
	get := windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemFirmwareTable")
	if err := get.Find(); err != nil {
		return nil, fmt.Errorf("read SMBIOS table: %w", err)
	}
	size, _, err := get.Call(provider, 0, 0, 0)
	if size == 0 || size > maxFirmwareTable {
		return nil, fmt.Errorf("read SMBIOS table: %d bytes: %w", size, err)
	}
	b := make([]byte, size)
	n, _, err := get.Call(provider, 0, uintptr(unsafe.Pointer(&b[0])), size)
	if n == 0 || n > size {
		return nil, fmt.Errorf("read SMBIOS table: %d bytes of %d: %w", n, size, err)
	}
	return b[:n], nil
}
