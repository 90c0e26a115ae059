package client

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// keep opens the file anew, for reading and beside nobody who writes: a program that reads it can't while there is a handle that may write.
func keep(part osPart, path string) (*os.File, error) {
	if err := part.Close(); err != nil {
		return nil, err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
