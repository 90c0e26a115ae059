package volume

import (
	"os"

	"golang.org/x/sys/windows"
)

// Of returns the volume that a folder lies on. Errors are those of the system, with the folder in them.
func Of(dir string) (Volume, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return Volume{}, &os.PathError{Op: "volume", Path: dir, Err: err}
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return Volume{}, &os.PathError{Op: "volume", Path: dir, Err: err}
	}
	v := Volume{Free: int64(min(free, 1<<62))}
	var root, id, kind [windows.MAX_PATH + 1]uint16
	if err := windows.GetVolumePathName(name, &root[0], uint32(len(root))); err != nil {
		return Volume{}, &os.PathError{Op: "volume", Path: dir, Err: err}
	}
	v.ID = windows.UTF16ToString(root[:])
	if windows.GetVolumeNameForVolumeMountPoint(&root[0], &id[0], uint32(len(id))) == nil {
		v.ID = windows.UTF16ToString(id[:]) // \\?\Volume{…}\, whatever letters it has; network drives have none
	}
	if windows.GetVolumeInformation(&root[0], nil, 0, nil, nil, nil, &kind[0], uint32(len(kind))) == nil {
		v.Kind = windows.UTF16ToString(kind[:])
	}
	return v.known(), nil
}
