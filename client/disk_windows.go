package client

import (
	"errors"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// openPart opens or makes a FILE.part and locks it, so that no two processes
// write one target: the handle doesn't share writing. It does share deletion,
// which lets Finish rename the file before it is closed. created says that the
// file is new. The error is ErrLocked where another process has it.
func openPart(path string) (part osPart, created bool, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return osPart{}, false, err
	}
	for {
		h, err := open(name, windows.OPEN_EXISTING)
		created = errors.Is(err, windows.ERROR_FILE_NOT_FOUND)
		if created {
			h, err = open(name, windows.CREATE_NEW)
			if errors.Is(err, windows.ERROR_FILE_EXISTS) {
				continue // somebody was quicker
			}
		}
		if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			return osPart{}, false, ErrLocked
		}
		if err != nil {
			return osPart{}, false, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return osPart{os.NewFile(uintptr(h), path)}, created, nil
	}
}

func open(name *uint16, disposition uint32) (windows.Handle, error) {
	return windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE|windows.DELETE,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_DELETE, nil, disposition, windows.FILE_ATTRIBUTE_NORMAL, 0)
}

// Datasync is FlushFileBuffers: Windows has nothing cheaper.
func (p osPart) Datasync() error { return p.Sync() }

func (p osPart) Allocated() (int64, error) {
	var info struct { // FILE_STANDARD_INFO
		AllocationSize, EndOfFile int64
		NumberOfLinks             uint32
		DeletePending, Directory  byte
		_                         [2]byte
	}
	err := windows.GetFileInformationByHandleEx(windows.Handle(p.Fd()), windows.FileStandardInfo,
		(*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return info.AllocationSize, err
}

// sparse asks for holes. Without them NTFS writes zeros up to a block that is
// stored far beyond the last one. FAT and exFAT can't and do without.
func (p osPart) sparse() {
	var returned uint32
	_ = windows.DeviceIoControl(windows.Handle(p.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &returned, nil)
}

func (d osDirectory) rename(from, to string) error {
	return d.move(from, to, windows.MOVEFILE_REPLACE_EXISTING|windows.MOVEFILE_WRITE_THROUGH)
}

func (d osDirectory) renameNew(from, to string) error {
	return d.move(from, to, windows.MOVEFILE_WRITE_THROUGH)
}

func (d osDirectory) move(from, to string, flags uint32) error {
	old, err := windows.UTF16PtrFromString(d.path(from))
	if err != nil {
		return err
	}
	final, err := windows.UTF16PtrFromString(d.path(to))
	if err != nil {
		return err
	}
	return windows.MoveFileEx(old, final, flags)
}

// sync does nothing: a directory can't be flushed here, MOVEFILE_WRITE_THROUGH
// does what is needed.
func (d osDirectory) sync() error { return nil }

// full reports whether an error means that the volume is used up.
func full(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
