package library

import (
	"errors"
	"fmt"
)

// Errors that the package's errors wrap.
var (
	// ErrNotFound: no package has that name, version or digest.
	ErrNotFound = errors.New("no such package")
	// ErrAmbiguous: a digest names several packages.
	ErrAmbiguous = errors.New("several packages")
	// ErrExists: other content has the name and version already.
	ErrExists = errors.New("package exists")
	// ErrFlags: flags contradict each other.
	ErrFlags = errors.New("flags contradict each other")
	// ErrSplit: the file is one part of a split WIM.
	ErrSplit = errors.New("part of a split WIM")
	// ErrNoIndex: the file has no image of that index.
	ErrNoIndex = errors.New("no such image")
	// ErrHash: the content isn't the one that was asked for.
	ErrHash = errors.New("the source has other content")
	// ErrDiskFull: there is no space left where the library lies.
	ErrDiskFull = errors.New("disk full")
	// ErrInUse: another process has the library open.
	ErrInUse = errors.New("library in use")
)

// DamagedError says that a package's content isn't what was added. The package is out of
// service when it is returned.
type DamagedError struct {
	Reference string
	Reason    string
}

// Error implements error.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("package %s is out of service: %s; next: wimcast image verify %q, or add the same file again", e.Reference, e.Reason, e.Reference)
}
