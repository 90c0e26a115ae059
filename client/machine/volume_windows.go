package machine

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Volumes lists what has a drive letter.
func Volumes() ([]Volume, error) {
	mask, err := windows.GetLogicalDrives()
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var out []Volume
	for i := range 26 {
		if mask&(1<<i) == 0 {
			continue
		}
		if v, is := readVolume(string(rune('A'+i)) + `:\`); is {
			out = append(out, v)
		}
	}
	return out, nil
}

// readVolume looks at a drive; false for one that can't be a volume of this machine.
func readVolume(root string) (Volume, bool) {
	name, err := windows.UTF16PtrFromString(root)
	if err != nil {
		return Volume{}, false
	}
	kind := windows.GetDriveType(name)
	switch kind {
	case windows.DRIVE_UNKNOWN, windows.DRIVE_NO_ROOT_DIR, windows.DRIVE_REMOTE:
		return Volume{}, false
	case windows.DRIVE_CDROM:
		return Volume{Root: root, Unfit: readOnly}, true
	}
	v := DirVolume(root, "")
	switch {
	case v.Unfit != "":
	case kind == windows.DRIVE_RAMDISK, inPE() && strings.EqualFold(root, os.Getenv("SystemDrive")+`\`):
		v.Spare = inMemory
	case isFile(filepath.Join(root, "sources", "boot.wim")):
		v.Spare = bootedOf
	case kind == windows.DRIVE_REMOVABLE, onUSB(root):
		v.Spare = removable
	}
	return v, true
}

// DirVolume makes a volume of a folder: its room is that of the volume which it is on, and so is the label, where none is given.
func DirVolume(dir, label string) Volume {
	v := Volume{Root: dir, Label: label}
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		v.Unfit = locked
		return v
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		v.Unfit = locked
		return v
	}
	v.Free = int64(min(free, 1<<62))
	var root, title, kind [windows.MAX_PATH + 1]uint16
	var flags uint32
	if windows.GetVolumePathName(name, &root[0], uint32(len(root))) != nil ||
		windows.GetVolumeInformation(&root[0], &title[0], uint32(len(title)), nil, nil, &flags, &kind[0], uint32(len(kind))) != nil {
		v.Unfit = locked
		return v
	}
	if v.Label == "" {
		v.Label = windows.UTF16ToString(title[:])
	}
	if k := windows.UTF16ToString(kind[:]); k == "FAT32" || k == "FAT" {
		v.Largest = fat32
	}
	if flags&windows.FILE_READ_ONLY_VOLUME != 0 {
		v.Unfit = readOnly
	}
	return v
}

// inPE reports whether this is Windows PE, by the key that Microsoft's own setup goes by.
func inPE() bool {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Control\MiniNT`, registry.QUERY_VALUE)
	if err != nil {
		return false
	}
	_ = k.Close()
	return true
}

// onUSB reports whether a volume's disk is on USB. Disks there are of type fixed like those inside.
func onUSB(root string) bool {
	name, err := windows.UTF16PtrFromString(`\\.\` + strings.TrimRight(root, `\`))
	if err != nil {
		return false
	}
	h, err := windows.CreateFile(name, 0, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseHandle(h) }()
	// STORAGE_PROPERTY_QUERY: StorageDeviceProperty, PropertyStandardQuery. STORAGE_DEVICE_DESCRIPTOR has the bus at 28.
	const (
		queryProperty = 0x2d1400 // IOCTL_STORAGE_QUERY_PROPERTY
		busAt, busUSB = 28, 7
	)
	query, answer := make([]byte, 12), make([]byte, 1024)
	var n uint32
	if err := windows.DeviceIoControl(h, queryProperty, &query[0], uint32(len(query)), &answer[0], uint32(len(answer)), &n, nil); err != nil || n < busAt+4 {
		return false
	}
	return binary.LittleEndian.Uint32(answer[busAt:]) == busUSB
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
